"""The validation images that a bundle's calibration and thresholds rest on, label by label."""

from __future__ import annotations

from darkroom.data.dataset.dataset import DatasetCard


def validation_images(card: DatasetCard) -> dict[str, int]:
    """How many validation images say something of each label.

    Where an image has one label, those that have it. Where it may have several, those that have the label or those that
    have it not, whichever are fewer: a threshold needs both.

    Args:
        card: Of the data set that the bundle was trained on.
    """
    counts = dict(zip(card.labels, card.class_counts("validation"), strict=True))
    if card.task == "single-label":
        return counts
    num_images = card.num_images("validation")
    return {label: min(number, num_images - number) for label, number in counts.items()}
