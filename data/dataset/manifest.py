"""The manifest: one row per file of the source, used or quarantined with a reason. On disk `manifest.parquet`.

Where an image may have several labels, `label` is their text (`darkroom.data.task`), and a last column, `labels`, holds
them as a list; both are null for a file without any information on its labels.
"""

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
from darkroom.data.task import Task

OK = "ok"
QUARANTINED = "quarantined"
# Remarks on used images.
FIRST_OF_SEVERAL, DAMAGED = "first_of_several", "damaged"

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
        ("sharpness", pa.float32()),
        ("entropy", pa.float32()),
        ("remarks", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class ManifestRow:
    """One file of the source.

    Attributes:
        path: Relative to the source, `/`-separated, printable.
        sha256: Of its content, hex; None where it could not be read.
        bytes: Its size.
        format, width, height, mode: As in `darkroom.data.images.decode.Header`; None where unknown.
        label: The class; None where it has none.
        split: `train`, `validation` or `test`; None unless `status` is `ok`.
        source_split: The split that the source gives it, or None.
        status: `ok` or `quarantined`.
        reason: Why it is quarantined: see `reason_codes.py`.
        perceptual_hash: 16 hex digits: see `darkroom.data.quality.perceptual`.
        mean_luminance, contrast, clipped, sharpness, entropy: See
            `darkroom.data.quality.pixel_statistics.PixelStatistics`.
        remarks: What else is to be said of an image that is used: `first_of_several`, more frames or pages follow the
            one that is used; `damaged`, its decoder complained and gave pixels all the same. None for nothing, and in
            rows of an earlier Darkroom.
        copy_of: The path of the image because of which a duplicate was quarantined.
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
    sharpness: float | None = None
    entropy: float | None = None
    remarks: list[str] | None = None


def to_table(rows: Iterable[ManifestRow]) -> pa.Table:
    """Rows as an Arrow table of `SCHEMA`."""
    return pa.Table.from_pylist([vars(row) for row in rows], schema=SCHEMA)


def from_table(table: pa.Table) -> list[ManifestRow]:
    """The rows of an Arrow table of `SCHEMA`, in its order."""
    return [ManifestRow(**row) for row in table.to_pylist()]


def with_labels(table: pa.Table, task: Task) -> pa.Table:
    """The table with the column `labels`, where an image may have several; as it is where it has one.

    Args:
        table: The manifest, with the column `label`.
        task: How an image's labels are written.
    """
    if task.name == "single-label":
        return table
    texts = table["label"].to_pylist()
    found = [None if text is None else list(task.names(text)) for text in texts]
    return table.append_column("labels", pa.array(found, pa.list_(pa.string())))


def by_label(table: pa.Table, task: Task) -> pa.Table:
    """A row for each label of an image, its name in the column `label`; an image without any has none.

    Where an image has one label, the table is as it is.

    Args:
        table: The manifest, with the column `label`.
        task: How an image's labels are written.
    """
    if task.name == "single-label":
        return table
    names = [task.names(text) if text is not None else () for text in table["label"].to_pylist()]
    rows = [row for row, each in enumerate(names) for _ in each]
    label = pa.array([name for each in names for name in each], pa.string())
    place = table.schema.get_field_index("label")
    return table.take(pa.array(rows, pa.int64())).set_column(place, "label", label)


def write_table(path: Path, table: pa.Table, rows_per_group: int | None = None, plain: str | None = None) -> None:
    """Write a Parquet file, whole or not at all; equal tables give equal bytes everywhere.

    Args:
        path: The file.
        table: The rows.
        rows_per_group: Rows per row group; None leaves it to PyArrow.
        plain: A column stored as it is, without dictionary and compression, which make features hardly smaller.
    """
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, row_group_size=rows_per_group, **parquet_options(table, plain))


def parquet_options(table: pa.Table, plain: str | None = None) -> dict[str, Any]:
    """How `write_table` encodes a table, as arguments of `pyarrow.parquet.ParquetWriter`.

    Args:
        table: The rows, or an empty table of their schema.
        plain: As in `write_table`.
    """
    if not plain:
        return {"compression": "zstd"}
    leaves = _leaves(table)
    packed = [leaf for leaf in leaves if leaf.partition(".")[0] != plain]
    return {"compression": {leaf: "zstd" if leaf in packed else "none" for leaf in leaves}, "use_dictionary": packed}


def read_group(path: Path, index: int) -> pa.Table:
    """Read one row group of a Parquet file; the file's footer is read once per process.

    Args:
        path: The file.
        index: The row group, from 0.
    """
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
        path: The file `manifest.parquet`.
        columns: Those to read; None reads all.
    """
    return pq.read_table(path, columns=list(columns) if columns else None)


def count_reasons(table: pa.Table) -> dict[str, int]:
    """Quarantined rows by reason, most frequent first."""
    counts = Counter(reason for reason in table["reason"].to_pylist() if reason)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
