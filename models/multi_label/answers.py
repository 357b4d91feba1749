"""How probabilities become answers, and how these are held against the truth: one class for either task.

What judges a bundle (evaluation, blessing, the int8 gate, the abstain threshold) works with `Answers` alone and does
not know which task it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from darkroom.data.labels.label_map import LabelMap
from darkroom.models.measures.comparison import Comparison, compare
from darkroom.models.measures.curves import Curve, precision_recall_of, roc_of
from darkroom.models.measures.metrics import Metrics, check_probabilities, measure, most_likely
from darkroom.models.measures.outcome import Outcome
from darkroom.models.measures.resampling import Intervals, resampled_intervals
from darkroom.models.multi_label.checks import Flags, Floats, check_label_probabilities
from darkroom.models.multi_label.compare import compare_labels
from darkroom.models.multi_label.intervals import MultiLabelIntervals, label_intervals
from darkroom.models.multi_label.metrics import MultiLabelMetrics, given_labels, measure_labels

Chances = NDArray[np.floating]
Truth = NDArray[Any]  # int[N] of one label, 0 or 1 [N, K] of several
AnyMetrics = Metrics | MultiLabelMetrics
AnyIntervals = Intervals | MultiLabelIntervals


class Answers(Protocol):
    """How a bundle answers. Probabilities are `float[N, K]`, calibrated."""

    def given(self, chances: Chances) -> list[tuple[int, ...]]:
        """The labels that each image is given, by their places in the label map."""

    def true(self, truth: Truth) -> list[tuple[int, ...]]:
        """The labels that each image has."""

    def confidence(self, chances: Chances) -> Floats:
        """The probability that an image's answer is right, `float64[N]`."""

    def truth_probability(self, chances: Chances, truth: Truth) -> Floats:
        """The probability of each image's truth, `float64[N]`.

        Args:
            chances: `float[N, K]`, calibrated.
            truth: `int[N]`, or 0 and 1 `[N, K]` where an image may have several labels.
        """

    def outcome(self, chances: Chances, truth: Truth) -> Outcome:
        """Which answers are right, and how confident they are; raises WorkError where shapes or values do not fit.

        Args:
            chances: `float[N, K]`, calibrated.
            truth: `int[N]`, or 0 and 1 `[N, K]` where an image may have several labels.
        """

    def agreement(self, one: Chances, other: Chances) -> float:
        """The share of decisions that two networks share.

        Args:
            one: One network's probabilities, `float[N, K]`.
            other: The other's, of the same images.
        """

    def flags(self, truth: Truth, labels: LabelMap) -> Flags:
        """Which labels each image has, `bool[N, K]`.

        Args:
            truth: `int[N]`, or 0 and 1 `[N, K]` where an image may have several labels.
            labels: K names.
        """

    def most_wrong(self, chances: Chances, truth: Truth) -> NDArray[np.intp]:
        """The label of each image that is to be explained where the answer is wrong, `int[N]`.

        Args:
            chances: `float[N, K]`, calibrated.
            truth: `int[N]`, or 0 and 1 `[N, K]` where an image may have several labels.
        """

    def looked_at(self, chances: Chances, truth: Truth | None) -> tuple[int, int]:
        """The two labels of one image whose evidence is shown; `chances` and `truth`, if known, have one row.

        Args:
            chances: `float[N, K]`, calibrated.
            truth: `int[N]`, or 0 and 1 `[N, K]` where an image may have several labels.
        """

    def measure(self, chances: Chances, truth: Truth, labels: LabelMap) -> AnyMetrics:
        """All metrics.

        Args:
            chances: `float[N, K]`, calibrated.
            truth: `int[N]`, or 0 and 1 `[N, K]` where an image may have several labels.
            labels: K names.
        """

    def intervals(self, chances: Chances, truth: Truth, metrics: Any) -> AnyIntervals:
        """Their intervals, of those that are no share of images.

        Args:
            chances: `float[N, K]`, calibrated.
            truth: `int[N]`, or 0 and 1 `[N, K]` where an image may have several labels.
            metrics: What `measure` gave for the same predictions.
        """

    def roc(self, chances: Chances, truth: Truth, labels: LabelMap) -> tuple[Curve, ...]:
        """The ROC curve of each label that has one.

        Args:
            chances: `float[N, K]`, calibrated.
            truth: `int[N]`, or 0 and 1 `[N, K]` where an image may have several labels.
            labels: K names.
        """

    def precision_recall(self, chances: Chances, truth: Truth, labels: LabelMap) -> tuple[Curve, ...]:
        """The precision-recall curve of each label that has one.

        Args:
            chances: `float[N, K]`, calibrated.
            truth: `int[N]`, or 0 and 1 `[N, K]` where an image may have several labels.
            labels: K names.
        """

    def compare(self, current: Self, chances: tuple[Chances, Chances], truth: Truth, labels: LabelMap) -> Comparison:
        """This bundle against the current one: the answers of that one, and the probabilities of both, its first.

        Args:
            current: The answers of the current bundle.
            chances: `float[N, K]`, calibrated.
            truth: `int[N]`, or 0 and 1 `[N, K]` where an image may have several labels.
            labels: K names.
        """


