"""A data set that grew a little: only new images go through the backbone, and the files are those of a fresh run."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.files.atomic import write_json
from darkroom.data.images.decoder_fingerprint import Decoder
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.shards.shards import ShardRules
from darkroom.models.onnx.runtime import OnnxRunner
from darkroom.models.training import features as module
from darkroom.models.training.features import (
    FeatureCounts,
    extract_features,
    features_folder,
    finish_features,
    load_features,
    prepare_backbone,
)
from tests.datasets import ingest, photograph, write_images

NETWORK = "efficientnet-lite0"


@pytest.fixture
def backbone(features: Path) -> Path:
    return features / "backbone.onnx"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images")


def rules(shard_format: Any = "tfrecord") -> IngestSettings:
    return IngestSettings(
        name="tiny",
        policy=DecodePolicy(image_size=(32, 32)),
        shards=ShardRules(rows_per_shard=30, format=shard_format),
    )


def add_photographs(folder: Path, number: int = 4) -> None:
    for index in range(number):
        Image.fromarray(photograph("blue", 500 + index)).save(folder / "train/blue" / f"new{index}.png")


def extract(dataset: Dataset, backbone: Path) -> FeatureCounts:
    """All shards but those of the test, as the flow does it, with an export at hand; the sum of the counts."""
    folder = features_folder(dataset, NETWORK, "imagenet")
    folder.mkdir(parents=True)
    shutil.copyfile(backbone, folder / "backbone.onnx")
    assert prepare_backbone(dataset, NETWORK, "imagenet") == folder
    shards = [shard.file for shard in dataset.card.shards if shard.split != "test"]
    counts = [extract_features(dataset, folder, shard) for shard in shards]
    finish_features(dataset, folder, counts)
    return FeatureCounts(sum(each.num_computed for each in counts), sum(each.num_known for each in counts))


def files(dataset: Dataset) -> dict[str, bytes]:
    folder = features_folder(dataset, NETWORK, "imagenet")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_as_fresh(dataset: Dataset, backbone: Path, place: Path) -> None:
    """A copy of the data set, where no other version lies, gets the same files from its own images."""
    alone = open_dataset(shutil.copytree(dataset.folder, place / "alone", ignore=shutil.ignore_patterns("features")))
    assert extract(alone, backbone).num_known == 0
    assert files(alone) == files(dataset)


@pytest.mark.parametrize("shard_format", ["tfrecord", "parquet", "webdataset"])
def test_only_images_that_no_other_version_has_are_computed(
    photos: Path, backbone: Path, tmp_path: Path, shard_format: str, caplog: pytest.LogCaptureFixture
) -> None:
    old = ingest(photos, tmp_path / "w", rules(shard_format))
    assert extract(old, backbone) == FeatureCounts(num_computed=51, num_known=0)
    add_photographs(photos)
    new = ingest(photos, tmp_path / "w", rules(shard_format))
    assert new.folder != old.folder
    with caplog.at_level(logging.INFO, "darkroom.models.training.features"):
        assert extract(new, backbone) == FeatureCounts(num_computed=4, num_known=51)
    assert caplog.messages[-1] == f"Features of {new.reference}: 4 images computed, 51 reused from other versions."
    assert_as_fresh(new, backbone, tmp_path)


def test_a_version_of_another_decoder_lends_no_features(
    photos: Path,
    backbone: Path,
    tmp_path: Path,
    upgrade_decoder: Callable[[], Decoder],
    caplog: pytest.LogCaptureFixture,
) -> None:
    old = ingest(photos, tmp_path / "w", rules())
    extract(old, backbone)
    # The same pixels in all that is stored, so that only the cards tell the decoders apart.
    add_photographs(photos)
    new = ingest(photos, tmp_path / "w", rules())
    other = upgrade_decoder()
    card = new.card.model_copy(update={"decoder": other})
    write_json(new.folder / "dataset.json", card.model_dump(mode="json"))
    assert extract(open_dataset(new.folder), backbone) == FeatureCounts(num_computed=55, num_known=0)
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert old.card.version in said
    assert str(old.card.decoder) in said
    assert str(other) in said


def test_a_version_whose_decoder_is_not_recorded_lends_its_features(
    photos: Path, backbone: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = ingest(photos, tmp_path / "w", rules())
    extract(old, backbone)
    card = old.card.model_dump(mode="json")
    del card["decoder"]
    write_json(old.folder / "dataset.json", card)
    add_photographs(photos)
    new = ingest(photos, tmp_path / "w", rules())
    assert extract(new, backbone) == FeatureCounts(num_computed=4, num_known=51)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_nothing_is_computed_or_taken_over_twice(
    photos: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ingest(photos, tmp_path / "w", rules())
    extract(old, backbone)
    (photos / "train/blue").rename(photos / "train/cyan")  # other labels, the same pictures
    (photos / "test/blue").rename(photos / "test/cyan")
    (photos / "validation/blue").rename(photos / "validation/cyan")
    new = ingest(photos, tmp_path / "w", rules())

    def must_not_run(path: Path) -> None:
        raise AssertionError(f"{path} was run")

    monkeypatch.setattr(module, "OnnxRunner", must_not_run)
    assert extract(new, backbone) == FeatureCounts(num_computed=0, num_known=51)
    truth = [record.label_index for record in new.records("train")]
    assert load_features(new, features_folder(new, NETWORK, "imagenet"), "train")[1].tolist() == truth
    shard = new.card.shards[0].file
    assert extract_features(new, features_folder(new, NETWORK, "imagenet"), shard) == FeatureCounts(0, 0)


def test_damaged_features_of_another_version_are_computed_again(photos: Path, backbone: Path, tmp_path: Path) -> None:
    old = ingest(photos, tmp_path / "w", rules())
    extract(old, backbone)
    _, second, *_ = sorted(features_folder(old, NETWORK, "imagenet").glob("train-*.npz"))
    with np.load(second) as stored:
        num_damaged = len(stored["labels"])
    content = bytearray(second.read_bytes())
    content[len(content) // 4] ^= 1  # within the features; the keys can still be read
    second.write_bytes(content)
    add_photographs(photos)
    new = ingest(photos, tmp_path / "w", rules())
    assert extract(new, backbone) == FeatureCounts(num_computed=4 + num_damaged, num_known=51 - num_damaged)
    assert_as_fresh(new, backbone, tmp_path)


def test_features_of_another_backbone_or_image_size_are_not_taken(photos: Path, backbone: Path, tmp_path: Path) -> None:
    old = ingest(photos, tmp_path / "w", rules())
    extract(old, backbone)
    add_photographs(photos)
    new = ingest(photos, tmp_path / "w", rules())
    other = onnx.load(backbone)
    other.producer_version = "another"
    onnx.save(other, tmp_path / "other.onnx")
    assert extract(new, tmp_path / "other.onnx") == FeatureCounts(num_computed=55, num_known=0)


def test_an_image_has_the_same_features_in_every_batch(backbone: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    runner, single = OnnxRunner(backbone), OnnxRunner(backbone, num_threads=1)
    together = runner(pixels)
    order = np.random.default_rng(1).permutation(40)
    np.testing.assert_array_equal(runner(pixels[order]), together[order])
    np.testing.assert_array_equal(single(pixels[:33]), together[:33])
    for size in (1, 3, 32):
        np.testing.assert_array_equal(runner(pixels[7 : 7 + size]), together[7 : 7 + size])
