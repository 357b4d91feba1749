"""Shards: files of decoded images of one split, as TFRecord or Parquet.

`<split>-00000-of-00004.tfrecord`: `tf.train.Example` with the field's usual feature names (those of TF-Slim's data
sets): `image/encoded`, `image/format`, `image/height`, `image/width`, `image/channels`, `image/colorspace`,
`image/filename`, `image/class/label` (int64 from 0), `image/class/text`, and two of ours, `image/sha256` (of the source
file) and `image/copy` (0: the image itself; from 1: its augmented copies). Of several labels an image, the two features
of its class hold as many values.

`<split>-00000-of-00004.parquet`: `image: struct<bytes: binary, path: string>`, `label: int64`, the layout that Hugging
Face datasets reads, with the class names in the schema's `huggingface` metadata; and `sha256`, `copy`. Of several
labels an image, `labels: list<int64>` takes the place of `label`.

Images are PNG (lossless, the default) or JPEG at the decode policy's size: whoever reads them never resizes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Container, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from darkroom.data.dataset.label_map import LabelMap
from darkroom.data.dataset.shard_names import ShardFormat
from darkroom.data.dataset.stored_labels import FEATURE, StoredLabels, stored_labels
from darkroom.data.errors import FormatError
from darkroom.data.images.decode import read_header
from darkroom.data.settings import SettingsModel

T = TypeVar("T")
# A row group ends with either: what a writer and a reader of Parquet hold in memory.
_ROWS_PER_GROUP = 256
_BYTES_PER_GROUP = 32 * 2**20
# A TFRecord: length (8 bytes), checksum of the length (4), the record, checksum of the record (4); all little-endian.
_LENGTH = struct.Struct("<Q")
_RECORD_OVERHEAD = 16
# What is there already is not made again.
_AGAIN = "Delete the folder of the data set and ingest it again."


class ShardRules(SettingsModel):
    """How images are stored."""

    format: ShardFormat = Field(default="tfrecord", description="Format of the shards: tfrecord or parquet")
    images: Literal["png", "jpeg"] = Field(
        default="png",
        description="Format of the stored images: png (lossless: training sees the very pixels that scoring computes) "
        "or jpeg",
    )
    jpeg_quality: int = Field(default=95, ge=50, le=100, description="JPEG quality of the stored images")
    rows_per_shard: int = Field(
        default=1000, ge=1, le=100_000, description="Source files per ingest task; each task writes one shard per split"
    )


@dataclass(frozen=True)
class Record:
    """One stored image.

    Attributes:
        encoded: PNG or JPEG, as bytes.
        format: `png` or `jpeg`.
        height, width: In pixels.
        label: The text of its labels, see `darkroom.data.task`.
        indices: Their places in the label map, ascending.
        path: Of the source file, in the source.
        sha256: Of the source file, hex.
        copy: 0 for the image itself, from 1 for augmented copies.
    """

    encoded: bytes
    format: str
    height: int
    width: int
    label: str
    indices: tuple[int, ...]
    path: str
    sha256: str
    copy: int = 0

    @property
    def label_index(self) -> int:
        """The place of its label, where an image has one; raises ValueError where it has several."""
        (index,) = self.indices
        return index


class ShardWriter(Protocol):
    """Writes records one by one."""

    def write(self, record: Record) -> None:
        """Append a record."""


def open_writer(path: Path, shard_format: ShardFormat, labels: LabelMap) -> AbstractContextManager[ShardWriter]:
    """A writer of one shard; the file is complete only after the block, and it is for the caller to make it atomic.

    Args:
        path: The file to write.
        shard_format: `tfrecord` or `parquet`.
        labels: The class names, which Parquet keeps in its schema.
    """
    return _tfrecord_writer(path, labels) if shard_format == "tfrecord" else _parquet_writer(path, labels)


def num_records(path: Path) -> int:
    """The number of records in a shard, counted without reading them.

    Raises:
        FormatError: where the file is damaged.
    """
    if path.suffix == ".parquet":
        with _refusing_damage(path):
            return int(pq.read_metadata(path).num_rows)
    number = place = 0
    size = path.stat().st_size
    with path.open("rb") as stream:
        while place < size:
            stream.seek(place)
            head = stream.read(_LENGTH.size)
            place += _RECORD_OVERHEAD + (_LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else size)
            number += 1
    if place != size:
        raise FormatError(f"The shard {path} ends within a record. {_AGAIN}")
    return number


def read_shard(path: Path, labels: LabelMap) -> Iterator[Record]:
    """The records of a shard, in order.

    Args:
        path: A `.tfrecord` or `.parquet` file.
        labels: The class names by index.

    Raises:
        FormatError: where the file is damaged.
    """
    return _guarded(path, _read_tfrecord(path, labels) if path.suffix == ".tfrecord" else _read_parquet(path, labels))


def copy_without(source: Path, target: Path, labels: LabelMap, dropped: Container[tuple[str, str]]) -> None:
    """Copy a shard without some of its records.

    Args:
        source: The shard.
        target: The file to write, of the same format.
        labels: The class names by index.
        dropped: (path, sha256) of the records to leave out.

    Raises:
        FormatError: where the file is damaged.
    """
    if source.suffix == ".tfrecord":
        _copy_tfrecord(source, target, dropped)
    else:
        _copy_parquet(source, target, labels, dropped)


def row_groups(path: Path) -> Iterator[pa.Table]:
    """The row groups of a Parquet shard, their page checksums verified; one at a time is in memory.

    Raises:
        OSError: where a checksum is wrong.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(f"The shard {path} is damaged ({type(error).__name__}). {_AGAIN}") from None


