"""A data set and a bundle that the tests of this folder share; nobody writes into them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.settings import TrainSettings
from darkroom.models.training.features import extract_features, prepare_backbone
from darkroom.models.training.model_version import staging_folder
from darkroom.models.training.publish import publish_bundle
from darkroom.models.training.train import train_network
from darkroom.models.training_loop.stage import TrainRequest
from tests.datasets import ingest, write_images

SETTINGS = TrainSettings(model="cifar4", epochs=3, batch_size=12, learning_rate=1e-3, min_precision=0.95, seed=3)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of source images."""
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="session")
def dataset(images: Path, workspace: Workspace) -> Dataset:
    """Those images ingested at 32 x 32: 36 to train on, 15 for validation, 18 for the test."""
    return ingest(images, workspace.root)


@pytest.fixture(scope="session")
def features(dataset: Dataset) -> Path:
    """The folder of features of EfficientNet-Lite0 of all shards, test ones included."""
    folder = prepare_backbone(dataset, "efficientnet-lite0", "imagenet")
    for shard in dataset.card.shards:
        extract_features(dataset, folder, shard.file)
    return folder


@pytest.fixture(scope="session")
def bundle(dataset: Dataset, workspace: Workspace) -> Bundle:
    """A `cifar4` trained on them from scratch for three epochs and published."""
    trained = train_network(TrainRequest(dataset, SETTINGS, staging_folder(dataset, SETTINGS, workspace)))
    return open_bundle(publish_bundle(dataset, SETTINGS, trained, workspace))


@pytest.fixture
def plain_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pixel in place of each plot and sheet, whose drawing is most of a page's work, for tests that look at none."""
    stream = io.BytesIO()
    Image.new("RGB", (1, 1)).save(stream, "PNG")
    monkeypatch.setattr("darkroom.models.pages.plots._png", lambda figure: stream.getvalue())
    monkeypatch.setattr("darkroom.models.explaining.explain.sheet", lambda rows, width_inches=2.2: stream.getvalue())
