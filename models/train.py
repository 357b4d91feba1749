"""Training: a head on cached features, the last blocks fine-tuned, or a whole network from scratch.

Each stage keeps its state after every epoch under the bundle's staging folder (`<stage>/state-00007.keras` with the
optimizer, `<stage>/best.weights.h5`, `<stage>/history.json`), written whole or not at all, history last. A run that was
killed goes on after the last epoch in the history. Early stopping and the best epoch are functions of the history
alone, so they cannot be lost.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.atomic import atomic_file, write_json
from data.dataset import Dataset
from data.errors import FormatError, SettingError, WorkError
from data.input import Shuffle, batches
from models.bundle import EpochLog
from models.features import load_features
from models.networks import LOGITS_LAYER, build_backbone, build_scratch, describe, flip_averaged, with_head
from models.settings import TrainSettings

logger = logging.getLogger(__name__)

OnEpoch = Callable[[EpochLog], None]


@dataclass(frozen=True)
class Trained:
    """A network with the weights of its best epoch, and how it got them; the history is without flip averaging."""

    model: Any
    history: tuple[EpochLog, ...]
    best_epoch: int


@dataclass(frozen=True)
class Stage:
    """One stage of training: what is fed, and how fast it learns.

    Attributes:
        name: `head`, `fine-tune` or `scratch`; its folder's name.
        feed: Training batches for an epoch, from 0.
        validation: Validation batches.
        steps: Batches in an epoch.
        epochs: Most epochs.
        learning_rate: The peak.
        mixup: How images of a batch are blended; 0 for not at all.
    """

    name: str
    feed: Callable[[int], Any]
    validation: Any
    steps: int
    epochs: int
    learning_rate: float
    mixup: float = 0.0


def train_network(
    dataset: Dataset,
    settings: TrainSettings,
    staging: Path,
    features: Path | None,
    on_epoch: OnEpoch = lambda log: None,
) -> Trained:
    """Train what the settings ask for, going on where a killed run stopped.

    Args:
        dataset: With train and validation shards.
        settings: The settings.
        staging: A folder for the state of the stages.
        features: The folder of cached features, needed where the network has a pretrained backbone.
        on_epoch: Told of each epoch once its state is kept, first of those of a killed run; what it raises stops the
            training, which can go on from there.

    Raises:
        SettingError: where blocks are to be fine-tuned and nothing of the network is pretrained.
        FormatError: where the state that a killed run left cannot be read.
        WorkError: where the loss is no longer a number.
    """
    import keras

    keras.utils.set_random_seed(settings.seed)
    if not describe(settings.model, settings.weights).pretrained:
        if settings.fine_tune_blocks:
            raise SettingError(
                f"{settings.model} is trained whole, from scratch: there is no backbone with pretrained weights to "
                "fine-tune. Set fine_tune_blocks to 0, or take a pretrained network."
            )
        return _trained(*_train_scratch(dataset, settings, staging, on_epoch), settings)
    if features is None:
        raise SettingError(f"{settings.model} is trained on cached features, and none were given.")
    model, history = _train_head(dataset, settings, staging, features, on_epoch)
    if settings.fine_tune_blocks:
        before = model.get_weights()
        model, tuned = _fine_tune(dataset, settings, staging, model, on_epoch)
        if best_epoch(history).val_loss <= best_epoch(tuned).val_loss:
            logger.info("Fine-tuning made nothing better on validation: the head alone is kept.")
            model.set_weights(before)
        history = history + tuned
    return _trained(model, history, settings)


def best_epoch(history: list[EpochLog]) -> EpochLog:
    """The epoch with the lowest validation loss; of equals the earliest."""
    return min(history, key=lambda log: log.val_loss)


def is_over(history: list[EpochLog], epochs: int, patience: int) -> bool:
    """Whether a stage has had all its epochs, or none for `patience` epochs was better than the best."""
    return bool(history) and (
        len(history) >= epochs or len(history) - 1 - history.index(best_epoch(history)) >= patience
    )


def _train_scratch(
    dataset: Dataset, settings: TrainSettings, staging: Path, on_epoch: OnEpoch
) -> tuple[Any, list[EpochLog]]:
    size = dataset.card.policy.image_size
    model = build_scratch(settings.model, size, len(dataset.labels), settings.dropout)
    stage = _image_stage("scratch", dataset, settings, settings.epochs or 60, _rate(settings))
    return _run(stage, model, dataset, settings, staging, on_epoch)


def _trained(model: Any, history: list[EpochLog], settings: TrainSettings) -> Trained:
    """Number the epochs of all stages through; let the network average over the mirror image where that is set."""
    best = history.index(best_epoch(history)) + 1
    numbered = [log.model_copy(update={"epoch": number}) for number, log in enumerate(history, start=1)]
    return Trained(flip_averaged(model) if settings.flip_average else model, tuple(numbered), best)


def _train_head(
    dataset: Dataset, settings: TrainSettings, staging: Path, features: Path, on_epoch: OnEpoch
) -> tuple[Any, list[EpochLog]]:
    """Dropout and a dense layer on cached features; gives the whole network with the trained head in it."""
    import keras
    import tensorflow as tf

    inputs, labels = load_features(dataset, features, "train")
    held_out = load_features(dataset, features, "validation")

    def feed(epoch: int) -> Any:
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(labels))
        return tf.data.Dataset.from_tensor_slices((inputs[order], labels[order])).batch(settings.batch_size)

    stage = Stage(
        "head",
        feed,
        tf.data.Dataset.from_tensor_slices(held_out).batch(256),
        math.ceil(len(labels) / settings.batch_size),
        settings.epochs or 100,
        _rate(settings),
    )
    head = keras.Sequential(
        [
            keras.Input((inputs.shape[1],), name="features"),
            keras.layers.Dropout(settings.dropout, name="dropout"),
            keras.layers.Dense(len(dataset.labels), name=LOGITS_LAYER),
        ],
        name="head",
    )
    head, history = _run(stage, head, dataset, settings, staging, on_epoch)
    backbone = build_backbone(settings.model, dataset.card.policy.image_size, settings.weights)
    backbone.trainable = False
    model = with_head(backbone, len(dataset.labels), settings.dropout)
    model.get_layer(LOGITS_LAYER).set_weights(head.get_layer(LOGITS_LAYER).get_weights())
    return model, history


def _fine_tune(
    dataset: Dataset, settings: TrainSettings, staging: Path, model: Any, on_epoch: OnEpoch
) -> tuple[Any, list[EpochLog]]:
    """Train the last blocks of the backbone too, with its batch-normalisation statistics left as they are.

    What Keras's transfer guide asks for: statistics learned on millions of images are not replaced by those of a few.
    """
    import keras

    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    backbone.trainable = True
    weighted = [layer for layer in backbone._flatten_layers(include_self=False, recursive=True) if layer.weights]
    plain = [layer for layer in weighted if not isinstance(layer, keras.Model)]
    tuned = set(map(id, [layer for layer in plain if "Norm" not in type(layer).__name__][-settings.fine_tune_blocks :]))
    for layer in plain:
        layer.trainable = id(layer) in tuned
    stage = _image_stage("fine-tune", dataset, settings, settings.fine_tune_epochs, settings.fine_tune_learning_rate)
    return _run(stage, model, dataset, settings, staging, on_epoch)


def _image_stage(name: str, dataset: Dataset, settings: TrainSettings, epochs: int, learning_rate: float) -> Stage:
    num_rows = sum(shard.num_rows for shard in dataset.card.shards if shard.split == "train")
    return Stage(
        name,
        lambda epoch: batches(
            dataset, "train", settings.batch_size, Shuffle(settings.seed, epoch), settings.augmentation
        ),
        batches(dataset, "validation", 128),
        math.ceil(num_rows / settings.batch_size),
        epochs,
        learning_rate,
        settings.mixup,
    )


def _run(
    stage: Stage, model: Any, dataset: Dataset, settings: TrainSettings, staging: Path, on_epoch: OnEpoch
) -> tuple[Any, list[EpochLog]]:
    """The epochs of one stage; gives the model with the weights of the best one."""
    import keras

    folder = staging / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    history = _read_history(folder)
    for log in history:
        on_epoch(log)
    optimizer = _optimizer(settings, stage)
    if history:
        model = _restore(folder, len(history), optimizer)
        logger.info("%s: going on after epoch %d.", stage.name, len(history))
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=settings.label_smoothing)
        if _is_soft(settings)
        else keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    weights = class_weights(dataset.card.class_counts("train")) if settings.class_weights else None
    one_hot = _one_hot(len(dataset.labels)) if _is_soft(settings) else (lambda batches: batches)
    validation = one_hot(stage.validation)
    while not is_over(history, stage.epochs, settings.patience):
        epoch = len(history)
        started = time.monotonic()
        _seed_dropout(model, settings.seed, epoch)
        result = model.fit(
            _mixed(one_hot(stage.feed(epoch)), stage, settings, epoch),
            initial_epoch=epoch,
            epochs=epoch + 1,
            validation_data=validation,
            class_weight=weights,
            shuffle=False,  # the feed is shuffled
            verbose=0,
        ).history
        log = EpochLog(
            epoch=epoch + 1,
            stage=stage.name,
            seconds=round(time.monotonic() - started, 3),
            **{key: float(result[key][0]) for key in ("loss", "accuracy", "val_loss", "val_accuracy")},
        )
        if not math.isfinite(log.loss + log.val_loss):
            raise WorkError(
                f"The loss of {settings.model} is no longer a number after epoch {epoch + 1}. "
                f"Lower the learning rate of the {stage.name} stage (it was {stage.learning_rate:g})."
            )
        history.append(log)
        if best_epoch(history) is log:
            _save(folder / "best.weights.h5", model.save_weights)
        _save(_state(folder, len(history)), model.save)
        write_json(folder / "history.json", [entry.model_dump() for entry in history])
        _state(folder, epoch).unlink(missing_ok=True)
        logger.info(
            "%s epoch %d of %d: loss %.4f, accuracy %.4f; validation loss %.4f, accuracy %.4f (%.1f s)",
            stage.name, epoch + 1, stage.epochs, log.loss, log.accuracy, log.val_loss, log.val_accuracy, log.seconds,
        )  # fmt: skip
        on_epoch(log)
    model.load_weights(folder / "best.weights.h5")
    return model, history


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Let what dropout draws in an epoch follow from the seed and the epoch alone; Keras does not keep its state."""
    generators = [getattr(layer, "seed_generator", None) for layer in model._flatten_layers()]
    for number, generator in enumerate(filter(None, generators)):
        generator.state.assign(np.random.SeedSequence([seed, epoch, number]).generate_state(2) >> 1)


