"""ROC and precision-recall curves, each class against the rest, and their mean over the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.data.labels.label_map import LabelMap
from darkroom.models.measures.metrics import check_probabilities

Floats = NDArray[np.float64]
# Points of a macro curve, evenly spaced along the x axis.
_GRID = 501


@dataclass(frozen=True)
class Curve:
    """A curve over [0, 1].

    Attributes:
        label: The class; `macro average` for the mean of several.
        x: `float64[N]`, ascending.
        y: `float64[N]`.
        area: ROC AUC, or average precision; for a macro average, the mean over the classes.
    """

    label: str
    x: Floats
    y: Floats
    area: float


def roc_curves(probabilities: NDArray[np.floating], truth: NDArray[np.integer], labels: LabelMap) -> tuple[Curve, ...]:
    """True positive rate over false positive rate; a class that is absent, or the only one, has no curve.

    Args:
        probabilities: `float[N, C]`, rows sum to 1.
        truth: `int[N]`.
        labels: C names.

    Raises:
        WorkError: where shapes do not match or a row is no distribution.
    """
    return roc_of(check_probabilities(probabilities, truth), truth[:, None] == np.arange(len(labels)), labels)


def roc_of(probabilities: Floats, flags: NDArray[np.bool_], labels: LabelMap) -> tuple[Curve, ...]:
    """The same for classes that need not exclude each other; `flags` are `bool[N, C]`, the truth of each class.

    Args:
        probabilities: `float64[N, C]`.
        flags: `bool[N, C]`, the truth of each class.
        labels: C names.
    """
    from sklearn.metrics import auc, roc_curve

    def curve(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, float]:
        false_rate, true_rate, _ = roc_curve(positive, score)
        return false_rate, true_rate, float(auc(false_rate, true_rate))

    return _curves(probabilities, flags, labels, curve)


def precision_recall_curves(
    probabilities: NDArray[np.floating], truth: NDArray[np.integer], labels: LabelMap
) -> tuple[Curve, ...]:
    """Precision over recall, a step function: `y[i]` holds from `x[i - 1]` to `x[i]`.

    Args:
        probabilities, truth, labels: As for `roc_curves`.

    Raises:
        WorkError: where shapes do not match or a row is no distribution.
    """
    flags = truth[:, None] == np.arange(len(labels))
    return precision_recall_of(check_probabilities(probabilities, truth), flags, labels)


def precision_recall_of(probabilities: Floats, flags: NDArray[np.bool_], labels: LabelMap) -> tuple[Curve, ...]:
    """The same for classes that need not exclude each other; arguments as of `roc_of`.

    Args:
        probabilities: `float64[N, C]`.
        flags: `bool[N, C]`, the truth of each class.
        labels: C names.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    def curve(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, float]:
        precision, recall, _ = precision_recall_curve(positive, score, drop_intermediate=True)
        # From recall 0 to 1: scikit-learn gives them the other way round.
        return recall[::-1], precision[::-1], float(average_precision_score(positive, score))

    return _curves(probabilities, flags, labels, curve)


def macro_roc(curves: Sequence[Curve]) -> Curve:
    """The mean true positive rate of the classes at each false positive rate.

    Source: Fawcett 2006, "An introduction to ROC analysis", vertical averaging.
    """
    grid = np.linspace(0, 1, _GRID)
    heights = [np.interp(grid, curve.x, curve.y) for curve in curves]
    # At a false positive rate of 0 a curve rises straight up: interpolation takes its top.
    return _mean_curve(grid, heights, curves)


def macro_precision_recall(curves: Sequence[Curve]) -> Curve:
    """The mean precision of the classes at each recall."""
    grid = np.linspace(0, 1, _GRID)
    heights = [curve.y[np.searchsorted(curve.x, grid).clip(max=len(curve.x) - 1)] for curve in curves]
    return _mean_curve(grid, heights, curves)


def _curves(
    probabilities: Floats,
    flags: NDArray[np.bool_],
    labels: LabelMap,
    curve: Callable[[NDArray[np.bool_], Floats], tuple[Floats, Floats, float]],
) -> tuple[Curve, ...]:
    found = []
    for index, label in enumerate(labels.names):
        positive = flags[:, index]
        if positive.any() and not positive.all():
            found.append(Curve(label, *curve(positive, probabilities[:, index])))
    return tuple(found)


def _mean_curve(grid: Floats, heights: Sequence[Floats], curves: Sequence[Curve]) -> Curve:
    area = float(np.mean([curve.area for curve in curves]))
    return Curve("macro average", grid, np.mean(heights, axis=0), area)
