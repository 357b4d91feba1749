"""Bootstrap intervals: the figures of each resample are scikit-learn's on the images drawn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import norm
from sklearn.metrics import average_precision_score, f1_score, log_loss, recall_score, roc_auc_score

from darkroom.data.labels.label_map import LabelMap
from darkroom.models.measures import resampling
from darkroom.models.measures.metrics import expected_calibration_error, measure, reliability_bins
from darkroom.models.measures.resampling import calibration_errors, interval_of, resampled_intervals, resamples

LABELS = LabelMap(("a", "b", "c"))


def predictions(num_images: int, seed: int = 0, skill: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities, rounded so that many are equal, and the truth; class c is rare."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, num_images, p=[0.6, 0.32, 0.08])
    logits = rng.normal(size=(num_images, 3))
    logits[np.arange(num_images), truth] += skill
    rounded = np.round(softmax(logits, axis=1), 2) + 0.01
    return rounded / rounded.sum(axis=1, keepdims=True), truth


def test_each_resample_has_scikit_learns_figures_of_the_images_drawn() -> None:
    chances, truth = predictions(60)
    weights = next(resamples(60, 20))
    found = resampling._figures(weights, chances, truth)
    for row, drawn in enumerate(weights):
        places = np.repeat(np.arange(60), drawn.astype(int))
        scores, right = chances[places], truth[places]
        named = scores.argmax(axis=1)
        present = np.unique(right)
        assert found["balanced_accuracy"][row] == pytest.approx(
            recall_score(right, named, labels=present, average="macro")
        )
        assert found["macro_f1"][row] == pytest.approx(f1_score(right, named, average="macro", zero_division=0))
        assert found["weighted_f1"][row] == pytest.approx(f1_score(right, named, average="weighted", zero_division=0))
        assert found["log_loss"][row] == pytest.approx(log_loss(right, scores, labels=[0, 1, 2]))
        areas = [roc_auc_score(right == index, scores[:, index]) for index in present]
        assert found["macro_roc_auc"][row] == pytest.approx(np.mean(areas))
        areas = [average_precision_score(right == index, scores[:, index]) for index in present]
        assert found["macro_pr_auc"][row] == pytest.approx(np.mean(areas))
        error = expected_calibration_error(reliability_bins(scores, right))
        assert found["expected_calibration_error"][row] == pytest.approx(error)


def test_with_each_image_drawn_once_the_figures_are_those_of_measure() -> None:
    chances, truth = predictions(200)
    metrics = measure(chances, truth, LABELS)
    for name, (value,) in resampling._figures(np.ones((1, 200)), chances, truth).items():
        assert value == pytest.approx(getattr(metrics, name)), name


def test_a_resample_draws_as_many_images_as_there_are_and_each_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_WEIGHTS_AT_ONCE", 7 * 50)
    parts = list(resamples(50, 2000))
    assert max(len(part) for part in parts) == 7
    weights = np.concatenate(parts)
    assert weights.shape == (2000, 50)
    assert (weights.sum(axis=1) == 50).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1.0, atol=0.12)  # five standard errors


def test_the_same_predictions_give_the_same_intervals() -> None:
    chances, truth = predictions(100)
    metrics = measure(chances, truth, LABELS)
    found = resampled_intervals(chances, truth, metrics)
    assert found == resampled_intervals(chances, truth, metrics)
    assert found.num_resamples == 1000


def test_every_interval_holds_its_figure_and_is_narrower_for_more_images() -> None:
    widths = []
    for num_images in (100, 1600):
        chances, truth = predictions(num_images)
        metrics = measure(chances, truth, LABELS)
        found = resampled_intervals(chances, truth, metrics)
        for name in type(found).model_fields:
            if name != "num_resamples":
                interval = getattr(found, name)
                assert interval.low <= getattr(metrics, name) <= interval.high, name
        assert found.log_loss
        widths.append(found.log_loss.high - found.log_loss.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.4)  # by the square root of the number


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    """Log loss is a mean over images, so that its standard error is known."""
    chances, truth = predictions(2000)
    found = resampled_intervals(chances, truth, measure(chances, truth, LABELS)).log_loss
    surprise = -np.log(chances[np.arange(2000), truth])
    error = norm.ppf(0.975) * surprise.std() / np.sqrt(2000)
    assert found
    assert [found.low, found.high] == pytest.approx([surprise.mean() - error, surprise.mean() + error], rel=0.02)


def test_where_every_image_is_right_resampling_claims_no_certainty() -> None:
    truth = np.arange(30) % 3
    chances = np.full((30, 3), 0.1)
    chances[np.arange(30), truth] = np.linspace(0.5, 0.8, 30)
    chances /= chances.sum(axis=1, keepdims=True)
    found = resampled_intervals(chances, truth, measure(chances, truth, LABELS))
    assert (found.balanced_accuracy, found.macro_f1, found.macro_roc_auc) == (None, None, None)
    assert found.log_loss is not None


def test_an_interval_is_widened_to_its_figure() -> None:
    found = interval_of(np.linspace(0.2, 0.4, 1001), 0.1)
    assert found
    assert (found.low, found.high) == (0.1, pytest.approx(0.395))
    assert interval_of(np.array([np.nan, np.nan]), 0.5) is None
    assert interval_of(np.linspace(0, 1, 9), None) is None


def test_calibration_errors_of_one_class_only_are_no_error() -> None:
    chances, truth = predictions(40)
    weights = np.zeros((1, 40))
    weights[0, 3] = 40
    right = chances[3].argmax() == truth[3]
    assert calibration_errors(weights, chances, truth)[0] == pytest.approx(abs(right - chances[3].max()))


def test_many_images_of_many_classes_are_resampled_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_MAX_COST", 150 * 100 * 3)
    chances, truth = predictions(100)
    assert resampled_intervals(chances, truth, measure(chances, truth, LABELS)).num_resamples == 150
    monkeypatch.setattr(resampling, "_MAX_COST", 1)
    assert resampled_intervals(chances, truth, measure(chances, truth, LABELS)).num_resamples == 100
