"""Parquet shards, as Hugging Face datasets reads them.

`image: struct<bytes: binary, path: string>`, `label: int64`, with the class names in the schema's `huggingface`
metadata; and `sha256`, `copy`. Of several labels an image, `labels: list<int64>` takes the place of `label`.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.data.errors import FormatError
from darkroom.data.images.decode import read_header
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.shards.records import Record, guarded, refusing_damage
from darkroom.data.shards.stored_labels import stored_labels

# A row group ends with either: what a writer and a reader of Parquet hold in memory.
ROWS_PER_GROUP = 256
BYTES_PER_GROUP = 32 * 2**20


def num_records(path: Path) -> int:
    """The number of records in a shard, from its footer.

    Raises:
        FormatError: where the file is damaged.
    """
    with refusing_damage(path):
        return int(pq.read_metadata(path).num_rows)


def row_groups(path: Path) -> Iterator[pa.Table]:
    """The row groups of a Parquet shard, their page checksums verified; one at a time is in memory.

    Raises:
        OSError: where a checksum is wrong.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


def parquet_schema(labels: LabelMap) -> pa.Schema:
    """The schema with Hugging Face's description of the features (`datasets.Features`) in its metadata."""
    stored = stored_labels(labels)
    features = {
        "image": {"_type": "Image"},
        stored.field().name: stored.hugging_face(),
        "sha256": {"dtype": "string", "_type": "Value"},
        "copy": {"dtype": "int32", "_type": "Value"},
    }
    return pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            stored.field(),
            ("sha256", pa.string()),
            ("copy", pa.int32()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


def as_rows(records: Sequence[Record], labels: LabelMap) -> pa.Table:
    """Records as a table of `parquet_schema`.

    Args:
        records: As many as memory holds.
        labels: The class names by index.
    """
    schema = parquet_schema(labels)
    stored = schema.field("image").type
    bytes_and_path = (
        pa.array([each.encoded for each in records], stored.field("bytes").type),
        pa.array([each.path for each in records], stored.field("path").type),
    )
    columns = [
        pa.StructArray.from_arrays(bytes_and_path, fields=stored.fields),
        stored_labels(labels).values([each.indices for each in records]),
        [each.sha256 for each in records],
        [each.copy for each in records],
    ]
    return pa.table(columns, schema=schema)


def grouped(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Records in as many at a time as a row group holds."""
    group: list[Record] = []
    group_bytes = 0
    for record in records:
        group.append(record)
        group_bytes += len(record.encoded)
        if _is_full(len(group), group_bytes):
            yield group
            group, group_bytes = [], 0
    if group:
        yield group


def _is_full(num_rows: int, num_bytes: int) -> bool:
    """Whether a row group ends here."""
    return num_rows >= ROWS_PER_GROUP or num_bytes >= BYTES_PER_GROUP


class _ParquetShard:
    def __init__(self, opened: pq.ParquetWriter, labels: LabelMap) -> None:
        self._opened, self._labels = opened, labels
        self._records: list[Record] = []
        self._bytes = 0

    def write(self, record: Record) -> None:
        self._records.append(record)
        self._bytes += len(record.encoded)
        if _is_full(len(self._records), self._bytes):
            self.flush()

    def flush(self) -> None:
        if self._records:
            self._opened.write_table(as_rows(self._records, self._labels))
            self._records, self._bytes = [], 0


@contextmanager
def writer(path: Path, labels: LabelMap) -> Iterator[_ParquetShard]:
    """A writer of one shard.

    Args:
        path, labels: As for `darkroom.data.shards.shards.open_writer`.
    """
    with _parquet_file(path, labels) as opened:
        shard = _ParquetShard(opened, labels)
        yield shard
        shard.flush()


def _parquet_file(path: Path, labels: LabelMap) -> pq.ParquetWriter:
    # The images are compressed already; the checksums are for the reader to find damage.
    return pq.ParquetWriter(
        path,
        parquet_schema(labels),
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )


def copy_without(source: Path, target: Path, labels: LabelMap, dropped: Container[tuple[str, str]]) -> None:
    """Copy a shard without some of its records, group by group.

    Args:
        source, target, labels, dropped: As for `darkroom.data.shards.shards.copy_without`.

    Raises:
        FormatError: where the shard is damaged.
    """
    with _parquet_file(target, labels) as opened:
        for group in guarded(source, row_groups(source)):
            names = pc.struct_field(group["image"], "path").to_pylist()
            kept = [key not in dropped for key in zip(names, group["sha256"].to_pylist(), strict=True)]
            if any(kept):
                opened.write_table(group.filter(pa.array(kept)))


def read(path: Path, labels: LabelMap) -> Iterator[Record]:
    """The records of a shard.

    Args:
        path, labels: As for `darkroom.data.shards.shards.read_shard`.

    Raises:
        Exception: of any kind, where the file is damaged.
    """
    stored = stored_labels(labels)
    for group in row_groups(path):
        for row in group.to_pylist():
            indices = stored.indices(row[stored.field().name])
            encoded = row["image"]["bytes"]
            is_png = encoded.startswith(b"\x89PNG")
            height, width = _size(encoded)
            yield Record(
                encoded=encoded,
                format="png" if is_png else "jpeg",
                height=height,
                width=width,
                label=labels.text(indices),
                indices=indices,
                path=row["image"]["path"],
                sha256=row["sha256"],
                copy=row["copy"],
            )


def _size(encoded: bytes) -> tuple[int, int]:
    header = read_header(encoded)
    if header is None:
        raise FormatError("A stored image has no header that can be read.")
    return header.height, header.width
