"""Each result in words, but for those that word themselves. `terminal.py` prints them, an artifact shows Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import singledispatch

from darkroom.data.dataset.dataset import DatasetCard, ReasonCount
from darkroom.data.figures import count, duration, fraction, interval, percent
from darkroom.data.splits.splits import SPLITS
from darkroom.flows.inbox_result import InboxResult
from darkroom.flows.results import (
    BlessingResult,
    CompareResult,
    EvaluateResult,
    ExplainResult,
    ExportResult,
    IngestResult,
    InspectResult,
    Result,
    RunResult,
    ScoreResult,
    SelfDescribed,
    TrainResult,
)
from darkroom.flows.trial_tables import ENDED, trial_tables
from darkroom.flows.watch_result import watch_rows
from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.measures.comparison import Decision
from darkroom.models.pages.description import Description, Row, Table, cells_of
from darkroom.models.scoring.summary import NamedCount

_UP_TO_DATE = " (up to date)"
# A line names so many labels; a larger confusion matrix is for programs, which read `report.json`.
_MAX_LABELS = 10


@singledispatch
def describe(result: Result) -> Description:
    """A result in words."""
    raise TypeError(type(result).__name__)


@describe.register
def _(result: IngestResult) -> Description:
    known = f" ({result.num_known:,} unchanged)" if result.num_known else ""
    classes = count(len(result.labels), "class", "classes")
    used = _named((size.split, size.num_images) for size in result.splits)
    rows = [
        ("data set", _with_state(result.dataset, result.reused)),
        ("read", f"{count(result.num_files, 'file')}{known}, {classes}; {'; '.join(result.decisions)}"),
        ("used", f"{count(result.num_ok, 'image')}: {used}"),
        ("quarantined", _quarantined(result.num_files - result.num_ok, result.quarantined)),
    ]
    pairs = result.duplicates
    if pairs.num_exact or pairs.num_near:
        treated = f"{pairs.num_conflicting:,} with conflicting labels, {pairs.num_set_aside:,} quarantined"
        rows.append(("duplicates", f"{_pairs(pairs.num_exact, pairs.num_near, pairs.num_leaked)}, {treated}"))
    return _description(f"Data set {result.dataset}", *rows, ("page", result.page), ("folder", result.folder))


@describe.register
def _(result: InspectResult) -> Description:
    outliers = ", ".join(f"{found.num_images:,} {found.name}" for found in result.outliers if found.num_images)
    classes = count(result.num_classes, "class", "classes")
    suspected = f"{result.num_suspected or 0:,} of {result.num_judged:,} may be wrong"
    return _description(
        f"Inspection of {result.source}",
        ("read", f"{count(result.num_files, 'file')}, {result.num_ok:,} usable, {classes}"),
        ("quarantined", _quarantined(result.num_files - result.num_ok, result.quarantined)),
        ("labels", "not checked" if result.num_suspected is None else suspected),
        ("duplicates", _pairs(result.num_exact_duplicates, result.num_near_duplicates, result.num_leaked)),
        ("outliers", outliers or "none"),
        ("page", result.page + (_UP_TO_DATE if result.reused else "")),
        remarks=result.remarks,
    )


@describe.register
def _(result: SelfDescribed) -> Description:
    return result.description()


@describe.register
def _(result: TrainResult) -> Description:
    epochs = f"{count(result.num_epochs, 'epoch')} in {duration(result.train_seconds)}, best epoch {result.best_epoch}"
    int8 = (
        f"not used for scoring: {result.int8_refused}"
        if result.int8_refused
        else f"used for scoring: {percent(result.int8_same_label or 0)} of the labels on validation are those of fp32"
    )
    return _description(
        f"Model {result.bundle}",
        ("model", _with_state(result.bundle, result.reused)),
        ("trained on", result.dataset),
        ("trained", f"{result.model}, {epochs}; validation accuracy {fraction(result.validation_accuracy)}"),
        ("int8", int8),
        ("folder", result.folder),
    )


@describe.register
def _(result: CompareResult) -> Description:
    ended = Counter[str](row.status for row in result.trials)
    said = ", ".join(f"{ended[status]:,} {word}" for status, word in ENDED.items() if ended[status])
    best, test = result.best, result.test
    optimistic = f"optimistic: the best of {ended['complete']:,}"
    rows = [
        ("experiment", _with_state(result.experiment, result.reused)),
        ("trials", f"{len(result.trials):,} of {count(result.num_combinations, 'combination')}: {said}"),
        ("best", ", ".join(f"{varied.option}={varied.value}" for varied in best.values)),
        ("model", result.bundle),
        ("validation", f"{fraction(best.accuracy)} on {count(best.num_images, 'image')} ({optimistic})"),
    ]
    if test:
        images, bounds = count(test.num_images, "test image"), interval(test.interval.low, test.interval.high)
        rows.append(("accuracy", f"{fraction(test.accuracy)} on {images} (95 % interval {bounds})"))
    described = _description(f"Experiment {result.experiment}", *rows, ("page", result.page))
    return described.with_tables(*trial_tables(result.trials))


@describe.register
def _(result: EvaluateResult) -> Description:
    images = count(result.num_images, f"{result.split} image")
    bounds = interval(result.accuracy_low, result.accuracy_high)
    accuracy = f"{fraction(result.accuracy)} on {images} (95 % interval {bounds})"
    model = ("model", f"{result.bundle}: {result.chosen.reason}")
    rows = [model, ("accuracy", accuracy), ("macro F1", fraction(result.macro_f1))]
    if result.mean_average_precision is not None:
        average = fraction(result.mean_average_precision)
        rows = [model, rows[2], ("mean AP", average), ("all right", f"{accuracy}: images with every label right")]
    if result.blessing:
        rows.append(("blessed", f"{'yes' if result.blessed else 'no'}: {result.blessing}"))
    return _description(
        f"{result.bundle} on the {result.split} split of {result.dataset}",
        *rows,
        ("report", result.report + (_UP_TO_DATE if result.reused else "")),
        remarks=_way_out(result.bundle, result.blessed),
    )


@describe.register
def _(result: ExportResult) -> Description:
    what = count(result.num_rows, "image" if result.format == "folders" else "row")
    rows = (("table", result.table), ("model", result.bundle), ("exported", f"{what}: {result.out}"))
    return _description(f"Export of {result.table}", *rows, remarks=result.remarks)


@describe.register
def _(result: BlessingResult) -> Description:
    before = f", replaces {result.name}@{result.replaced}" if result.replaced else ""
    blessed = f"{result.name}@{result.blessed}"
    found, figures = result.evaluated, "never on test images"
    if found:
        images = f"{count(found.num_images, 'test image')} of {found.dataset}"
        figures = f"{fraction(found.accuracy)} on {images}; macro F1 {fraction(found.macro_f1)}"
    rows = (
        ("blessed", f"{blessed}{' (already blessed)' if result.already else before}"),
        ("accuracy" if found else "evaluated", figures),
        ("why", result.why),
        ("folder", result.folder),
    )
    return _description(f"{blessed} is blessed", *rows)


@describe.register
def _(result: ExplainResult) -> Description:
    rows = [
        ("model", f"{result.bundle}: {result.chosen.reason}"),
        ("pictures", f"{len(result.pictures):,}{_UP_TO_DATE if result.reused else ''}, see {result.page}"),
    ]
    if num_files := sum(found.num_files for found in result.quarantined):
        rows.append(("quarantined", _quarantined(num_files, result.quarantined)))
    return _description(f"What {result.bundle} looks at", *rows)


@describe.register
def _(result: ScoreResult) -> Description:
    is_done = result.rows_reused == result.num_files
    some = f" ({result.rows_reused:,} unchanged)" if result.rows_reused else ""
    pace = f"{result.images_per_second:,.0f} images/s, " if result.images_per_second else ""
    repeated = f" ({result.num_repeated:,} named again)" if result.num_repeated else ""
    files = f"{count(result.num_files, 'file')}{_UP_TO_DATE if is_done else some}"
    rows = [
        ("model", f"{result.bundle}: {result.chosen.reason}" if result.chosen else result.bundle),
        ("scored", f"{files}: {_counted(result.statuses)}; {pace}{result.precision}"),
        ("folder", f"{result.folder}{repeated}" if result.listed else ""),
        *_scored(result),
        ("table", result.out),
        ("exported", result.exported or ""),
        *(("remark", remark) for remark in result.remarks),
    ]
    reused = f", {result.rows_reused:,} reused" if result.rows_reused else ""
    new = count(result.num_files - result.rows_reused, "new file" if reused else "file")
    return _description(f"{new} scored by {result.bundle}{reused}", *rows)


@describe.register
def _(result: InboxResult) -> Description:
    pace = f"{result.images_per_second:,.0f} images/s, " if result.images_per_second else ""
    new = f": {_counted(result.statuses)}; {pace}{result.precision}" if result.num_new else ""
    numbers = (("waiting", result.num_waiting), ("left out", result.num_left_out), ("gone", result.num_gone))
    others = ", ".join(f"{number:,} {what}" for what, number in (("known", result.num_known), *numbers) if number)
    rows = [
        ("model", f"{result.bundle}: {result.chosen.reason}" if result.chosen else result.bundle),
        ("scored", f"{count(result.num_new, 'new file')}{new}"),
        *_scored(result),
        ("inbox", f"{count(result.num_files, 'file')}{f': {others}' if others else ''}"),
        ("table", f"{result.out}: {count(result.num_rows, 'row')}"),
    ]
    return _description(f"{result.night}: {count(result.num_new, 'new file')} scored by {result.bundle}", *rows)


@describe.register
def _(result: RunResult) -> Description:
    steps = [describe(step) for step in (result.ingest, result.train, result.evaluate, result.explain, result.score)]
    named = steps[:2]  # the data set and the model, which the steps after them name again
    rows = [
        (row.label, row.text)
        for step in steps
        for row in step.rows
        if row.label not in ("folder", "trained on") and (step in named or row.label != "model")
    ]
    for goal in result.targets:
        reached = "reached" if goal.reached else "not reached"
        public = f"; public: {goal.public}" if goal.public else ""
        rows.append(("target", f"{goal.figure} {goal.target:g}: {reached} ({fraction(goal.value)}){public}"))
    remarks = tuple(remark for step in steps for remark in step.remarks)
    return _description(f"Run of {result.ingest.dataset}", *rows, remarks=remarks)


def _scored(result: ScoreResult | InboxResult) -> list[tuple[str, str]]:
    """What there is to say of rows that were scored."""
    return [
        ("labels", _named((f"{found.name}:", found.num_rows) for found in result.labels)),
        ("quarantined", _counted(result.reasons)),
        ("abstained", count(result.num_abstained, "file") if result.num_abstained else ""),
        ("unfamiliar", count(result.num_unfamiliar, "file") if result.num_unfamiliar else ""),
        *watch_rows(result.watched),
    ]


def describe_decision(bundle: str, decision: Decision) -> Description:
    """Whether a bundle is blessed, why, and what was checked."""
    checks = Table(
        title="Checks",
        columns=("check", "passed", "result"),
        cells=cells_of((check.name, "yes" if check.passed else "no", check.found) for check in decision.checks),
    )
    title = f"{bundle} is {'blessed' if decision.blessed else 'not blessed'}"
    return _description(title, ("why", decision.why), remarks=_way_out(bundle, decision.blessed)).with_tables(checks)


def class_counts(card: DatasetCard) -> Table:
    """Images of a data set by class and split."""
    numbers = {(each.label, each.split): each.num_images for each in card.counts}
    cells = cells_of((label, *(numbers.get((label, split), 0) for split in SPLITS)) for label in card.labels)
    return Table(title="Images by class and split", columns=("class", *SPLITS), cells=cells)


def epochs_table(history: Sequence[EpochLog]) -> Table:
    """The epochs of a training."""
    columns = ("epoch", "stage", "loss", "accuracy", "validation loss", "validation accuracy", "time")
    cells = cells_of(
        (
            *(log.epoch, log.stage),
            *map(fraction, (log.loss, log.accuracy, log.val_loss, log.val_accuracy)),
            duration(log.seconds),
        )
        for log in history
    )
    return Table(title="Epochs", columns=columns, cells=cells)


def _description(title: str, *rows: tuple[str, str], remarks: Iterable[str] = ()) -> Description:
    """A description, without the rows that have nothing to say."""
    said = tuple(Row(label=label, text=text) for label, text in rows if text)
    return Description(title=title, rows=said, remarks=tuple(remarks))


def _with_state(name: str, reused: bool) -> str:
    return f"{name} (already built)" if reused else name


def _way_out(bundle: str, blessed: bool | None) -> tuple[str, ...]:
    """What can be done where a bundle was found not to be good enough."""
    if blessed is not False:
        return ()
    limits = "change the limits with the options of darkroom evaluate under Approval for scoring"
    return (f"To approve {bundle} for scoring by hand: darkroom promote {bundle} --force. Or {limits}.",)


def _quarantined(num_files: int, reasons: Iterable[ReasonCount]) -> str:
    reasons_said = ", ".join(f"{found.num_files:,} {found.reason}" for found in reasons)
    return f"{count(num_files, 'file')}{': ' if reasons_said else ''}{reasons_said}"


def _pairs(num_exact: int, num_near: int, num_leaked: int) -> str:
    leaked = f"{count(num_leaked, 'image')} {_verb(num_leaked, 'duplicates', 'duplicate')} a held-out one"
    return f"{count(num_exact, 'exact pair')}, {num_near:,} near; {leaked}"


def _verb(number: int, one: str, many: str) -> str:
    return one if number == 1 else many


def _named(counts: Iterable[tuple[str, int]]) -> str:
    """Names with their counts, the most frequent of very many: `train 1,073, validation 273`."""
    every = list(counts)
    shown = every if len(every) <= _MAX_LABELS else sorted(every, key=lambda pair: -pair[1])[: _MAX_LABELS - 1]
    more = f" and {len(every) - len(shown):,} more" if len(shown) < len(every) else ""
    return ", ".join(f"{name} {number:,}" for name, number in shown) + more


def _counted(counts: Iterable[NamedCount]) -> str:
    """Counts before what they are of: `98 ok, 2 quarantined`."""
    return ", ".join(f"{found.num_rows:,} {found.name}" for found in counts)
