"""A folder that changed a little: only new and changed files are decoded, and the bytes are those of a fresh run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.images.pixels.augment import PRESETS
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest import parts as data_parts
from darkroom.data.ingest.parts import write_part
from darkroom.data.ingest.plan import plan_ingest
from darkroom.data.ingest.publication import publish
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.sources.resolve import resolve
from darkroom.data.stores.workspace import Workspace
from tests.folders import noise_png, write_classes

NUM_FILES = 44


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = write_classes(tmp_path / "photos", {"cats": 21, "dogs": 21})
    (folder / "cats" / "cut.png").write_bytes(noise_png(900)[:60])
    (folder / "dogs" / "empty.png").write_bytes(b"")
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the files that are read, in the order of reading."""
    seen: list[str] = []
    original = data_parts._read

    def counting(plan: Any, labels: Any, file: dict[str, Any], decode: Any, split: str | None = None) -> Any:
        if split is None:  # else it is read again, to lie in another split than drawn
            seen.append(file["path"])
        return original(plan, labels, file, decode, split)

    monkeypatch.setattr(data_parts, "_read", counting)
    return seen


def settings(**changes: Any) -> IngestSettings:
    values = {
        "name": "t",
        "policy": DecodePolicy(image_size=(16, 16)),
        "shards": {"rows_per_shard": 10},
        "max_quarantined_share": 0.9,
    }
    return IngestSettings.model_validate(values | changes)


def run(folder: Path, place: Path, rules: IngestSettings | None = None, retry: bool = False) -> tuple[Dataset, int]:
    """Ingest as the flow does; the data set, and how many files were taken over."""
    workspace = Workspace(place)
    plan = plan_ingest(IngestRequest(resolve(str(folder), workspace), rules or settings(), workspace, retry))
    if plan.published:
        return open_dataset(plan.published), 0
    num_known = sum(write_part(plan.staging, index).num_known for index in range(plan.num_parts))
    return open_dataset(publish(plan.staging, workspace)), num_known


def tree(dataset: Dataset) -> dict[str, bytes]:
    return {str(p.relative_to(dataset.folder)): p.read_bytes() for p in dataset.folder.rglob("*") if p.is_file()}


def assert_as_fresh(dataset: Dataset, folder: Path, place: Path, rules: IngestSettings | None = None) -> None:
    fresh, num_known = run(folder, place, rules)
    assert num_known == 0
    assert tree(dataset) == tree(fresh)


@pytest.mark.parametrize("shard_format", ["tfrecord", "parquet", "webdataset"])
def test_new_files_are_decoded_alone(photos: Path, tmp_path: Path, decoded: list[str], shard_format: str) -> None:
    rules = settings(shards={"rows_per_shard": 10, "format": shard_format})
    run(photos, tmp_path / "w", rules)
    assert len(decoded) == NUM_FILES
    decoded.clear()
    for number in (901, 902):
        (photos / "cats" / f"a{number}.png").write_bytes(noise_png(number))
    dataset, num_known = run(photos, tmp_path / "w", rules)
    assert sorted(decoded) == ["cats/a901.png", "cats/a902.png"]
    assert num_known == NUM_FILES
    assert_as_fresh(dataset, photos, tmp_path / "fresh", rules)


def test_a_changed_file_is_decoded_again_and_a_removed_one_is_gone(
    photos: Path, tmp_path: Path, decoded: list[str]
) -> None:
    run(photos, tmp_path / "w")
    decoded.clear()
    changed, removed = sorted((photos / "dogs").glob("*.png"))[1:3]
    changed.write_bytes(noise_png(903))
    os.utime(changed, ns=(0, 1))
    removed.unlink()
    dataset, num_known = run(photos, tmp_path / "w")
    assert decoded == [f"dogs/{changed.name}"]
    assert num_known == NUM_FILES - 2
    assert_as_fresh(dataset, photos, tmp_path / "fresh")


def test_a_new_class_renumbers_what_is_taken_over(photos: Path, tmp_path: Path, decoded: list[str]) -> None:
    run(photos, tmp_path / "w")
    decoded.clear()
    write_classes(photos, {"ants": 20}, first=500)
    dataset, num_known = run(photos, tmp_path / "w")
    assert len(decoded) == 20
    assert num_known == NUM_FILES
    assert_as_fresh(dataset, photos, tmp_path / "fresh")


