"""Photographs for benchmarks, made and not downloaded: JPEG files of about 400 x 360 pixels and 25 KB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

_SIZE = (404, 361)  # width, height


def write_photographs(folder: Path, num_files: int) -> None:
    """Write `00000.jpg …`: smooth colours with some grain, so that a decoder has as much to do as with a photograph."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_files):
        random = np.random.default_rng(number)
        coarse = Image.fromarray(random.integers(0, 256, (24, 27, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(_SIZE, Image.Resampling.BICUBIC), np.int16)
        grain = random.normal(0, 4, (*smooth.shape[:2], 1))
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.jpg", quality=80)
