"""A perceptual hash of decoded pixels, for finding near copies.

The DCT hash (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"): grey, 32 x 32,
two-dimensional DCT-II, the 8 x 8 lowest frequencies, one bit each for above the median.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 32
_KEPT = 8


@cache
def _dct_rows() -> NDArray[np.float64]:
    """The first rows of the DCT-II matrix, `float64[8, 32]`."""
    frequency = np.arange(_KEPT)[:, None]
    position = np.arange(_SIDE)[None, :]
    return np.asarray(np.cos(np.pi / _SIDE * (position + 0.5) * frequency), dtype=np.float64)


def perceptual_hash(pixels: NDArray[np.uint8]) -> str:
    """The 64-bit hash of `uint8[H, W, 3]` as 16 hex digits."""
    grey = Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    rows = _dct_rows()
    low = rows @ np.asarray(grey, dtype=np.float64) @ rows.T
    bits = (low > np.median(low)).ravel()
    return np.packbits(bits).tobytes().hex()
