"""The abstain threshold: the confidence below which a prediction abstains, chosen on validation images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import SettingError
from darkroom.models.measures.metrics import most_likely
from darkroom.models.measures.outcome import Outcome


def confidences(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """The largest probability of each row, `float32[N]` as tables store it.

    The threshold is chosen and compared on these, so that a reader of a table can compute `abstained` from
    `confidence`.
    """
    return np.asarray(probabilities.max(axis=1), dtype=np.float32)


def choose_threshold(
    probabilities: NDArray[np.floating], truth: NDArray[np.integer], min_precision: float
) -> float | None:
    """The smallest confidence at or above which predictions have a precision of at least `min_precision`.

    Args:
        probabilities: `float[N, C]` of the validation images, calibrated.
        truth: `int[N]`.
        min_precision: 0 to 1.

    Returns:
        0.0 where all images together are that precise, None where no threshold reaches it.

    Raises:
        SettingError: where `min_precision` is outside 0 to 1.
        WorkError: where shapes do not match or a row is no distribution.
    """
    return threshold_of_precision(most_likely(probabilities, truth), min_precision)


def threshold_of_precision(outcome: Outcome, min_precision: float) -> float | None:
    """The same for answers of any kind.

    Args:
        outcome: Of the validation images.
        min_precision: The precision to reach, 0 to 1.

    Raises:
        SettingError: where the precision is not from 0 to 1.
    """
    if not 0.0 <= min_precision <= 1.0:
        raise SettingError(f"The precision to reach is a share from 0 to 1; received {min_precision}.")
    confidence = outcome.stored_confidence
    order = np.argsort(-confidence, kind="stable")
    confidence = confidence[order]
    precision = np.cumsum(outcome.right[order]) / np.arange(1, len(order) + 1)
    # Images of equal confidence pass together: only the last of them is a place to cut.
    is_cut = np.append(confidence[1:] < confidence[:-1], True)
    cuts = np.flatnonzero(is_cut & (precision >= min_precision))
    if not len(cuts):
        return None
    return 0.0 if cuts[-1] == len(order) - 1 else float(confidence[cuts[-1]])


def threshold_for_coverage(probabilities: NDArray[np.floating], truth: NDArray[np.integer], coverage: float) -> float:
    """The largest confidence that at least `coverage` of the images reach; 0.0 where they all do.

    Args:
        probabilities: `float[N, C]` of the validation images, calibrated.
        truth: `int[N]`.
        coverage: Above 0, at most 1.

    Raises:
        SettingError: where `coverage` is not.
        WorkError: where shapes do not match or a row is no distribution.
    """
    return threshold_of_coverage(most_likely(probabilities, truth), coverage)


def threshold_of_coverage(outcome: Outcome, coverage: float) -> float:
    """The same for answers of any kind.

    Args:
        outcome: Of the validation images.
        coverage: The share to keep, above 0, up to 1.

    Raises:
        SettingError: where the coverage is not above 0 and up to 1.
    """
    if not 0.0 < coverage <= 1.0:
        raise SettingError(f"The coverage to keep is a share above 0 and up to 1; received {coverage}.")
    confidence = np.sort(outcome.stored_confidence)[::-1]
    # Rounded first: 0.7 * 10 is 7.000000000000001 to no reader.
    num_kept = math.ceil(round(coverage * len(confidence), 9))
    threshold = float(confidence[num_kept - 1])
    return 0.0 if threshold == confidence[-1] else threshold


def coverage_and_accuracy(
    probabilities: NDArray[np.floating], truth: NDArray[np.integer], threshold: float
) -> tuple[float, float | None]:
    """The share of images with a confidence of `threshold` or more, and the accuracy on those.

    Args:
        probabilities: `float[N, C]`, calibrated.
        truth: `int[N]`.
        threshold: 0 to 1.

    Returns:
        Two shares, 0 to 1; the accuracy is None where no image is as confident.

    Raises:
        WorkError: where shapes do not match or a row is no distribution.
    """
    return coverage_of(most_likely(probabilities, truth), threshold)


def coverage_of(outcome: Outcome, threshold: float) -> tuple[float, float | None]:
    """The same for answers of any kind.

    Args:
        outcome: Of the validation images.
        threshold: Of the confidence.
    """
    kept = outcome.stored_confidence >= threshold
    return float(kept.mean()), float(outcome.right[kept].mean()) if kept.any() else None
