"""ROC and precision-recall curves against scikit-learn and against the figures of the report."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from darkroom.data.errors import WorkError
from darkroom.data.labels.label_map import LabelMap
from darkroom.models.measures.curves import (
    Curve,
    macro_precision_recall,
    macro_roc,
    precision_recall_curves,
    roc_curves,
)
from darkroom.models.measures.metrics import measure

LABELS = LabelMap(("a", "b", "c", "never seen"))


def answers() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of 200 images, better than chance, and their classes; the last class has none."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    logits = rng.normal(size=(200, 4))
    logits[np.arange(200), truth] += 1.5
    logits = np.round(logits, 1)  # so that some images are equally likely
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return chances, truth


def test_the_areas_are_those_of_the_report_and_absent_classes_have_no_curve() -> None:
    chances, truth = answers()
    metrics = measure(chances, truth, LABELS)
    roc, precision_recall = roc_curves(chances, truth, LABELS), precision_recall_curves(chances, truth, LABELS)
    assert [curve.label for curve in roc] == [curve.label for curve in precision_recall] == ["a", "b", "c"]
    for row, ours, theirs in zip(metrics.per_class[:3], roc, precision_recall, strict=True):
        assert ours.area == pytest.approx(row.roc_auc)
        assert np.trapezoid(ours.y, ours.x) == pytest.approx(row.roc_auc)
        assert theirs.area == pytest.approx(row.average_precision)
        assert np.sum(np.diff(theirs.x) * theirs.y[1:]) == pytest.approx(row.average_precision)
    assert macro_roc(roc).area == pytest.approx(metrics.macro_roc_auc)
    assert macro_precision_recall(precision_recall).area == pytest.approx(metrics.macro_pr_auc)


def test_the_points_are_those_of_scikit_learn() -> None:
    chances, truth = answers()
    for index, curve in enumerate(roc_curves(chances, truth, LABELS)):
        false_rate, true_rate, _ = roc_curve(truth == index, chances[:, index])
        np.testing.assert_array_equal(curve.x, false_rate)
        np.testing.assert_array_equal(curve.y, true_rate)


def test_a_macro_curve_is_the_mean_of_the_heights_over_the_whole_axis() -> None:
    perfect = Curve("a", np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0]), 1.0)
    guess = Curve("b", np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0.5)
    macro = macro_roc([perfect, guess])
    assert (macro.x[0], macro.x[-1], macro.area) == (0.0, 1.0, 0.75)
    np.testing.assert_allclose(macro.y[1:], (1 + macro.x[1:]) / 2)
    stairs = Curve("a", np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.8, 0.4]), 0.6)
    level = macro_precision_recall([stairs])
    np.testing.assert_allclose(level.y[(level.x > 0) & (level.x <= 0.5)], 0.8)
    np.testing.assert_allclose(level.y[level.x > 0.5], 0.4)


def test_what_is_no_distribution_is_refused() -> None:
    with pytest.raises(WorkError):
        roc_curves(np.array([[0.2, 0.2]]), np.array([0]), LabelMap(("a", "b")))
