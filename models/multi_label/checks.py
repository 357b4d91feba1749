"""What scores and truth of several labels an image must be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import WorkError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
# Below so many images with a label, or without it, a figure fitted to them follows their noise.
MIN_SUPPORT = 10


def check_label_scores(scores: NDArray[np.floating], truth: NDArray[np.generic]) -> tuple[Floats, Flags]:
    """Scores (probabilities or logits) as `float64[N, K]`, and the truth as `bool[N, K]`.

    Args:
        scores: float[N, K].
        truth: 0 or 1, or bool, [N, K].

    Raises:
        WorkError: where shapes do not fit, nothing is there, a score is not finite or a truth is neither 0 nor 1.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise WorkError(f"Scores have the shape (images, labels) with two labels or more; received {scores.shape}.")
    if truth.shape != scores.shape:
        raise WorkError(f"There are scores of shape {scores.shape} and true labels of shape {truth.shape}.")
    if not len(scores):
        raise WorkError("There is no image to measure: the split is empty.")
    if not np.isin(truth, (0, 1)).all():
        raise WorkError("The truth of several labels an image is 0 or 1 for each of them.")
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        raise WorkError(
            f"The network gave NaN or infinity for {len(bad)} of {len(scores)} images (first: row {bad[0]})."
        )
    return scores.astype(np.float64), truth.astype(np.bool_)


def check_label_probabilities(probabilities: NDArray[np.floating], truth: NDArray[np.generic]) -> tuple[Floats, Flags]:
    """As `check_label_scores`, and every probability is from 0 to 1.

    Args:
        probabilities: `float[N, K]`.
        truth: 0 or 1, or bool, `[N, K]`.

    Raises:
        WorkError: where a probability is not, or `check_label_scores` finds a fault.
    """
    checked, flags = check_label_scores(probabilities, truth)
    if checked.min() < 0 or checked.max() > 1:
        raise WorkError(
            f"Probabilities are from 0 to 1; received {checked.min():.4g} to {checked.max():.4g}. Were logits given?"
        )
    return checked, flags
