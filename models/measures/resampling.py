"""Bootstrap intervals: how far chance may have moved a metric, by resampling the images (Efron 1979).

A resample draws as many images as there are, with repetition; here it is a row of weights, how often each image was
drawn, so that a figure of all resamples is a product of matrices. All draws come from one fixed seed: the same
predictions give the same intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from darkroom.models.measures.intervals import Frozen, Interval
from darkroom.models.measures.metrics import NUM_BINS, Metrics, bin_places
from darkroom.models.measures.outcome import Outcome

if TYPE_CHECKING:
    from scipy import sparse

NUM_RESAMPLES = 1000
_SEED = 0
_WEIGHTS_AT_ONCE = 10_000_000
# Areas under curves cost images x classes a resample: beyond this there are fewer resamples, but never below the least.
_MAX_COST = 1_000_000_000
_MIN_RESAMPLES = 100

Floats = NDArray[np.float64]


class Intervals(Frozen):
    """95 % bootstrap intervals of metrics that are not a share of images.

    None where all resamples give the same figure, as they do where every image is right: that says nothing of the
    mistakes to come.

    Attributes:
        num_resamples: How many were drawn.
        balanced_accuracy, macro_f1, weighted_f1, log_loss, macro_roc_auc, macro_pr_auc, expected_calibration_error: Of
            the metric of that name.
    """

    num_resamples: int
    balanced_accuracy: Interval | None
    macro_f1: Interval | None
    weighted_f1: Interval | None
    log_loss: Interval | None
    macro_roc_auc: Interval | None
    macro_pr_auc: Interval | None
    expected_calibration_error: Interval | None


def resampled_intervals(probabilities: NDArray[np.floating], truth: NDArray[np.integer], metrics: Metrics) -> Intervals:
    """The intervals of metrics that were measured on these predictions.

    Args:
        probabilities: `float[N, C]`, rows sum to 1.
        truth: `int[N]`.
        metrics: What `measure` returned for them.
    """
    scores = probabilities.astype(np.float64)
    num_resamples = affordable(*scores.shape)
    parts = [_figures(weights, scores, truth) for weights in resamples(len(truth), num_resamples)]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Intervals(
        num_resamples=num_resamples,
        **{name: interval_of(values, getattr(metrics, name)) for name, values in found.items()},
    )


def resamples(num_images: int, num_resamples: int = NUM_RESAMPLES) -> Iterator[Floats]:
    """Bootstrap weights, `float64[r, num_images]`, some rows at a time; each row sums to `num_images`.

    Args:
        num_images: Images to draw from.
        num_resamples: Rows in all.
    """
    rng = np.random.default_rng(_SEED)
    rows = max(1, _WEIGHTS_AT_ONCE // num_images)
    for start in range(0, num_resamples, rows):
        count = min(rows, num_resamples - start)
        drawn = rng.integers(0, num_images, (count, num_images))
        drawn += np.arange(count)[:, None] * num_images
        yield np.bincount(drawn.ravel(), minlength=count * num_images).reshape(count, num_images).astype(np.float64)


def interval_of(values: Floats, figure: float | None) -> Interval | None:
    """The middle 95 % of values (percentile method), widened where needed to hold the figure itself.

    The calibration error of a resample is larger than that of the images on average, so the figure can lie below.

    Args:
        values: `float64[r]`, one per resample.
        figure: Measured on all images.

    Returns:
        None where the figure is, or all values are equal.
    """
    known = values[np.isfinite(values)]
    if figure is None or not len(known) or known.min() == known.max():
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(low=float(min(low, figure)), high=float(max(high, figure)))


def calibration_errors(weights: Floats, probabilities: NDArray[np.floating], truth: NDArray[np.integer]) -> Floats:
    """Expected calibration error of each resample: `float64[r]`.

    Args:
        weights: As `resamples` yields them, `float64[r, N]`.
        probabilities: `float[N, C]`, rows sum to 1.
        truth: `int[N]`.
    """
    return calibration_errors_of(weights, Outcome(probabilities.argmax(axis=1) == truth, probabilities.max(axis=1)))


def calibration_errors_of(weights: Floats, outcome: Outcome) -> Floats:
    """The same for answers of any kind.

    Args:
        weights: As `resamples` yields them, `float64[r, N]`.
        outcome: Of the N images.
    """
    surplus = outcome.right - outcome.confidence
    inside = _one_hot(bin_places(outcome.confidence), NUM_BINS)
    result: Floats = np.abs(_sums(weights * surplus, inside)).sum(axis=1) / weights.sum(axis=1)
    return result


def _figures(weights: Floats, probabilities: Floats, truth: NDArray[np.integer]) -> dict[str, Floats]:
    num_classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    total = weights.sum(axis=1)
    in_class, as_class = _one_hot(truth, num_classes), _one_hot(predicted, num_classes)
    support, named = _sums(weights, in_class), _sums(weights, as_class)
    found = _sums(weights * (predicted == truth), in_class)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = found / support
        f1 = 2 * found / (support + named)  # NaN where the class is neither present nor named
        scaled = probabilities[np.arange(len(truth)), truth] / probabilities.sum(axis=1)
    surprise = -np.log(np.maximum(scaled, np.finfo(np.float64).eps))
    roc, precision_recall = areas(weights, probabilities, truth[:, None] == np.arange(num_classes))
    return {
        "balanced_accuracy": row_means(recall),
        "macro_f1": row_means(f1),
        "weighted_f1": (np.nan_to_num(f1) * support).sum(axis=1) / total,
        "log_loss": weights @ surprise / total,
        "macro_roc_auc": row_means(roc),
        "macro_pr_auc": row_means(precision_recall),
        "expected_calibration_error": calibration_errors(weights, probabilities, truth),
    }


def areas(weights: Floats, probabilities: Floats, truth: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Area under the ROC curve and average precision, `float64[r, C]` each; NaN where a resample has no such area.

    Args:
        weights: `float64[r, N]`.
        probabilities: `float64[N, C]`.
        truth: `bool[N, C]`, whether an image is of a class.
    """
    shape = (len(weights), probabilities.shape[1])
    roc, average_precision = np.full(shape, np.nan), np.full(shape, np.nan)
    for index in np.flatnonzero(truth.any(axis=0)):
        order = np.argsort(-probabilities[:, index], kind="stable")
        score, positive = probabilities[order, index], truth[order, index]
        ends = np.flatnonzero(np.append(score[1:] < score[:-1], True))  # images of equal score pass together
        drawn = weights[:, order]
        both = np.cumsum(drawn, axis=1)[:, ends]
        hits = np.cumsum(drawn * positive, axis=1)[:, ends]
        misses = both - hits
        new_hits, new_misses = np.diff(hits, prepend=0), np.diff(misses, prepend=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            area = (new_misses * (hits - new_hits / 2)).sum(axis=1)
            roc[:, index] = area / (hits[:, -1] * misses[:, -1])
            steps = np.nan_to_num(new_hits * hits / both)
            average_precision[:, index] = steps.sum(axis=1) / hits[:, -1]
    return roc, average_precision


def affordable(num_images: int, num_classes: int) -> int:
    """How many resamples so many images and classes allow.

    Args:
        num_images: N.
        num_classes: C.
    """
    return max(_MIN_RESAMPLES, min(NUM_RESAMPLES, _MAX_COST // (num_images * num_classes)))


def _one_hot(places: NDArray[np.integer], num_places: int) -> sparse.csr_array:
    from scipy import sparse

    rows = np.arange(len(places))
    return sparse.csr_array((np.ones(len(places)), (places, rows)), shape=(num_places, len(places)))


def _sums(weights: Floats, places: sparse.csr_array) -> Floats:
    """Weights summed by place: `float64[r, num_places]`."""
    result: Floats = (places @ weights.T).T
    return result


def row_means(values: Floats) -> Floats:
    """Mean of each row over what is there; NaN where nothing is."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        result: Floats = np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1)
    return result
