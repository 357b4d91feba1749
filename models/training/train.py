"""Training: a head on cached features, fine-tuning of the last layers, or a whole network from scratch."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.dataset.input import Shuffle, batches, untuned
from darkroom.data.errors import SettingError
from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.networks.architectures import (
    LOGITS_LAYER,
    build_backbone,
    build_scratch,
    describe,
    flip_averaged,
    with_head,
)
from darkroom.models.networks.whitening import set_whitening, whitens
from darkroom.models.settings import TrainSettings
from darkroom.models.training.features import load_features
from darkroom.models.training_loop.stage import FINE_TUNE, HEAD, SCRATCH, Stage, TrainRequest, image_stage, run_stage
from darkroom.models.training_loop.techniques.early_stopping import best_epoch
from darkroom.models.training_loop.techniques.learning_rate import peak_rate

logger = logging.getLogger(__name__)

_BATCHES_TO_WHITEN = 20


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        model: Keras, with the weights of its best epoch.
        history: Of all stages, measured without flip averaging.
        best_epoch: The epoch whose weights were kept; the first is 1.
    """

    model: Any
    history: tuple[EpochLog, ...]
    best_epoch: int


def train_network(request: TrainRequest) -> Trained:
    """Train as the settings say, resuming a killed run.

    Raises:
        SettingError: where layers are to be fine-tuned and nothing is pretrained, or several workers are to share what
            one does in seconds.
        FormatError: where the state that a killed run left cannot be read.
        WorkError: where the loss is no longer a number.
    """
    import keras

    settings = request.settings
    keras.utils.set_random_seed(settings.seed)
    if settings.workers > 1 and shared_stage(settings) is None:
        raise SettingError(
            f"{settings.workers} workers have nothing to share: a head on cached features is trained by one process in "
            "seconds. Leave out --workers, or give --fine-tune-layers."
        )
    if not describe(settings.model, settings.weights).pretrained:
        if settings.fine_tune_blocks:
            raise SettingError(
                f"{settings.model} is trained whole, from scratch: there is no backbone with pretrained weights to "
                "fine-tune. Leave out --fine-tune-layers, or choose a pretrained network with --architecture."
            )
        return _trained(*_train_scratch(request), settings)
    if request.features is None:
        raise SettingError(f"{settings.model} is trained on cached features, and none were given.")
    model, history = _train_head(request, request.features)
    if settings.fine_tune_blocks:
        before = model.get_weights()
        model, tuned = _fine_tune(request, model)
        if best_epoch(history).val_loss <= best_epoch(tuned).val_loss:
            logger.info("Fine-tuning did not improve validation: only the trained head is kept.")
            model.set_weights(before)
        history = history + tuned
    return _trained(model, history, settings)


def shared_stage(settings: TrainSettings) -> str | None:
    """The stage that workers share; None where there is only a head on cached features."""
    if not describe(settings.model, settings.weights).pretrained:
        return SCRATCH
    return FINE_TUNE if settings.fine_tune_blocks else None


def _train_scratch(request: TrainRequest) -> tuple[Any, list[EpochLog]]:
    dataset, settings = request.dataset, request.settings
    size = dataset.card.policy.image_size
    model = build_scratch(settings.model, size, len(dataset.labels), settings.dropout)
    if whitens(model):
        shuffled = batches(dataset, "train", 250, Shuffle(settings.seed, 0))
        set_whitening(model, (images for images, _ in shuffled.take(_BATCHES_TO_WHITEN).as_numpy_iterator()))
    return run_stage(image_stage(SCRATCH, dataset, settings), model, request)


def _trained(model: Any, history: list[EpochLog], settings: TrainSettings) -> Trained:
    """Number the epochs of all stages through; let the network average over the mirror image where that is set."""
    best = history.index(best_epoch(history)) + 1
    numbered = [log.model_copy(update={"epoch": number}) for number, log in enumerate(history, start=1)]
    return Trained(flip_averaged(model) if settings.flip_average else model, tuple(numbered), best)


def _train_head(request: TrainRequest, features: Path) -> tuple[Any, list[EpochLog]]:
    """Dropout and a dense layer on cached features; returns the whole network with the trained head in it."""
    import keras
    import tensorflow as tf

    dataset, settings = request.dataset, request.settings
    inputs, labels = load_features(dataset, features, "train")
    held_out = load_features(dataset, features, "validation")

    def feed(epoch: int) -> Any:
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(labels))
        return untuned(tf.data.Dataset.from_tensor_slices((inputs[order], labels[order])).batch(settings.batch_size))

    stage = Stage(
        HEAD,
        feed,
        untuned(tf.data.Dataset.from_tensor_slices(held_out).batch(256)),
        math.ceil(len(labels) / settings.batch_size),
        settings.epochs or 100,
        peak_rate(settings),
    )
    head = keras.Sequential(
        [
            keras.Input((inputs.shape[1],), name="features"),
            keras.layers.Dropout(settings.dropout, name="dropout"),
            keras.layers.Dense(len(dataset.labels), name=LOGITS_LAYER),
        ],
        name="head",
    )
    head, history = run_stage(stage, head, request)
    _advise_on_size(dataset, settings)
    backbone = build_backbone(settings.model, dataset.card.policy.image_size, settings.weights)
    if settings.weights == "imagenet":
        logger.info("Loaded ImageNet weights (%.1f M parameters)", backbone.count_params() / 1e6)
    backbone.trainable = False
    model = with_head(backbone, len(dataset.labels), settings.dropout)
    model.get_layer(LOGITS_LAYER).set_weights(head.get_layer(LOGITS_LAYER).get_weights())
    return model, history


def _advise_on_size(dataset: Dataset, settings: TrainSettings) -> None:
    """Say it where a backbone gets smaller images than suit it: the size is decided when the data set is made."""
    given, suits = dataset.card.policy.image_size, describe(settings.model, settings.weights).image_size
    if given[0] * given[1] < suits[0] * suits[1]:
        logger.info(
            "%s holds images of %d x %d; %s is more accurate at %d x %d: ingest with --image-size %d",
            dataset.reference, *given, settings.model, *suits, suits[0],
        )  # fmt: skip


def _fine_tune(request: TrainRequest, model: Any) -> tuple[Any, list[EpochLog]]:
    """Train the last blocks of the backbone too, with its batch-normalisation statistics left as they are.

    What Keras's transfer guide asks for: statistics learned on millions of images are not replaced by those of a few.
    """
    import keras

    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    backbone.trainable = True
    weighted = [layer for layer in backbone._flatten_layers(include_self=False, recursive=True) if layer.weights]
    plain = [layer for layer in weighted if not isinstance(layer, keras.Model)]
    tuned = set(
        map(id, [layer for layer in plain if "Norm" not in type(layer).__name__][-request.settings.fine_tune_blocks :])
    )
    for layer in plain:
        layer.trainable = id(layer) in tuned
    return run_stage(image_stage(FINE_TUNE, request.dataset, request.settings), model, request)
