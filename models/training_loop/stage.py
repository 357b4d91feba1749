"""One stage of training: its input, learning rate and epochs.

After every epoch the state is kept (`state.py`), and a killed run resumes from there. When it ends is decided
in `early_stopping.py`, how fast it learns in `learning_rate.py`, how much each class counts in `class_weights.py`.

A stage that is fed images may be trained by several processes (`cluster.py`): they begin with the state on disk, and
the chief of them keeps it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.dataset.input import WHOLE, Share, Shuffle, batches, keep
from darkroom.data.errors import SettingError, WorkError
from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.settings import TrainSettings
from darkroom.models.training_loop.cluster import Cluster, local_cluster, run_workers
from darkroom.models.training_loop.state import BEST, keep_model, keep_state, read_history, restore
from darkroom.models.training_loop.techniques.early_stopping import is_over
from darkroom.models.training_loop.techniques.learning_rate import peak_rate, schedule
from darkroom.models.training_loop.techniques.mixing import NO_MIXING, Mixing, mixed
from darkroom.models.training_loop.techniques.objective import Objective, objective_of

logger = logging.getLogger(__name__)

OnEpoch = Callable[[EpochLog], None]
Epoch = Callable[[int], dict[str, float]]

HEAD, FINE_TUNE, SCRATCH = "head", "fine-tune", "scratch"


@dataclass(frozen=True)
class TrainRequest:
    """One training.

    Attributes:
        dataset: With train and validation shards.
        settings: Of the training.
        staging: A folder for the state of the stages.
        features: The folder of cached features, needed where the network has a pretrained backbone.
        on_epoch: Called with each epoch once its state is kept, starting with those of a killed run; what it raises
            stops the training, which can be resumed.
        cluster: The workers, where that is not for this machine alone to decide; it has the chief.
    """

    dataset: Dataset
    settings: TrainSettings
    staging: Path
    features: Path | None = None
    on_epoch: OnEpoch = lambda log: None
    cluster: Cluster | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of training: its input and learning rate.

    Attributes:
        name: `head`, `fine-tune` or `scratch`; its folder's name.
        feed: Training batches for an epoch, from 0.
        validation: Validation batches.
        steps: Batches per epoch.
        epochs: Maximum epochs.
        learning_rate: The peak.
        mixing: How the images of a batch are blended.
        share: What is fed here, where several processes train together.
        num_replicas: Copies of the network in this process; each is fed one batch per step.
    """

    name: str
    feed: Callable[[int], Any]
    validation: Any
    steps: int
    epochs: int
    learning_rate: float
    mixing: Mixing = NO_MIXING
    share: Share = WHOLE
    num_replicas: int = 1


