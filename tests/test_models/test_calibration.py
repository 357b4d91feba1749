"""A planted temperature is found again; the threshold is the one that trying them all would give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.errors import SettingError, WorkError
from models.calibration import choose_threshold, coverage_and_accuracy, fit_temperature, probabilities


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


@settings(max_examples=50, deadline=None)
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


def test_the_threshold_by_hand() -> None:
    given_probabilities = two_classes([0.95, 0.9, 0.8, 0.7, 0.6])
    truth = np.array([0, 0, 1, 0, 0])
    assert choose_threshold(given_probabilities, truth, 0.8) == 0.0
    assert choose_threshold(given_probabilities, truth, 0.9) == 0.9
    assert choose_threshold(given_probabilities, np.array([1, 0, 0, 0, 0]), 0.9) is None
    assert choose_threshold(two_classes([1.0, 0.9]), np.array([0, 1]), 0.9) == 1.0
    # Equal confidences pass or fail together.
    assert choose_threshold(two_classes([0.9, 0.9, 0.8]), np.array([0, 1, 1]), 0.9) is None


@settings(max_examples=60, deadline=None)
@given(
    confidence=st.lists(st.sampled_from([0.55, 0.6, 0.7, 0.8, 0.9, 0.99]), min_size=1, max_size=20),
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
