"""A tiny data set for tests: noisy photographs of three colours, with the odd files that real folders have."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.parts import write_part
from darkroom.data.ingest.plan import plan_ingest
from darkroom.data.ingest.publication import publish
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.shards.shards import ShardRules
from darkroom.data.sources.resolve import resolve
from darkroom.data.stores.workspace import Workspace

COLOURS = {"amber": (200, 150, 60), "blue": (60, 90, 200), "green": (70, 170, 80)}
NUM_IMAGES = {"train": 12, "validation": 5, "test": 6}  # of each colour
BAD_FILES = {"test/blue/cut.jpg": "truncated", "test/blue/empty.png": "empty", "test/green/text.jpg": "not_an_image"}


def photograph(label: str, number: int, height: int = 36, width: int = 40) -> NDArray[np.uint8]:
    """`uint8[height, width, 3]`: the label's colour, mixed with up to 55 % of another, under noise."""
    rng = np.random.default_rng([sorted(COLOURS).index(label), number])
    other = COLOURS[rng.choice([name for name in COLOURS if name != label])]
    share = rng.uniform(0, 0.55)
    colour = (1 - share) * np.array(COLOURS[label]) + share * np.array(other)
    return np.clip(colour + rng.normal(0, 30, (height, width, 3)), 0, 255).astype(np.uint8)


def write_images(folder: Path) -> Path:
    """`<split>/<colour>/<number>.png` or `.jpg`, and the files of `BAD_FILES`; gives the folder."""
    number = 0
    for split, count in NUM_IMAGES.items():
        for label in COLOURS:
            (folder / split / label).mkdir(parents=True)
            for _ in range(count):
                image = Image.fromarray(photograph(label, number, 36 + number % 3))
                image.save(folder / split / label / f"{number:03d}.{'jpg' if number % 2 else 'png'}", quality=95)
                number += 1
    stream = io.BytesIO()
    Image.fromarray(photograph("blue", 999, 200, 200)).save(stream, "JPEG")
    (folder / "test/blue/cut.jpg").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    (folder / "test/blue/empty.png").write_bytes(b"")
    (folder / "test/green/text.jpg").write_text("This is no photograph.")
    return folder


def ingest(folder: Path, workspace: Path, settings: IngestSettings | None = None) -> Dataset:
    """Ingest a folder by the plain functions, as the flow does; by default at 32 x 32 in several shards."""
    settings = settings or IngestSettings(
        name="tiny", policy=DecodePolicy(image_size=(32, 32)), shards=ShardRules(rows_per_shard=30)
    )
    place = Workspace(workspace)
    planned = plan_ingest(IngestRequest(resolve(str(folder), place), settings, place))
    if planned.published:
        return open_dataset(planned.published)
    for index in range(planned.num_parts):
        write_part(planned.staging, index)
    return open_dataset(publish(planned.staging, place))
