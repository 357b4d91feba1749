"""Tables as Darkroom wrote them until November 2026: with plan, notes, summary and run record in the table's folder.

They are read as they are. The first run that continues one takes its rows over, writes its parts anew and, once the new
table is whole, removes the rest.

<folder>/part-00000.parquet …  summary.json  run.json
<folder>/.scoring/                   plan.json, plan.parquet (a row group a part), part-00000.json (a part's note)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from darkroom.data.files.atomic import remove_unfinished, temporary_beside
from darkroom.data.files.hashing import content_version, file_sha256
from darkroom.data.files.names import RUN_RECORD
from darkroom.data.stores.table_paths import SUMMARY_CARD, TablePaths

WORK_FOLDER = ".scoring"
_FACTS = ("path", "bytes", "mtime_ns", "etag", "reason")


def is_earlier(table: TablePaths) -> bool:
    """Whether a table is of the earlier layout."""
    return plan(table).is_file()


def plan(table: TablePaths) -> Path:
    """The file of its plan."""
    return table.folder / WORK_FOLDER / "plan.json"


def summary(table: TablePaths) -> Path:
    """The file of its summary."""
    return table.folder / SUMMARY_CARD


def parts(table: TablePaths, rows_key: str) -> Iterator[tuple[list[dict[str, Any]], Path]]:
    """The rows' files, as they were planned, and the path of each complete part of the same bundle and folder.

    Args:
        table: The table.
        rows_key: What the rows depend on besides their files.
    """
    work = table.folder / WORK_FOLDER
    planned = work / "plan.parquet"
    if not is_earlier(table) or not planned.is_file() or not {*_FACTS} <= {*pq.read_schema(planned).names}:
        return
    with pq.ParquetFile(planned) as listed:
        for index in range(listed.num_row_groups):
            files, part = listed.read_row_group(index).to_pylist(), table.part(index)
            key = content_version(rows_key, [[file[fact] for fact in _FACTS] for file in files])
            if _is_whole(part, work / f"{part.stem}.json", key):
                yield files, part


def remove_summary(table: TablePaths) -> None:
    """Remove the summary of a table whose parts are about to change: it is no longer complete."""
    if is_earlier(table):
        summary(table).unlink(missing_ok=True)


def remove(table: TablePaths) -> None:
    """Remove what is not a part, once the new table is complete."""
    if is_earlier(table):
        for name in (SUMMARY_CARD, RUN_RECORD):
            (table.folder / name).unlink(missing_ok=True)
        remove_unfinished(table.folder)
        leaving = temporary_beside(table.work / WORK_FOLDER)
        (table.folder / WORK_FOLDER).rename(leaving)
        shutil.rmtree(leaving, ignore_errors=True)


def _is_whole(part: Path, note: Path, key: str) -> bool:
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return bool(known["key"] == key and known["sha256"] == file_sha256(part))
    except (OSError, ValueError, KeyError):
        return False
