"""Metrics of several labels an image, from probabilities, thresholds and the truth.

scikit-learn is imported where it is used: scoring needs this module's types, and starts without it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import WorkError
from darkroom.data.labels.label_map import LabelMap
from darkroom.models.measures.intervals import Frozen, Interval, wilson_interval
from darkroom.models.measures.metrics import ReliabilityBin, expected_calibration_error, reliability_of
from darkroom.models.measures.outcome import Outcome
from darkroom.models.multi_label.checks import Flags, Floats, check_label_probabilities

_LEAST = float(np.finfo(np.float64).eps)


class LabelMetrics(Frozen):
    """One label: the images that have it against those that have not.

    Attributes:
        label: Its name.
        support: Images whose truth has the label.
        threshold: The label is given from this probability on.
        true_positives, false_positives, false_negatives, true_negatives: The confusion matrix of the label.
        precision: None where the label was never given.
        recall: None where no image has the label.
        f1: None where both are so.
        precision_interval, recall_interval: 95 % Wilson score intervals.
        roc_auc: None where no image has the label, or all have it.
        average_precision: Area under the precision-recall curve; None where no image has the label.
        calibration_error: Expected calibration error of the label's probability.
    """

    label: str
    support: int
    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    precision: float | None
    recall: float | None
    f1: float | None
    precision_interval: Interval | None
    recall_interval: Interval | None
    roc_auc: float | None
    average_precision: float | None
    calibration_error: float


class MultiLabelMetrics(Frozen):
    """All metrics of one evaluation.

    Attributes:
        num_images: Images that were judged.
        num_correct: Images of which every label is right, none missing and none too many.
        accuracy: Their share (exact match, or subset accuracy).
        accuracy_interval: 95 % Wilson score interval (Wilson 1927).
        label_accuracy: The share of right decisions, of images x labels: 1 - Hamming loss.
        macro_f1: Mean F1 over the labels that some image has or was given.
        micro_f1: F1 of all decisions together.
        weighted_f1: Mean F1 over the labels, weighted by their support.
        mean_average_precision: Over the labels that some image has; None where none has one.
        macro_roc_auc: Over the labels that have one; None where none has.
        log_loss: Mean binary cross-entropy of a decision, nats.
        per_class: The labels, in label map order.
        mean_labels, mean_labels_given: Labels an image, of the truth and of the answers.
        expected_calibration_error: Of an image's confidence, the probability that all of its labels are right.
        label_calibration_error: Mean expected calibration error of the labels' probabilities.
        reliability: Of an image's confidence.
    """

    num_images: int
    num_correct: int
    accuracy: float
    accuracy_interval: Interval
    label_accuracy: float
    macro_f1: float
    micro_f1: float
    weighted_f1: float
    mean_average_precision: float | None
    macro_roc_auc: float | None
    log_loss: float
    mean_labels: float
    mean_labels_given: float
    per_class: tuple[LabelMetrics, ...]
    expected_calibration_error: float
    label_calibration_error: float
    reliability: tuple[ReliabilityBin, ...]


def measure_labels(
    probabilities: NDArray[np.floating],
    truth: NDArray[np.generic],
    thresholds: Sequence[float],
    outcome: Outcome,
    labels: LabelMap,
) -> MultiLabelMetrics:
    """Measure the labels given from `thresholds` on against the truth.

    Args:
        probabilities: float[N, K], calibrated.
        truth: 0 or 1, [N, K]. Labels may be missing.
        thresholds: K.
        outcome: Of the images.
        labels: K names.

    Raises:
        WorkError: where shapes do not fit, nothing is there, or a probability is none.
    """
    chances, flags = check_label_probabilities(probabilities, truth)
    if not chances.shape[1] == len(labels) == len(thresholds):
        raise WorkError(f"There are {chances.shape[1]} probabilities an image for {len(labels)} labels.")
    given = given_labels(chances, thresholds)
    rows = [
        _label(labels.names[index], thresholds[index], chances[:, index], flags[:, index], given[:, index])
        for index in range(len(labels))
    ]
    num_correct, num_images = int(outcome.right.sum()), len(flags)
    reliability = reliability_of(outcome)
    support = np.array([row.support for row in rows])
    hits, pairs = int((flags & given).sum()), int(flags.sum() + given.sum())
    f1 = np.array([row.f1 or 0.0 for row in rows])
    return MultiLabelMetrics(
        num_images=num_images,
        num_correct=num_correct,
        accuracy=num_correct / num_images,
        accuracy_interval=wilson_interval(num_correct, num_images),
        label_accuracy=float((flags == given).mean()),
        macro_f1=_mean([row.f1 for row in rows]) or 0.0,
        micro_f1=2 * hits / pairs if pairs else 0.0,
        weighted_f1=float((f1 * support).sum() / support.sum()) if support.any() else 0.0,
        mean_average_precision=_mean([row.average_precision for row in rows]),
        macro_roc_auc=_mean([row.roc_auc for row in rows]),
        log_loss=float(surprises(chances, flags).mean()),
        mean_labels=float(flags.sum(axis=1).mean()),
        mean_labels_given=float(given.sum(axis=1).mean()),
        per_class=tuple(rows),
        expected_calibration_error=expected_calibration_error(reliability),
        label_calibration_error=float(np.mean([row.calibration_error for row in rows])),
        reliability=reliability,
    )


def given_labels(probabilities: NDArray[np.floating], thresholds: Sequence[float]) -> Flags:
    """The labels that are given, `bool[N, K]`: of a probability, as tables store it, at or above the threshold.

    Args:
        probabilities: `float[N, K]`.
        thresholds: K.
    """
    given: Flags = probabilities.astype(np.float32) >= np.asarray(thresholds, np.float64)
    return given


def surprises(chances: Floats, flags: Flags) -> Floats:
    """The negative log-likelihood of each decision's truth, `float64[N, K]`, nats.

    Args:
        chances: `float64[N, K]`.
        flags: `bool[N, K]`, the truth.
    """
    result: Floats = -np.log(np.maximum(np.where(flags, chances, 1 - chances), _LEAST))
    return result


def _label(label: str, threshold: float, chance: Floats, positive: Flags, given: Flags) -> LabelMetrics:
    from sklearn.metrics import average_precision_score, roc_auc_score

    hits, num_given, support = int((positive & given).sum()), int(given.sum()), int(positive.sum())
    mixed = 0 < support < len(positive)
    return LabelMetrics(
        label=label,
        support=support,
        threshold=threshold,
        true_positives=hits,
        false_positives=num_given - hits,
        false_negatives=support - hits,
        true_negatives=len(positive) - num_given - support + hits,
        precision=hits / num_given if num_given else None,
        recall=hits / support if support else None,
        f1=2 * hits / (num_given + support) if num_given + support else None,
        precision_interval=wilson_interval(hits, num_given) if num_given else None,
        recall_interval=wilson_interval(hits, support) if support else None,
        roc_auc=float(roc_auc_score(positive, chance)) if mixed else None,
        average_precision=float(average_precision_score(positive, chance)) if support else None,
        calibration_error=expected_calibration_error(reliability_of(Outcome(positive, chance))),
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
