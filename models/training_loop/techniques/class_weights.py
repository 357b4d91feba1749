"""Class weights: what the loss of a training image is multiplied by, so that rare classes count as much as common ones.

Weights by inverse frequency, as scikit-learn's `class_weight="balanced"` (King and Zeng 2001, "Logistic Regression in
Rare Events Data").
"""

from __future__ import annotations

from darkroom.data.dataset.dataset import Dataset
from darkroom.models.settings import TrainSettings


def class_weights_of(dataset: Dataset, settings: TrainSettings) -> tuple[float, ...]:
    """The weight of each class, in the order of the label map; all 1 where the settings ask for no weights.

    Args:
        dataset: Its training images are counted.
        settings: Of the training.
    """
    counts = dataset.card.class_counts("train")
    return class_weights(counts) if settings.class_weights else (1.0,) * len(counts)


def class_weights(counts: tuple[int, ...]) -> tuple[float, ...]:
    """Weights by inverse frequency with mean 1 over the images.

    Args:
        counts: Training images of each class; a class without images gets weight 1.
    """
    total, present = sum(counts), sum(1 for count in counts if count)
    return tuple(total / (present * count) if count else 1.0 for count in counts)


# A rarer label's images weigh no more than this: a few of them must not decide what a network learns.
_MOST_POSITIVE_WEIGHT = 10.0


def positive_weights_of(dataset: Dataset, settings: TrainSettings) -> tuple[float, ...]:
    """How much more an image that has a label weighs than one that has not, for each of several labels.

    All 1 where the settings ask for no weights.

    Args:
        dataset: The data set.
        settings: Of the training.
    """
    counts, num_images = dataset.card.class_counts("train"), dataset.card.num_images("train")
    return positive_weights(counts, num_images) if settings.class_weights else (1.0,) * len(counts)


def positive_weights(counts: tuple[int, ...], num_images: int) -> tuple[float, ...]:
    """The images without a label divided by those with it, from 0.1 to 10; 1 for a label that none or all have.

    Args:
        counts: Training images that have each label.
        num_images: All training images.
    """
    least = 1 / _MOST_POSITIVE_WEIGHT
    return tuple(
        min(max((num_images - count) / count, least), _MOST_POSITIVE_WEIGHT) if 0 < count < num_images else 1.0
        for count in counts
    )
