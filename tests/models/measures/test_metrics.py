"""The figures agree with plain NumPy and pair-counting, also where classes are missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from darkroom.data.errors import WorkError
from darkroom.data.labels.label_map import LabelMap
from darkroom.models.measures.intervals import Interval, wilson_interval
from darkroom.models.measures.metrics import measure, reliability_bins

pytestmark = pytest.mark.filterwarnings("error")


def label_map(num_classes: int) -> LabelMap:
    return LabelMap(tuple(f"class{index}" for index in range(num_classes)))


def random_case(seed: int, num_images: int, num_classes: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(num_classes), num_images), rng.integers(0, num_classes, num_images)


def test_a_case_small_enough_to_count_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.8, 0.2]])
    truth = np.array([0, 0, 1, 1])
    metrics = measure(probabilities, truth, LabelMap(("cat", "dog")))
    assert (metrics.num_images, metrics.num_correct, metrics.accuracy) == (4, 3, 0.75)
    assert metrics.confusion_matrix == ((2, 0), (1, 1))
    cat, dog = metrics.per_class
    assert (cat.label, cat.support, cat.precision, cat.recall, cat.f1) == ("cat", 2, pytest.approx(2 / 3), 1.0, 0.8)
    assert (dog.precision, dog.recall, dog.f1) == (1.0, 0.5, pytest.approx(2 / 3))
    assert metrics.balanced_accuracy == 0.75
    assert metrics.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert metrics.log_loss == pytest.approx(-np.log([0.9, 0.6, 0.7, 0.2]).mean())
    # Of the four pairs of a dog with a cat, the dog has the higher dog score in three.
    assert cat.roc_auc == dog.roc_auc == metrics.macro_roc_auc == 0.75
    # Dogs by score: 0.7 (dog), 0.4 (cat), 0.2 (dog): precision 1 at half the recall, 2/3 at all of it.
    assert dog.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert [row.k for row in metrics.top_k] == [1]
    # Each confidence is alone in its bin: distances 0.1, 0.4, 0.3 and 0.8.
    assert metrics.expected_calibration_error == pytest.approx((0.1 + 0.4 + 0.3 + 0.8) / 4)


def test_the_interval_is_wilsons_formula() -> None:
    right, total, z = 783, 800, 1.959963984540054
    share = right / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    interval = wilson_interval(right, total)
    assert (interval.low, interval.high) == (pytest.approx(centre - half), pytest.approx(centre + half))
    assert wilson_interval(3, 3).low < 0.5


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), num_images=st.integers(1, 60), num_classes=st.integers(2, 8))
def test_the_parts_add_up_for_any_predictions(seed: int, num_images: int, num_classes: int) -> None:
    probabilities, truth = random_case(seed, num_images, num_classes)
    metrics = measure(probabilities, truth, label_map(num_classes))
    matrix = np.array(metrics.confusion_matrix)
    assert matrix.sum() == num_images
    assert matrix.sum(axis=1).tolist() == [row.support for row in metrics.per_class]
    assert np.trace(matrix) == metrics.num_correct
    assert metrics.accuracy_interval.low <= metrics.accuracy <= metrics.accuracy_interval.high
    assert metrics.top_k[0].accuracy == metrics.accuracy
    assert sum(row.num_images for row in metrics.reliability) == num_images
    assert 0 <= metrics.expected_calibration_error <= 1
    for index, row in enumerate(metrics.per_class):
        true_positives, predicted = matrix[index, index], matrix[:, index].sum()
        assert row.precision == (pytest.approx(true_positives / predicted) if predicted else None)
        assert row.recall == (pytest.approx(true_positives / row.support) if row.support else None)


def test_roc_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    probabilities, truth = random_case(3, 120, 4)
    metrics = measure(probabilities, truth, label_map(4))
    for index, row in enumerate(metrics.per_class):
        positive, negative = probabilities[truth == index, index], probabilities[truth != index, index]
        assert row.roc_auc == pytest.approx((positive[:, None] > negative[None, :]).mean())


def test_top_k_and_balanced_accuracy_agree_with_scikit_learn() -> None:
    probabilities, truth = random_case(5, 200, 7)
    metrics = measure(probabilities, truth, label_map(7))
    assert [(row.k, row.accuracy) for row in metrics.top_k] == [
        (k, pytest.approx(top_k_accuracy_score(truth, probabilities, k=k, labels=range(7)))) for k in (1, 3, 5)
    ]
    assert metrics.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, probabilities.argmax(axis=1)))


def test_equally_likely_classes_count_as_the_first_of_them_everywhere() -> None:
    metrics = measure(np.full((2, 4), 0.25), np.array([0, 3]), label_map(4))
    assert metrics.accuracy == metrics.top_k[0].accuracy == 0.5


def test_a_class_that_no_image_has_is_left_out_of_the_means() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    metrics = measure(probabilities, np.array([0, 1, 1]), label_map(3))
    absent = metrics.per_class[2]
    assert absent.support == 0
    assert absent.precision is absent.recall is absent.f1 is absent.roc_auc is absent.average_precision is None
    assert metrics.balanced_accuracy == 0.75
    assert metrics.macro_f1 == pytest.approx(2 / 3)
    assert metrics.macro_roc_auc == 1.0


def test_one_class_alone_has_no_roc_auc() -> None:
    metrics = measure(np.array([[0.2, 0.8]]), np.array([1]), label_map(2))
    assert metrics.macro_roc_auc is None
    assert metrics.macro_pr_auc == metrics.balanced_accuracy == 1.0


def test_calibrated_data_has_nearly_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 50_000)
    truth = (rng.random(50_000)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1)
    assert measure(probabilities, truth, label_map(3)).expected_calibration_error < 0.01


def test_calibration_error_is_the_sum_over_bins_open_below() -> None:
    probabilities, truth = random_case(11, 300, 3)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    expected = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert measure(probabilities, truth, label_map(3)).expected_calibration_error == pytest.approx(expected)
    certain = reliability_bins(np.array([[1.0, 0.0]]), np.array([0]))
    assert certain[-1].num_images == 1


def test_float32_probabilities_and_certain_mistakes_give_finite_figures() -> None:
    probabilities = np.array([[1.0, 0.0], [0.3, 0.7]], dtype=np.float32)
    assert math.isfinite(measure(probabilities, np.array([1, 1]), label_map(2)).log_loss)


@pytest.mark.parametrize(
    ("probabilities", "truth", "sentence"),
    [
        ([[0.5, np.nan]], [0], "NaN or infinity for 1 of 1"),
        ([[2.0, 5.0]], [0], "sums to 7"),
        ([[1.5, -0.5]], [0], "not negative"),
        ([[0.5, 0.5]], [0, 1], "scores for 1 images"),
        ([[0.5, 0.5]], [2], "from 0 to 1"),
        ([[0.5, 0.5]], [-1], "from 0 to 1"),
        ([[0.2, 0.3, 0.5]], [0], "3 probabilities an image for 2 labels"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "the split is empty"),
        ([[1.0]], [0], "two classes or more"),
    ],
)
def test_what_is_no_prediction_is_refused_in_a_sentence(probabilities: object, truth: object, sentence: str) -> None:
    with pytest.raises(WorkError, match=sentence):
        measure(np.array(probabilities, dtype=float), np.array(truth), label_map(2))


def test_figures_cannot_be_changed_or_be_nan() -> None:
    with pytest.raises(ValidationError):
        Interval(low=0.0, high=math.nan)
    with pytest.raises(ValidationError):
        Interval(low=0.0, high=1.0).low = 0.5  # type: ignore[misc]


def test_the_share_among_the_three_most_likely_is_counted_for_each_class():
    rng = np.random.default_rng(5)
    probabilities = rng.dirichlet(np.ones(6), 200)
    truth = rng.integers(0, 5, 200)  # the last class is absent
    per_class = measure(probabilities, truth, LabelMap(tuple("abcdef"))).per_class
    ranks = (probabilities > probabilities[np.arange(200), truth][:, None]).sum(axis=1)
    for index, row in enumerate(per_class[:5]):
        assert row.top_3 == pytest.approx((ranks[truth == index] < 3).mean())
    assert per_class[5].top_3 is None
    three = measure(rng.dirichlet(np.ones(3), 20), rng.integers(0, 3, 20), LabelMap(tuple("abc")))
    assert [row.top_3 for row in three.per_class] == [None] * 3
