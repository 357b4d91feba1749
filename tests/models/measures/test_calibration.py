"""A planted temperature is found again; the threshold is the one that trying them all would give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.special import softmax
from sklearn.isotonic import IsotonicRegression

from darkroom.data.errors import SettingError, WorkError
from darkroom.models.measures.calibration import (
    UNCALIBRATED,
    Calibration,
    Curve,
    fit_calibration,
    fit_temperature,
    probabilities,
)
from darkroom.models.measures.threshold import choose_threshold, coverage_and_accuracy, threshold_for_coverage
from darkroom.models.settings import CalibrationMethod, TrainSettings


def sample(rng: np.random.Generator, distribution: NDArray[np.float64]) -> NDArray[np.int64]:
    drawn: NDArray[np.int64] = (rng.random(len(distribution))[:, None] > distribution.cumsum(axis=1)).sum(axis=1)
    return drawn


@pytest.mark.parametrize("planted", [0.4, 1.0, 3.0])
def test_a_planted_temperature_is_recovered(planted: float) -> None:
    rng = np.random.default_rng(1)
    honest = rng.normal(size=(20_000, 5)) * 2
    truth = sample(rng, probabilities(honest, 1.0))
    assert fit_temperature(honest * planted, truth) == pytest.approx(planted, rel=0.05)


def test_no_other_temperature_makes_the_truth_more_likely() -> None:
    rng = np.random.default_rng(2)
    logits, truth = rng.normal(size=(200, 3)) * 4, rng.integers(0, 3, 200)
    logits[np.arange(200), truth] += 4

    def loss(temperature: float) -> float:
        scaled = np.exp(logits / temperature)
        return float(-np.log(scaled[np.arange(200), truth] / scaled.sum(axis=1)).mean())

    assert loss(fit_temperature(logits, truth)) <= min(loss(t) for t in np.geomspace(0.05, 20, 500)) + 1e-9


def test_the_temperature_stays_in_its_bounds_and_at_one_where_nothing_is_wrong() -> None:
    logits = np.array([[9.0, 0.0], [0.0, 9.0]])
    assert fit_temperature(logits, np.array([0, 1])) == 1.0
    assert fit_temperature(logits * 1e6, np.array([1, 0])) == pytest.approx(20.0, rel=1e-3)


@settings(max_examples=50)
@given(
    logits=st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6),
    temperature=st.floats(0.05, 20),
)
def test_any_logits_become_a_distribution_in_the_same_order(logits: list[float], temperature: float) -> None:
    result = probabilities(np.array([logits], dtype=np.float32), temperature)
    assert result.dtype == np.float64
    assert result.sum() == pytest.approx(1.0)
    assert result[0, np.argmax(np.array(logits, dtype=np.float32))] == result.max()


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_that_is_no_positive_number_is_refused(temperature: float) -> None:
    with pytest.raises(WorkError, match="positive number"):
        probabilities(np.zeros((1, 2)), temperature)


def test_logits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(WorkError, match="NaN or infinity"):
        fit_temperature(np.array([[np.inf, 0.0]]), np.array([0]))


def two_classes(confidence: list[float]) -> NDArray[np.float64]:
    return np.array([[value, 1 - value] for value in confidence])


# Thresholds are chosen among confidences as the table stores them.
AS_STORED = [float(np.float32(value)) for value in (0.55, 0.6, 0.7, 0.8, 0.9, 0.99)]


def test_the_threshold_by_hand() -> None:
    given_probabilities = two_classes([0.95, 0.9, 0.8, 0.7, 0.6])
    truth = np.array([0, 0, 1, 0, 0])
    assert choose_threshold(given_probabilities, truth, 0.8) == 0.0
    assert choose_threshold(given_probabilities, truth, 0.9) == float(np.float32(0.9))
    assert choose_threshold(given_probabilities, np.array([1, 0, 0, 0, 0]), 0.9) is None
    assert choose_threshold(two_classes([1.0, 0.9]), np.array([0, 1]), 0.9) == 1.0
    # Equal confidences pass or fail together.
    assert choose_threshold(two_classes([0.9, 0.9, 0.8]), np.array([0, 1, 1]), 0.9) is None


@settings(max_examples=60)
@given(
    confidence=st.lists(st.sampled_from(AS_STORED), min_size=1, max_size=20),
    seed=st.integers(0, 1000),
    min_precision=st.sampled_from([0.0, 0.5, 0.75, 0.9, 1.0]),
)
def test_the_threshold_is_the_smallest_of_all_that_are_precise_enough(
    confidence: list[float], seed: int, min_precision: float
) -> None:
    given_probabilities = two_classes(confidence)
    truth = np.random.default_rng(seed).integers(0, 2, len(confidence))
    right = truth == 0
    good = [t for t in [0.0, *sorted(confidence)] if right[np.array(confidence) >= t].mean() >= min_precision]
    threshold = choose_threshold(given_probabilities, truth, min_precision)
    assert threshold == (good[0] if good else None)
    if threshold is None:
        return
    coverage, accuracy = coverage_and_accuracy(given_probabilities, truth, threshold)
    assert coverage == np.mean([value >= threshold for value in confidence])
    assert (accuracy is None) == (coverage == 0)
    assert accuracy is None or accuracy >= min_precision


def test_a_precision_above_one_is_refused() -> None:
    with pytest.raises(SettingError, match=r"received 95"):
        choose_threshold(two_classes([0.9]), np.array([0]), 95)


def planted(num_images: int, seed: int, sureness: float = 3.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits of three classes that are `sureness` times too sure of themselves, and the truth."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=(num_images, 3)) * 2
    return honest * sureness, sample(rng, probabilities(honest, 1.0))


def ece(chances: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Expected calibration error by a loop over 15 bins, right edges included."""
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == truth
    total = 0.0
    for low, high in zip(np.arange(15) / 15, np.arange(1, 16) / 15, strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_network_that_is_too_sure_is_calibrated_on_images_that_it_was_not_fitted_on(
    method: CalibrationMethod,
) -> None:
    calibration = fit_calibration(*planted(4000, 1), method)
    logits, truth = planted(4000, 2)
    before, after = ece(UNCALIBRATED.apply(logits), truth), ece(calibration.apply(logits), truth)
    assert before > 0.1
    assert after < 0.03


def test_isotonic_curves_are_scikit_learns_one_class_against_the_rest() -> None:
    logits, truth = planted(500, 3)
    calibration = fit_calibration(logits, truth, "isotonic")
    others, _ = planted(200, 4)
    chances = softmax(logits, axis=1)
    mapped = np.stack(
        [
            IsotonicRegression(y_min=1 / 502, y_max=501 / 502, out_of_bounds="clip")
            .fit(chances[:, index], truth == index)
            .predict(softmax(others, axis=1)[:, index])
            for index in range(3)
        ],
        axis=1,
    )
    np.testing.assert_allclose(calibration.apply(others), mapped / mapped.sum(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_calibration_is_the_same_after_it_was_written_and_read(method: CalibrationMethod) -> None:
    calibration = fit_calibration(*planted(300, 5), method)
    again = Calibration.model_validate_json(calibration.model_dump_json())
    logits, _ = planted(50, 6)
    np.testing.assert_array_equal(again.apply(logits), calibration.apply(logits))


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), num_images=st.integers(1, 40), scale=st.sampled_from([0.0, 1.0, 1e4]))
def test_isotonic_probabilities_are_distributions_and_no_truth_is_impossible(
    seed: int, num_images: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    calibration = fit_calibration(rng.normal(size=(num_images, 3)), rng.integers(0, 3, num_images), "isotonic")
    found = calibration.apply(rng.normal(size=(20, 3)) * scale)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found > 0).all()


def test_where_a_curve_is_level_the_networks_own_order_decides() -> None:
    """Two classes of the same calibrated probability: the more likely one before is named, not the first."""
    level = Curve(x=(0.0, 1.0), y=(0.5, 0.5))
    found = Calibration(method="isotonic", curves=(level, level)).apply(np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert found.argmax(axis=1).tolist() == [1, 0]
    np.testing.assert_allclose(found, 0.5, atol=1e-5)


def test_curves_that_do_not_fit_the_logits_are_refused() -> None:
    level = Curve(x=(0.0, 1.0), y=(0.1, 0.9))
    with pytest.raises(WorkError, match="2 calibration curves for 3 classes"):
        Calibration(method="isotonic", curves=(level, level)).apply(np.zeros((1, 3)))


@settings(max_examples=80)
@given(
    confidence=st.lists(st.sampled_from(AS_STORED), min_size=1, max_size=20),
    coverage=st.sampled_from([0.01, 0.3, 0.5, 0.7, 0.9, 1.0]),
)
def test_the_threshold_for_a_coverage_is_the_largest_that_keeps_so_many(
    confidence: list[float], coverage: float
) -> None:
    threshold = threshold_for_coverage(two_classes(confidence), np.zeros(len(confidence), int), coverage)
    keeps = [t for t in [0.0, *confidence] if sum(c >= t for c in confidence) >= coverage * len(confidence) - 1e-9]
    kept = np.array(confidence) >= threshold
    assert kept.mean() >= coverage - 1e-9
    assert kept.tolist() == [c >= max(keeps) for c in confidence]


@pytest.mark.parametrize("coverage", [0.0, -0.1, 1.1])
def test_a_coverage_that_is_no_share_is_refused(coverage: float) -> None:
    with pytest.raises(SettingError, match="share above 0 and up to 1"):
        threshold_for_coverage(two_classes([0.9]), np.array([0]), coverage)


def test_two_rules_for_one_threshold_are_refused() -> None:
    with pytest.raises(ValidationError, match="`min_precision` and `min_coverage` each decide"):
        TrainSettings(min_precision=0.9, min_coverage=0.8)
