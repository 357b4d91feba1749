"""The checks that a bundle must pass to be blessed, and their thresholds: `BlessingRules`, and what chance allows.

docs/evaluation.md explains them.
"""

from __future__ import annotations

from darkroom.data.figures import percent
from darkroom.models.measures.comparison import Check, Comparison, Pairs
from darkroom.models.measures.metrics import Metrics
from darkroom.models.settings import BlessingRules

# A difference that two equally good bundles show less often than this is not put down to chance.
SIGNIFICANCE = 0.05
_MAX_NAMED = 5


def check_minimum_thresholds(metrics: Metrics, rules: BlessingRules) -> tuple[Check, ...]:
    """The checks that every bundle must pass; a minimum of 0 and a maximum of 1 are not checked.

    A class without enough images would pass all of them: nothing is known about it.

    Args:
        metrics: Of the bundle on the test images.
        rules: The thresholds.
    """
    present = [row for row in metrics.per_class if row.recall is not None]
    guessing = 1 / len(metrics.per_class)
    weakest = min(present, key=lambda row: row.recall or 0.0)
    recall, error = weakest.recall or 0.0, metrics.expected_calibration_error
    checks = [
        Check(
            name="Better than chance",
            passed=metrics.balanced_accuracy > guessing,
            found=f"balanced accuracy {_percent(metrics.balanced_accuracy)}, chance is {_percent(guessing)}",
        )
    ]
    if rules.min_test_images > 0:
        few = [row for row in metrics.per_class if row.support < rules.min_test_images]
        shown = ", ".join(f"{row.label} has {row.support}" for row in few[:_MAX_NAMED])
        more = f" and {len(few) - _MAX_NAMED} more classes" if len(few) > _MAX_NAMED else ""
        fewest = f"at least {min(row.support for row in metrics.per_class)} per class"
        found = f"{shown + more or fewest}, required: at least {rules.min_test_images}"
        checks.append(Check(name="Test images per class", passed=not few, found=found))
    if rules.min_accuracy > 0:
        found = f"{_percent(metrics.accuracy)}, required: at least {_percent(rules.min_accuracy)}"
        checks.append(Check(name="Minimum accuracy", passed=metrics.accuracy >= rules.min_accuracy, found=found))
    if rules.min_recall > 0:
        found = f"lowest {_percent(recall)} ({weakest.label}), required: at least {_percent(rules.min_recall)}"
        checks.append(Check(name="Minimum recall", passed=recall >= rules.min_recall, found=found))
    if rules.max_calibration_error < 1:
        found = f"{_percent(error)}, allowed: at most {_percent(rules.max_calibration_error)}"
        checks.append(Check(name="Maximum calibration error", passed=error <= rules.max_calibration_error, found=found))
    return tuple(checks)


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
