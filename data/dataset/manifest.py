"""The manifest: one row per file of the source, used or quarantined with a reason. On disk `manifest.parquet`."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.data.files.atomic import atomic_file
from darkroom.data.reason_codes import ReasonCode

OK = "ok"
QUARANTINED = "quarantined"

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("mode", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("source_split", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("perceptual_hash", pa.string()),
        ("mean_luminance", pa.float32()),
        ("contrast", pa.float32()),
        ("clipped", pa.float32()),
        ("copy_of", pa.string()),
    ]
)


@dataclass(frozen=True)
class ManifestRow:
    """One file: its path, facts, label, split and status.

    `split` is None unless `status` is `ok`; `copy_of` is the path of the image for whose sake a copy was quarantined.
    """

    path: str
    sha256: str | None
    bytes: int
    format: str | None
    width: int | None
    height: int | None
    mode: str | None
    label: str | None
    split: str | None
    source_split: str | None
    status: str
    reason: ReasonCode | None
    perceptual_hash: str | None = None
    mean_luminance: float | None = None
    contrast: float | None = None
    clipped: float | None = None
    copy_of: str | None = None


def to_table(rows: Iterable[ManifestRow]) -> pa.Table:
    """Rows as an Arrow table of `SCHEMA`."""
    return pa.Table.from_pylist([vars(row) for row in rows], schema=SCHEMA)


def from_table(table: pa.Table) -> list[ManifestRow]:
    """The rows of an Arrow table of `SCHEMA`, in its order."""
    return [ManifestRow(**row) for row in table.to_pylist()]


def write_table(path: Path, table: pa.Table, rows_per_group: int | None = None, plain: str | None = None) -> None:
    """Write a Parquet file, whole or not at all, and the same way everywhere: equal tables give equal bytes.

    Args:
        path: The file.
        table: The rows.
        rows_per_group: Rows in a row group; None leaves it to PyArrow.
        plain: A column that is stored as it is: features, say, which neither a dictionary nor compression makes much
            smaller.
    """
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, row_group_size=rows_per_group, **parquet_options(table, plain))


def parquet_options(table: pa.Table, plain: str | None = None) -> dict[str, Any]:
    """How `write_table` encodes a table, as arguments of `pyarrow.parquet.ParquetWriter`."""
    if not plain:
        return {"compression": "zstd"}
    leaves = _leaves(table)
    packed = [leaf for leaf in leaves if leaf.partition(".")[0] != plain]
    return {"compression": {leaf: "zstd" if leaf in packed else "none" for leaf in leaves}, "use_dictionary": packed}


def read_group(path: Path, index: int) -> pa.Table:
    """Read one row group of a Parquet file; the file's footer is read once per process."""
    found = path.stat()
    with pq.ParquetFile(path, metadata=_footer(path, found.st_ino, found.st_mtime_ns)) as file:
        return file.read_row_group(index)


@lru_cache(maxsize=2)
def _footer(path: Path, inode: int, mtime_ns: int) -> pq.FileMetaData:
    """With 10,000 row groups it takes 30 ms to read."""
    return pq.read_metadata(path)


def _leaves(table: pa.Table) -> list[str]:
    """Parquet's columns for a table's, such as `top_k.list.element.label`."""
    empty = io.BytesIO()
    pq.write_table(table.slice(0, 0), empty)
    header = pq.read_metadata(empty).schema
    return [header.column(place).path for place in range(len(header.names))]


def read_manifest(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The manifest as an Arrow table of `SCHEMA`, sorted by `path`.

    Args:
        path: Of `manifest.parquet`.
        columns: Those that are read; None reads all.
    """
    return pq.read_table(path, columns=list(columns) if columns else None)


def count_reasons(table: pa.Table) -> dict[str, int]:
    """Quarantined rows by reason, most frequent first."""
    counts = Counter(reason for reason in table["reason"].to_pylist() if reason)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