@pytest.mark.parametrize(
    "change",
    [
        {"policy": DecodePolicy(image_size=(16, 17))},
        {"shards": {"rows_per_shard": 10, "images": "jpeg"}},
        {"shards": {"rows_per_shard": 10, "format": "parquet"}},
        {"copies": 1, "augmentation": PRESETS["light"]},
    ],
    ids=["policy", "encoding", "format", "copies"],
)
def test_nothing_is_taken_over_from_other_settings(photos: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    run(photos, tmp_path / "w")
    dataset, num_known = run(photos, tmp_path / "w", settings(**change))
    assert num_known == 0
    assert_as_fresh(dataset, photos, tmp_path / "fresh", settings(**change))


def test_other_splits_and_shard_sizes_take_everything_over(photos: Path, tmp_path: Path, decoded: list[str]) -> None:
    rules = settings(splits={"seed": 5}, shards={"rows_per_shard": 7})
    run(photos, tmp_path / "w")
    decoded.clear()
    dataset, num_known = run(photos, tmp_path / "w", rules)
    assert (decoded, num_known) == ([], NUM_FILES)
    assert_as_fresh(dataset, photos, tmp_path / "fresh", rules)


def test_copies_are_made_anew_for_an_image_that_comes_into_training(photos: Path, tmp_path: Path) -> None:
    changes = {"copies": 2, "augmentation": PRESETS["light"]}
    run(photos, tmp_path / "w", settings(**changes))
    rules = settings(**changes, splits={"seed": 5})
    dataset, num_known = run(photos, tmp_path / "w", rules)
    assert 0 < num_known < NUM_FILES
    assert_as_fresh(dataset, photos, tmp_path / "fresh", rules)


def test_an_ingest_that_was_given_up_is_used_as_far_as_it_came(
    photos: Path, tmp_path: Path, decoded: list[str]
) -> None:
    workspace = Workspace(tmp_path / "w")
    plan = plan_ingest(IngestRequest(resolve(str(photos), workspace), settings(), workspace))
    for index in range(2):
        write_part(plan.staging, index)
    decoded.clear()
    (photos / "cats" / "a904.png").write_bytes(noise_png(904))
    dataset, num_known = run(photos, tmp_path / "w")
    assert (len(decoded), num_known) == (NUM_FILES + 1 - 20, 20)
    assert not list(dataset.folder.parent.glob(".staging-*"))
    assert_as_fresh(dataset, photos, tmp_path / "fresh")


def test_quarantined_files_are_read_again_alone_where_that_is_asked_for(
    photos: Path, tmp_path: Path, decoded: list[str]
) -> None:
    before, _ = run(photos, tmp_path / "w")
    decoded.clear()
    same, num_known = run(photos, tmp_path / "w", retry=True)
    assert sorted(decoded) == ["cats/cut.png", "dogs/empty.png"]
    assert num_known == NUM_FILES - 2
    assert same.card.version == before.card.version


def test_a_damaged_part_is_read_again(photos: Path, tmp_path: Path, decoded: list[str]) -> None:
    dataset, _ = run(photos, tmp_path / "w")
    decoded.clear()
    (work,) = dataset.folder.parent.glob(".earlier-*")
    (work / "parts" / "00000" / "thumbnails.npy").write_bytes(b"")
    shutil.rmtree(work / "parts" / "00001")
    (photos / "cats" / "a905.png").write_bytes(noise_png(905))
    dataset, num_known = run(photos, tmp_path / "w")
    assert (len(decoded), num_known) == (21, NUM_FILES - 20)
    assert_as_fresh(dataset, photos, tmp_path / "fresh")


def test_earlier_work_takes_no_room_beside_the_data_set(photos: Path, tmp_path: Path) -> None:
    dataset, _ = run(photos, tmp_path / "w")
    published = {(dataset.folder / shard.file).stat().st_ino for shard in dataset.card.shards}
    kept = {path.stat().st_ino for path in dataset.folder.parent.glob(".earlier-*/parts/*/*.tfrecord")}
    assert kept == published
