"""The whole table as CSV or JSON lines beside its folder, `<table>.csv`: written again only when the table has changed.

In the table's hidden folder `forms.json` says of each such file which table it is of and what it holds, and so also
that it is ours: a file that is not, or that somebody has edited, is never replaced. The new hash is noted before the
file appears, so that a run that is killed between the two knows it again.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Literal

from darkroom.data.errors import InputError
from darkroom.data.files.atomic import write_json
from darkroom.data.files.hashing import content_version, file_sha256
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.prediction_table.export import write_csv, write_jsonl
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.scoring.summary import ScoreSummary

logger = logging.getLogger(__name__)

TableFormat = Literal["parquet", "csv", "jsonl"]
_TABLE, _HASHES = "table", "sha256"


def form_path(table: TablePaths, form: TableFormat) -> Path:
    """The file of a form: `<table>.csv`.

    Args:
        table: The table.
        form: The form.
    """
    return table.folder.with_name(f"{table.folder.name}.{form}")


def check_form(out: TableOutput, form: TableFormat) -> None:
    """Refuse to write over a file that no scoring wrote; nothing to check where it goes to a store.

    Args:
        out: Where the table goes.
        form: The form asked for.

    Raises:
        InputError: naming the file.
    """
    path = form_path(out.paths, form)
    if form == "parquet" or out.mirror or not os.path.lexists(path):
        return
    if not path.is_file() or file_sha256(path) not in _noted(out.paths, path)[1]:
        raise InputError(
            f"{path} is there already: darkroom score did not write it, or it was changed since. Move it away, or give "
            "another output with --out."
        )


def has_form(table: TablePaths, form: TableFormat, summary: ScoreSummary) -> bool:
    """Whether the form of a finished table is there, whole and up to date.

    Args:
        table: The table.
        form: The form asked for; `parquet` is the table itself.
        summary: Of the table.
    """
    path = form_path(table, form)
    if form == "parquet":
        return True
    made_of, hashes = _noted(table, path)
    return made_of == _version(summary) and path.is_file() and file_sha256(path) == hashes[-1]


def write_form(out: TableOutput, form: TableFormat, summary: ScoreSummary) -> str | None:
    """Write a finished table in another form, whole or not at all; one that is up to date stays as it is.

    Args:
        out: The table.
        form: The form asked for.
        summary: Of the table.

    Returns:
        The path or URL of the file; None where the table itself is all that was asked for.

    Raises:
        InputError: as `check_form` raises it.
    """
    table = out.paths
    if form == "parquet":
        return None
    path = form_path(table, form)
    if not has_form(table, form, summary):
        check_form(out, form)
        made = table.work / path.name
        write_csv(table.folder, made) if form == "csv" else write_jsonl(table.folder, made)
        before = [file_sha256(path)] if path.is_file() else []
        notes = _notes(table) | {path.name: {_TABLE: _version(summary), _HASHES: [*before, file_sha256(made)]}}
        write_json(_notes_path(table), notes)
        os.replace(made, path)
    out.share_beside(path)
    return out.reference_of(path)


def _version(summary: ScoreSummary) -> str:
    """A hash of all rows of a table."""
    return content_version([part.model_dump() for part in summary.parts])


def say_outdated(table: TablePaths, form: TableFormat, summary: ScoreSummary) -> None:
    """Name in the log each form that is of the table as it was before.

    Args:
        table: The table.
        form: The form that is asked for now, and will be written.
        summary: Of the finished table.
    """
    for other in ("csv", "jsonl"):
        path = form_path(table, other)
        if other != form and path.is_file() and _noted(table, path)[0] not in (None, _version(summary)):
            logger.warning("%s is of the table as it was before. Write it again with --format %s.", path, other)


def _notes_path(table: TablePaths) -> Path:
    return table.work / "forms.json"


def _notes(table: TablePaths) -> dict[str, dict[str, object]]:
    try:
        found: dict[str, dict[str, object]] = json.loads(_notes_path(table).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _noted(table: TablePaths, path: Path) -> tuple[str | None, list[str]]:
    """Which table a file is of, and the hashes by which it is ours, the newest last."""
    found = _notes(table).get(path.name, {})
    made_of, hashes = found.get(_TABLE), found.get(_HASHES)
    return (str(made_of), [str(each) for each in hashes]) if made_of and isinstance(hashes, list) else (None, [])
