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
