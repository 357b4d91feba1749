"""The data set on disk: what its card says is so, and one that is not whole or not ours is refused."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from PIL import Image

from darkroom.data.dataset.dataset import SCHEMA_VERSION, Dataset, open_dataset, write_preview
from darkroom.data.errors import FormatError, InputError
from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.augment import AugmentPolicy
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.shards.shards import ShardRules
from tests.datasets import ingest
from tests.folders import write_classes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("dataset")
    counts = {"train/cats": 12, "train/dogs": 10, "val/cats": 3, "val/dogs": 4, "test/cats": 2, "test/dogs": 5}
    settings = IngestSettings(
        name="pets", policy=DecodePolicy(image_size=(8, 8)), shards=ShardRules(rows_per_shard=12, format="parquet")
    )
    return ingest(write_classes(root / "source", counts), root / "w", settings)


@pytest.fixture
def folder(made: Dataset, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made.folder, tmp_path / "copy"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    card = json.loads((folder / "dataset.json").read_text())
    change(card)
    (folder / "dataset.json").write_text(json.dumps(card))


def refused(folder: Path) -> str:
    with pytest.raises(FormatError) as caught:
        open_dataset(folder)
    assert caught.value.exit_status == 2
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_the_counts_of_the_card_are_those_of_the_rows(made: Dataset) -> None:
    card = made.card
    assert card.labels == ("cats", "dogs")
    assert {split: card.class_counts(split) for split in ("train", "validation", "test")} == {
        "train": (12, 10),
        "validation": (3, 4),
        "test": (2, 5),
    }
    assert [card.num_images(split) for split in ("train", "validation", "test")] == [22, 7, 7]
    manifest = str(made.folder / "manifest.parquet")
    query = "select split, label, count(*) from read_parquet(?) group by all"
    assert {(split, label): n for split, label, n in duckdb.execute(query, [manifest]).fetchall()} == {
        (each.split, each.label): each.num_images for each in card.counts
    }
    shards = duckdb.execute(
        "select split_part(parse_filename(filename), '-', 1), label, count(*) from read_parquet(?, filename=true) "
        "group by all",
        [str(made.folder / "shards" / "*.parquet")],
    ).fetchall()
    assert {(split, card.labels[label]): n for split, label, n in shards} == {
        (each.split, each.label): each.num_images for each in card.counts
    }


def test_the_card_lists_every_file_with_its_size_and_hash(made: Dataset) -> None:
    facts = [value for value in json.loads((made.folder / "dataset.json").read_text()).values() if value]
    listed = [fact for value in facts for fact in (value if isinstance(value, list) else [value])]
    found = {fact["file"]: fact for fact in listed if isinstance(fact, dict) and "file" in fact}
    files = {str(path.relative_to(made.folder)): path for path in made.folder.rglob("*") if path.is_file()}
    assert set(found) == set(files) - {"dataset.json"}
    for name, fact in found.items():
        data = files[name].read_bytes()
        assert (fact["bytes"], fact["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_shards_are_given_in_order_and_a_split_that_is_not_there_is_named(made: Dataset) -> None:
    paths = made.shard_paths("train")
    assert [path.name for path in paths] == [f"train-{n:05d}-of-{len(paths):05d}.parquet" for n in range(len(paths))]
    assert len(paths) > 1
    with pytest.raises(InputError, match="no split 'holdout'"):
        made.shard_paths("holdout")


def test_the_paths_of_a_split_are_those_of_its_records_sorted(made: Dataset) -> None:
    for split, top in (("train", "train"), ("validation", "val"), ("test", "test")):
        paths = made.paths(split)
        assert paths == sorted(record.path for record in made.records(split))
        assert {path.split("/")[0] for path in paths} == {top}


def test_a_folder_without_a_card_is_not_finished(folder: Path) -> None:
    (folder / "dataset.json").unlink()
    assert "has no dataset.json: it is unfinished" in refused(folder)


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, None, "1"])
def test_an_unknown_schema_version_is_refused_with_both_versions(version: Any, folder: Path) -> None:
    rewrite(folder, lambda card: card.update(schema_version=version))
    assert f"has schema version {version}, this Darkroom reads {SCHEMA_VERSION}" in refused(folder)


def test_pixels_of_another_version_of_the_decoding_are_refused_with_both_versions(folder: Path) -> None:
    rewrite(folder, lambda card: card["policy"].update(version=1))
    said = refused(folder)
    assert "were decoded by version 1 of the decoding code; this Darkroom has version 2" in said
    assert said.endswith("Ingest and train again, or use the Darkroom that made it.")


@pytest.mark.parametrize("text", ["", "{", "[]", '"card"', "null", "\x00\x01"])
def test_a_card_that_is_no_json_object_is_refused(text: str, folder: Path) -> None:
    (folder / "dataset.json").write_text(text)
    assert "dataset.json cannot be read" in refused(folder)


def test_a_card_in_another_encoding_is_refused(folder: Path) -> None:
    (folder / "dataset.json").write_bytes(b'{"name": "\xff"}')
    assert "dataset.json cannot be read" in refused(folder)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda card: card.pop("labels"), "labels"),
        (lambda card: card.update(extra=1), "extra"),
        (lambda card: card["shards"][0].update(num_rows="many"), "shards.0.num_rows"),
        (lambda card: card["policy"].update(resize="squash"), "policy.resize"),
    ],
)
def test_a_damaged_card_is_refused_with_the_place(change: Any, where: str, folder: Path) -> None:
    rewrite(folder, change)
    assert f"is damaged at {where}" in refused(folder)


def test_a_file_that_is_missing_or_of_another_size_is_named(folder: Path) -> None:
    shard = next((folder / "shards").iterdir())
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    assert f"{shard} has {len(whole) - 1} bytes, not {len(whole)}" in refused(folder)
    assert f"Delete {folder} and " in refused(folder)
    shard.unlink()
    assert f"{shard} is missing" in refused(folder)


@pytest.mark.parametrize("name", ["../source/train/cats/0000.png", "/etc/passwd", "shards/../../x"])
def test_a_card_that_points_outside_its_folder_is_refused(name: str, folder: Path) -> None:
    rewrite(folder, lambda card: card["shards"][0].update(file=name))
    assert f"lists {name!r}, which is outside the folder" in refused(folder)


def test_a_preview_shows_training_images_and_what_the_policy_makes_of_them(made: Dataset, tmp_path: Path) -> None:
    write_preview(made, AugmentPolicy(brightness=0.5), tmp_path / "preview.png", num_images=3)
    with Image.open(io.BytesIO((tmp_path / "preview.png").read_bytes())) as opened:
        assert opened.size == (8 * 10, 3 * 10)
        sheet = np.asarray(opened)
    source = made.folder.parents[3] / "source"
    expected = [decode((source / path).read_bytes(), made.card.policy) for path in made.paths("train")]
    for row in range(3):
        original = sheet[row * 10 + 1 : row * 10 + 9, 1:9]
        assert Counter(image.tobytes() for image in expected)[original.tobytes()] == 1
        assert not np.array_equal(sheet[row * 10 + 1 : row * 10 + 9, 11:19], original)