def image_stage(
    name: str, dataset: Dataset, settings: TrainSettings, share: Share = WHOLE, num_replicas: int = 1
) -> Stage:
    """The stage `scratch` or `fine-tune`.

    Where several processes or devices train together, each replica is fed the same number of batches per epoch, as even
    in size as its share allows: none waits for a batch that another lacks, every image is seen once, and the batches of
    a step together are as large as that of a single process.

    Args:
        name: `scratch` or `fine-tune`.
        dataset: With train and validation shards.
        settings: Of the training.
        share: What is fed here, where several processes train together.
        num_replicas: Copies of the network in this process, one per device.

    Raises:
        SettingError: where there are more replicas than images for them.
    """
    num_rows = WHOLE.num_rows(dataset, "train")
    steps = math.ceil(num_rows / settings.batch_size)
    total_replicas = share.num_readers * num_replicas
    if total_replicas > 1:
        shares = [Share(reader, share.num_readers).num_rows(dataset, "train") for reader in range(share.num_readers)]
        steps = min(steps, min(shares) // num_replicas)
        if not steps:
            raise SettingError(f"{num_rows} training images are too few for {total_replicas} replicas: use fewer.")

    kept = cache(partial(keep, dataset, "train", share))

    def feed(epoch: int) -> Any:
        shuffle = Shuffle(settings.seed, epoch, settings.augmentation)
        fed = batches(dataset, "train", settings.batch_size, shuffle, kept())
        return fed if total_replicas == 1 else fed.rebatch(even_sizes(shares[share.reader], steps * num_replicas))

    epochs, rate = settings.epochs or 60, peak_rate(settings)
    if name == FINE_TUNE:
        epochs, rate = settings.fine_tune_epochs, settings.fine_tune_learning_rate
    validation = batches(dataset, "validation", 128, share=share)
    mixing = Mixing(settings.mixup, settings.cutmix)
    return Stage(name, feed, validation, steps, epochs, rate, mixing, share, num_replicas)


def even_sizes(num_rows: int, num_batches: int) -> list[int]:
    """The sizes of batches that together hold all rows; no two differ by more than one.

    Args:
        num_rows: Rows in all.
        num_batches: At least 1.
    """
    ends = np.arange(num_batches + 1) * num_rows // num_batches
    return [int(size) for size in np.diff(ends)]


def run_stage(stage: Stage, model: Any, request: TrainRequest) -> tuple[Any, list[EpochLog]]:
    """Run one stage.

    Args:
        stage: Its input and learning rate.
        model: Keras, `uint8[N, H, W, 3]` to `logits float32[N, C]`; for the head, from features.
        request: The training.

    Returns:
        The model with the weights of the best epoch, and the history.

    Raises:
        FormatError: where the state that a killed run left cannot be read.
        WorkError: where the loss is no longer a number, or a worker failed.
    """
    dataset, settings, folder = request.dataset, request.settings, request.staging / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    history = read_history(folder)
    for log in history:
        request.on_epoch(log)
    optimizer, objective = build_optimizer(settings, stage), objective_of(dataset, settings)
    if history:
        model = restore(folder, len(history), optimizer)
        logger.info("%s: resuming after epoch %d.", stage.name, len(history))
    model.compile(optimizer=optimizer, loss=objective.loss(), metrics=objective.metrics())
    cluster = None if stage.name == HEAD else request.cluster or _cluster_here(settings)
    if cluster is None:
        epoch = _fit(stage, model, objective, settings)
        with keeping_interrupts():
            run_epochs(stage, request, history, epoch, lambda: keep_state(folder, model, history))
    elif not is_over(history, stage.epochs, settings.patience):
        if not history:
            optimizer.build(model.trainable_variables)
            keep_model(folder, model, 0)
        for log in run_workers(cluster, dataset.folder, settings, request.staging, stage.name):
            logger.info("%s", _told(stage, log))
            request.on_epoch(log)
        history = read_history(folder)
    model.load_weights(folder / BEST)
    return model, history


@contextmanager
def keeping_interrupts() -> Iterator[None]:
    """Restore the KeyboardInterrupt that TensorFlow's bindings turn into a RuntimeError.

    They do so where it arrives while they raise an internal exception.
    """
    try:
        yield
    except RuntimeError as error:
        if "REPLACED BY KeyboardInterrupt" in str(error):
            raise KeyboardInterrupt from None
        raise


def run_epochs(
    stage: Stage, request: TrainRequest, history: list[EpochLog], epoch: Epoch, keep: Callable[[], None]
) -> None:
    """Train until the stage is over.

    Args:
        stage: The stage.
        request: The training.
        history: Of the epochs before; each new one is appended.
        epoch: Trains the epoch of this number, from 0, and returns `loss`, `accuracy`, `val_loss` and `val_accuracy`.
        keep: Keeps the state, once an epoch is in the history.

    Raises:
        WorkError: where the loss is no longer a number.
    """
    while not is_over(history, stage.epochs, request.settings.patience):
        number, started = len(history) + 1, time.monotonic()
        figures = epoch(number - 1)
        seconds = round(time.monotonic() - started, 3)
        log = EpochLog(epoch=number, stage=stage.name, seconds=seconds, **figures)
        if not math.isfinite(log.loss + log.val_loss):
            raise WorkError(
                f"The loss of {request.settings.model} is no longer a number after epoch {number}. "
                f"Lower the learning rate of the {stage.name} stage (it was {stage.learning_rate:g})."
            )
        history.append(log)
        keep()
        logger.info("%s", _told(stage, log))
        request.on_epoch(log)


def _fit(stage: Stage, model: Any, objective: Objective, settings: TrainSettings) -> Epoch:
    """An epoch by this process alone."""
    validation = objective.feed(stage.validation)

    def epoch(number: int) -> dict[str, float]:
        _seed_dropout(model, settings.seed, number)
        result = model.fit(
            epoch_feed(stage, objective, settings, number),
            initial_epoch=number,
            epochs=number + 1,
            validation_data=validation,
            class_weight=objective.class_weight(),
            shuffle=False,  # the feed is shuffled
            verbose=0,
        ).history
        return {key: float(result[key][0]) for key in ("loss", "accuracy", "val_loss", "val_accuracy")}

    return epoch


def epoch_feed(stage: Stage, objective: Objective, settings: TrainSettings, number: int) -> Any:
    """The training batches of an epoch: images `uint8[N, H, W, 3]` and what the loss takes as truth.

    The truth is `int32[N]` or, with label smoothing, mixup or CutMix, the classes as shares, `float32[N, C]`.

    Args:
        stage: The stage.
        objective: What the network is trained for.
        settings: Of the training.
        number: The epoch, from 0.
    """
    # What is drawn is other for each reader, so that none repeats another.
    seed = [settings.seed, number, 1, stage.share.reader]
    fed = objective.feed(stage.feed(number))
    return mixed(fed, stage.mixing, stage.steps * stage.num_replicas, settings.batch_size, seed)


def _told(stage: Stage, log: EpochLog) -> str:
    return (
        f"{stage.name} epoch {log.epoch} of {stage.epochs}: loss {log.loss:.4f}, accuracy {log.accuracy:.4f}; "
        f"validation loss {log.val_loss:.4f}, accuracy {log.val_accuracy:.4f} ({log.seconds:.1f} s)"
    )


def _cluster_here(settings: TrainSettings) -> Cluster | None:
    """The workers that the settings ask for, or one where it has several GPUs; None where this process trains alone.

    Raises:
        SettingError: where there are GPUs, and fewer than workers: each worker takes its own whole.
    """
    import tensorflow as tf

    num_gpus = len(tf.config.list_physical_devices("GPU"))
    if num_gpus and settings.workers > num_gpus:
        raise SettingError(
            f"This machine has {num_gpus} GPUs for {settings.workers} workers. Set --workers to {num_gpus} or less; "
            "one worker uses all GPUs."
        )
    return local_cluster(settings.workers) if settings.workers > 1 or num_gpus > 1 else None


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Let what dropout draws in an epoch follow from the seed and the epoch alone; Keras does not keep its state."""
    generators = [getattr(layer, "seed_generator", None) for layer in model._flatten_layers()]
    for number, generator in enumerate(filter(None, generators)):
        generator.state.assign(np.random.SeedSequence([seed, epoch, number]).generate_state(2) >> 1)


def build_optimizer(settings: TrainSettings, stage: Stage) -> Any:
    """The optimizer of a stage, with its learning-rate schedule; weight decay applies to kernels only.

    Args:
        settings: Of the training.
        stage: Its learning rate, steps and epochs.
    """
    import keras

    rate = schedule(settings.schedule, stage.learning_rate, stage.steps * stage.epochs)
    extra = {"momentum": 0.9, "nesterov": True} if settings.optimizer == "sgd" else {}
    optimizer = keras.optimizers.get({"class_name": settings.optimizer, "config": {"learning_rate": 1e-3, **extra}})
    config = optimizer.get_config() | {"learning_rate": rate, "weight_decay": settings.weight_decay or None}
    built = type(optimizer)(**config)
    if settings.weight_decay:
        built.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return built
