"""What the command line shows: log lines on standard error; a result, as text or JSON, on standard output."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterable
from functools import singledispatch
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from darkroom.data.dataset.dataset import ReasonCount
from darkroom.flows.results import (
    BlessingResult,
    CompareResult,
    EvaluateResult,
    ExplainResult,
    IngestResult,
    InspectResult,
    Result,
    Right,
    RunResult,
    ScoreResult,
    TrainResult,
    VersusResult,
)

_FIRST_ROWS = 5
_FIRST_TRIALS = 20
_FIRST_CLASSES = 20
_ENDED = {"complete": "complete", "pruned": "stopped early", "failed": "failed"}


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`, so that a progress bar can keep the lines above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """Never another."""


def show_log_lines(level: int) -> None:
    """Write what Darkroom logs to standard error."""
    handler = _StandardError()
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
    logging.getLogger("darkroom").addHandler(handler)


def show(result: Result, as_json: bool) -> None:
    """Print a flow's result on standard output."""
    if as_json:
        sys.stdout.write(result.model_dump_json() + "\n")
        return
    for name, text in summary_lines(result):
        sys.stdout.write(f"{name:<11}  {_plain(text)}\n")
    made = result.score if isinstance(result, RunResult) else result
    table = (
        _first_rows(Path(made.out)) if isinstance(made, ScoreResult) and "://" not in made.out
        else _trials(made) if isinstance(made, CompareResult) else None
    )  # fmt: skip
    if table:
        sys.stdout.write("\n")
        Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


@singledispatch
def summary_lines(result: Result) -> list[tuple[str, str]]:
    """A result as a few lines, each a name and a text."""
    raise TypeError(type(result).__name__)


@summary_lines.register
def _(result: IngestResult) -> list[tuple[str, str]]:
    splits = ", ".join(f"{split.split} {split.num_images}" for split in result.splits)
    known = f" ({result.num_known} unchanged)" if result.num_known else ""
    lines = [
        ("data set", _with_state(result.dataset, result.reused)),
        ("read", f"{result.num_files} files{known}, {len(result.labels)} classes; {'; '.join(result.decisions)}"),
        ("used", f"{result.num_ok} images: {splits}"),
        ("quarantined", _quarantined(result.num_files - result.num_ok, result.quarantined)),
    ]
    pairs = result.duplicates
    if pairs.num_exact or pairs.num_near:
        found = (
            f"{pairs.num_exact} exact pairs, {pairs.num_near} near; {pairs.num_leaked} images duplicate a held-out one"
        )
        treated = f"{pairs.num_conflicting} have conflicting labels; {pairs.num_set_aside} quarantined"
        lines.append(("duplicates", f"{found}, {treated}"))
    return [*lines, ("page", result.page), ("folder", result.folder)]


@summary_lines.register
def _(result: InspectResult) -> list[tuple[str, str]]:
    outliers = ", ".join(f"{count.num_images} {count.name}" for count in result.outliers if count.num_images)
    duplicates = f"{result.num_exact_duplicates} exact pairs, {result.num_near_duplicates} near"
    suspected = f"{result.num_suspected} of {result.num_judged} may be wrong"
    return [
        ("read", f"{result.num_files} files, {result.num_ok} usable, {result.num_classes} classes"),
        ("quarantined", _quarantined(result.num_files - result.num_ok, result.quarantined)),
        ("labels", "not checked" if result.num_suspected is None else suspected),
        ("duplicates", f"{duplicates}; {result.num_leaked} images duplicate a held-out one"),
        ("outliers", outliers or "none"),
        *(("note", remark) for remark in result.remarks),
        ("page", result.page),
    ]


def _with_state(name: str, reused: bool) -> str:
    return f"{name} (already built)" if reused else name


def _quarantined(num_files: int, reasons: Iterable[ReasonCount]) -> str:
    counts = ", ".join(f"{count.num_files} {count.reason}" for count in reasons)
    return f"{num_files} files" + (f": {counts}" if counts else "")


@summary_lines.register
def _(result: TrainResult) -> list[tuple[str, str]]:
    trained = f"{result.num_epochs} epochs in {result.train_seconds:.0f} s, best epoch {result.best_epoch}"
    return [
        ("model", _with_state(result.bundle, result.reused)),
        ("trained", f"{result.model}, {trained}; validation accuracy {result.validation_accuracy:.4f}"),
        ("int8", _int8(result)),
        ("folder", result.folder),
    ]


def _int8(result: TrainResult) -> str:
    if result.int8_refused:
        return f"not used for scoring: {result.int8_refused}"
    return f"used for scoring: same label as fp32 for {result.int8_same_label or 0:.1%} of the validation images"


@summary_lines.register
def _(result: CompareResult) -> list[tuple[str, str]]:
    counts = Counter[str](row.status for row in result.trials)
    said = [f"{counts[status]} {word}" for status, word in _ENDED.items() if counts[status]]
    best, test = result.best, result.test
    lines = [
        ("experiment", _with_state(result.experiment, result.reused)),
        ("trials", f"{len(result.trials)} of {result.num_combinations} combinations: {', '.join(said)}"),
        ("best", ", ".join(f"{varied.option}={varied.value}" for varied in best.values)),
        ("model", result.bundle),
        (
            "validation",
            f"{best.accuracy or 0:.4f} on {best.num_images} images (optimistic: the best of {counts['complete']})",
        ),
    ]
    if test:
        interval = f"95 % interval {_range(test.interval.low, test.interval.high)}"
        lines.append(("accuracy", f"{test.accuracy:.4f} on {test.num_images} test images ({interval})"))
    return [*lines, ("page", result.page)]


