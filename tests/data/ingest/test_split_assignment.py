"""A data set's splits are fair to each class, and no image that a version assigned ever changes its split."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.errors import InputError
from darkroom.data.images.decode import decode, decode_stored
from darkroom.data.images.pixels.augment import augmentation_by_name
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.parts import write_part
from darkroom.data.ingest.plan import plan_ingest, read_source
from darkroom.data.ingest.publication import publish
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.shards.shards import ShardRules, read_shard
from darkroom.data.splits.splits import SplitRules
from darkroom.data.stores.workspace import Workspace
from tests.folders import source_of, write_classes

SIZE = (8, 8)


def rules(seed: int = 0, **changes: object) -> IngestSettings:
    return IngestSettings(
        name="t",
        policy=DecodePolicy(image_size=SIZE),
        shards=ShardRules(rows_per_shard=16),
        splits=SplitRules(seed=seed),
        **changes,
    )


def ingest(folder: Path, workspace: Path, settings: IngestSettings, retry_quarantined: bool = False) -> Dataset:
    place = Workspace(workspace)
    planned = plan_ingest(IngestRequest(source_of(folder), settings, place, retry_quarantined))
    for index in range(planned.num_parts):
        write_part(planned.staging, index)
    return open_dataset(planned.published or publish(planned.staging, place))


def splits(dataset: Dataset) -> dict[str, str]:
    """The split of each used file."""
    rows = dataset.manifest("path", "split").to_pylist()
    return {row["path"]: row["split"] for row in rows if row["split"]}


def counts(dataset: Dataset) -> dict[str, Counter[str]]:
    """Images by class and split."""
    found: dict[str, Counter[str]] = {}
    for path, split in splits(dataset).items():
        found.setdefault(path.partition("/")[0], Counter())[split] += 1
    return found


def stored(dataset: Dataset) -> dict[tuple[str, int], tuple[str, bytes]]:
    """What the shards hold: by path and number of the copy, the split and the encoded image."""
    return {
        (record.path, record.copy): (shard.split, record.encoded)
        for shard in dataset.card.shards
        for record in read_shard(dataset.folder / shard.file, dataset.labels)
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixty images, of which chance (seed 1) gives the smaller class none for validation."""
    return write_classes(tmp_path / "photos", {"cats": 9, "dogs": 51})


def test_a_class_that_chance_left_out_of_a_split_is_in_each(photos: Path, tmp_path: Path) -> None:
    found = []
    for seed in range(8):
        dataset = ingest(photos, tmp_path / f"w{seed}", rules(seed))
        for number, each in ((9, counts(dataset)["cats"]), (51, counts(dataset)["dogs"])):
            for split in ("validation", "test"):
                assert each[split] >= 1
                assert abs(each[split] - number * 0.15) <= max(1, number * 0.075)
        moved = [said for said in dataset.card.decisions if said.startswith("splits: stratified")]
        found.append(len(moved))
        assert {path: split for (path, _), (split, _) in stored(dataset).items()} == splits(dataset)
    assert 1 in found


def unfair_seed(photos: Path, tmp_path: Path) -> int:
    """The first seed with which images lie elsewhere than drawn."""
    for seed in range(8):
        dataset = ingest(photos, tmp_path / f"tried-{seed}", rules(seed))
        if len(dataset.card.decisions) == 3:
            return seed
    raise AssertionError("chance is fair to all seeds")


def test_what_was_assigned_once_stays_as_images_are_added_and_new_ones_make_up_for_it(
    photos: Path, tmp_path: Path
) -> None:
    seed, place = unfair_seed(photos, tmp_path), tmp_path / "w"
    first = ingest(photos, place, rules(seed))
    before = splits(first)
    write_classes(photos, {"cats": 3}, first=1000)
    second = ingest(photos, place, rules(seed))
    assert second.card.version != first.card.version
    assert {path: splits(second)[path] for path in before} == before
    shutil.rmtree(place / "datasets/t" / second.card.version)
    write_classes(photos, {"cats": 31, "dogs": 9}, first=2000)
    third = ingest(photos, place, rules(seed))  # of the first, which is not the latest one that was made
    assert {path: splits(third)[path] for path in before} == before
    for label, number in (("cats", 43), ("dogs", 60)):
        for split in ("validation", "test"):
            assert abs(counts(third)[label][split] - number * 0.15) <= number * 0.075
    assert {path: split for (path, _), (split, _) in stored(third).items()} == splits(third)


