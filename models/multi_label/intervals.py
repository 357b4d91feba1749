"""Bootstrap intervals of the metrics of several labels an image: see `darkroom.models.measures.resampling`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from darkroom.models.measures.intervals import Frozen, Interval
from darkroom.models.measures.outcome import Outcome
from darkroom.models.measures.resampling import (
    affordable,
    areas,
    calibration_errors_of,
    interval_of,
    resamples,
    row_means,
)
from darkroom.models.multi_label.checks import Flags, Floats, check_label_probabilities
from darkroom.models.multi_label.metrics import MultiLabelMetrics, given_labels, surprises


class MultiLabelIntervals(Frozen):
    """95 % intervals, each None where all resamples give the same figure.

    Attributes:
        num_resamples: Of the images.
        label_accuracy, macro_f1, micro_f1, weighted_f1, mean_average_precision: Of these figures.
        macro_roc_auc, log_loss, expected_calibration_error: Of these figures.
    """

    num_resamples: int
    label_accuracy: Interval | None
    macro_f1: Interval | None
    micro_f1: Interval | None
    weighted_f1: Interval | None
    mean_average_precision: Interval | None
    macro_roc_auc: Interval | None
    log_loss: Interval | None
    expected_calibration_error: Interval | None


def label_intervals(
    probabilities: NDArray[np.floating],
    truth: NDArray[np.generic],
    thresholds: Sequence[float],
    outcome: Outcome,
    metrics: MultiLabelMetrics,
) -> MultiLabelIntervals:
    """The intervals of `metrics`, which were measured on these predictions; arguments as of `measure_labels`.

    Args:
        probabilities: `float[N, K]`, calibrated.
        truth: 0 or 1, `[N, K]`.
        thresholds: K.
        outcome: Of the images.
        metrics: What `measure_labels` gave for them.
    """
    chances, flags = check_label_probabilities(probabilities, truth)
    num_resamples = affordable(*chances.shape)
    given = given_labels(chances, thresholds)
    parts = [_figures(weights, chances, flags, given, outcome) for weights in resamples(len(flags), num_resamples)]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return MultiLabelIntervals(
        num_resamples=num_resamples,
        **{name: interval_of(values, getattr(metrics, name)) for name, values in found.items()},
    )


def macro_f1_of(weights: Floats, flags: Flags, given: Flags) -> Floats:
    """Macro F1 of each resample, `float64[r]`; `flags` and `given` are `bool[N, K]`.

    Args:
        weights: As `resamples` yields them, `float64[r, N]`.
        flags: `bool[N, K]`, the truth.
        given: `bool[N, K]`, the labels that are given.
    """
    return row_means(_f1(*_counts(weights, flags, given)))


def micro_f1_of(weights: Floats, flags: Flags, given: Flags) -> Floats:
    """Micro F1 of each resample, `float64[r]`; arguments as of `macro_f1_of`.

    Args:
        weights: As `resamples` yields them, `float64[r, N]`.
        flags: `bool[N, K]`, the truth.
        given: `bool[N, K]`, the labels that are given.
    """
    hits, support, num_given = _counts(weights, flags, given)
    return _f1(hits.sum(axis=1), support.sum(axis=1), num_given.sum(axis=1))


def _figures(weights: Floats, chances: Floats, flags: Flags, given: Flags, outcome: Outcome) -> dict[str, Floats]:
    hits, support, num_given = _counts(weights, flags, given)
    f1, total = _f1(hits, support, num_given), weights.sum(axis=1)
    roc, average_precision = areas(weights, chances, flags)
    with np.errstate(invalid="ignore", divide="ignore"):
        weighted = (np.nan_to_num(f1) * support).sum(axis=1) / support.sum(axis=1)
    return {
        "label_accuracy": weights @ (flags == given).mean(axis=1) / total,
        "macro_f1": row_means(f1),
        "micro_f1": _f1(hits.sum(axis=1), support.sum(axis=1), num_given.sum(axis=1)),
        "weighted_f1": weighted,
        "mean_average_precision": row_means(average_precision),
        "macro_roc_auc": row_means(roc),
        "log_loss": weights @ surprises(chances, flags).mean(axis=1) / total,
        "expected_calibration_error": calibration_errors_of(weights, outcome),
    }


def _counts(weights: Floats, flags: Flags, given: Flags) -> tuple[Floats, Floats, Floats]:
    """Hits, images that have a label, and images that were given it, `float64[r, K]` each."""
    hits, support, num_given = (weights @ each.astype(np.float64) for each in (flags & given, flags, given))
    return hits, support, num_given


def _f1(hits: Floats, support: Floats, num_given: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = 2 * hits / (support + num_given)  # NaN where the label is neither there nor given
    return result