@dataclass(frozen=True)
class SingleLabelAnswers:
    """The first of the most likely classes."""

    def given(self, chances: Chances) -> list[tuple[int, ...]]:
        """The class with the highest probability."""
        return [(index,) for index in chances.argmax(axis=1).tolist()]

    def true(self, truth: Truth) -> list[tuple[int, ...]]:
        """The class."""
        return [(index,) for index in truth.tolist()]

    def confidence(self, chances: Chances) -> Floats:
        """The highest probability."""
        return np.asarray(chances.max(axis=1), np.float64)

    def truth_probability(self, chances: Chances, truth: Truth) -> Floats:
        # The probability of the true class.
        return np.asarray(chances[np.arange(len(truth)), truth], np.float64)

    def outcome(self, chances: Chances, truth: Truth) -> Outcome:
        # Right where the class is the true one.
        return most_likely(chances, truth)

    def agreement(self, one: Chances, other: Chances) -> float:
        # The share of images that get the same class.
        return float(np.mean(one.argmax(axis=1) == other.argmax(axis=1)))

    def flags(self, truth: Truth, labels: LabelMap) -> Flags:
        # Each image has one.
        found: Flags = truth[:, None] == np.arange(len(labels))
        return found

    def most_wrong(self, chances: Chances, truth: Truth) -> NDArray[np.intp]:
        # The class that it was given.
        found: NDArray[np.intp] = chances.argmax(axis=1)
        return found

    def looked_at(self, chances: Chances, truth: Truth | None) -> tuple[int, int]:
        # The predicted class, and the truth where that is another one, else the second most likely class.
        first, second = _two_most_likely(chances)
        return first, second if truth is None or truth[0] == first else int(truth[0])

    def measure(self, chances: Chances, truth: Truth, labels: LabelMap) -> Metrics:
        # See `darkroom.models.measures.metrics`.
        return measure(chances, truth, labels)

    def intervals(self, chances: Chances, truth: Truth, metrics: Any) -> Intervals:
        # See `darkroom.models.measures.resampling`.
        return resampled_intervals(chances, truth, cast(Metrics, metrics))

    def roc(self, chances: Chances, truth: Truth, labels: LabelMap) -> tuple[Curve, ...]:
        # Each class against the rest.
        return roc_of(check_probabilities(chances, truth), self.flags(truth, labels), labels)

    def precision_recall(self, chances: Chances, truth: Truth, labels: LabelMap) -> tuple[Curve, ...]:
        # Each class against the rest.
        return precision_recall_of(check_probabilities(chances, truth), self.flags(truth, labels), labels)

    def compare(self, current: Self, chances: tuple[Chances, Chances], truth: Truth, labels: LabelMap) -> Comparison:
        # See `darkroom.models.measures.comparison`.
        return compare(*chances, truth, labels)