def class_weights(counts: tuple[int, ...]) -> dict[int, float]:
    """Weights by inverse frequency with mean 1 over the images, as scikit-learn's `balanced`."""
    total, present = sum(counts), sum(1 for count in counts if count)
    return {index: total / (present * count) if count else 1.0 for index, count in enumerate(counts)}


def _one_hot(num_classes: int) -> Callable[[Any], Any]:
    import tensorflow as tf

    return lambda batches: batches.map(lambda images, labels: (images, tf.one_hot(labels, num_classes)))


def _is_soft(settings: TrainSettings) -> bool:
    """Whether the truth of an image is a row of shares of the classes instead of one class."""
    return bool(settings.label_smoothing or settings.mixup)


def _mixed(batches: Any, stage: Stage, settings: TrainSettings, epoch: int) -> Any:
    """Each image and its row of classes blended with the next of the batch (Zhang et al. 2018, "mixup", 1710.09412).

    The shares are drawn from the seed and the epoch, so that a run that is killed goes on as if it had not been.
    """
    import tensorflow as tf

    if not stage.mixup:
        return batches
    random = np.random.default_rng([settings.seed, epoch, 1])
    shares = random.beta(stage.mixup, stage.mixup, (stage.steps, settings.batch_size)).astype(np.float32)

    def blended(values: Any, share: Any) -> Any:
        share = tf.reshape(share[: tf.shape(values)[0]], [-1] + [1] * (len(values.shape) - 1))
        values = tf.cast(values, tf.float32)
        return share * values + (1.0 - share) * tf.roll(values, 1, axis=0)

    def mix(batch: Any, share: Any) -> Any:
        images, truth = batch
        return tf.cast(tf.round(blended(images, share)), tf.uint8), blended(truth, share)

    rows = tf.data.Dataset.from_tensor_slices(shares)
    return tf.data.Dataset.zip((batches, rows)).map(tf.autograph.experimental.do_not_convert(mix))


