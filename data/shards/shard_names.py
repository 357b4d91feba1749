"""Shard names: `train-00000-of-00004.tfrecord` in a data set, `train.tfrecord` in a part of an ingest.

How large a shard is decides `ShardRules.rows_per_shard`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from darkroom.data.splits.splits import SPLITS

ShardFormat = Literal["tfrecord", "parquet", "webdataset"]
SUFFIXES: Mapping[ShardFormat, str] = {"tfrecord": ".tfrecord", "parquet": ".parquet", "webdataset": ".tar"}
_FORMATS = {suffix: name for name, suffix in SUFFIXES.items()}


def format_of(shard: Path) -> ShardFormat:
    """The format of a shard, by its suffix; raises KeyError for that of no shard."""
    return _FORMATS[shard.suffix]


def shard_name(split: str, index: int, count: int, shard_format: ShardFormat) -> str:
    """The file name of a published shard, such as `train-00000-of-00004.tfrecord`.

    Args:
        split: `train`, `validation` or `test`.
        index: From 0.
        count: Shards of the split.
        shard_format: Decides the suffix.
    """
    return f"{split}-{index:05d}-of-{count:05d}{SUFFIXES[shard_format]}"


def part_shard_name(split: str, shard_format: ShardFormat) -> str:
    """The file name of a shard in a part of an ingest, which has at most one per split.

    Args:
        split: `train`, `validation` or `test`.
        shard_format: Decides the suffix.
    """
    return f"{split}{SUFFIXES[shard_format]}"


def part_shards(part: Path) -> Iterator[Path]:
    """The shards in the folder of a part, in the order train, validation, test."""
    return (path for split in SPLITS for path in part.glob(f"{split}.*"))