@dataclass(frozen=True)
class MultiLabelAnswers:
    """Every label whose probability reaches its threshold; an answer is right where all of its labels are.

    The confidence is the probability of that if labels were independent: the product, over the labels, of the
    probability of each decision, to give it or not.

    Attributes:
        thresholds: K, in label map order.
    """

    thresholds: tuple[float, ...]

    def decisions(self, chances: Chances) -> Flags:
        """Which labels each image is given, `bool[N, K]`."""
        return given_labels(chances, self.thresholds)

    def given(self, chances: Chances) -> list[tuple[int, ...]]:
        """The labels at or above their thresholds; () where none is."""
        return _places(self.decisions(chances))

    def true(self, truth: Truth) -> list[tuple[int, ...]]:
        """The labels whose truth is 1."""
        return _places(truth.astype(np.bool_))

    def confidence(self, chances: Chances) -> Floats:
        """The product of the probabilities of the decisions."""
        return self.truth_probability(chances, self.decisions(chances))

    def truth_probability(self, chances: Chances, truth: Truth) -> Floats:
        # The product of the probabilities of the true decisions.
        exact = np.asarray(chances, np.float64)
        return np.asarray(np.where(truth.astype(np.bool_), exact, 1 - exact).prod(axis=1), np.float64)

    def outcome(self, chances: Chances, truth: Truth) -> Outcome:
        # Right where every label is: none missing and none too many.
        checked, flags = check_label_probabilities(chances, truth)
        return Outcome((self.decisions(checked) == flags).all(axis=1), self.confidence(checked))

    def agreement(self, one: Chances, other: Chances) -> float:
        # The share of decisions, of images x labels, that are the same.
        return float(np.mean(self.decisions(one) == self.decisions(other)))

    def flags(self, truth: Truth, labels: LabelMap) -> Flags:
        # The truth itself.
        return truth.astype(np.bool_)

    def most_wrong(self, chances: Chances, truth: Truth) -> NDArray[np.intp]:
        # The label whose truth is least probable.
        found: NDArray[np.intp] = np.where(truth.astype(np.bool_), chances, 1 - chances).argmin(axis=1)
        return found

    def looked_at(self, chances: Chances, truth: Truth | None) -> tuple[int, int]:
        # The most likely label, and the one that is most wrong where one is, else the second most likely.
        first, second = _two_most_likely(chances)
        if truth is None or self.outcome(chances, truth).right[0]:
            return first, second
        wrong = int(self.most_wrong(chances, truth)[0])
        return first, second if wrong == first else wrong

    def measure(self, chances: Chances, truth: Truth, labels: LabelMap) -> MultiLabelMetrics:
        # See `darkroom.models.multi_label.metrics`.
        return measure_labels(chances, truth, self.thresholds, self.outcome(chances, truth), labels)

    def intervals(self, chances: Chances, truth: Truth, metrics: Any) -> MultiLabelIntervals:
        # See `darkroom.models.multi_label.intervals`.
        outcome = self.outcome(chances, truth)
        return label_intervals(chances, truth, self.thresholds, outcome, cast(MultiLabelMetrics, metrics))

    def roc(self, chances: Chances, truth: Truth, labels: LabelMap) -> tuple[Curve, ...]:
        # Each label, the images that have it against those that have not.
        return roc_of(*check_label_probabilities(chances, truth), labels)

    def precision_recall(self, chances: Chances, truth: Truth, labels: LabelMap) -> tuple[Curve, ...]:
        # Each label, the images that have it against those that have not.
        return precision_recall_of(*check_label_probabilities(chances, truth), labels)

    def compare(self, current: Self, chances: tuple[Chances, Chances], truth: Truth, labels: LabelMap) -> Comparison:
        # See `darkroom.models.multi_label.compare`.
        given = current.decisions(chances[0]), self.decisions(chances[1])
        outcomes = current.outcome(chances[0], truth), self.outcome(chances[1], truth)
        return compare_labels(truth.astype(np.bool_), given, outcomes, labels)


def answers_of(thresholds: Sequence[float]) -> Answers:
    """The answers of a bundle whose card has these thresholds of its labels; none are those of a single label."""
    return MultiLabelAnswers(tuple(thresholds)) if thresholds else SingleLabelAnswers()


def _two_most_likely(chances: Chances) -> tuple[int, int]:
    """Of one row; of equals the first."""
    first, second, *_ = np.argsort(-chances[0], kind="stable").tolist()
    return first, second


def _places(flags: Flags) -> list[tuple[int, ...]]:
    return [tuple(np.flatnonzero(row).tolist()) for row in flags]
