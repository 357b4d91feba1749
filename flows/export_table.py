"""Export of a prediction table: CSV, JSON lines, a Kaggle submission, or images in folders. It is no flow."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.errors import InputError
from darkroom.data.stores.listing import printable
from darkroom.data.stores.table_paths import TablePaths
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.results import ExportResult
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.inbox.summary import InboxSummary, read_inbox_summary
from darkroom.models.prediction_table.export import (
    ExportFormat,
    batches,
    sort_images,
    write_csv,
    write_jsonl,
)
from darkroom.models.prediction_table.inbox_table import NightTable, night_parts
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.prediction_table.submission import Answers, write_submission
from darkroom.models.scoring.summary import ScoreSummary, read_summary

_SUFFIXES: dict[str, ExportFormat] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def export_table(
    table: str,
    out: str,
    sample: str | None = None,
    answers: Answers | None = None,
    images: str | None = None,
    link: bool = False,
    *,
    place: Workspace,
) -> ExportResult:
    """Write a prediction table in another form; what form is said by the name of `out`, and by `sample`.

    Args:
        table: The table's folder, or its name in the workspace's scores.
        out: A `.csv` or `.jsonl` file, replaced where it is there; or a new folder for the images, by label.
        sample: A competition's `sample_submission.csv`, whose columns and ids `out` then has.
        answers: How the columns of a submission are filled.
        images: The scored images, where they have moved.
        link: Hard links in place of copies of the images.
        place: The workspace.

    Raises:
        InputError: where there is no such table, or it cannot be written in that form.
    """
    folder = _folder_of(table, place)
    summary, target = _summary_of(folder), Path(out).absolute()
    form: ExportFormat = "submission" if sample else _SUFFIXES.get(target.suffix.lower(), "folders")
    if form in ("csv", "jsonl", "submission") and target.is_dir():
        raise InputError(f"{printable(out)} is a folder. Give a file that ends in .csv or .jsonl.")
    if form == "folders" and target.suffix:
        raise InputError(
            f"{printable(out)} ends in {target.suffix}: give a .csv or .jsonl file, or a folder for images."
        )
    if sample:
        labels = _labels(folder, summary, place)
        done = write_submission(folder, Path(sample), target, labels, answers or Answers())
    elif form == "folders":
        done = sort_images(folder, Path(images or summary.folder), target, link)
    else:
        done = write_csv(folder, target) if form == "csv" else write_jsonl(folder, target)
    return ExportResult(
        table=str(folder),
        bundle=summary.bundle,
        format=form,
        out=str(target),
        num_rows=done.num_rows,
        remarks=done.remarks,
    )


def _folder_of(table: str, place: Workspace) -> Path:
    for folder in (Path(table).absolute(), place.scores / table):
        if TablePaths(folder).parts() or night_parts(folder):
            return folder
    raise InputError(f"There is no prediction table {printable(table)!r}. Give a folder that `darkroom score` wrote.")


def _summary_of(folder: Path) -> ScoreSummary | InboxSummary:
    return read_inbox_summary(NightTable(TableOutput(folder))) if night_parts(folder) else read_summary(folder)


def _labels(folder: Path, summary: ScoreSummary | InboxSummary, place: Workspace) -> tuple[str, ...]:
    """The classes of the model; those that the table names where the model is not here."""
    try:
        return tuple(open_bundle(place.find_model(summary.bundle)).card.labels)
    except InputError:
        found = {entry["label"] for part in batches(folder) for row in part["top_k"].to_pylist() for entry in row or ()}
        return tuple(sorted(found))
