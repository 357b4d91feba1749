"""Shards: what is written comes back, third readers agree, and damage is refused in a sentence."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom.data.errors import FormatError
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.shards import parquet_shards
from darkroom.data.shards.parquet_shards import parquet_schema, row_groups
from darkroom.data.shards.records import Record
from darkroom.data.shards.shard_names import SUFFIXES, ShardFormat, format_of
from darkroom.data.shards.shards import copy_without, num_records, open_writer, read_shard

LABELS = LabelMap(("cat", "dog", "été"))
FORMATS: tuple[ShardFormat, ...] = ("tfrecord", "parquet", "webdataset")


def encode(pixels: np.ndarray, image_format: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, image_format)
    return stream.getvalue()


def record(number: int, image_format: str = "png", path: str | None = None, copy: int = 0) -> Record:
    height, width = 3 + number % 4, 5 + number % 3
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Record(
        encoded=encode(pixels, image_format),
        format=image_format,
        height=height,
        width=width,
        label=LABELS.names[number % 3],
        indices=(number % 3,),
        path=path if path is not None else f"train/ü{number}.png",
        sha256=f"{number:064x}",
        copy=copy,
    )


def write(path: Path, records: Sequence[Record]) -> Path:
    with open_writer(path, format_of(path), LABELS) as writer:
        for each in records:
            writer.write(each)
    return path


@pytest.mark.parametrize("shard_format", FORMATS)
@settings(max_examples=25, deadline=None)
@given(
    made=st.lists(
        st.builds(
            record,
            st.integers(0, 10_000),
            st.sampled_from(["png", "jpeg"]),
            st.text(st.characters(codec="utf-8")),
            st.integers(0, 100),
        ),
        max_size=6,
    )
)
def test_what_is_written_comes_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, shard_format: ShardFormat, made: list[Record]
) -> None:
    path = write(tmp_path_factory.mktemp("shard") / f"x{SUFFIXES[shard_format]}", made)
    assert list(read_shard(path, LABELS)) == made
    assert num_records(path) == len(made)


@pytest.mark.parametrize("shard_format", FORMATS)
@settings(max_examples=25, deadline=None)
@given(gone=st.sets(st.integers(0, 599)) | st.just(set(range(300))) | st.just(set(range(256, 600))))
def test_a_shard_is_written_again_without_some_records_and_as_it_was_otherwise(
    tmp_path_factory: pytest.TempPathFactory, shard_format: ShardFormat, gone: set[int]
) -> None:
    made = [record(number) for number in range(600)]  # three row groups
    place = tmp_path_factory.mktemp("shard")
    source = write(place / f"source{SUFFIXES[shard_format]}", made)
    kept = [each for number, each in enumerate(made) if number not in gone]
    target = place / f"target{SUFFIXES[shard_format]}"
    copy_without(source, target, LABELS, {(made[number].path, made[number].sha256) for number in gone})
    assert list(read_shard(target, LABELS)) == kept
    assert num_records(target) == len(kept)
    if shard_format == "tfrecord":
        assert target.read_bytes() == write(place / "again.tfrecord", kept).read_bytes()


@pytest.mark.parametrize("shard_format", FORMATS)
def test_only_what_is_wrong_with_the_shard_that_is_copied_is_called_damage(
    tmp_path: Path, shard_format: ShardFormat
) -> None:
    source = write(tmp_path / f"source{SUFFIXES[shard_format]}", [record(number) for number in range(5)])
    with pytest.raises(Exception, match="nowhere") as caught:
        copy_without(source, tmp_path / "nowhere" / source.name, LABELS, set())
    assert not isinstance(caught.value, FormatError)
    source.write_bytes(source.read_bytes()[:-20])
    with pytest.raises(FormatError, match="source"):
        copy_without(source, tmp_path / source.name.replace("source", "target"), LABELS, set())


def test_a_tfrecord_is_read_by_tensorflow_with_the_usual_feature_names(tmp_path: Path) -> None:
    made = [record(0), record(1, "jpeg"), record(2, copy=3)]
    path = write(tmp_path / "x.tfrecord", made)
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/format": tf.io.FixedLenFeature([], tf.string),
        "image/height": tf.io.FixedLenFeature([], tf.int64),
        "image/width": tf.io.FixedLenFeature([], tf.int64),
        "image/channels": tf.io.FixedLenFeature([], tf.int64),
        "image/colorspace": tf.io.FixedLenFeature([], tf.string),
        "image/filename": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
        "image/class/text": tf.io.FixedLenFeature([], tf.string),
        "image/sha256": tf.io.FixedLenFeature([], tf.string),
        "image/copy": tf.io.FixedLenFeature([], tf.int64),
    }
    raws = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    assert len(raws) == 3
    for raw, expected in zip(raws, made, strict=True):
        assert set(tf.train.Example.FromString(raw).features.feature) == set(features)
        found = {key: value.numpy() for key, value in tf.io.parse_single_example(raw, features).items()}
        assert found["image/encoded"] == expected.encoded
        assert found["image/format"].decode() == expected.format
        assert (found["image/height"], found["image/width"], found["image/channels"]) == (
            expected.height,
            expected.width,
            3,
        )
        assert found["image/colorspace"] == b"RGB"
        assert found["image/filename"].decode() == expected.path
        assert found["image/class/label"] == expected.label_index
        assert found["image/class/text"].decode() == expected.label
        assert found["image/sha256"].decode() == expected.sha256
        assert found["image/copy"] == expected.copy


def test_a_parquet_is_read_by_pandas_and_duckdb_as_hugging_face_lays_it_out(tmp_path: Path) -> None:
    made = [record(number, copy=number % 2) for number in range(5)]
    path = write(tmp_path / "x.parquet", made)

    frame = pd.read_parquet(path)
    assert list(frame.columns) == ["image", "label", "sha256", "copy"]
    assert frame["label"].tolist() == [each.label_index for each in made]
    assert frame["copy"].tolist() == [each.copy for each in made]
    assert [image["path"] for image in frame["image"]] == [each.path for each in made]
    for image, expected in zip(frame["image"], made, strict=True):
        with Image.open(io.BytesIO(image["bytes"])) as opened:
            assert opened.size == (expected.width, expected.height)

    query = "select image.bytes, image.path, label, sha256, copy from read_parquet(?)"
    rows = duckdb.execute(query, [str(path)]).fetchall()
    assert rows == [(each.encoded, each.path, each.label_index, each.sha256, each.copy) for each in made]

    schema = pq.read_schema(path)
    assert schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert schema.field("label").type == pa.int64()
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": ["cat", "dog", "été"], "_type": "ClassLabel"}
    assert set(features) == set(schema.names)


@pytest.mark.parametrize("shard_format", FORMATS)
def test_the_same_records_give_the_same_bytes(shard_format: ShardFormat, tmp_path: Path) -> None:
    made = [record(number) for number in range(20)]
    paths = [write(tmp_path / f"{name}{SUFFIXES[shard_format]}", made) for name in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("shard_format", FORMATS)
def test_any_byte_changed_in_a_stored_image_is_found(shard_format: ShardFormat, tmp_path: Path) -> None:
    made = [record(number) for number in range(3)]
    path = write(tmp_path / f"x{SUFFIXES[shard_format]}", made)
    whole = path.read_bytes()
    for each in made:
        place = whole.index(each.encoded) + len(each.encoded) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(FormatError) as caught:
            list(read_shard(path, LABELS))
        sentence = str(caught.value)
        assert sentence.startswith(f"The shard {path} is damaged")
        assert sentence.endswith("Delete the folder of the data set and ingest it again.")


@pytest.mark.parametrize("shard_format", FORMATS)
def test_a_shard_that_was_cut_or_is_something_else_is_refused(shard_format: ShardFormat, tmp_path: Path) -> None:
    path = write(tmp_path / f"x{SUFFIXES[shard_format]}", [record(number) for number in range(3)])
    whole = path.read_bytes()
    for wrong in (whole[:-1], whole[: len(whole) // 2], whole[:5], b"<html>not a shard</html>", whole + b"\0"):
        path.write_bytes(wrong)
        with pytest.raises(FormatError, match=f"The shard {path} "):
            list(read_shard(path, LABELS))
        with pytest.raises(FormatError, match=f"The shard {path} "):
            num_records(path)


def test_a_length_that_lies_does_not_lead_the_count_astray(tmp_path: Path) -> None:
    path = tmp_path / "x.tfrecord"
    path.write_bytes(struct.pack("<Q", 2**64 - 16) + b"\0" * 100)
    with pytest.raises(FormatError, match="ends within a record"):
        num_records(path)


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    for shard_format in FORMATS:
        with pytest.raises(FormatError, match=f"nowhere{SUFFIXES[shard_format]}"):
            list(read_shard(tmp_path / f"nowhere{SUFFIXES[shard_format]}", LABELS))


def test_a_row_group_never_holds_more_than_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_shards, "BYTES_PER_GROUP", 2000)
    made = [record(number) for number in range(60)]
    path = write(tmp_path / "x.parquet", made)
    largest = max(len(each.encoded) for each in made)
    groups = list(row_groups(path))
    assert len(groups) > 2
    for group in groups:
        assert sum(len(image["bytes"]) for image in group["image"].to_pylist()) < 2000 + largest
    assert list(read_shard(path, LABELS)) == made


def test_many_small_images_share_a_row_group(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [record(number) for number in range(600)])
    assert [group.num_rows for group in row_groups(path)] == [256, 256, 88]


def test_the_schema_survives_parquet(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [])
    assert pq.read_schema(path).equals(parquet_schema(LABELS), check_metadata=False)
    assert pq.read_table(path).num_rows == 0