def test_the_same_images_give_the_same_version_again_and_in_another_workspace(photos: Path, tmp_path: Path) -> None:
    seed = unfair_seed(photos, tmp_path)
    first = ingest(photos, tmp_path / "a", rules(seed))
    again = ingest(photos, tmp_path / "a", rules(seed), retry_quarantined=True)
    shutil.copytree(photos, tmp_path / "copy")
    other = ingest(tmp_path / "copy", tmp_path / "b", rules(seed))
    assert first.card == again.card == other.card.model_copy(update={"source": first.card.source})
    assert (first.folder / "manifest.parquet").read_bytes() == (other.folder / "manifest.parquet").read_bytes()


def test_other_shares_are_other_splits(photos: Path, tmp_path: Path) -> None:
    seed, place = unfair_seed(photos, tmp_path), tmp_path / "w"
    ingest(photos, place, rules(seed))
    other = rules(seed).model_copy(update={"splits": SplitRules(seed=seed, test=0.4)})
    fresh = ingest(photos, tmp_path / "fresh", other)
    assert splits(ingest(photos, place, other)) == splits(fresh)


@pytest.mark.parametrize("kind", ["tfrecord", "parquet", "webdataset"])
def test_a_moved_image_is_stored_once_where_it_belongs_with_its_copies_if_it_is_trained_on(
    photos: Path, tmp_path: Path, kind: str
) -> None:
    seed = unfair_seed(photos, tmp_path)
    settings = rules(seed, copies=2, augmentation=augmentation_by_name("light")).model_copy(
        update={"shards": ShardRules(rows_per_shard=16, format=kind)}
    )
    dataset = ingest(photos, tmp_path / "w", settings)
    held = stored(dataset)
    for path, split in splits(dataset).items():
        copies = [copy for each, copy in held if each == path]
        assert sorted(copies) == ([0, 1, 2] if split == "train" else [0])
        assert {held[path, copy][0] for copy in copies} == {split}
        pixels = decode((photos / path).read_bytes(), settings.policy)
        np.testing.assert_array_equal(decode_stored(held[path, 0][1]), pixels)
    again = ingest(photos, tmp_path / "w2", settings)
    assert stored(again) == held


def test_exact_duplicates_move_together(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "photos", {"cats": 8, "dogs": 8})
    for path in sorted(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"again-{path.name}"))
    num_moved = 0
    for seed in range(4):
        dataset = ingest(folder, tmp_path / f"w{seed}", rules(seed))
        found = splits(dataset)
        assert len(found) == 32
        assert all(found[path] == found[path.replace("again-", "")] for path in found)
        assert {(path, split) for (path, _), (split, _) in stored(dataset).items()} == set(found.items())
        num_moved += len(dataset.card.decisions) == 3
    assert num_moved > 0


def test_an_image_with_a_near_duplicate_stays_where_it_was_drawn(tmp_path: Path) -> None:
    """Every image of a class twice, a little brighter: chance is unfair with some seeds, and nothing is moved."""
    folder = write_classes(tmp_path / "photos", {"cats": 60})
    (folder / "dogs").mkdir()
    for number in range(6):
        scene = np.random.default_rng(number).integers(0, 200, (8, 8, 3), dtype=np.uint8)
        for brighter in (0, 4):
            image = Image.fromarray(scene + np.uint8(brighter)).resize((64, 64))
            image.save(folder / "dogs" / f"{number}-{brighter}.png")
    policy = DecodePolicy(image_size=(64, 64))
    for seed in range(6):
        settings = rules(seed).model_copy(update={"policy": policy, "leaks": "keep"})
        dataset = ingest(folder, tmp_path / f"w{seed}", settings)
        assert dataset.card.duplicate_summary.num_near >= 6
        rows = dataset.manifest("path", "sha256", "split").to_pylist()
        dogs = [row for row in rows if row["path"].startswith("dogs")]
        assert all(row["split"] == dataset.card.splits.split(row["sha256"], None) for row in dogs)


def test_a_file_that_changes_between_its_part_and_its_move_is_not_stored(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = unfair_seed(photos, tmp_path)
    place = Workspace(tmp_path / "w")
    planned = plan_ingest(IngestRequest(source_of(photos), rules(seed), place))
    for index in range(planned.num_parts):
        write_part(planned.staging, index)
    for path in photos.rglob("*.png"):
        Image.new("RGB", (9, 9), (1, 2, 3)).save(path)
    with pytest.raises(InputError, match="was changed while it was ingested"):
        publish(planned.staging, place)
    assert not list((tmp_path / "w/datasets/t").glob("*/dataset.json"))


def test_the_reading_names_classes_that_are_too_small_for_every_split(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "photos", {"cats": 30, "dogs": 3, "lynxes": 2})
    said = read_source(source_of(folder), rules()).splits_from
    assert said.endswith("too few images for every split: lynxes 2")
