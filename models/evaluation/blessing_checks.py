"""The checks that a bundle must pass to be blessed, and their thresholds: `BlessingRules`, and what chance allows.

docs/evaluation.md explains them.
"""

from __future__ import annotations

from collections.abc import Mapping

from darkroom.data.figures import percent
from darkroom.models.measures.comparison import Check, Comparison, MultiLabelComparison, Pairs
from darkroom.models.measures.metrics import ClassMetrics
from darkroom.models.multi_label.answers import AnyMetrics
from darkroom.models.multi_label.metrics import LabelMetrics, MultiLabelMetrics
from darkroom.models.settings import BlessingRules

# A difference that two equally good bundles show less often than this is not put down to chance.
SIGNIFICANCE = 0.05
_MAX_NAMED = 5


def check_minimum_thresholds(
    metrics: AnyMetrics, rules: BlessingRules, validation: Mapping[str, int] | None = None
) -> tuple[Check, ...]:
    """The checks that every bundle must pass; a minimum of 0 and a maximum of 1 are not checked.

    A class without enough test images would pass all of them: nothing is known about it. One without validation images
    has a calibration and thresholds that rest on nothing.

    Args:
        metrics: Of the bundle on the test images.
        rules: The thresholds.
        validation: As `validation_images` gives them; None where they are not known, and not checked.
    """
    rows: tuple[ClassMetrics | LabelMetrics, ...] = metrics.per_class
    present = [row for row in rows if row.recall is not None]
    weakest = min(present, key=lambda row: row.recall or 0.0, default=None)
    recall, error = (weakest.recall or 0.0) if weakest else 0.0, metrics.expected_calibration_error
    checks = [_better_than_chance(metrics)]
    if rules.min_test_images > 0:
        checks.append(_enough("Test", {row.label: row.support for row in rows}, rules.min_test_images))
    if rules.min_validation_images > 0 and validation:
        checks.append(_enough("Validation", validation, rules.min_validation_images))
    if rules.min_macro_f1 > 0:
        found = f"{metrics.macro_f1:.3f}, required: at least {rules.min_macro_f1:.3f}"
        checks.append(Check(name="Minimum macro F1", passed=metrics.macro_f1 >= rules.min_macro_f1, found=found))
    if rules.min_accuracy > 0:
        found = f"{_percent(metrics.accuracy)}, required: at least {_percent(rules.min_accuracy)}"
        checks.append(Check(name="Minimum accuracy", passed=metrics.accuracy >= rules.min_accuracy, found=found))
    if rules.min_recall > 0:
        lowest = f"{_percent(recall)} ({weakest.label if weakest else 'no label'})"
        found = f"lowest {lowest}, required: at least {_percent(rules.min_recall)}"
        checks.append(Check(name="Minimum recall", passed=recall >= rules.min_recall, found=found))
    if rules.max_calibration_error < 1:
        found = f"{_percent(error)}, allowed: at most {_percent(rules.max_calibration_error)}"
        checks.append(Check(name="Maximum calibration error", passed=error <= rules.max_calibration_error, found=found))
    return tuple(checks)


def _enough(split: str, num_images: Mapping[str, int], required: int) -> Check:
    few = [f"{label} has {number}" for label, number in num_images.items() if number < required]
    more = f" and {len(few) - _MAX_NAMED} more classes" if len(few) > _MAX_NAMED else ""
    said = ", ".join(few[:_MAX_NAMED]) + more or f"at least {min(num_images.values())} per class"
    return Check(name=f"{split} images per class", passed=not few, found=f"{said}, required: at least {required}")


