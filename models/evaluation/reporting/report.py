"""The evaluation report on disk.

<folder>/
  report.html          the page (`darkroom.models.evaluation.reporting.report_page`)
  model_card.md        the model for those who receive it (`darkroom.models.evaluation.reporting.model_card`)
  predictions.parquet  one row per image: every figure and curve can be computed from it again
  report.json          the figures for programs
  made.json            their fingerprint and hashes (`darkroom.models.pages.fingerprint`); written last
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import WorkError
from darkroom.data.figures import percent
from darkroom.data.files.cards import read_card
from darkroom.data.labels.corrections import CorrectionSummary
from darkroom.data.labels.label_map import LabelMap
from darkroom.models.evaluation.reporting.slices import Slice
from darkroom.models.measures.comparison import Decision
from darkroom.models.measures.intervals import Frozen, Interval, wilson_interval
from darkroom.models.measures.metrics import Metrics
from darkroom.models.measures.resampling import Intervals
from darkroom.models.multi_label.answers import Answers, AnyMetrics, SingleLabelAnswers
from darkroom.models.multi_label.intervals import MultiLabelIntervals
from darkroom.models.multi_label.metrics import MultiLabelMetrics
from darkroom.models.pages.navigation import REPORT_CARD
from darkroom.models.settings import CalibrationMethod

SCHEMA_VERSION = 2
SINGLE = SingleLabelAnswers()
MAX_MISTAKES = 24


class Reference(Frozen):
    """A bundle or a data set.

    Attributes:
        name: Its name.
        version: Its content hash.
    """

    name: str
    version: str


class TrainingSummary(Frozen):
    """How the network was trained.

    Attributes:
        model: The architecture, such as `starter` or `efficientnet-lite0`.
        num_epochs: Epochs run.
        best_epoch: The epoch whose weights were kept; the first is 1.
        train_seconds: The sum over the epochs.
    """

    model: str
    num_epochs: int
    best_epoch: int
    train_seconds: float


class Mistake(Frozen):
    """A misclassified image.

    Attributes:
        path: As in the manifest.
        truth: Its class.
        predicted: The class that the network predicted.
        confidence: Probability of `predicted`.
        truth_probability: Probability of `truth`.
    """

    path: str
    truth: str
    predicted: str
    confidence: float
    truth_probability: float


@dataclass(frozen=True)
class CorrectPrediction:
    """An image that was classified correctly.

    Attributes:
        path: As in the manifest.
        label: Its class.
        confidence: Probability of `label`.
    """

    path: str
    label: str
    confidence: float


class LeakedImages(Frozen):
    """The accuracy without the images of which the source has a duplicate for training.

    Attributes:
        copies_used: Whether the duplicates were trained on (`leaks: keep`); otherwise they were kept out.
        num_leaked: Evaluated images with a duplicate, exact or near, for training or validation.
        num_leaked_correct: Those of them that are right.
        num_images: The evaluated images without them.
        num_correct: Those of these that are right.
        accuracy, accuracy_interval: On these; None where there are none.
    """

    copies_used: bool
    num_leaked: int
    num_leaked_correct: int
    num_images: int
    num_correct: int
    accuracy: float | None
    accuracy_interval: Interval | None


class EvaluationReport(Frozen):
    """What is known about a bundle once it was evaluated on a split.

    Attributes:
        bundle, dataset: What was evaluated, and on what.
        split: `train`, `validation` or `test`.
        metrics: After calibration.
        intervals: Of those of `metrics` that are not a share of images.
        slices: The accuracy of groups of images.
        calibration: How it was calibrated.
        temperature: 1 where calibration is no temperature.
        uncalibrated_ece: Expected calibration error without calibration.
        threshold: Confidence below which the bundle abstains; 0 where it never does.
        min_precision, min_coverage: What the threshold was chosen for, on validation; 0 where not for that.
        coverage: Share of images with a confidence of `threshold` or more.
        accuracy_at_threshold: Accuracy on those; None where there are none.
        coverage_interval, accuracy_at_threshold_interval: 95 % Wilson score intervals.
        blessing: Whether the bundle is to score from now on, and why; None where that was not decided.
        leaks: With and without leaked images; None where the bundle was trained on another data set.
        unvalidated: Labels of which no validation image says anything; () where that is not known.
        corrections: What people corrected in the labels of the data set that it was trained on; None where nothing was.
        training: How it was trained.
        worst_mistakes: Least probable truth first.
        library_versions: By name.
        generated_by: Command, flow or run that made the report.
    """

    schema_version: int = SCHEMA_VERSION
    bundle: Reference
    dataset: Reference
    split: str
    metrics: Metrics | MultiLabelMetrics
    intervals: Intervals | MultiLabelIntervals
    slices: tuple[Slice, ...]
    calibration: CalibrationMethod | Literal["platt"]
    temperature: float
    uncalibrated_ece: float
    threshold: float
    min_precision: float
    min_coverage: float
    coverage: float
    coverage_interval: Interval
    accuracy_at_threshold: float | None
    accuracy_at_threshold_interval: Interval | None
    blessing: Decision | None = None
    leaks: LeakedImages | None = None
    unvalidated: tuple[str, ...] = ()
    corrections: CorrectionSummary | None = None
    training: TrainingSummary
    worst_mistakes: tuple[Mistake, ...]
    library_versions: dict[str, str]
    generated_by: str


def worst_mistakes(
    paths: Sequence[str],
    probabilities: NDArray[np.floating],
    truth: NDArray[Any],
    labels: LabelMap,
    answers: Answers = SINGLE,
) -> tuple[Mistake, ...]:
    """The misclassified images whose truth the network found least probable, worst first; at most 24 of them.

    Args:
        paths: N paths; equal probabilities are ordered by path.
        probabilities: `float[N, C]`, rows sum to 1.
        truth: `int[N]`.
        labels: C names.
        answers: How the network answers; of several labels, the probabilities are those of all of them together.

    Raises:
        WorkError: where shapes do not match or a row is no distribution.
    """
    outcome = answers.outcome(probabilities, truth)
    if len(paths) != len(truth):
        raise WorkError(f"There are {len(paths)} paths for {len(truth)} predictions.")
    of_truth = answers.truth_probability(probabilities, truth)
    ordered = sorted(np.flatnonzero(~outcome.right).tolist(), key=lambda row: (of_truth[row], paths[row]))
    true, given = answers.true(truth), answers.given(probabilities)
    return tuple(
        Mistake(
            path=paths[row],
            truth=_shown(labels, true[row]),
            predicted=_shown(labels, given[row]),
            confidence=float(outcome.confidence[row]),
            truth_probability=float(of_truth[row]),
        )
        for row in ordered[:MAX_MISTAKES]
    )


def _shown(labels: LabelMap, indices: Sequence[int]) -> str:
    return labels.task.shown(labels.text(indices))


def correct_predictions(
    paths: Sequence[str],
    probabilities: NDArray[np.floating],
    truth: NDArray[Any],
    labels: LabelMap,
    answers: Answers = SINGLE,
) -> list[CorrectPrediction]:
    """The correctly classified images, most confident first; equal confidences are ordered by path.

    Args:
        paths: N paths.
        probabilities: `float[N, C]`, rows sum to 1.
        truth: `int[N]`.
        labels: C names.
        answers: How the network answers.

    Raises:
        WorkError: where shapes do not match or a row is no distribution.
    """
    outcome, true = answers.outcome(probabilities, truth), answers.true(truth)
    found = [
        CorrectPrediction(paths[row], _shown(labels, true[row]), float(outcome.confidence[row]))
        for row in np.flatnonzero(outcome.right).tolist()
    ]
    return sorted(found, key=lambda item: (-item.confidence, item.path))


def most_confident(correct: Sequence[CorrectPrediction], limit: int) -> list[CorrectPrediction]:
    """At most `limit` predictions: first the most confident of each class, by path, so that no class fills the list.

    Args:
        correct: The most confident first.
        limit: The most to return.
    """
    first: dict[str, CorrectPrediction] = {}
    for item in correct:
        first.setdefault(item.label, item)
    ahead = sorted(first.values(), key=lambda item: item.path)
    return [*ahead, *(item for item in correct if first[item.label] != item)][:limit]


def leaked_images(
    paths: Sequence[str], is_right: NDArray[np.bool_], leaked: Collection[str], copies_used: bool
) -> LeakedImages:
    """The accuracy without the evaluated images that are in `leaked`.

    Args:
        paths: N paths.
        is_right: `bool[N]`, whether the prediction is the truth.
        leaked: Paths of images that have a duplicate for training.
        copies_used: Whether these duplicates were trained on.
    """
    is_leaked = np.array([path in leaked for path in paths], dtype=np.bool_)
    num_images, num_correct = int((~is_leaked).sum()), int(is_right[~is_leaked].sum())
    return LeakedImages(
        copies_used=copies_used,
        num_leaked=int(is_leaked.sum()),
        num_leaked_correct=int(is_right[is_leaked].sum()),
        num_images=num_images,
        num_correct=num_correct,
        accuracy=num_correct / num_images if num_images else None,
        accuracy_interval=wilson_interval(num_correct, num_images) if num_images else None,
    )


def headline(metrics: AnyMetrics) -> str:
    """The accuracy in one line, such as `783 of 800 correct (97.9 %, 95 % interval 96.6 to 98.7 %)`.

    Of several labels an image the macro F1 comes first, and correct are the images of which every label is right.
    """
    first, correct = "", "correct"
    if isinstance(metrics, MultiLabelMetrics):
        first, correct = f"Macro F1 {metrics.macro_f1:.3f}; ", "with every label right"
    return (
        f"{first}{metrics.num_correct:,} of {metrics.num_images:,} {correct} ({percent(metrics.accuracy)}, "
        f"95\N{NO-BREAK SPACE}% interval {percent_range(metrics.accuracy_interval)})"
    )


def percent_range(interval: Interval) -> str:
    """An interval of shares as `96.6 to 98.7 %`."""
    return f"{percent(interval.low, unit=False)} to {percent(interval.high)}"


def read_report(folder: Path) -> EvaluationReport:
    """Read `report.json`.

    Raises:
        FormatError: where it is missing or damaged, or of another schema version.
    """
    remedy = "Evaluate the model again with: darkroom evaluate BUNDLE"
    return read_card(folder / REPORT_CARD, EvaluationReport, SCHEMA_VERSION, remedy)


class EvaluatedOn(Frozen):
    """The figures of a model's latest evaluation on test images.

    Attributes:
        dataset: `name@version`.
        num_images: Test images.
        accuracy, macro_f1: On them.
    """

    dataset: str
    num_images: int
    accuracy: float
    macro_f1: float

    @classmethod
    def of(cls, report: EvaluationReport) -> EvaluatedOn:
        """The figures of a report."""
        metrics = report.metrics
        return cls(
            dataset=f"{report.dataset.name}@{report.dataset.version}",
            num_images=metrics.num_images,
            accuracy=metrics.accuracy,
            macro_f1=metrics.macro_f1,
        )


def find_test_report(folder: Path) -> EvaluationReport | None:
    """The report of an evaluation on test images; None where there was none.

    Raises:
        FormatError: where `report.json` is damaged.
    """
    if not (folder / REPORT_CARD).is_file():
        return None
    report = read_report(folder)
    return report if report.split == "test" else None
