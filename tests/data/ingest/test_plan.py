"""Ingest: every file ends in one row, a killed run goes on, the same source gives the same bytes."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.errors import CountError, InputError, LabelError, SettingError, WorkError
from darkroom.data.images.decode import decode, decode_stored
from darkroom.data.images.pixels.augment import AugmentPolicy, augment_copy
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.pixels.encode import encode_png
from darkroom.data.ingest import parts as data_parts
from darkroom.data.ingest import publication
from darkroom.data.ingest.parts import write_part
from darkroom.data.ingest.plan import find_dataset, plan_ingest, read_source
from darkroom.data.ingest.publication import publish
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.labels.rules import LabelRules
from darkroom.data.shards import parquet_shards, tar_shards, tfrecord_shards
from darkroom.data.shards.shards import ShardRules, read_shard
from darkroom.data.sources.resolve import resolve
from darkroom.data.splits.splits import SPLITS, SplitRules
from darkroom.data.stores.workspace import Workspace
from tests.folders import noise_png, source_of, write_classes

FORMATS = ("tfrecord", "parquet", "webdataset")
COVID = Path(__file__).parents[4] / "shared" / "data" / "covid19_xray"


def settings(**changes: Any) -> IngestSettings:
    shards = {"rows_per_shard": 16, "format": "tfrecord"} | changes.pop("shards", {})
    return IngestSettings(name="t", policy=DecodePolicy(image_size=(8, 8)), shards=ShardRules(**shards), **changes)


def run(folder: Path, workspace: Path, rules: IngestSettings | None = None) -> Dataset:
    """Ingest as the flow does; raises AssertionError where it was done before."""
    place = Workspace(workspace)
    planned = plan_ingest(IngestRequest(source_of(folder), rules or settings(), place))
    assert planned.published is None
    for index in range(planned.num_parts):
        write_part(planned.staging, index)
    return open_dataset(publish(planned.staging, place))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder: Path, workspace: Path, rules: IngestSettings | None = None) -> str:
    """The sentence; no data set may be there afterwards."""
    with pytest.raises(InputError) as caught:
        run(folder, workspace, rules)
    assert not list(workspace.glob("datasets/*/*/dataset.json"))
    assert not [path for path in workspace.glob("datasets/*/*") if not path.name.startswith(".")]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "photos", {"cats": 24, "dogs": 20})


def awkward(folder: Path) -> dict[str, str]:
    """Adds files that cannot be used; gives the reason of each."""
    wrong = {
        "cats/cut.png": (noise_png(900, 64)[:5000], "truncated"),
        "cats/empty.jpg": (b"", "empty"),
        "dogs/page.jpg": (b"<html>", "not_an_image"),
        "dogs/Thumbs.db": (b"\0", "stray_file"),
        "readme.txt": (b"about", "stray_file"),
        "__MACOSX/cats/._0001.png": (b"\0", "stray_file"),
        "loose.png": (noise_png(901), "unlabelled"),
    }
    for path, (content, _) in wrong.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "dogs" / "gone.png").symlink_to("nowhere")
    return {path: reason for path, (_, reason) in wrong.items()} | {"dogs/gone.png": "broken_link"}


@pytest.mark.parametrize("shard_format", FORMATS)
def test_every_file_is_one_row_and_every_used_one_is_stored_once(
    shard_format: str, photos: Path, tmp_path: Path
) -> None:
    reasons = awkward(photos)
    dataset = run(photos, tmp_path / "w", settings(shards={"format": shard_format}))
    listed = sorted(
        os.path.relpath(os.path.join(top, name), photos) for top, _, names in os.walk(photos) for name in names
    )

    manifest = str(dataset.folder / "manifest.parquet")
    rows = duckdb.execute("select path, status, reason, label, split from read_parquet(?)", [manifest]).fetchall()
    assert [row[0] for row in rows] == listed
    assert {path: reason for path, _, reason, _, _ in rows if reason} == reasons
    assert {status for path, status, *_ in rows if path in reasons} == {"quarantined"}
    used = {(path, label, split) for path, status, _, label, split in rows if status == "ok"}
    assert {path for path, *_ in used} == set(listed) - set(reasons)

    stored = [(record.path, record.label, split) for split in SPLITS for record in dataset.records(split)]
    assert len(stored) == 44
    assert set(stored) == used

    card = dataset.card
    assert (card.num_files, card.num_ok) == (len(listed), 44)
    assert {each.reason: each.num_files for each in card.reasons} == Counter(reasons.values())
    counted = Counter((split, label) for _, label, split in used)
    assert {(each.split, each.label): each.num_images for each in card.counts if each.num_images} == counted
    for shard in card.shards:
        assert Path(shard.file).name.startswith(shard.split)


def test_what_the_manifest_says_of_an_image_is_so(photos: Path, tmp_path: Path) -> None:
    grey = np.random.default_rng(77).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(grey).save(photos / "cats" / "grey.bmp")
    dataset = run(photos, tmp_path / "w")
    row = next(row for row in dataset.manifest().to_pylist() if row["path"] == "cats/grey.bmp")
    data = (photos / "cats" / "grey.bmp").read_bytes()
    assert (row["format"], row["width"], row["height"], row["mode"], row["bytes"]) == ("BMP", 30, 20, "L", len(data))
    assert row["sha256"] == duckdb.execute("select sha256(?::blob)", [data]).fetchone()[0]


def test_rows_that_do_not_add_up_to_the_files_are_an_error_and_nothing_is_published(
    photos: Path, tmp_path: Path
) -> None:
    place = Workspace(tmp_path / "w")
    planned = plan_ingest(IngestRequest(source_of(photos), settings(), place))
    for index in range(planned.num_parts):
        write_part(planned.staging, index)
    part = planned.staging / "parts" / "00001" / "manifest.parquet"
    pq.write_table(pq.read_table(part).slice(1), part)
    with pytest.raises(CountError, match="44 files were listed and 43 rows written") as caught:
        publish(planned.staging, place)
    assert caught.value.exit_status == 1
    assert not [path for path in (place.datasets / "t").iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize("shard_format", FORMATS)
def test_an_image_that_does_not_reach_its_shard_is_an_error(
    shard_format: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: Any = {
        "tfrecord": tfrecord_shards._TFRecordShard,
        "parquet": parquet_shards._ParquetShard,
        "webdataset": tar_shards._TarShard,
    }[shard_format]
    write = written.write
    monkeypatch.setattr(written, "write", lambda self, record: record.path.endswith("3.png") or write(self, record))
    planned = plan_ingest(
        IngestRequest(source_of(photos), settings(shards={"format": shard_format}), Workspace(tmp_path / "w"))
    )
    with pytest.raises(CountError, match="shard of t holds"):
        list(map(partial(write_part, planned.staging), range(planned.num_parts)))
    assert len(list((planned.staging / "parts").iterdir())) < planned.num_parts


def test_too_many_broken_images_stop_the_run_and_the_limit_can_be_raised(photos: Path, tmp_path: Path) -> None:
    for number in range(11):
        (photos / "cats" / f"cut{number}.png").write_bytes(noise_png(500 + number, 64)[:3000])
    for number in range(50):  # these are nobody's fault
        (photos / f"note{number}.txt").write_text("x")
    sentence = refused(photos, tmp_path / "w", settings(max_quarantined_share=0.19))
    assert "11 of 55 labelled files cannot be used, most of them 'truncated'; the limit is 19%" in sentence
    assert "--max-quarantined-share" in sentence
    assert run(photos, tmp_path / "w", settings(max_quarantined_share=0.2)).card.num_ok == 44


def test_a_source_of_which_nothing_can_be_used_is_refused(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "p" / name).mkdir(parents=True)
        (tmp_path / "p" / name / "1.png").write_bytes(b"")
    assert "2 of 2 labelled files cannot be used, most of them 'empty'" in refused(
        tmp_path / "p", tmp_path / "w", settings(max_quarantined_share=1.0)
    )


def test_a_class_without_an_image_to_train_on_is_named(photos: Path, tmp_path: Path) -> None:
    write_classes(photos, {"train/owls": 4, "train/jays": 4, "test/owls": 2, "test/jays": 2, "test/wrens": 2}, 700)
    shutil.rmtree(photos / "cats")
    shutil.rmtree(photos / "dogs")
    sentence = refused(photos, tmp_path / "w")
    assert f"{photos} has no image to train on for wrens: too few, or all quarantined" in sentence


def test_a_part_that_would_be_empty_is_named(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "p", {"a": 2, "b": 2})
    rules = settings(splits=SplitRules(validation=0.0001, test=0.0001))
    assert "leaves no image for validation. Add images, or give it a larger share" in refused(
        folder, tmp_path / "w", rules
    )


def test_one_class_alone_and_no_label_at_all_are_refused_before_any_work(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "p", {"cats": 3})
    assert "are of one class, 'cats'" in refused(folder, tmp_path / "w")
    assert "has a label" in refused(write_classes(tmp_path / "q", {"": 3}), tmp_path / "w")
    assert not (tmp_path / "w").exists()
    with pytest.raises(LabelError, match=r"nowhere\.csv"):
        run(folder, tmp_path / "w", settings(labels=LabelRules(csv="nowhere.csv")))


@pytest.mark.parametrize("name", ["../t", "a/b", "", ".hidden", "a b"])
def test_a_name_that_is_no_folder_is_refused_before_any_work(name: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be a name"):
        plan_ingest(IngestRequest(source_of(photos), IngestSettings(name=name), Workspace(tmp_path / "w")))
    assert not (tmp_path / "w").exists()


def test_a_killed_run_goes_on_with_the_missing_parts_alone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(photos, tmp_path / "whole")
    place = Workspace(tmp_path / "w")
    planned = plan_ingest(IngestRequest(source_of(photos), settings(), place))
    assert planned.num_parts == 3
    assert not write_part(planned.staging, 1).reused

    encoded = 0

    def killed(pixels: Any) -> bytes:
        nonlocal encoded
        encoded += 1
        if encoded > 5:
            raise KeyboardInterrupt
        return encode_png(pixels)

    monkeypatch.setattr(data_parts, "encode_png", killed)
    with pytest.raises(KeyboardInterrupt):
        write_part(planned.staging, 0)
    monkeypatch.undo()
    assert [path.name for path in (planned.staging / "parts").iterdir()] == ["00001"]

    again = plan_ingest(IngestRequest(source_of(photos), settings(), place))
    assert again == planned
    before = tree(planned.staging / "parts" / "00001")
    counts = [write_part(again.staging, index) for index in range(3)]
    assert [count.reused for count in counts] == [False, True, False]
    assert [(count.num_files, count.num_ok) for count in counts] == [(16, 16), (16, 16), (12, 12)]
    assert tree(planned.staging / "parts" / "00001") == before
    assert tree(publish(again.staging, place)) == tree(whole.folder)


def test_a_publish_that_fails_leaves_no_data_set_and_can_be_done_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Workspace(tmp_path / "w")
    planned = plan_ingest(IngestRequest(source_of(photos), settings(), place))
    for index in range(planned.num_parts):
        write_part(planned.staging, index)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publication, "write_json", full)
    with pytest.raises(WorkError, match="Disk full"):
        publish(planned.staging, place)
    monkeypatch.undo()
    assert [path.name for path in (place.datasets / "t").iterdir()] == [planned.staging.name]
    assert open_dataset(publish(planned.staging, place)).card.num_ok == 44


def test_a_rerun_reads_no_image_and_changes_no_file(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(photos, tmp_path / "w")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "w").rglob("*")}

    def read(*_: Any) -> bytes:
        raise AssertionError("an image was read")

    monkeypatch.setattr(data_parts, "read_file", read)
    planned = plan_ingest(IngestRequest(source_of(photos), settings(), Workspace(tmp_path / "w")))
    assert (planned.published, planned.num_parts) == (first.folder, 0)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "w").rglob("*")} == before


def test_a_data_set_that_was_damaged_since_is_made_again(photos: Path, tmp_path: Path) -> None:
    first = run(photos, tmp_path / "w")
    whole = tree(first.folder)
    shutil.rmtree(first.folder)
    assert tree(run(photos, tmp_path / "w").folder) == whole


def test_nothing_is_left_but_the_data_set_its_note_and_the_work_for_the_next(photos: Path, tmp_path: Path) -> None:
    dataset = run(photos, tmp_path / "w")
    assert dataset.folder.parent == tmp_path / "w" / "datasets" / "t"
    assert {path.name for path in dataset.folder.parent.iterdir()} == {
        dataset.card.version,
        ".fingerprints",
        next(dataset.folder.parent.glob(".earlier-*")).name,
    }
    assert not list((tmp_path / "w").rglob(".tmp-*"))
    named = {shard.file for shard in dataset.card.shards} | {"dataset.json"}
    assert named <= set(tree(dataset.folder))
    assert {name for name in tree(dataset.folder) if name.startswith("shards/")} == named - {"dataset.json"}


@pytest.mark.parametrize("shard_format", FORMATS)
def test_two_workspaces_and_any_number_of_threads_give_the_same_bytes(
    shard_format: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    awkward(photos)
    policy = AugmentPolicy(flip_horizontal=True, brightness=0.2)
    rules = settings(shards={"format": shard_format}, copies=1, augmentation=policy)
    trees = []
    for threads in (1, 7):
        monkeypatch.setattr(data_parts, "num_cpus", lambda threads=threads: threads)
        trees.append(tree(run(photos, tmp_path / f"w{threads}", rules).folder))
    assert trees[0] == trees[1]


def test_a_source_that_lies_elsewhere_or_was_touched_gives_the_same_data_set(photos: Path, tmp_path: Path) -> None:
    first = run(photos, tmp_path / "w")
    shutil.copytree(photos, tmp_path / "copy", copy_function=shutil.copyfile)
    assert tree(run(tmp_path / "copy", tmp_path / "other").folder) == tree(first.folder)
    os.utime(photos / "cats" / "0000.png", ns=(1, 1))
    before = first.folder.stat().st_mtime_ns
    assert run(photos, tmp_path / "w").folder == first.folder
    assert first.folder.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change",
    [
        {"copies": 1, "augmentation": AugmentPolicy(flip_horizontal=True)},
        {"splits": SplitRules(seed=1)},
        {"splits": SplitRules(test=0.2)},
        {"shards": {"images": "jpeg"}},
        {"shards": {"format": "parquet"}},
        {"shards": {"rows_per_shard": 17}},
        {"labels": LabelRules(source="folders")},
    ],
)
def test_another_setting_is_another_version(change: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    first = run(photos, tmp_path / "w")
    assert run(photos, tmp_path / "w", settings(**change)).card.version != first.card.version
    assert open_dataset(first.folder).card == first.card


def test_a_folder_is_one_version_however_its_path_is_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    first = run(photos, workspace.root)
    monkeypatch.chdir(photos.parent)
    for written in (photos.name, f"{photos.name}/", f"./{photos.name}", f"../{photos.parent.name}/{photos.name}"):
        found = plan_ingest(IngestRequest(resolve(written, workspace), settings(), workspace))
        assert found.published == first.folder
        assert find_dataset(IngestRequest(resolve(written, workspace), settings(), workspace)) == first.folder


def test_another_image_is_another_version_and_moves_no_old_one_to_another_split(photos: Path, tmp_path: Path) -> None:
    def splits(dataset: Dataset) -> dict[str, str]:
        return {row["path"]: row["split"] for row in dataset.manifest("path", "split").to_pylist()}

    first = run(photos, tmp_path / "w")
    write_classes(photos, {"cats": 5, "dogs": 9}, first=300)
    second = run(photos, tmp_path / "w")
    assert second.card.version != first.card.version
    assert splits(first).items() <= splits(second).items()
    (photos / "cats" / "0000.png").write_bytes(noise_png(999))
    third = run(photos, tmp_path / "w")
    assert third.card.version != second.card.version
    kept = {path: split for path, split in splits(second).items() if path != "cats/0000.png"}
    assert kept.items() <= splits(third).items()


def test_an_image_that_goes_between_listing_and_reading_is_quarantined(photos: Path, tmp_path: Path) -> None:
    place = Workspace(tmp_path / "w")
    planned = plan_ingest(IngestRequest(source_of(photos), settings(), place))
    (photos / "cats" / "0003.png").unlink()
    for index in range(planned.num_parts):
        write_part(planned.staging, index)
    dataset = open_dataset(publish(planned.staging, place))
    assert (dataset.card.num_files, dataset.card.num_ok) == (44, 43)
    row = next(row for row in dataset.manifest().to_pylist() if row["path"] == "cats/0003.png")
    assert (row["status"], row["reason"], row["split"]) == ("quarantined", "unreadable", None)


@pytest.mark.parametrize("shard_format", FORMATS)
def test_copies_are_written_for_training_alone_and_are_what_the_policy_gives(
    shard_format: str, photos: Path, tmp_path: Path
) -> None:
    policy = AugmentPolicy(flip_horizontal=True, shift=0.2, contrast=0.3)
    dataset = run(
        photos, tmp_path / "w", settings(shards={"format": shard_format}, copies=3, augmentation=policy, seed=11)
    )
    num_train = dataset.card.num_images("train")
    assert sum(dataset.card.num_images(split) for split in SPLITS) == 44
    for shard in dataset.card.shards:
        assert shard.num_copies == (shard.num_rows * 3 // 4 if shard.split == "train" else 0)
    for split in ("validation", "test"):
        assert {record.copy for record in dataset.records(split)} == {0}
    records = list(dataset.records("train"))
    assert len(records) == 4 * num_train
    assert [record.copy for record in records] == [0, 1, 2, 3] * num_train
    for record in records:
        pixels = decode((photos / record.path).read_bytes(), dataset.card.policy)
        if record.copy:
            pixels = augment_copy(pixels, record.sha256, record.copy, 11, policy)
        np.testing.assert_array_equal(decode_stored(record.encoded), pixels)
    assert dataset.manifest("path").num_rows == 44


def test_copies_that_would_all_be_the_same_image_are_refused() -> None:
    with pytest.raises(ValidationError, match="`copies` would be the same image again"):
        settings(copies=2)


def test_shards_mix_the_classes(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "p", {"a": 60, "b": 60})
    dataset = run(folder, tmp_path / "w", settings(shards={"rows_per_shard": 40}))
    for path in dataset.shard_paths("train"):
        shares = Counter(record.label for record in read_shard(path, dataset.labels))
        assert min(shares["a"], shares["b"]) > 5


@pytest.mark.parametrize("held", ["val", "test"])
def test_the_one_part_that_the_source_holds_out_is_the_judge(held: str, tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "p", {"train/a": 30, "train/b": 30, f"{held}/a": 5, f"{held}/b": 5})
    dataset = run(folder, tmp_path / "w")
    assert {path.split("/")[0] for path in dataset.paths("test")} == {held}
    assert len(dataset.paths("test")) == 10
    assert {path.split("/")[0] for path in dataset.paths("train") + dataset.paths("validation")} == {"train"}
    assert "is the judge" in dataset.card.decisions[1]


@pytest.mark.skipif(not COVID.is_dir(), reason="the X-rays of ../shared/data are absent")
def test_the_chest_x_rays_are_counted_as_they_lie(tmp_path: Path) -> None:
    files = [path for path in COVID.rglob("*") if path.is_file()]
    expected = Counter(path.parts[-3:-1] for path in files if path.suffix == ".png")
    rules = IngestSettings(name="xray", policy=DecodePolicy(image_size=(32, 32)), leaks="keep")
    dataset = run(COVID, tmp_path / "w", rules)
    assert (dataset.card.num_files, dataset.card.num_ok) == (len(files), sum(expected.values()))
    assert dataset.card.num_ok == 251 + 66
    assert [(each.reason, each.num_files) for each in dataset.card.reasons] == [("stray_file", len(files) - 317)]
    assert dataset.card.labels == ("Covid", "Normal", "Pneumonia")
    assert dataset.card.class_counts("test") == tuple(expected["test", name] for name in dataset.card.labels)
    carved = zip(dataset.card.class_counts("train"), dataset.card.class_counts("validation"), strict=True)
    assert [sum(pair) for pair in carved] == [expected["train", name] for name in dataset.card.labels]
    assert dataset.card.decisions[0] == "labels from class folders; split folders: test 66, train 251"


def test_images_beside_a_training_part_are_not_mixed_into_it_in_silence(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "a", {"train/cats": 6, "train/dogs": 6, "later/cats": 3, "later/dogs": 3})
    said = refused(folder, tmp_path / "w")
    assert "6 labelled images lie beside the training part, as later/cats/0012.png" in said
    assert "call their folder test" in said
    drawn = run(folder, tmp_path / "w", settings(splits=SplitRules(keep=False)))
    assert drawn.card.num_files == 18
    write_classes(folder, {"test/cats": 2, "test/dogs": 2}, first=18)
    reading = read_source(source_of(folder), settings())
    assert "training has also 6 images in no part, as later/cats/0012.png" in reading.splits_from
