"""The threshold of each label: the highest F1 on validation, and a floor on what it rests on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_curve

from darkroom.models.multi_label.thresholds import choose_thresholds


def test_no_other_threshold_has_a_higher_f1():
    rng = np.random.default_rng(1)
    truth = (rng.random((300, 3)) < (0.5, 0.2, 0.06)).astype(np.float32)
    chances = np.clip(0.3 + 0.3 * truth + rng.normal(0, 0.2, truth.shape), 0, 1).astype(np.float32)
    for index, threshold in enumerate(choose_thresholds(chances, truth)):
        precision, recall, _ = precision_recall_curve(truth[:, index], chances[:, index])
        best = np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12))
        assert f1_score(truth[:, index], chances[:, index] >= threshold) == pytest.approx(best)


def test_a_label_that_is_told_apart_gets_the_place_halfway():
    truth = np.repeat([1.0, 0.0], 10)[:, None].repeat(2, axis=1)
    chances = np.repeat([0.75, 0.25], 10)[:, None].repeat(2, axis=1)
    assert choose_thresholds(chances, truth) == (0.5, 0.5)


def test_few_images_of_either_kind_leave_a_half():
    rng = np.random.default_rng(0)
    truth = np.zeros((100, 2))
    truth[:9, 0] = 1  # nine have it
    truth[:91, 1] = 1  # nine have it not
    assert choose_thresholds(rng.random((100, 2)) * 0.2, truth) == (0.5, 0.5)
    truth[9, 0] = 1
    assert choose_thresholds(np.where(truth == 1, 0.2, 0.1), truth)[0] == pytest.approx(0.15, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_a_chosen_threshold_is_a_probability_between_two_that_occur(seed, num_values):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (60, 2)).astype(np.float32)
    chances = rng.integers(0, num_values, truth.shape) / num_values
    for index, threshold in enumerate(choose_thresholds(chances, truth)):
        assert 0 <= threshold <= 1
        given_all = f1_score(truth[:, index], np.ones(60), zero_division=0)
        assert f1_score(truth[:, index], chances[:, index] >= threshold, zero_division=0) >= given_all - 1e-9
