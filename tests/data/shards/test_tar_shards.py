"""Webdataset shards: as that convention has them, for readers that know nothing of Darkroom."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.dataset.input import batches
from darkroom.data.errors import FormatError
from darkroom.data.images.pixels.augment import augmentation_by_name
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.labels.recognition.labelling import label_files
from darkroom.data.labels.rules import LabelRules
from darkroom.data.shards.records import Record
from darkroom.data.shards.shards import ShardRules, num_records, open_writer, read_shard
from darkroom.data.sources.resolve import resolve
from darkroom.data.stores.listing import list_files
from darkroom.data.stores.workspace import Workspace
from darkroom.data.task import MULTI_LABEL
from tests.datasets import ingest, write_images

SEVERAL = LabelMap(("cat", "dog", "fox"), MULTI_LABEL)


def records() -> list[Record]:
    """Images of no label, of two and of one."""
    made = []
    for number, indices in enumerate([(), (0, 2), (1,)]):
        stream = io.BytesIO()
        Image.fromarray(np.full((4, 6, 3), 40 * number, np.uint8)).save(stream, "PNG")
        text = SEVERAL.text(indices)
        made.append(Record(stream.getvalue(), "png", 4, 6, text, indices, f"a.b/{number}.x.jpg", f"{number:064x}"))
    return made


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    home = tmp_path_factory.mktemp("tars")
    settings = IngestSettings(
        name="tiny",
        policy=DecodePolicy(image_size=(32, 32)),
        shards=ShardRules(rows_per_shard=30, format="webdataset"),
        copies=1,
        augmentation=augmentation_by_name("light"),
    )
    return ingest(write_images(home / "images"), home / "w", settings)


def samples(path: Path) -> dict[str, dict[str, bytes]]:
    """The files of a tar by key and suffix, as `tarfile` finds them."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            key, _, suffix = member.name.partition(".")
            content = archive.extractfile(member)
            assert content is not None
            found.setdefault(key, {})[suffix] = content.read()
    return found


def test_every_sample_of_a_data_set_has_a_key_of_its_own_and_says_where_it_is_from(dataset: Dataset) -> None:
    assert [shard.file for shard in dataset.card.shards if shard.split == "train"] == [
        "shards/train-00000-of-00003.tar", "shards/train-00001-of-00003.tar", "shards/train-00002-of-00003.tar",
    ]  # fmt: skip
    keys: list[str] = []
    for split in ("train", "validation", "test"):
        stored = {(record.path, record.copy): record for record in dataset.records(split)}
        for path in dataset.shard_paths(split):
            for key, files in samples(path).items():
                keys.append(key)
                facts = json.loads(files["json"])
                record = stored.pop((facts["path"], facts["copy"]))
                assert (facts["label"], int(files["cls"])) == (record.label, record.label_index)
                assert (facts["sha256"], files["png"]) == (record.sha256, record.encoded)
                assert list(facts) == sorted(facts)
        assert not stored
    assert len(set(keys)) == len(keys) == sum(shard.num_rows for shard in dataset.card.shards)


def test_nothing_in_a_tar_says_who_wrote_it_or_when(dataset: Dataset) -> None:
    with tarfile.open(dataset.shard_paths("test")[0]) as archive:
        found = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in archive}
    assert found == {(0, 0, 0, "", "", 0o644, tarfile.REGTYPE)}


def test_hugging_face_reads_the_shards_as_webdataset(dataset: Dataset, tmp_path: Path) -> None:
    from datasets import load_dataset  # type: ignore[import-untyped]

    files = {split: [str(path) for path in dataset.shard_paths(split)] for split in ("train", "test")}
    loaded: Any = load_dataset("webdataset", data_files=files, cache_dir=str(tmp_path))
    for split in files:
        stored = list(dataset.records(split))
        assert [row["cls"] for row in loaded[split]] == [record.label_index for record in stored]
        assert [row["json"]["path"] for row in loaded[split]] == [record.path for record in stored]
        for row, record in zip(loaded[split], stored, strict=True):
            with Image.open(io.BytesIO(record.encoded)) as image:
                np.testing.assert_array_equal(np.asarray(row["png"]), np.asarray(image))


