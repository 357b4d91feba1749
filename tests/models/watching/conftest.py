"""A model of real images, scans of handwritten digits, that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.stores.folders import folder_at
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.inbox.request import InboxRequest
from darkroom.models.inbox.score import score_inbox
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.settings import TrainSettings
from darkroom.models.training.model_version import staging_folder
from darkroom.models.training.publish import publish_bundle
from darkroom.models.training.train import train_network
from darkroom.models.training_loop.stage import TrainRequest
from darkroom.models.watching.limits import Limits
from darkroom.models.watching.request import WatchRequest
from darkroom.models.watching.watch import Watched, watch
from tests.datasets import ingest

SETTINGS = TrainSettings(model="cifar4", weights="none", epochs=5, batch_size=32, learning_rate=1e-3, seed=3)
START = datetime(2026, 11, 1, 2, tzinfo=UTC)
NUM_TRAINED = 1000


def digits() -> Iterator[tuple[Image.Image, int]]:
    """All 1,797 scans, in an order that tells nothing, with what they show."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))
    for index in order:
        pixels = np.round(found.images[index] * 255 / 16).astype(np.uint8)
        yield Image.fromarray(pixels), int(found.target[index])


@pytest.fixture(scope="session")
def digit_model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A network trained on 1,000 of them for some epochs, 200 of these for validation."""
    folder = tmp_path_factory.mktemp("digits")
    place = Workspace(tmp_path_factory.mktemp("digits-workspace"))
    for number, (image, label) in zip(range(NUM_TRAINED), digits(), strict=False):
        split = "validation" if number % 5 == 0 else "train"
        (folder / split / str(label)).mkdir(parents=True, exist_ok=True)
        image.save(folder / split / str(label) / f"{number:04d}.png")
    settings = IngestSettings(name="digits", policy=DecodePolicy(image_size=(32, 32), interpolation="bicubic"))
    dataset = ingest(folder, place.root, settings)
    trained = train_network(TrainRequest(dataset, SETTINGS, staging_folder(dataset, SETTINGS, place)))
    return open_bundle(publish_bundle(dataset, SETTINGS, trained, place))


@dataclass
class Nights:
    """An inbox and its table, a night after the other.

    Attributes:
        bundle: The model.
        root: Holds both.
        number: Of the next night.
        fresh: Scans that nobody has seen.
    """

    bundle: Bundle
    root: Path
    number: int = 0
    fresh: list[Image.Image] = field(default_factory=lambda: [image for image, _ in list(digits())[NUM_TRAINED:]])

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def table(self) -> TableOutput:
        return TableOutput(self.root / "table")

    def take(self, num_images: int) -> list[Image.Image]:
        """New scans."""
        taken, self.fresh = self.fresh[:num_images], self.fresh[num_images:]
        return taken

    def put(self, images: list[Image.Image]) -> None:
        """Images that arrive."""
        self.inbox.mkdir(exist_ok=True)
        for place, image in enumerate(images):
            image.save(self.inbox / f"{self.number}-{place:04d}.png")

    def score(self, limits: Limits | None = None) -> Watched:
        """A night's run, watched."""
        started = START + timedelta(days=self.number)
        self.number += 1
        request = InboxRequest(ScoreRequest(self.inbox, self.bundle.folder, self.table), started, settle_seconds=0)
        summary = score_inbox(request)
        return watch(
            WatchRequest(
                table=self.table,
                parts=tuple(self.table.folder / name for name in summary.parts),
                images=folder_at(str(self.inbox)),
                bundle=self.bundle,
                started_at=summary.started_at,
                images_per_second=summary.images_per_second,
                limits=limits or Limits(),
            )
        )


@pytest.fixture
def nights(digit_model: Bundle, tmp_path: Path) -> Nights:
    return Nights(digit_model, tmp_path)
