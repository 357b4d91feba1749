"""Rows of an earlier table of the same folder and bundle: a rerun scores only the files that are new or changed.

`<out>/.scoring/known.parquet` holds the rows of all whole parts, with the size and the time that their files had. It is
written when a plan takes the place of another one, before any part is made anew, and removed with the summary; a run
that is killed in between leaves it to the next.

A row depends on its file and the bundle alone: ONNX Runtime gives an image the same logits in every batch (a test holds
this), so a row taken over is the row that would be computed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.data.dataset.manifest import OK, QUARANTINED
from darkroom.data.files.atomic import atomic_file, content_version, file_sha256
from darkroom.models.scoring.schema import note_file, part_name

FACTS = ("bytes", "mtime_ns", "etag")
_ROWS_A_GROUP = 4096


def part_key(bundle_key: str, files: list[dict[str, Any]]) -> str:
    """What the rows of a part depend on: the bundle, and the part's files."""
    return content_version(bundle_key, [[file[fact] for fact in ("path", *FACTS, "reason")] for file in files])


def is_done(final: Path, note: Path, key: str) -> bool:
    """Whether a part is whole and made from what the key says."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return bool(known["key"] == key and known["sha256"] == file_sha256(final))
    except (OSError, ValueError, KeyError):
        return False


def whole_parts(out: Path, listed: pq.ParquetFile, bundle_key: str, retry_quarantined: bool) -> Iterator[pa.Table]:
    """The rows of each whole part of a plan, with the facts of their files; to be retried, without those set aside."""
    for index in range(listed.num_row_groups):
        files = listed.read_row_group(index)
        if not is_done(out / part_name(index), note_file(out, index), part_key(bundle_key, files.to_pylist())):
            continue
        rows = pq.read_table(out / part_name(index))
        for fact in FACTS:
            rows = rows.append_column(fact, files[fact])
        if retry_quarantined and QUARANTINED in rows["status"].to_pylist():
            rows = rows.filter(pc.equal(rows["status"], OK))
            note_file(out, index).unlink()
        yield rows


def keep_known_rows(work: Path, tables: Iterable[pa.Table], bundle_key: str) -> None:
    """Write the rows of `tables`, and those that were known before, as the known rows of the next run.

    Args:
        work: The `.scoring` of an output.
        tables: Rows of the prediction table with the columns `FACTS`, each sorted by path.
        bundle_key: Of the bundle and the folder; rows that were known of others are left out.
    """
    writer: pq.ParquetWriter | None = None
    with atomic_file(_file(work)) as temporary:
        try:
            for table in chain(tables, _known_before(work, bundle_key)):
                if writer is None:
                    writer = pq.ParquetWriter(temporary, table.schema.with_metadata({"key": bundle_key}))
                writer.write_table(table.cast(writer.schema), row_group_size=_ROWS_A_GROUP)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            pq.write_table(pa.table({"path": pa.array([], pa.string())}), temporary)


def known_rows(work: Path, files: Sequence[dict[str, Any]], bundle_key: str) -> dict[str, dict[str, Any]]:
    """Rows by path for those of `files` (sorted by path) whose size, time and etag are as they were."""
    if not _is_of(work, bundle_key):
        return {}
    between = [("path", ">=", files[0]["path"]), ("path", "<=", files[-1]["path"])]
    wanted = {(file["path"], *(file[fact] for fact in FACTS)) for file in files if file["reason"] is None}
    known = {}
    for row in pq.read_table(_file(work), filters=between).to_pylist():
        if (row["path"], *(row.pop(fact) for fact in FACTS)) in wanted:
            known[row["path"]] = row
    return known


def forget_known_rows(work: Path) -> None:
    """The table is whole: its own parts hold the rows."""
    _file(work).unlink(missing_ok=True)


def _known_before(work: Path, bundle_key: str) -> Iterator[pa.Table]:
    if _is_of(work, bundle_key):
        with pq.ParquetFile(_file(work)) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)


def _is_of(work: Path, bundle_key: str) -> bool:
    path = _file(work)
    return path.is_file() and (pq.read_schema(path).metadata or {}).get(b"key") == bundle_key.encode()


def _file(work: Path) -> Path:
    return work / "known.parquet"
