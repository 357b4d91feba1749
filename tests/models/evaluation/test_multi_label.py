"""What a multi-label bundle must pass to be blessed, and how its mistakes are told."""

import numpy as np
import pytest

from darkroom.data.labels.label_map import LabelMap
from darkroom.data.task import MULTI_LABEL
from darkroom.models.evaluation.blessing_checks import check_minimum_thresholds, check_not_worse
from darkroom.models.evaluation.reporting.report import correct_predictions, headline, worst_mistakes
from darkroom.models.multi_label.answers import MultiLabelAnswers
from darkroom.models.settings import BlessingRules

LABELS = LabelMap(("cat", "dog"), MULTI_LABEL)
ANSWERS = MultiLabelAnswers((0.5, 0.5))
TRUTH = np.array([[1, 0], [1, 1], [0, 1], [0, 0]] * 30)


def chances(error: float, seed: int = 0) -> np.ndarray:
    """Probabilities that are wrong for a share of the decisions."""
    wrong = np.random.default_rng(seed).random(TRUTH.shape) < error
    return np.where(wrong ^ (TRUTH == 1), 0.9, 0.1)


def test_better_than_chance_is_a_mean_average_precision_above_the_share_of_the_labels() -> None:
    for error, passed in ((0.0, True), (0.2, True)):
        check, *_ = check_minimum_thresholds(ANSWERS.measure(chances(error), TRUTH, LABELS), BlessingRules())
        assert (check.name, check.passed) == ("Better than chance", passed)
    check, *_ = check_minimum_thresholds(ANSWERS.measure(1 - chances(0.0), TRUTH, LABELS), BlessingRules())
    assert not check.passed


@pytest.mark.parametrize(("minimum", "passed"), [(0.7, True), (0.95, False)])
def test_a_minimum_of_macro_f1_is_checked(minimum: float, passed: bool) -> None:
    metrics = ANSWERS.measure(chances(0.1), TRUTH, LABELS)
    checks = check_minimum_thresholds(metrics, BlessingRules(min_macro_f1=minimum))
    assert {check.name: check.passed for check in checks}["Minimum macro F1"] is passed


def test_a_rule_that_is_not_set_leaves_no_trace() -> None:
    assert "min_macro_f1" not in BlessingRules().model_dump()
    assert BlessingRules(min_macro_f1=0.5).model_dump()["min_macro_f1"] == 0.5


def test_a_significant_loss_of_macro_f1_is_not_blessed_and_one_within_chance_is() -> None:
    for error, passed in ((0.25, False), (0.02, True)):
        comparison = ANSWERS.compare(ANSWERS, (chances(0.01), chances(error, 1)), TRUTH, LABELS)
        checks = {check.name: check.passed for check in check_not_worse(comparison, BlessingRules())}
        assert checks["Macro F1"] is passed


def test_mistakes_and_right_answers_name_whole_sets() -> None:
    truth = np.array([[1, 1], [0, 0], [1, 0]])
    said = np.array([[0.9, 0.2], [0.6, 0.3], [0.8, 0.1]])
    worst = worst_mistakes(["a", "b", "c"], said, truth, LABELS, answers=ANSWERS)
    assert [(item.path, item.truth, item.predicted) for item in worst] == [
        ("a", "cat, dog", "cat"),
        ("b", "no label", "cat"),
    ]
    assert (worst[0].truth_probability, worst[0].confidence) == pytest.approx((0.18, 0.72))
    (right,) = correct_predictions(["a", "b", "c"], said, truth, LABELS, ANSWERS)
    assert (right.path, right.label, right.confidence) == ("c", "cat", pytest.approx(0.72))
    assert headline(ANSWERS.measure(said, truth, LABELS)).startswith("Macro F1 0.400; 1 of 3")
