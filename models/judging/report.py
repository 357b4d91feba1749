"""The evaluation report on disk.

<folder>/
  report.html          one file for people: pictures inside, no script, nothing fetched from anywhere
  model_card.md        what the model is, for those who get it (`darkroom.models.judging.model_card`)
  predictions.parquet  one row an image
  report.json          the same figures for programs
  made.json            what all that was made from, and their hashes (`darkroom.models.pages.fingerprint`); written last
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import WorkError
from darkroom.data.files.atomic import write_json
from darkroom.data.files.cards import read_card
from darkroom.data.labels.label_map import LabelMap
from darkroom.models.judging.slices import FEW_IMAGES, KINDS, Slice, SliceKind
from darkroom.models.measures.comparison import Decision
from darkroom.models.measures.figures import percent
from darkroom.models.measures.metrics import Frozen, Interval, Metrics, check_probabilities, wilson_interval
from darkroom.models.measures.resampling import Intervals
from darkroom.models.pages.page import Picture, data_uri, render, write_page
from darkroom.models.settings import CalibrationMethod

if TYPE_CHECKING:
    from darkroom.models.pages import plots

SCHEMA_VERSION = 2
REPORT_CARD = "report.json"
REPORT_PAGE = "report.html"
_MAX_CONFUSED_PAIRS = 10
_MAX_SHOWN_SLICES = 20
_SLICE_TITLES: dict[SliceKind, str] = {
    "label": "By label",
    "size": "By image size",
    "brightness": "By brightness",
    "folder": "By source folder",
}


class Reference(Frozen):
    """A bundle or a data set by name and content version."""

    name: str
    version: str


class TrainingSummary(Frozen):
    """How the network was trained.

    Attributes:
        model: Name of the network, such as `starter` or `efficientnet-lite0`.
        num_epochs: Epochs run.
        best_epoch: The epoch whose weights were kept, the first is 1.
    """

    model: str
    num_epochs: int
    best_epoch: int
    train_seconds: float


class Mistake(Frozen):
    """An image that was taken for something else.

    Attributes:
        path: As in the manifest.
        confidence: Probability of `predicted`.
        truth_probability: Probability of `truth`.
    """

    path: str
    truth: str
    predicted: str
    confidence: float
    truth_probability: float


class LeakedImages(Frozen):
    """What becomes of the figure without the images of which the source gives a copy for training.

    Attributes:
        copies_used: Whether the copies were trained on (`leaks: keep`); else they were kept out.
        num_leaked: Judged images of which the source has a copy, exact or near, for training or validation.
        num_leaked_correct: Those of them that are right.
        num_images: The judged images without them.
        num_correct: Those of these that are right.
        accuracy, accuracy_interval: On these; None where there is none.
    """

    copies_used: bool
    num_leaked: int
    num_leaked_correct: int
    num_images: int
    num_correct: int
    accuracy: float | None
    accuracy_interval: Interval | None


class EvaluationReport(Frozen):
    """What is known about a bundle after it was judged on one split.

    Attributes:
        metrics: After calibration.
        intervals: Of those of `metrics` that are no share of images.
        slices: The accuracy of parts of the images.
        calibration: How it was calibrated.
        temperature: 1 where calibration is isotonic.
        uncalibrated_ece: Expected calibration error without calibration.
        threshold: Confidence below which the bundle abstains; 0 where it never does.
        min_precision, min_coverage: What the threshold was chosen for, on validation; 0 where not for that.
        coverage: Share of images with confidence of `threshold` or more.
        accuracy_at_threshold: Accuracy on those; None where there is none.
        coverage_interval, accuracy_at_threshold_interval: 95 % Wilson score intervals.
        blessing: Whether the bundle is to score from now on, and why; None where that was not to be decided.
        leaks: With and without leaked images; None where the bundle was made with another data set.
        worst_mistakes: Least probable truth first.
        library_versions: Name to version.
        generated_by: Command, flow or run that made the report.
    """

    schema_version: int = SCHEMA_VERSION
    bundle: Reference
    dataset: Reference
    split: str
    metrics: Metrics
    intervals: Intervals
    slices: tuple[Slice, ...]
    calibration: CalibrationMethod
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
    training: TrainingSummary
    worst_mistakes: tuple[Mistake, ...]
    library_versions: dict[str, str]
    generated_by: str


def worst_mistakes(
    paths: Sequence[str],
    probabilities: NDArray[np.floating],
    truth: NDArray[np.integer],
    labels: LabelMap,
    limit: int = 24,
) -> tuple[Mistake, ...]:
    """The wrongly labelled images whose truth the network thought least probable, at most `limit`, worst first.

    Args:
        paths: N paths; equal ones are ordered by path.
        probabilities: float[N, C], rows sum to 1.
        truth: int[N].
        labels: C names.

    Raises:
        WorkError: where shapes do not fit or a row is no distribution.
    """
    probabilities = check_probabilities(probabilities, truth)
    if len(paths) != len(truth):
        raise WorkError(f"There are {len(paths)} paths for {len(truth)} predictions.")
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != truth)
    ordered = sorted(wrong.tolist(), key=lambda row: (probabilities[row, truth[row]], paths[row]))
    return tuple(
        Mistake(
            path=paths[row],
            truth=labels.names[truth[row]],
            predicted=labels.names[predicted[row]],
            confidence=float(probabilities[row, predicted[row]]),
            truth_probability=float(probabilities[row, truth[row]]),
        )
        for row in ordered[:limit]
    )


def leaked_images(
    paths: Sequence[str], is_right: NDArray[np.bool_], leaked: Collection[str], copies_used: bool
) -> LeakedImages:
    """The figure without the judged images that are in `leaked`.

    Args:
        paths: N paths.
        is_right: bool[N], whether the prediction is the truth.
        leaked: Paths of images that have a copy for training.
        copies_used: Whether these copies were trained on.
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


