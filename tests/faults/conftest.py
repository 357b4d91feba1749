"""What the fault tests share: the stages as processes, small inputs, and how often they are killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.bundles import tiny_bundle
from tests.datasets import photograph
from tests.faults.stages import Nursery, Run

LABELS = ["amber", "blue", "green"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", type=int, default=20, help="Random points at which each stage is killed.")


@pytest.fixture(scope="session")
def num_points(request: pytest.FixtureRequest) -> int:
    """Points at which each stage is killed."""
    return int(request.config.getoption("--faults", 20))


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    opened = Nursery()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """118 photographs of three colours, one of them twice, and two files that are none."""
    folder = tmp_path_factory.mktemp("source") / "photos"
    for number in range(118):
        place = folder / LABELS[number % 3] / f"{number:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(place.parent.name, number, 24, 28)).save(place)
    (folder / "amber" / "copy.png").write_bytes((folder / "amber" / "000.png").read_bytes())
    (folder / "blue" / "text.jpg").write_text("This is no photograph.")
    (folder / "green" / "empty.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny" / "1", LABELS, (24, 24))


@pytest.fixture(scope="session")
def ingested(nursery: Nursery, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of an undisturbed ingest of `images`; nobody writes into it."""
    workspace = tmp_path_factory.mktemp("ingested")
    (outcome,) = nursery.run(Run("ingest", {"source": str(images), "workspace": str(workspace)}))
    assert outcome.exit_status == 0, outcome.error
    return workspace


@pytest.fixture(scope="session")
def dataset(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 60 images in eight shards to train on and to validate with; nobody writes into it."""
    from darkroom.data.images.pixels.decode_policy import DecodePolicy
    from darkroom.data.ingest.request import IngestSettings
    from darkroom.data.shards.shards import ShardRules
    from tests.datasets import ingest, write_images

    folder = write_images(tmp_path_factory.mktemp("images"))
    settings = IngestSettings(
        name="tiny", policy=DecodePolicy(image_size=(32, 32)), shards=ShardRules(rows_per_shard=18)
    )
    return ingest(folder, tmp_path_factory.mktemp("workspace"), settings).folder