@summary_lines.register
def _(result: EvaluateResult) -> list[tuple[str, str]]:
    interval = f"95 % interval {_range(result.accuracy_low, result.accuracy_high)}"
    return [
        ("accuracy", f"{result.accuracy:.4f} on {result.num_images} {result.split} images ({interval})"),
        ("macro F1", f"{result.macro_f1:.4f}"),
        *([("blessed", f"{'yes' if result.blessed else 'no'}: {result.blessing}")] if result.blessing else []),
        ("report", result.report),
    ]


@summary_lines.register
def _(result: VersusResult) -> list[tuple[str, str]]:
    overall, answered = result.overall, result.answered
    missing = f"; {result.num_unanswered} images without an answer count as wrong" if result.num_unanswered else ""
    unknown = f"; {result.num_unknown_rows} rows match no image" if result.num_unknown_rows else ""
    alone = f"{result.num_only_model} right by the model only, {result.num_only_table} by the table only"
    lines = [
        ("evaluated", f"{overall.model.num_images} {result.split} images of {result.dataset}"),
        ("model", f"{_share(overall.model)}: {result.bundle}"),
        ("table", f"{_share(overall.table)}: {result.table}{missing}{unknown}"),
        ("difference", f"{alone}; McNemar p = {result.p_value:.2g}"),
    ]
    if result.num_unanswered:
        shares = f"model {_share(answered.model)}, table {_share(answered.table)}"
        lines.append(("answered", f"on the {answered.model.num_images} answered images: {shares}"))
    for each in result.classes[:_FIRST_CLASSES]:
        counts = f"model {each.model.num_correct} right, table {each.table.num_correct} right"
        lines.append(("class", f"{each.label}: {each.model.num_images} images, {counts}"))
    return [*lines, ("rows", result.rows)]


def _share(right: Right) -> str:
    return f"{right.num_correct / right.num_images:.4f} ({_range(right.interval.low, right.interval.high)})"


@summary_lines.register
def _(result: BlessingResult) -> list[tuple[str, str]]:
    before = f", replaces {result.name}@{result.replaced}" if result.replaced else ""
    return [("blessed", f"{result.name}@{result.blessed}{before}"), ("why", result.why), ("folder", result.folder)]


@summary_lines.register
def _(result: ExplainResult) -> list[tuple[str, str]]:
    lines = [("pictures", f"{len(result.pictures)}, see {result.page}")]
    if result.quarantined:
        num_files = sum(count.num_files for count in result.quarantined)
        lines.append(("quarantined", _quarantined(num_files, result.quarantined)))
    return lines


@summary_lines.register
def _(result: ScoreResult) -> list[tuple[str, str]]:
    statuses = ", ".join(f"{count.num_rows} {count.name}" for count in result.statuses)
    reasons = ", ".join(f"{count.num_rows} {count.name}" for count in result.reasons)
    labels = ", ".join(f"{count.num_rows} {count.name}" for count in result.labels)
    reused = f" ({result.rows_reused} unchanged)" if result.rows_reused else ""
    pace = f"{result.images_per_second:.0f} images/s, {result.precision}"
    lines = [
        ("scored", f"{result.num_files} files{reused}: {statuses}; {pace}"),
        ("labels", labels),
        ("quarantined", reasons),
        ("abstained", str(result.num_abstained) if result.num_abstained else ""),
        ("table", result.out),
    ]
    return [line for line in lines if line[1]]


@summary_lines.register
def _(result: RunResult) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for step in (result.ingest, result.train, result.evaluate, result.explain, result.score):
        lines += [line for line in summary_lines(step) if line[0] != "folder"]
    for goal in result.targets:
        reached = "reached" if goal.reached else "not reached"
        public = f"; public: {goal.public}" if goal.public else ""
        lines.append(("target", f"{goal.figure} {goal.target:g}: {reached} ({goal.value:.4f}){public}"))
    return lines


def _range(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def _trials(result: CompareResult) -> Table:
    options = [varied.option for varied in result.best.values]
    columns = ("trial", *options, "ended", "epochs", "validation", "95 % interval", "seconds")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="bold")
    for row in result.trials[:_FIRST_TRIALS]:
        accuracy = "" if row.accuracy is None else f"{row.accuracy:.4f}"
        interval = _range(row.interval.low, row.interval.high) if row.interval else ""
        values = [varied.value for varied in row.values]
        cells = (row.number, *values, _ENDED[row.status], row.num_epochs, accuracy, interval, f"{row.seconds:.0f}")
        table.add_row(*(Text(_plain(str(cell))) for cell in cells))
    return table


def _first_rows(out: Path) -> Table:
    import pyarrow.parquet as pq

    with pq.ParquetFile(out / "part-00000.parquet") as file:
        batch = next(
            file.iter_batches(batch_size=_FIRST_ROWS, columns=["path", "status", "label", "confidence", "reason"])
        )
    table = Table(
        "path", "status", "label", "confidence", "reason", box=None, padding=(0, 2, 0, 0), header_style="bold"
    )
    for row in batch.to_pylist():
        confidence = "" if row["confidence"] is None else f"{row['confidence']:.3f}"
        cells = (row["path"], row["status"], row["label"], confidence, row["reason"])
        table.add_row(*(Text(_plain(cell or "")) for cell in cells))
    return table


def _plain(text: str) -> str:
    """Text that may contain foreign names, without control characters for the terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