def headline(metrics: Metrics) -> str:
    """The one figure, such as `783 of 800 right (97.9 %, 95 % interval 96.6 to 98.7 %)`."""
    return (
        f"{metrics.num_correct:,} of {metrics.num_images:,} right ({percent(metrics.accuracy)}, "
        f"95\N{NO-BREAK SPACE}% interval {percent_range(metrics.accuracy_interval)})"
    )


def percent_range(interval: Interval) -> str:
    """An interval of shares as `96.6 to 98.7 %`."""
    return f"{percent(interval.low, unit=False)} to {percent(interval.high)}"


def write_report(
    folder: Path,
    report: EvaluationReport,
    history: Sequence[plots.EpochLike],
    thumbnails: Mapping[str, bytes],
    heat_maps: Mapping[str, bytes] | None = None,
) -> None:
    """Write `report.html`, then `report.json`; each appears whole or not at all.

    Args:
        folder: Made where it does not exist.
        report: What to write.
        history: The epochs of training, the first is number 1; may be empty.
        thumbnails: JPEG or PNG bytes by a mistake's path; a mistake without one is shown without a picture.
        heat_maps: The same with what the network looked at, for mistakes that have a thumbnail.

    Raises:
        WorkError: where a thumbnail is neither JPEG nor PNG.
    """
    page = _page(report, history, thumbnails, heat_maps or {})
    folder.mkdir(parents=True, exist_ok=True)
    write_page(folder / REPORT_PAGE, page)
    write_json(folder / REPORT_CARD, report.model_dump(mode="json"))


def read_report(folder: Path) -> EvaluationReport:
    """Read `report.json`.

    Raises:
        FormatError: where it is missing or damaged, or its schema version is not the one known here.
    """
    remedy = "Evaluate the model again with: darkroom evaluate BUNDLE"
    return read_card(folder / REPORT_CARD, EvaluationReport, SCHEMA_VERSION, remedy)


@dataclass(frozen=True)
class _ConfusedPair:
    truth: str
    predicted: str
    count: int
    share: float


def _page(
    report: EvaluationReport,
    history: Sequence[plots.EpochLike],
    thumbnails: Mapping[str, bytes],
    heat_maps: Mapping[str, bytes],
) -> str:
    from darkroom.models.pages import plots

    metrics = report.metrics
    best = report.training.best_epoch
    shown = {mistake.path for mistake in report.worst_mistakes}
    return render(
        "report.html.j2",
        report=report,
        metrics=metrics,
        intervals=report.intervals,
        headline=headline(metrics),
        duration=_duration(report.training.train_seconds),
        loss_curve=Picture.of_plot(plots.training_curve(history, "loss", best)) if history else None,
        accuracy_curve=Picture.of_plot(plots.training_curve(history, "accuracy", best)) if history else None,
        confusion=Picture.of_plot(plots.confusion(metrics.confusion_matrix, [row.label for row in metrics.per_class])),
        confused_pairs=_confused_pairs(metrics),
        slices=_slice_tables(report.slices),
        few_images=FEW_IMAGES,
        f1_bars=Picture.of_plot(plots.f1_bars(metrics.per_class)),
        max_f1_bars=plots.MAX_F1_BARS,
        reliability=Picture.of_plot(plots.reliability(metrics.reliability)),
        thumbnails={path: data_uri(image, path) for path, image in thumbnails.items() if path in shown},
        heat_maps={path: data_uri(image, path) for path, image in heat_maps.items() if path in shown},
    )


@dataclass(frozen=True)
class _SliceTable:
    title: str
    slices: tuple[Slice, ...]
    num_slices: int


def _slice_tables(slices: Sequence[Slice]) -> list[_SliceTable]:
    """One table a kind that has more than one slice; of many the lowest, by the upper end of the interval."""
    tables = []
    for kind in KINDS:
        found = [item for item in slices if item.kind == kind]
        shown = found
        if len(found) > _MAX_SHOWN_SLICES:
            shown = sorted(found, key=lambda item: (item.interval.high, item.name))[:_MAX_SHOWN_SLICES]
        if len(found) > 1:
            tables.append(_SliceTable(_SLICE_TITLES[kind], tuple(shown), len(found)))
    return tables


def _confused_pairs(metrics: Metrics) -> list[_ConfusedPair]:
    names = [row.label for row in metrics.per_class]
    pairs = [
        _ConfusedPair(names[truth], names[predicted], count, count / sum(row))
        for truth, row in enumerate(metrics.confusion_matrix)
        for predicted, count in enumerate(row)
        if count and truth != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, pair.truth, pair.predicted))[:_MAX_CONFUSED_PAIRS]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