def test_several_labels_are_a_list_of_names_and_no_class_stands_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "train.tar"
    with open_writer(path, "webdataset", SEVERAL) as writer:
        for record in records():
            writer.write(record)
    assert list(read_shard(path, SEVERAL)) == records()
    assert num_records(path) == 3
    assert [sorted(files) for files in samples(path).values()] == [["json", "png"]] * 3
    assert [json.loads(files["json"])["labels"] for files in samples(path).values()] == [[], ["cat", "fox"], ["dog"]]


def test_what_training_gets_of_several_labels_is_a_row_of_0_and_1(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    rows = ["file,cat,dog,fox"]
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        rows.append(f"{number}.png,{number % 2},{number % 3 == 0:d},{number % 5 < 2:d}")
    (tmp_path / "images" / "labels.csv").write_text("\n".join(rows))
    settings = IngestSettings(
        name="t",
        policy=DecodePolicy(image_size=(8, 8)),
        labels=LabelRules(task="multi-label"),
        shards=ShardRules(format="webdataset"),
    )
    dataset = ingest(tmp_path / "images", tmp_path / "w", settings)
    (images, truth), *more = batches(dataset, "train", 64).as_numpy_iterator()
    assert not more
    assert truth.dtype == np.float32
    stored = list(dataset.records("train"))
    assert len(images) == len(stored) == dataset.card.num_images("train")
    for row, record in zip(truth, stored, strict=True):
        number = int(record.path.partition(".")[0])
        assert row.tolist() == [number % 2, number % 3 == 0, number % 5 < 2]
    folder = resolve(str(dataset.folder / "shards"), Workspace(tmp_path / "w")).folder
    again = label_files(folder, list_files(folder), LabelRules(task="multi-label", empty_labels="no-label"))
    assert Counter((file.label, file.source_split) for file in again.files if file.label is not None) == Counter(
        (record.label, split) for split in ("train", "validation", "test") for record in dataset.records(split)
    )


def test_the_shards_of_a_data_set_are_a_source(dataset: Dataset, tmp_path: Path) -> None:
    folder = resolve(str(dataset.folder / "shards"), Workspace(tmp_path / "w")).folder
    found = label_files(folder, list_files(folder), LabelRules())
    counts = Counter((file.label, file.source_split) for file in found.files if file.label)
    copies = {"train": 2, "validation": 1, "test": 1}  # with one augmented copy of each training image
    assert counts == {(each.label, each.split): copies[each.split] * each.num_images for each in dataset.card.counts}


@pytest.mark.parametrize("change", [(b'"label": "cat"', b'"label": "dog"'), (b'"copy": 0', b'"coqy": 0')])
def test_facts_that_contradict_the_class_or_are_missing_are_damage(change: tuple[bytes, bytes], tmp_path: Path) -> None:
    labels = LabelMap(("cat", "dog"))
    path = tmp_path / "train.tar"
    with open_writer(path, "webdataset", labels) as writer:
        writer.write(Record(b"\x89PNG", "png", 1, 1, "cat", (0,), "a.jpg", "0" * 64))
    assert [record.label for record in read_shard(path, labels)] == ["cat"]
    path.write_bytes(path.read_bytes().replace(*change))
    with pytest.raises(FormatError, match="damaged"):
        list(read_shard(path, labels))


def test_a_tar_without_its_end_is_damage(tmp_path: Path) -> None:
    labels = LabelMap(("cat", "dog"))
    path = tmp_path / "train.tar"
    with open_writer(path, "webdataset", labels) as writer:
        for number in range(40):
            writer.write(Record(b"\x89PNG", "png", 1, 1, "cat", (0,), f"{number}.jpg", "0" * 64))
    whole = path.read_bytes()
    path.write_bytes(whole[: tarfile.RECORDSIZE])
    with pytest.raises(FormatError):
        num_records(path)
    with pytest.raises(FormatError):
        list(read_shard(path, labels))