def _better_than_chance(metrics: AnyMetrics) -> Check:
    """Guessing has a balanced accuracy of 1 / C, and of several labels a mean average precision of their mean share."""
    if isinstance(metrics, MultiLabelMetrics):
        shares = [row.support / metrics.num_images for row in metrics.per_class if row.average_precision is not None]
        name, value = "mean average precision", metrics.mean_average_precision or 0.0
        guessing = sum(shares) / len(shares) if shares else 0.0
    else:
        name, value, guessing = "balanced accuracy", metrics.balanced_accuracy, 1 / len(metrics.per_class)
    found = f"{name} {_percent(value)}, chance is {_percent(guessing)}"
    return Check(name="Better than chance", passed=value > guessing, found=found)


def check_not_worse(comparison: Comparison, rules: BlessingRules) -> tuple[Check, ...]:
    """The checks against the blessed bundle: nothing is lost beyond the margins and what chance explains.

    A loss counts where an exact McNemar test gives p < 0.05 (McNemar 1947, "Note on the sampling error of the
    difference between correlated proportions or percentages"); the loss to be ruled out is the lower end of the 95 %
    bootstrap interval of the difference.

    Args:
        comparison: Both bundles on the same images.
        rules: The margins.
    """
    overall = comparison.overall
    low = comparison.accuracy_difference.low if comparison.accuracy_difference else overall.difference
    worse = [pairs for pairs in comparison.classes if _is_worse(pairs, rules.recall_margin)]
    surplus = comparison.new_calibration_error - comparison.current_calibration_error
    surplus_low = comparison.calibration_difference.low if comparison.calibration_difference else surplus
    return (
        Check(
            name="Accuracy",
            passed=not _is_worse(overall, rules.accuracy_margin),
            found=f"{overall.num_new_correct} of {overall.num_images} correct, "
            f"previously {overall.num_current_correct} (McNemar p = {overall.p_value:.2g}); "
            f"{_allowed(rules.accuracy_margin)}",
        ),
        Check(
            name="Possible loss of accuracy",
            passed=-low <= rules.max_possible_loss,
            found=f"up to {_percent(max(-low, 0.0))}, allowed: at most {_percent(rules.max_possible_loss)}",
        ),
        Check(
            name="Recall per class",
            passed=not worse,
            found="; ".join([*map(_class_loss, worse), _allowed(rules.recall_margin)])
            if worse
            else f"no class lost more than {_percent(rules.recall_margin)} and chance allow",
        ),
        Check(
            name="Calibration",
            passed=not (surplus > rules.calibration_margin and surplus_low > 0),
            found=f"error {_percent(comparison.new_calibration_error)}, "
            f"previously {_percent(comparison.current_calibration_error)}; "
            f"allowed: at most {_percent(rules.calibration_margin)} more, or what chance explains",
        ),
        *_check_macro_f1(comparison, rules),
    )


def _check_macro_f1(comparison: Comparison, rules: BlessingRules) -> tuple[Check, ...]:
    """Of several labels: no more than the margin of accuracy is lost, or no more than chance explains."""
    if not isinstance(comparison, MultiLabelComparison):
        return ()
    loss, interval = comparison.current_macro_f1 - comparison.new_macro_f1, comparison.macro_f1_difference
    explained = interval is not None and interval.high >= 0
    return (
        Check(
            name="Macro F1",
            passed=loss <= rules.accuracy_margin or explained,
            found=f"{comparison.new_macro_f1:.3f}, previously {comparison.current_macro_f1:.3f}",
        ),
    )


def _is_worse(pairs: Pairs, margin: float) -> bool:
    """Lost more than the margin, and more than chance explains."""
    return -pairs.difference > margin and pairs.p_value < SIGNIFICANCE


def _allowed(margin: float) -> str:
    return f"allowed: at most {_percent(margin)} less, or what chance explains"


def _class_loss(pairs: Pairs) -> str:
    label = getattr(pairs, "label", "")
    return f"{label}: {pairs.num_new_correct} of {pairs.num_images} found, previously {pairs.num_current_correct}"


def _percent(share: float) -> str:
    return percent(share).replace("\N{NO-BREAK SPACE}", " ")  # a terminal shows these sentences too
