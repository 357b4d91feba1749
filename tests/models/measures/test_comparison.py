"""Two bundles on the same images: McNemar's exact test and paired intervals, against counting them out."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from darkroom.data.errors import WorkError
from darkroom.data.labels.label_map import LabelMap
from darkroom.models.measures.comparison import compare, mcnemar
from darkroom.models.measures.metrics import measure

LABELS = LabelMap(("cat", "dog"))


def answers(
    right: Sequence[bool] | NDArray[np.bool_], truth: NDArray[np.int64], confidence: float = 0.9
) -> NDArray[np.float64]:
    """Probabilities of two classes that are right where `right` says."""
    named = np.where(right, truth, 1 - truth)
    chances = np.full((len(truth), 2), 1 - confidence)
    chances[np.arange(len(truth)), named] = confidence
    return chances


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_the_share_of_coin_throws_that_differ_as_much(only_current: int, only_new: int) -> None:
    throws = only_current + only_new
    likely = [comb(throws, heads) / 2**throws for heads in range(throws + 1)]
    tail = sum(chance for heads, chance in enumerate(likely) if abs(2 * heads - throws) >= abs(only_new - only_current))
    assert mcnemar(only_current, only_new) == pytest.approx(tail)


def test_the_counts_of_all_and_of_each_class_are_those_of_counting() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 80)
    before, after = rng.random(80) < 0.7, rng.random(80) < 0.8
    found = compare(answers(before, truth), answers(after, truth), truth, LABELS)
    for pairs, rows in ((found.overall, truth >= 0), (found.classes[0], truth == 0), (found.classes[1], truth == 1)):
        assert pairs.num_images == rows.sum()
        assert pairs.num_current_correct == before[rows].sum()
        assert pairs.num_new_correct == after[rows].sum()
        assert pairs.num_only_current == (before & ~after)[rows].sum()
        assert pairs.num_only_new == (after & ~before)[rows].sum()
        assert pairs.difference == pytest.approx(after[rows].mean() - before[rows].mean())
    assert [pairs.label for pairs in found.classes] == ["cat", "dog"]


def test_the_interval_of_the_difference_is_paired() -> None:
    """Both are right on the same 40 of 100 images, and 4 more are gained: unpaired, the interval would be wide."""
    truth = np.zeros(100, int)
    before, after = np.arange(100) < 40, np.arange(100) < 44
    interval = compare(answers(before, truth), answers(after, truth), truth, LABELS).accuracy_difference
    assert interval
    error = 1.96 * np.sqrt(0.04 * 0.96 / 100)
    assert [interval.low, interval.high] == pytest.approx([0.04 - error, 0.04 + error], abs=0.012)
    unpaired = 1.96 * np.sqrt(2 * 0.42 * 0.58 / 100)
    assert interval.high - interval.low < unpaired


def test_the_calibration_errors_are_those_of_the_report() -> None:
    truth = np.arange(60) % 2
    right = [number % 10 > 0 for number in range(60)]
    current, new = answers(right, truth, 0.9), answers(right, truth, 0.6)
    found = compare(current, new, truth, LABELS)
    for chances, error in ((current, found.current_calibration_error), (new, found.new_calibration_error)):
        assert error == pytest.approx(measure(chances, truth, LABELS).expected_calibration_error)
    assert found.calibration_difference
    assert 0.1 < found.calibration_difference.low < 0.3 < found.calibration_difference.high < 0.4


def test_equal_answers_leave_nothing_to_chance() -> None:
    truth = np.arange(10) % 2
    chances = answers([True] * 10, truth)
    found = compare(chances, chances, truth, LABELS)
    assert (found.overall.p_value, found.overall.difference) == (1.0, 0.0)
    assert (found.accuracy_difference, found.calibration_difference) == (None, None)


def test_what_does_not_fit_is_refused() -> None:
    truth = np.arange(10) % 2
    chances = answers([True] * 10, truth)
    with pytest.raises(WorkError, match="9 images"):
        compare(chances[:9], chances, truth, LABELS)
