"""Figures of an image's pixels, which ingest keeps in the manifest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.data.images.pixels.decode_policy import DecodePolicy

# ITU-R BT.601, as Pillow's mode L.
_THOUSANDTHS = np.array((299, 587, 114), np.float32)


@dataclass(frozen=True)
class PixelStatistics:
    """Figures of an image's pixels as the network sees them.

    Attributes:
        mean_luminance: 0 (black) to 255 (white).
        contrast: Standard deviation of luminance, 0 to 127.5.
        clipped: Share of pixels that are pure black or pure white.
        sharpness: Standard deviation of the Laplacian divided by that of luminance; 0 for a single colour.
        entropy: Of the histogram of luminance, 0 to 8 bits.
    """

    mean_luminance: float
    contrast: float
    clipped: float
    sharpness: float
    entropy: float


def pixel_statistics(pixels: NDArray[np.uint8], policy: DecodePolicy) -> PixelStatistics:
    """The statistics of an image's pixels; the bars of `pad` are not counted.

    Args:
        pixels: `uint8[H, W, 3]`, RGB.
        policy: What they were decoded with.
    """
    if policy.resize == "pad":
        pixels = _without_bars(pixels, policy.padding)
    # Each in one piece: what follows takes a third of the time that way.
    height, width = pixels.shape[:2]
    channels = np.ascontiguousarray(pixels.reshape(-1, 3).T)
    red, green, blue = channels
    # Whole numbers, so that sums are exact in any order. BLAS would start threads of its own, in each
    # of ours; einsum has none.
    luminance = np.einsum("c,cn->n", _THOUSANDTHS, channels, dtype=np.float32).astype(np.float64)
    mean = float(luminance.mean())
    variance = float(np.einsum("n,n->", luminance, luminance)) / len(luminance) - mean**2
    num_clipped = np.count_nonzero((red & green & blue) == 255) + np.count_nonzero((red | green | blue) == 0)
    contrast = math.sqrt(max(0.0, variance)) / 1000
    grey = (luminance / 1000).astype(np.float32).reshape(height, width)
    return PixelStatistics(
        mean / 1000, contrast, num_clipped / len(luminance), _sharpness(grey, contrast), _entropy(grey)
    )


def _sharpness(grey: NDArray[np.float32], contrast: float) -> float:
    if contrast == 0 or min(grey.shape) < 3:
        return 0.0
    centre = grey[1:-1, 1:-1]
    laplacian = 4 * centre - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(laplacian.std(dtype=np.float64)) / contrast


def _entropy(grey: NDArray[np.float32]) -> float:
    counts = np.bincount(grey.astype(np.uint8).ravel())
    shares = counts[counts > 0] / grey.size
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def _without_bars(pixels: NDArray[np.uint8], padding: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The rows and columns between the outermost that hold another colour; all of them where none does."""
    other = (pixels != np.array(padding, np.uint8)).any(axis=2)
    rows, columns = np.flatnonzero(other.any(axis=1)), np.flatnonzero(other.any(axis=0))
    if not len(rows):
        return pixels
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