def _guarded(path: Path, items: Iterator[T]) -> Iterator[T]:
    """Turn failures of reading a shard into FormatError; failures of the consumer pass through."""
    with _refusing_damage(path):
        yield from items


class _TFRecordShard:
    def __init__(self, writer: Any, labels: LabelMap) -> None:
        self._writer, self._labels = writer, labels

    def write(self, record: Record) -> None:
        import tensorflow as tf

        def text(*values: bytes) -> Any:
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

        def number(*values: int) -> Any:
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

        feature = {
            "image/encoded": text(record.encoded),
            "image/format": text(record.format.encode()),
            "image/height": number(record.height),
            "image/width": number(record.width),
            "image/channels": number(3),
            "image/colorspace": text(b"RGB"),
            "image/filename": text(record.path.encode()),
            FEATURE: number(*record.indices),
            "image/class/text": text(*(name.encode() for name in self._labels.task.names(record.label))),
            "image/sha256": text(record.sha256.encode()),
            "image/copy": number(record.copy),
        }
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        self._writer.write(example.SerializeToString(deterministic=True))


@contextmanager
def _tfrecord_writer(path: Path, labels: LabelMap) -> Iterator[_TFRecordShard]:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        yield _TFRecordShard(writer, labels)


def _read_tfrecord(path: Path, labels: LabelMap) -> Iterator[Record]:
    import tensorflow as tf

    for raw in _raw_records(path):
        feature = tf.train.Example.FromString(raw).features.feature
        yield Record(
            encoded=feature["image/encoded"].bytes_list.value[0],
            format=feature["image/format"].bytes_list.value[0].decode(),
            height=feature["image/height"].int64_list.value[0],
            width=feature["image/width"].int64_list.value[0],
            label=labels.task.text(name.decode() for name in feature["image/class/text"].bytes_list.value),
            indices=tuple(feature[FEATURE].int64_list.value),
            path=feature["image/filename"].bytes_list.value[0].decode(),
            sha256=feature["image/sha256"].bytes_list.value[0].decode(),
            copy=feature["image/copy"].int64_list.value[0],
        )


def _raw_records(path: Path) -> Iterator[bytes]:
    import tensorflow as tf

    num_records(path)  # TensorFlow takes a file that is cut within a record's length for one that ends before it
    yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()


def _copy_tfrecord(source: Path, target: Path, dropped: Container[tuple[str, str]]) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(target)) as writer:
        for raw in _guarded(source, _raw_records(source)):
            feature = tf.train.Example.FromString(raw).features.feature
            path, sha256 = (feature[name].bytes_list.value[0].decode() for name in ("image/filename", "image/sha256"))
            if (path, sha256) not in dropped:
                writer.write(raw)


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


class _ParquetShard:
    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema, stored: StoredLabels) -> None:
        self._writer, self._schema, self._stored = writer, schema, stored
        self._records: list[Record] = []
        self._bytes = 0

    def write(self, record: Record) -> None:
        self._records.append(record)
        self._bytes += len(record.encoded)
        if len(self._records) >= _ROWS_PER_GROUP or self._bytes >= _BYTES_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        if not self._records:
            return
        stored = self._schema.field("image").type
        bytes_and_path = (
            pa.array([each.encoded for each in self._records], stored.field("bytes").type),
            pa.array([each.path for each in self._records], stored.field("path").type),
        )
        columns = [
            pa.StructArray.from_arrays(bytes_and_path, fields=stored.fields),
            self._stored.values([each.indices for each in self._records]),
            [each.sha256 for each in self._records],
            [each.copy for each in self._records],
        ]
        self._writer.write_table(pa.table(columns, schema=self._schema))
        self._records, self._bytes = [], 0


@contextmanager
def _parquet_writer(path: Path, labels: LabelMap) -> Iterator[_ParquetShard]:
    with _parquet_file(path, labels) as writer:
        shard = _ParquetShard(writer, writer.schema, stored_labels(labels))
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


def _copy_parquet(source: Path, target: Path, labels: LabelMap, dropped: Container[tuple[str, str]]) -> None:
    with _parquet_file(target, labels) as writer:
        for group in _guarded(source, row_groups(source)):
            names = pc.struct_field(group["image"], "path").to_pylist()
            kept = [key not in dropped for key in zip(names, group["sha256"].to_pylist(), strict=True)]
            if any(kept):
                writer.write_table(group.filter(pa.array(kept)))


def _read_parquet(path: Path, labels: LabelMap) -> Iterator[Record]:
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
