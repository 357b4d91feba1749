"""Features of the frozen backbone: the numbers of Keras, computed once, in the order of the shards."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.errors import FormatError
from darkroom.data.images.decode import decode_stored
from darkroom.models.networks.architectures import build_backbone
from darkroom.models.onnx.inference import stored_batches
from darkroom.models.training import features as module
from darkroom.models.training.features import extract_features, features_folder, load_features, prepare_backbone

NETWORK = "efficientnet-lite0"


@pytest.fixture(scope="module")
def extracted(dataset: Dataset, features: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The data set, copied, with features of all its shards."""
    return open_dataset(shutil.copytree(dataset.folder, tmp_path_factory.mktemp("features") / "dataset"))


@pytest.fixture
def copied(extracted: Dataset, tmp_path: Path) -> Dataset:
    """The same to spoil."""
    return open_dataset(shutil.copytree(extracted.folder, tmp_path / "dataset"))


def extract_all(dataset: Dataset) -> Path:
    folder = prepare_backbone(dataset, NETWORK, "imagenet")
    for shard in dataset.card.shards:
        extract_features(dataset, folder, shard.file)
    return folder


def test_features_are_the_keras_backbones_and_are_computed_only_once(extracted, monkeypatch):
    folder = features_folder(extracted, NETWORK, "imagenet")
    assert folder.parent == extracted.folder / "features"
    backbone = build_backbone(NETWORK, (32, 32), "imagenet")
    for split in ("train", "validation", "test"):
        found, labels = load_features(extracted, folder, split)
        records = list(extracted.records(split))
        pixels = np.stack([decode_stored(record.encoded) for record in records])
        np.testing.assert_allclose(found, backbone(pixels, training=False), atol=1e-4)
        assert [extracted.card.labels[index] for index in labels] == [record.label for record in records]

    def must_not_run(*args, **kwargs):
        raise AssertionError("computed again")

    for name in ("OnnxRunner", "build_backbone", "export_onnx", "read_shard"):
        monkeypatch.setattr(module, name, must_not_run)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert extract_all(extracted) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_shard_whose_extraction_failed_leaves_nothing_and_is_made_by_the_next_run(copied, monkeypatch):
    folder = features_folder(copied, NETWORK, "imagenet")
    shard = copied.card.shards[0].file
    final = folder / f"{Path(shard).name}.npz"
    final.unlink()
    others = sorted(folder.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", lambda stream, **_: stream.write(b"half") and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            extract_features(copied, folder, shard)
    assert sorted(folder.iterdir()) == others
    extract_features(copied, folder, shard)
    assert sorted(folder.iterdir()) == sorted([*others, final])


def test_damaged_missing_or_foreign_features_are_refused_with_the_remedy(copied):
    folder = features_folder(copied, NETWORK, "imagenet")
    first, second = (folder / f"{Path(shard.file).name}.npz" for shard in copied.card.shards[:2])
    content = first.read_bytes()
    for spoiled in (content[: len(content) // 2], b"", b"no features"):
        first.write_bytes(spoiled)
        with pytest.raises(FormatError, match=r"npz cannot be read.*Remove .* and train again"):
            load_features(copied, folder, "train")
    first.write_bytes(second.read_bytes())
    with pytest.raises(FormatError, match="holds features of 15 images, its shard has 13"):
        load_features(copied, folder, "train")
    first.unlink()
    with pytest.raises(FormatError, match=r"npz cannot be read \(FileNotFoundError\)"):
        load_features(copied, folder, "train")


def test_another_network_or_other_weights_have_a_folder_of_their_own(dataset):
    folders = {
        features_folder(dataset, network, weights)
        for network, weights in [(NETWORK, "imagenet"), (NETWORK, "none"), ("mobilenetv2", "imagenet")]
    }
    assert len(folders) == 3


@pytest.mark.parametrize("batch_size", [1, 7, 18, 100])
def test_stored_batches_hold_every_image_once_in_order(dataset, batch_size):
    records = list(dataset.records("test"))
    found = list(stored_batches(iter(records), batch_size, dataset.labels))
    assert [len(images) for images, _ in found] == [
        min(batch_size, len(records) - start) for start in range(0, len(records), batch_size)
    ]
    np.testing.assert_array_equal(
        np.concatenate([images for images, _ in found]), np.stack([decode_stored(record.encoded) for record in records])
    )
    assert np.concatenate([labels for _, labels in found]).tolist() == [record.label_index for record in records]
