"""Metrics of several labels an image, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    hamming_loss,
    log_loss,
    multilabel_confusion_matrix,
    precision_score,
    recall_score,
    roc_auc_score,
)

from darkroom.data.errors import WorkError
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.task import MULTI_LABEL
from darkroom.models.measures.comparison import MultiLabelComparison
from darkroom.models.measures.resampling import resamples
from darkroom.models.multi_label.answers import MultiLabelAnswers
from darkroom.models.multi_label.intervals import label_intervals
from darkroom.models.multi_label.metrics import given_labels

LABELS = LabelMap(("a", "b", "c", "d", "never"), MULTI_LABEL)
THRESHOLDS = (0.5, 0.3, 0.7, 0.45, 0.9)
ANSWERS = MultiLabelAnswers(THRESHOLDS)


@pytest.fixture(scope="module")
def judged():
    """Probabilities that know something of the truth; the last label is neither there nor given."""
    rng = np.random.default_rng(0)
    truth = (rng.random((400, 5)) < (0.5, 0.2, 0.05, 0.3, 0.0)).astype(np.float32)
    chances = np.clip(0.2 + 0.5 * truth + rng.normal(0, 0.2, truth.shape), 0.01, 0.99)
    chances[:, 4] = rng.uniform(0, 0.2, 400)
    return chances, truth


def test_every_figure_is_scikit_learns(judged):
    chances, truth = judged
    found = ANSWERS.measure(chances, truth, LABELS)
    given = chances.astype(np.float32) >= THRESHOLDS
    there = slice(0, 4)  # scikit-learn's macro average counts a label that is nowhere as 0
    assert found.macro_f1 == pytest.approx(f1_score(truth[:, there], given[:, there], average="macro"))
    assert found.micro_f1 == pytest.approx(f1_score(truth, given, average="micro"))
    assert found.weighted_f1 == pytest.approx(f1_score(truth, given, average="weighted", zero_division=0))
    assert found.label_accuracy == pytest.approx(1 - hamming_loss(truth, given))
    assert found.accuracy == pytest.approx((truth == given).all(axis=1).mean())
    average = average_precision_score(truth[:, there], chances[:, there], average="macro")
    assert found.mean_average_precision == pytest.approx(average)
    assert found.macro_roc_auc == pytest.approx(roc_auc_score(truth[:, there], chances[:, there], average="macro"))
    losses = [log_loss(truth[:, index], chances[:, index], labels=[0, 1]) for index in range(5)]
    assert found.log_loss == pytest.approx(np.mean(losses))
    assert (found.mean_labels, found.mean_labels_given) == pytest.approx((truth.sum() / 400, given.sum() / 400))
    matrices = multilabel_confusion_matrix(truth, given)
    for index, row in enumerate(found.per_class[:4]):
        counts = [[row.true_negatives, row.false_positives], [row.false_negatives, row.true_positives]]
        assert counts == matrices[index].tolist()
        assert row.precision == pytest.approx(precision_score(truth[:, index], given[:, index]))
        assert row.recall == pytest.approx(recall_score(truth[:, index], given[:, index]))
        assert row.f1 == pytest.approx(f1_score(truth[:, index], given[:, index]))
        assert row.threshold == THRESHOLDS[index]
        assert row.recall is not None
        assert row.recall_interval is not None
        assert row.recall_interval.low < row.recall < row.recall_interval.high


def test_a_label_that_is_nowhere_has_no_figures(judged):
    chances, truth = judged
    row = ANSWERS.measure(chances, truth, LABELS).per_class[4]
    assert (row.support, row.precision, row.recall, row.f1, row.average_precision) == (0, None, None, None, None)
    assert row.true_negatives == 400


def test_an_image_is_right_where_every_label_is_and_its_confidence_is_the_product_of_the_decisions():
    answers = MultiLabelAnswers((0.5, 0.2))
    chances = np.array([[0.9, 0.1], [0.4, 0.3], [0.6, 0.1]])
    truth = np.array([[1, 0], [0, 1], [0, 0]])
    outcome = answers.outcome(chances, truth)
    assert outcome.right.tolist() == [True, True, False]
    assert outcome.confidence.tolist() == pytest.approx([0.9 * 0.9, 0.6 * 0.3, 0.6 * 0.9])
    assert answers.given(chances) == [(0,), (1,), (0,)]
    assert answers.true(truth) == [(0,), (1,), ()]
    assert answers.truth_probability(chances, truth).tolist() == pytest.approx([0.81, 0.18, 0.36])


def test_a_threshold_is_compared_with_the_probability_as_tables_store_it():
    just = float(np.float32(0.3))
    assert given_labels(np.array([[0.3, 0.3 - 1e-6]]), (just, just)).tolist() == [[True, False]]


def test_intervals_are_those_of_the_figures_of_each_resample(judged):
    chances, truth = judged
    metrics = ANSWERS.measure(chances, truth, LABELS)
    found = ANSWERS.intervals(chances, truth, metrics)
    given = chances.astype(np.float32) >= THRESHOLDS
    values = []
    for weights in resamples(len(truth), 60):
        for row in weights:
            drawn = np.repeat(np.arange(len(truth)), row.astype(int))
            values.append(f1_score(truth[drawn][:, :4], given[drawn][:, :4], average="macro"))
    low, high = np.quantile(values, [0.025, 0.975])
    assert found.macro_f1 is not None
    assert (found.macro_f1.low, found.macro_f1.high) == pytest.approx((low, high), abs=0.015)
    for name in type(found).model_fields.keys() - {"num_resamples"}:
        interval = getattr(found, name)
        assert interval.low <= getattr(metrics, name) <= interval.high, name
    assert label_intervals(chances, truth, THRESHOLDS, ANSWERS.outcome(chances, truth), metrics) == found


def test_scores_and_truth_that_do_not_fit_are_refused():
    chances, truth = np.full((3, 2), 0.5), np.ones((3, 2))
    answers = MultiLabelAnswers((0.5, 0.5))
    for wrong, beside in ((chances, truth[:2]), (chances * 3, truth), (chances, truth * 2), (chances[:, :1], truth)):
        with pytest.raises(WorkError):
            answers.outcome(wrong, beside)
    with pytest.raises(WorkError, match="NaN"):
        answers.outcome(np.array([[np.nan, 0.5]]), np.array([[1, 0]]))


def test_two_networks_agree_by_decision_and_not_by_image():
    answers = MultiLabelAnswers((0.5, 0.5))
    one, other = np.array([[0.9, 0.1], [0.9, 0.9]]), np.array([[0.8, 0.6], [0.7, 0.9]])
    assert answers.agreement(one, other) == 0.75


def test_a_comparison_counts_whole_images_and_the_recall_of_each_label():
    labels = LabelMap(("a", "b"), MULTI_LABEL)
    truth = np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
    current = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.1]])
    new = np.array([[0.9, 0.1], [0.9, 0.9], [0.1, 0.9], [0.9, 0.1]])
    answers = MultiLabelAnswers((0.5, 0.5))
    found = answers.compare(MultiLabelAnswers((0.5, 0.95)), (current, new), truth, labels)
    # With 0.95 for b the current one gives it to none.
    assert (found.overall.num_current_correct, found.overall.num_new_correct) == (2, 3)
    counts = [(each.label, each.num_images, each.num_current_correct, each.num_new_correct) for each in found.classes]
    assert counts == [("a", 2, 2, 2), ("b", 2, 0, 2)]
    assert isinstance(found, MultiLabelComparison)
    assert found.current_macro_f1 == pytest.approx((1 + 0) / 2)
    assert found.new_macro_f1 == pytest.approx((0.8 + 1) / 2)
