"""Rows of an earlier table of the same folder and bundle: a rerun scores only files that are new or changed.

A row depends on its file and the bundle alone: ONNX Runtime gives an image the same logits in every batch (a test holds
this), so a row taken over is the row that would be computed. A part's footer holds a stamp of each row's file.

Before parts are overwritten, their rows go to `known.parquet` in the work folder, whole; a run that is killed leaves it
to the next, and the run that ends removes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.data.dataset.manifest import OK, QUARANTINED
from darkroom.data.files.atomic import atomic_file
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.prediction_table import earlier_layout
from darkroom.models.prediction_table.part_file import is_intact, part_key, read_facts, stamp

_STAMP = "stamp"
_ROWS_PER_GROUP = 4096


@dataclass(frozen=True)
class RowKeys:
    """By what rows are known as those of a plan.

    Attributes:
        key: What the rows depend on besides their files.
        folder: Of the plan.
        in_folder: The key that they would have in another folder, of a plan of named files: where a list grows, the
            folder that its files have in common can be another, and so are the paths of the rows. None where that
            cannot be.
    """

    key: str
    folder: str
    in_folder: Callable[[str], str] | None = None


def is_done(part: Path, key: str) -> bool:
    """Whether a part is complete, intact, and made from what the key says.

    Args:
        part: Its file.
        key: As `part_key` gives it.
    """
    facts = read_facts(part)
    return facts is not None and facts.part_key == key and is_intact(part)


def keep_rows(table: TablePaths, planned: pq.ParquetFile, keys: RowKeys, retry_quarantined: bool) -> None:
    """Prepare a table for a plan: keep the rows of parts that will be overwritten, and remove the summary.

    Nothing is done where the table is already the plan's.

    Args:
        table: The table; its parts may be another plan's.
        planned: The files of the plan, one row group per part.
        keys: By what rows are known; others are not kept.
        retry_quarantined: Make parts with quarantined files again.
    """
    parts, rows_key = table.parts(), keys.key
    staying = {part for part in parts if _is_planned(table, part, planned, rows_key)}
    retried = [part for part in staying if retry_quarantined and is_intact(part) and _has_quarantined(part)]
    leaving = [part for part in parts if part not in staying or part in retried]
    if leaving:
        renamed = _renamed_rows(leaving, keys, planned)
        rows = chain(_rows_of(leaving, rows_key), renamed, _earlier_rows(table, rows_key))
        _write_known(table, map(_only_ok, rows) if retry_quarantined else rows, rows_key)
    if leaving or len(staying) != planned.num_row_groups:
        earlier_layout.remove_summary(table)
        table.summary.unlink(missing_ok=True)
    for part in retried:
        part.unlink()


def known_rows(table: TablePaths, files: Sequence[dict[str, Any]], rows_key: str) -> dict[str, dict[str, Any]]:
    """The kept rows, by path, of those files that have not changed.

    Args:
        table: The table.
        files: Rows of the plan, sorted by path.
        rows_key: What the rows depend on besides their files.
    """
    if not _is_of(table, rows_key):
        return {}
    between = [("path", ">=", files[0]["path"]), ("path", "<=", files[-1]["path"])]
    wanted = {stamp(file) for file in files}
    rows = pq.read_table(table.known_rows, filters=between).to_pylist()
    return {row["path"]: row for row in rows if row.pop(_STAMP) in wanted}


def _is_planned(table: TablePaths, part: Path, planned: pq.ParquetFile, rows_key: str) -> bool:
    facts = read_facts(part)
    index = int(part.stem.partition("-")[2])
    if facts is None or facts.rows_key != rows_key or index >= planned.num_row_groups or part != table.part(index):
        return False
    stamps = [stamp(file) for file in planned.read_row_group(index).to_pylist()]
    return facts.part_key == part_key(rows_key, stamps)


def _has_quarantined(part: Path) -> bool:
    return QUARANTINED in pq.read_table(part, columns=["status"])["status"].to_pylist()


def _rows_of(parts: Iterable[Path], rows_key: str) -> Iterator[pa.Table]:
    """The rows of each whole part of the same bundle and folder, with their stamps."""
    for part in parts:
        facts = read_facts(part)
        if facts is not None and facts.rows_key == rows_key and is_intact(part):
            yield pq.read_table(part).append_column(_STAMP, pa.array(facts.stamps))


def _renamed_rows(parts: Iterable[Path], keys: RowKeys, planned: pq.ParquetFile) -> Iterator[pa.Table]:
    """The rows of each whole part of files that were named relative to another folder, under the plan's paths."""
    renamed: dict[str, dict[str, tuple[str, str]]] = {}
    for part in parts if keys.in_folder else ():
        facts = read_facts(part)
        if facts is None or not facts.listed or facts.folder == keys.folder or not is_intact(part):
            continue
        if keys.in_folder is None or facts.rows_key != keys.in_folder(facts.folder):
            continue
        if facts.folder not in renamed:
            renamed[facts.folder] = _new_names(planned, keys.folder, facts.folder)
        names = renamed[facts.folder]
        rows = pq.read_table(part)
        found = [names.get(each) for each in facts.stamps]
        kept = rows.filter(pa.array([each is not None for each in found]))
        paths, stamps = zip(*filter(None, found), strict=True) if kept.num_rows else ((), ())
        kept = kept.set_column(0, rows.schema.field("path"), pa.array(paths, pa.string()))
        yield kept.append_column(_STAMP, pa.array(stamps, pa.string()))


def _new_names(planned: pq.ParquetFile, folder: str, before: str) -> dict[str, tuple[str, str]]:
    """Of each planned file, by the stamp that it would have relative to the folder `before`, its path and its stamp."""
    found, start = {}, before.rstrip("/") + "/"
    for group in range(planned.num_row_groups):
        for file in planned.read_row_group(group).to_pylist():
            path = f"{folder.rstrip('/')}/{file['path']}"
            if path.startswith(start):
                found[stamp(file | {"path": path.removeprefix(start)})] = (file["path"], stamp(file))
    return found


def _earlier_rows(table: TablePaths, rows_key: str) -> Iterator[pa.Table]:
    """The same of a table in the earlier layout."""
    for files, part in earlier_layout.parts(table, rows_key):
        yield pq.read_table(part).append_column(_STAMP, pa.array([stamp(file) for file in files]))


def _only_ok(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.equal(rows["status"], OK))


def _write_known(table: TablePaths, rows: Iterable[pa.Table], rows_key: str) -> None:
    """Write rows, and those that were known before, as the known ones; each table is sorted by path."""
    writer: pq.ParquetWriter | None = None
    with atomic_file(table.known_rows) as temporary:
        try:
            for each in chain(rows, _known_before(table, rows_key)):
                if writer is None:
                    writer = pq.ParquetWriter(temporary, each.schema.with_metadata({"key": rows_key}))
                writer.write_table(each.cast(writer.schema), row_group_size=_ROWS_PER_GROUP)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            pq.write_table(pa.table({"path": pa.array([], pa.string())}), temporary)


def _known_before(table: TablePaths, rows_key: str) -> Iterator[pa.Table]:
    if _is_of(table, rows_key):
        with pq.ParquetFile(table.known_rows) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)


def _is_of(table: TablePaths, rows_key: str) -> bool:
    path = table.known_rows
    return path.is_file() and (pq.read_schema(path).metadata or {}).get(b"key") == rows_key.encode()
