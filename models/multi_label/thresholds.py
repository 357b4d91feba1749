"""The threshold of each label: the probability from which a label is given, chosen on validation images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darkroom.models.multi_label.checks import MIN_SUPPORT, Flags, Floats, check_label_probabilities

DEFAULT_THRESHOLD = 0.5


def choose_thresholds(probabilities: NDArray[np.floating], truth: NDArray[np.generic]) -> tuple[float, ...]:
    """The threshold with the highest F1 of each label, halfway between two probabilities that occur.

    Of thresholds that do equally well the one nearest to 0.5 is taken. A label that fewer than 10 of the images have,
    or all but fewer than 10, keeps 0.5: so few would decide by chance.

    Args:
        probabilities: float[N, K] of the validation images, calibrated.
        truth: 0 or 1, [N, K].

    Raises:
        WorkError: where shapes do not fit or a probability is none.
    """
    checked, flags = check_label_probabilities(probabilities, truth)
    stored = checked.astype(np.float32).astype(np.float64)  # as tables store them
    return tuple(_best(stored[:, label], flags[:, label]) for label in range(stored.shape[1]))


def _best(probability: Floats, positive: Flags) -> float:
    num_positive = int(positive.sum())
    if min(num_positive, len(positive) - num_positive) < MIN_SUPPORT:
        return DEFAULT_THRESHOLD
    order = np.argsort(-probability, kind="stable")
    ordered = probability[order]
    # Images of equal probability are given the label together: only the last of them is a place to cut.
    cuts = np.flatnonzero(np.append(ordered[1:] < ordered[:-1], True))
    found = np.cumsum(positive[order])[cuts]
    f1 = 2 * found / (cuts + 1 + num_positive)
    below = np.append(ordered, 0.0)[cuts + 1]
    thresholds = (ordered[cuts] + below) / 2
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(thresholds[best[np.abs(thresholds[best] - DEFAULT_THRESHOLD).argmin()]])
