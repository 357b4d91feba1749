"""`report.html`: the evaluation of a model on one page, its figures, plots and examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.data.files.atomic import write_json
from darkroom.models.evaluation.reporting.report import CorrectPrediction, EvaluationReport, headline
from darkroom.models.evaluation.reporting.slices import FEW_IMAGES, KINDS, Slice, SliceKind
from darkroom.models.measures.metrics import Metrics
from darkroom.models.multi_label.answers import AnyMetrics
from darkroom.models.multi_label.metrics import MultiLabelMetrics
from darkroom.models.pages.navigation import REPORT_CARD, REPORT_PAGE
from darkroom.models.pages.page import Picture, data_uri, render, write_page

if TYPE_CHECKING:
    from darkroom.models.measures.curves import Curve
    from darkroom.models.pages import plots

_MAX_CONFUSED_PAIRS = 10
_MAX_SHOWN_SLICES = 20
_SLICE_TITLES: dict[SliceKind, str] = {
    "label": "By label",
    "size": "By image size",
    "brightness": "By brightness",
    "folder": "By source folder",
}


@dataclass(frozen=True)
class Illustrations:
    """What the page shows beside the report's figures; what is empty is left out, or said to be missing.

    Attributes:
        history: The epochs of training; the first is 1.
        roc, precision_recall: One curve for each class that has one.
        most_confident, least_confident: Correctly classified images.
        thumbnails: JPEG or PNG bytes by path, of mistakes and of correctly classified images.
        heat_maps: JPEG or PNG bytes by path, where the network looked, for mistakes that have a thumbnail.
        heat_labels: The label that a heat map is about, by path.
    """

    history: Sequence[plots.EpochLike] = ()
    roc: Sequence[Curve] = ()
    precision_recall: Sequence[Curve] = ()
    most_confident: Sequence[CorrectPrediction] = ()
    least_confident: Sequence[CorrectPrediction] = ()
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    heat_maps: Mapping[str, bytes] = field(default_factory=dict)
    heat_labels: Mapping[str, str] = field(default_factory=dict)

    def paths(self) -> set[str]:
        """The paths of the correctly classified images that are shown."""
        return {item.path for item in (*self.most_confident, *self.least_confident)}


def write_report(folder: Path, report: EvaluationReport, shown: Illustrations) -> None:
    """Write `report.html`, then `report.json`; each appears whole or not at all.

    Args:
        folder: Made where it does not exist.
        report: What to write.
        shown: What the page shows beside it.

    Raises:
        WorkError: where a thumbnail is neither JPEG nor PNG.
    """
    page = _page(report, shown)
    folder.mkdir(parents=True, exist_ok=True)
    write_page(folder / REPORT_PAGE, page)
    write_json(folder / REPORT_CARD, report.model_dump(mode="json"))


def _page(report: EvaluationReport, shown: Illustrations) -> str:
    from darkroom.models.pages import plots

    metrics, history, best = report.metrics, shown.history, report.training.best_epoch
    paths = shown.paths() | {mistake.path for mistake in report.worst_mistakes}
    template, values = _of_task(metrics)
    return render(
        template,
        **values,
        report=report,
        metrics=metrics,
        intervals=report.intervals,
        headline=headline(metrics),
        duration=_duration(report.training.train_seconds),
        loss_curve=Picture.of_plot(plots.training_curve(history, "loss", best)) if history else None,
        accuracy_curve=Picture.of_plot(plots.training_curve(history, "accuracy", best)) if history else None,
        slices=_slice_tables(report.slices),
        few_images=FEW_IMAGES,
        f1_bars=Picture.of_plot(plots.f1_bars(metrics.per_class)),
        max_f1_bars=plots.MAX_F1_BARS,
        roc=Picture.of_plot(plots.roc(shown.roc)) if shown.roc else None,
        precision_recall=Picture.of_plot(plots.precision_recall(shown.precision_recall)) if shown.roc else None,
        is_macro=len(shown.roc) > plots.MAX_CLASS_CURVES,
        reliability=Picture.of_plot(plots.reliability(metrics.reliability)),
        shown=shown,
        thumbnails=_uris(shown.thumbnails, paths),
        heat_maps=_uris(shown.heat_maps, paths),
    )


def _of_task(metrics: AnyMetrics) -> tuple[str, dict[str, Any]]:
    """The template for one label an image, or for several, and what it alone shows."""
    from darkroom.models.pages import plots

    if isinstance(metrics, MultiLabelMetrics):
        return "multi_label_report.html.j2", {}
    labels = [row.label for row in metrics.per_class]
    confusion = Picture.of_plot(plots.confusion(metrics.confusion_matrix, labels))
    return "report.html.j2", {"confusion": confusion, "confused_pairs": _confused_pairs(metrics)}


def _uris(images: Mapping[str, bytes], shown: Iterable[str]) -> dict[str, str]:
    wanted = set(shown)
    return {path: data_uri(image, path) for path, image in images.items() if path in wanted}


@dataclass(frozen=True)
class _ConfusedPair:
    truth: str
    predicted: str
    count: int
    share: float


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
