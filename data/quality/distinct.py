"""Images one after another, of which a duplicate of an earlier one is refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.quality.duplicates import MIN_SIMILARITY, MIN_SIMILARITY_SMALL, SMALL_SIDE
from darkroom.data.quality.hash_search import MAX_DISTANCE
from darkroom.data.quality.perceptual import perceptual_hash, similarity, thumbnail


class Distinct:
    """Images no two of which are near-duplicates, by the rule of `darkroom.data.quality.duplicates`."""

    def __init__(self) -> None:
        """Begin with none."""
        self._hashes: list[int] = []
        self._thumbnails: list[NDArray[np.uint8]] = []
        self._is_small: list[bool] = []

    def add(self, pixels: NDArray[np.uint8], side: int) -> bool:
        """Add an image; False where it duplicates one that was added before.

        Args:
            pixels: `uint8[H, W, 3]`.
            side: The shorter side of its file, in pixels.
        """
        small = thumbnail(Image.fromarray(pixels))
        code = int(perceptual_hash(small), 16)
        is_small = min(side, *pixels.shape[:2]) < SMALL_SIDE
        if self._hashes:
            distances = np.bitwise_count(np.array(self._hashes, np.uint64) ^ np.uint64(code))
            near = np.flatnonzero(distances <= MAX_DISTANCE)
            if len(near):
                alike = similarity(np.stack([self._thumbnails[at] for at in near]), np.stack([small] * len(near)))
                either_small = np.array([is_small or self._is_small[at] for at in near])
                if np.any(alike.round(2) >= np.where(either_small, MIN_SIMILARITY_SMALL, MIN_SIMILARITY)):
                    return False
        self._hashes.append(code)
        self._thumbnails.append(small)
        self._is_small.append(is_small)
        return True
