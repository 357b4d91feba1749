"""Folders of small images that no two are alike, as sources for ingest tests."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from darkroom.data.sources.resolve import Source


def noise_png(number: int, side: int = 16) -> bytes:
    """A PNG of `side` x `side` random pixels, another for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_classes(folder: Path, counts: Mapping[str, int], first: int = 0) -> Path:
    """`counts[name]` images in each folder `name`, such as `cats` or `train/cats`; gives the folder."""
    number = first
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            (folder / name / f"{number:04d}.png").write_bytes(noise_png(number))
            number += 1
    return folder


def source_of(folder: Path) -> Source:
    """The folder as a source of the same name wherever it lies."""
    return Source("photos", folder, "photos", "folder")
