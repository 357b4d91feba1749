"""What a network is trained for: the loss, the share of right answers, and the weights of classes, for either task.

One label: softmax and cross-entropy. Several: a sigmoid and binary cross-entropy for each label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.task import TaskName
from darkroom.models.settings import TrainSettings
from darkroom.models.training_loop.techniques.class_weights import class_weights_of, positive_weights_of


class Objective(Protocol):
    """What a network is trained for."""

    def loss(self, reduction: str | None = "sum_over_batch_size") -> Any:
        """A Keras loss of truth and logits; one number an image where `reduction` is None."""

    def metrics(self) -> list[Any]:
        """What Keras's `fit` is to count under the name `accuracy`."""

    def feed(self, batches: Any) -> Any:
        """The batches of images and truth with the truth as the loss takes it."""

    def class_weight(self) -> dict[int, float] | None:
        """What `fit` multiplies the loss of an image of each class by."""

    def image_weights(self, truth: Any) -> Any:
        """The same for a batch, `float32[N]`."""

    def right(self, truth: Any, logits: Any) -> Any:
        """Which answers of a batch are right, `bool[N]`.

        Args:
            truth: As `feed` gives it.
            logits: `float32[N, K]`.
        """


@dataclass(frozen=True)
class SingleLabelObjective:
    """Cross-entropy of the class.

    Attributes:
        dataset: The data set.
        settings: Of the training.
    """

    dataset: Dataset
    settings: TrainSettings

    def loss(self, reduction: str | None = "sum_over_batch_size") -> Any:
        """Of the class's number, or of shares of the classes."""
        import keras

        if self._is_soft:
            return keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=self.settings.label_smoothing, reduction=reduction
            )
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)

    def metrics(self) -> list[Any]:
        """Keras's own."""
        return ["accuracy"]

    def feed(self, batches: Any) -> Any:
        """With label smoothing, mixup or CutMix shares of the classes, `float32[N, C]`; else `int32[N]` as it is."""
        import tensorflow as tf

        num_classes = len(self.dataset.labels)
        if not self._is_soft:
            return batches
        return batches.map(lambda images, labels: (images, tf.one_hot(labels, num_classes)))

    def class_weight(self) -> dict[int, float] | None:
        """By inverse frequency, where the settings ask for it."""
        return dict(enumerate(class_weights_of(self.dataset, self.settings))) if self.settings.class_weights else None

    def image_weights(self, truth: Any) -> Any:
        """Of the class of each image, or the most of it where the truth is a row of shares."""
        import tensorflow as tf

        return tf.gather(tf.constant(class_weights_of(self.dataset, self.settings), tf.float32), _classes(truth))

    def right(self, truth: Any, logits: Any) -> Any:
        # Where the highest logit is that of the class.
        import tensorflow as tf

        return tf.equal(_classes(truth), tf.argmax(logits, axis=-1))

    @property
    def _is_soft(self) -> bool:
        """Whether the truth of an image is a row of shares of the classes instead of one class."""
        return bool(self.settings.label_smoothing or self.settings.mixup or self.settings.cutmix)


@dataclass(frozen=True)
class MultiLabelObjective:
    """Binary cross-entropy of each label, the mean over the labels.

    Attributes:
        dataset: The data set.
        settings: Of the training.
    """

    dataset: Dataset
    settings: TrainSettings

    def loss(self, reduction: str | None = "sum_over_batch_size") -> Any:
        """With the images of rare labels weighted, where the settings ask for it."""
        weights = positive_weights_of(self.dataset, self.settings)
        return _keras_classes()[0](weights, self.settings.label_smoothing, reduction=reduction)

    def metrics(self) -> list[Any]:
        """The share of images of which every label is right."""
        return [_keras_classes()[1](positive_weights_of(self.dataset, self.settings))]

    def feed(self, batches: Any) -> Any:
        """`float32[N, K]` as it is."""
        return batches

    def class_weight(self) -> dict[int, float] | None:
        """None: the weights are within the loss."""
        return None

    def image_weights(self, truth: Any) -> Any:
        """1 for each image."""
        import tensorflow as tf

        return tf.ones(tf.shape(truth)[0])

    def right(self, truth: Any, logits: Any) -> Any:
        # Where each label's logit is above zero just where the label is there, less what the weights add to it.
        return _all_right(truth, logits, positive_weights_of(self.dataset, self.settings))


_OBJECTIVES: Mapping[TaskName, type[SingleLabelObjective] | type[MultiLabelObjective]] = {
    "single-label": SingleLabelObjective,
    "multi-label": MultiLabelObjective,
}


def objective_of(dataset: Dataset, settings: TrainSettings) -> Objective:
    """What networks on this data set are trained for.

    Args:
        dataset: The data set.
        settings: Of the training.
    """
    _keras_classes()  # known to Keras before it reads a saved state that holds them
    return _OBJECTIVES[dataset.card.task](dataset, settings)


def _classes(truth: Any) -> Any:
    """The class of each image, or the most of it where the truth is a row of shares."""
    import tensorflow as tf

    return tf.cast(truth, tf.int64) if len(truth.shape) == 1 else tf.argmax(truth, axis=-1)


def _all_right(truth: Any, logits: Any, weights: tuple[float, ...]) -> Any:
    """`bool[N]`; a blended truth counts as there from 0.5 on."""
    import numpy as np
    import tensorflow as tf

    given = logits > tf.constant(np.log(weights), logits.dtype)
    return tf.reduce_all(tf.equal(given, tf.cast(truth, tf.float32) >= 0.5), axis=-1)


@cache
def _keras_classes() -> tuple[type[Any], type[Any]]:
    """The loss and the metric of several labels, as Keras saves and loads them."""
    import keras

    @keras.saving.register_keras_serializable(package="darkroom")
    class LabelCrossentropy(keras.losses.Loss):  # type: ignore[misc]
        """Mean binary cross-entropy over the labels, that of positive ones multiplied by `weights`, K numbers.

        Each label's cross-entropy is scaled so that its mean weight over its training images would be that of 1 where
        half of them have it; label smoothing moves 0 and 1 towards 0.5.
        """

        def __init__(self, weights: Any, smoothing: float = 0.0, **others: Any) -> None:
            super().__init__(**others)
            self.weights, self.smoothing = tuple(weights), smoothing

        def call(self, y_true: Any, y_pred: Any) -> Any:
            weights = keras.ops.convert_to_tensor(self.weights, dtype=y_pred.dtype)
            truth = keras.ops.cast(y_true, y_pred.dtype) * (1 - self.smoothing) + self.smoothing / 2
            positive, negative = keras.ops.softplus(-y_pred), keras.ops.softplus(y_pred)
            each = weights * truth * positive + (1 - truth) * negative
            return keras.ops.mean(2 * each / (1 + weights), axis=-1)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "weights": list(self.weights), "smoothing": self.smoothing}

    @keras.saving.register_keras_serializable(package="darkroom")
    class AllLabelsRight(keras.metrics.Mean):  # type: ignore[misc]
        """The share of images of which every label is right."""

        def __init__(self, weights: Any, name: str = "accuracy", **others: Any) -> None:
            super().__init__(name=name, **others)
            self.weights_of_labels = tuple(weights)

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            right = _all_right(y_true, y_pred, self.weights_of_labels)
            return super().update_state(keras.ops.cast(right, "float32"), sample_weight)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "weights": list(self.weights_of_labels)}

    return LabelCrossentropy, AllLabelsRight
