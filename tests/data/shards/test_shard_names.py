"""Shard names are those of the field, and a part's shards are found in the order of the splits."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.shards.shard_names import part_shard_name, part_shards, shard_name


def test_shard_names_are_those_of_the_field() -> None:
    assert shard_name("train", 0, 4, "tfrecord") == "train-00000-of-00004.tfrecord"
    assert shard_name("test", 12, 13, "parquet") == "test-00012-of-00013.parquet"
    assert shard_name("train", 1, 2, "webdataset") == "train-00001-of-00002.tar"


def test_the_shards_of_a_part_are_found_whatever_their_format_and_nothing_else(tmp_path: Path) -> None:
    names = [part_shard_name("test", "parquet"), part_shard_name("train", "tfrecord"), "manifest.parquet"]
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in part_shards(tmp_path)] == ["train.tfrecord", "test.parquet"]
