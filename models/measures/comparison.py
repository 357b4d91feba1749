"""Two bundles on the same images: where only one is right, and whether chance explains the difference;
and the decision that follows from it (`darkroom.models.evaluation.blessing` takes it).
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from darkroom.data.labels.label_map import LabelMap
from darkroom.models.measures.intervals import Frozen, Interval
from darkroom.models.measures.metrics import check_probabilities, expected_calibration_error, reliability_bins
from darkroom.models.measures.resampling import calibration_errors, interval_of, resamples


class Pairs(Frozen):
    """Right and wrong answers of two bundles on the same images.

    Attributes:
        num_images: How many.
        num_current_correct: Those that the current bundle has right.
        num_new_correct: Those that the new bundle has right.
        num_only_current: Those that only the current bundle has right.
        num_only_new: Those that only the new bundle has right.
        p_value: Of McNemar's exact test, two-sided: how often two equally good bundles would differ this much or more.
    """

    num_images: int
    num_current_correct: int
    num_new_correct: int
    num_only_current: int
    num_only_new: int
    p_value: float

    @classmethod
    def of(cls, current_right: NDArray[np.bool_], new_right: NDArray[np.bool_], **others: str) -> Self:
        """Count right and wrong answers.

        Args:
            current_right: `bool[N]`.
            new_right: `bool[N]`, of the same images in the same order.
            others: Fields of a subclass.
        """
        only_current = int((current_right & ~new_right).sum())
        only_new = int((new_right & ~current_right).sum())
        return cls(
            num_images=len(new_right),
            num_current_correct=int(current_right.sum()),
            num_new_correct=int(new_right.sum()),
            num_only_current=only_current,
            num_only_new=only_new,
            p_value=mcnemar(only_current, only_new),
            **others,
        )

    @property
    def difference(self) -> float:
        """The new bundle's accuracy minus the current one's."""
        return (self.num_new_correct - self.num_current_correct) / self.num_images


class ClassPairs(Pairs):
    """Right and wrong answers on the images of one class.

    Attributes:
        label: The true class.
    """

    label: str


class Comparison(Frozen):
    """A new bundle compared with the current one.

    Attributes:
        overall: On all shared images.
        accuracy_difference: 95 % bootstrap interval of new minus current; None where all images agree.
        current_calibration_error, new_calibration_error: Expected calibration errors.
        calibration_difference: 95 % bootstrap interval of new minus current; None where all resamples agree.
        classes: Those that are present, in the order of the label map.
    """

    overall: Pairs
    accuracy_difference: Interval | None
    current_calibration_error: float
    new_calibration_error: float
    calibration_difference: Interval | None
    classes: tuple[ClassPairs, ...]


class MultiLabelComparison(Comparison):
    """The same where an image may have several labels: an answer is right where all of them are.

    `classes` compare, on the images that have a label, whether it is given.

    Attributes:
        current_macro_f1, new_macro_f1: On all shared images.
        macro_f1_difference: 95 % bootstrap interval of new less current; None where all resamples agree.
    """

    current_macro_f1: float
    new_macro_f1: float
    macro_f1_difference: Interval | None


class Check(Frozen):
    """One check of a bundle, and its outcome.

    Attributes:
        name: What is checked.
        passed: Whether it passed.
        found: The figures, in words.
    """

    name: str
    passed: bool
    found: str


class Decision(Frozen):
    """Whether to bless a bundle, and why.

    Attributes:
        blessed: The decision.
        why: One sentence.
        current: The version that was blessed until then; None where none was.
        compared_by: `run_again`: the current bundle ran on the same stored images; `stored_predictions`: its
            predictions for the same files in its own evaluation; None where nothing was compared.
        num_left_out: Evaluated images that were not compared: one of the two was trained on them or, for stored
            predictions, the current one was never evaluated on them.
        checks: In the order in which they were made.
        comparison: None where nothing was compared.
    """

    blessed: bool
    why: str
    current: str | None = None
    compared_by: Literal["run_again", "stored_predictions"] | None = None
    num_left_out: int = 0
    checks: tuple[Check, ...] = ()
    comparison: MultiLabelComparison | Comparison | None = None


def mcnemar(num_only_current: int, num_only_new: int) -> float:
    """The exact two-sided p-value of McNemar's test; 1 where the two never differ.

    Source: Dietterich 1998, "Approximate Statistical Tests for Comparing Supervised Classification Learning
    Algorithms".

    Args:
        num_only_current: Images that only the current bundle has right.
        num_only_new: Images that only the new bundle has right.
    """
    from scipy.stats import binomtest

    differing = num_only_current + num_only_new
    return float(binomtest(num_only_new, differing, 0.5).pvalue) if differing else 1.0


def compare(
    current: NDArray[np.floating], new: NDArray[np.floating], truth: NDArray[np.integer], labels: LabelMap
) -> Comparison:
    """Compare two bundles by their probabilities for the same images.

    Args:
        current: `float[N, C]`, calibrated.
        new: `float[N, C]`, calibrated; the same images in the same order.
        truth: `int[N]`.
        labels: C names.

    Raises:
        WorkError: where shapes do not match, there are no images, or a row is no distribution.
    """
    current, new = check_probabilities(current, truth), check_probabilities(new, truth)
    current_right, new_right = (scores.argmax(axis=1) == truth for scores in (current, new))
    gain = new_right.astype(np.float64) - current_right
    gains, surpluses = [], []
    for weights in resamples(len(truth)):
        gains.append(weights @ gain / len(truth))
        surpluses.append(calibration_errors(weights, new, truth) - calibration_errors(weights, current, truth))
    errors = [expected_calibration_error(reliability_bins(scores, truth)) for scores in (current, new)]
    return Comparison(
        overall=Pairs.of(current_right, new_right),
        accuracy_difference=interval_of(np.concatenate(gains), float(gain.mean())),
        current_calibration_error=errors[0],
        new_calibration_error=errors[1],
        calibration_difference=interval_of(np.concatenate(surpluses), errors[1] - errors[0]),
        classes=tuple(
            ClassPairs.of(current_right[truth == index], new_right[truth == index], label=labels.names[index])
            for index in np.unique(truth)
        ),
    )