def _rate(settings: TrainSettings) -> float:
    return settings.learning_rate or (0.05 if settings.optimizer == "sgd" else 1e-3)


def _optimizer(settings: TrainSettings, stage: Stage) -> Any:
    import keras

    rate: Any = stage.learning_rate
    if settings.schedule == "cosine":
        total = stage.steps * stage.epochs
        warmup = max(1, total // 20)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, total - warmup), warmup_target=stage.learning_rate, warmup_steps=warmup
        )
    extra = {"momentum": 0.9, "nesterov": True} if settings.optimizer == "sgd" else {}
    optimizer = keras.optimizers.get({"class_name": settings.optimizer, "config": {"learning_rate": 1e-3, **extra}})
    config = optimizer.get_config() | {"learning_rate": rate, "weight_decay": settings.weight_decay or None}
    built = type(optimizer)(**config)
    if settings.weight_decay:
        built.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return built


def _state(folder: Path, num_epochs: int) -> Path:
    """The model after so many epochs; the number is in the name, so that it can never belong to another history."""
    return folder / f"state-{num_epochs:05d}.keras"


def _restore(folder: Path, num_epochs: int, optimizer: Any) -> Any:
    """The model after so many epochs; `optimizer` gets the state of the one that trained it.

    The optimizer itself is not taken from the file: Keras does not keep which weights are excluded from decay.
    """
    import keras

    try:
        model = keras.models.load_model(_state(folder, num_epochs), safe_mode=True)
        optimizer.build(model.trainable_variables)
        for variable, stored in zip(optimizer.variables, model.optimizer.variables, strict=True):
            variable.assign(stored)
    except Exception as error:
        raise _unusable(folder, error) from None
    return model


def _read_history(folder: Path) -> list[EpochLog]:
    file = folder / "history.json"
    if not file.is_file():
        return []
    try:
        return [EpochLog.model_validate(entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(folder, error) from None


def _unusable(folder: Path, error: Exception) -> FormatError:
    return FormatError(
        f"What an earlier run left in {folder} cannot be read ({type(error).__name__}). Remove {folder.parent} and "
        "train again."
    )


def _save(path: Path, save: Callable[[str], None]) -> None:
    """Keras insists on the suffix, so the temporary name ends in it too."""
    with atomic_file(path) as temporary:
        suffixed = temporary.with_name(temporary.name + "".join(path.suffixes))
        try:
            save(str(suffixed))
            suffixed.rename(temporary)
        finally:
            suffixed.unlink(missing_ok=True)
