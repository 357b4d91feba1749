"""Shards: files of decoded images of one split, as TFRecord, Parquet or webdataset's tar files.

Images are PNG (lossless, the default) or JPEG at the decode policy's size: whoever reads them never resizes. How the
bytes lie is said in `tfrecord_shards.py`, `parquet_shards.py` and `tar_shards.py`, one for each format.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from darkroom.data.labels.label_map import LabelMap
from darkroom.data.settings import SettingsModel
from darkroom.data.shards import parquet_shards, tar_shards, tfrecord_shards
from darkroom.data.shards.records import Record, ShardWriter, guarded
from darkroom.data.shards.shard_names import ShardFormat, format_of


@dataclass(frozen=True)
class _Kind:
    """What is done with the shards of a format."""

    writer: Callable[[Path, LabelMap], AbstractContextManager[ShardWriter]]
    num_records: Callable[[Path], int]
    read: Callable[[Path, LabelMap], Iterator[Record]]
    copy_without: Callable[[Path, Path, LabelMap, Container[tuple[str, str]]], None]


_KINDS: Mapping[ShardFormat, _Kind] = {
    "tfrecord": _Kind(
        tfrecord_shards.writer, tfrecord_shards.num_records, tfrecord_shards.read, tfrecord_shards.copy_without
    ),
    "parquet": _Kind(
        parquet_shards.writer, parquet_shards.num_records, parquet_shards.read, parquet_shards.copy_without
    ),
    "webdataset": _Kind(tar_shards.writer, tar_shards.num_records, tar_shards.read, tar_shards.copy_without),
}


class ShardRules(SettingsModel):
    """How images are stored."""

    format: ShardFormat = Field(
        default="tfrecord", description="Format of the shards: tfrecord, parquet or webdataset (tar files)"
    )
    images: Literal["png", "jpeg"] = Field(
        default="png",
        description="Format of the stored images: png (lossless: training sees the very pixels that scoring computes) "
        "or jpeg",
    )
    jpeg_quality: int = Field(default=95, ge=50, le=100, description="JPEG quality of the stored images")
    rows_per_shard: int = Field(
        default=1000, ge=1, le=100_000, description="Source files per ingest task; each task writes one shard per split"
    )


def open_writer(path: Path, shard_format: ShardFormat, labels: LabelMap) -> AbstractContextManager[ShardWriter]:
    """A writer of one shard; the file is complete only after the block, and it is for the caller to make it atomic.

    Args:
        path: The file to write.
        shard_format: `tfrecord`, `parquet` or `webdataset`.
        labels: The class names, which Parquet keeps in its schema.
    """
    return _KINDS[shard_format].writer(path, labels)


def num_records(path: Path) -> int:
    """The number of records in a shard, counted without reading them.

    Raises:
        FormatError: where the file is damaged.
    """
    return _KINDS[format_of(path)].num_records(path)


def read_shard(path: Path, labels: LabelMap) -> Iterator[Record]:
    """The records of a shard, in order.

    Args:
        path: A `.tfrecord`, `.parquet` or `.tar` file.
        labels: The class names by index.

    Raises:
        FormatError: where the file is damaged.
    """
    return guarded(path, _KINDS[format_of(path)].read(path, labels))


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
    _KINDS[format_of(source)].copy_without(source, target, labels, dropped)
