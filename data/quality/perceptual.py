"""Similarity of two images: a hash that finds candidates, and a pixel comparison that decides.

The hash is the DCT hash (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"): grey,
32 x 32, two-dimensional DCT-II, the 8 x 8 lowest frequencies, one bit each for above the median. Images of one kind
(X-rays, galaxies) share it without being copies, so `similarity` compares the detail that the hash does not see.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
_KEPT = 8
# Detail is what a Gaussian blur of this standard deviation, in pixels of the thumbnail, takes away.
_BLUR = 1.5
# Root mean square of the detail, in grey levels, below which there is nothing to compare.
_MIN_DETAIL = 1.5
# From this correlation on, no crop is tried.
_SURE = 0.95
# What may be cut off either end of an axis, as a share of it: all combinations are tried, each way round.
_CUTS = (0.0, 0.025, 0.05)


@cache
def _dct_rows() -> NDArray[np.float64]:
    """The first rows of the DCT-II matrix, `float64[8, 32]`."""
    frequency = np.arange(_KEPT)[:, None]
    position = np.arange(SIDE)[None, :]
    return np.asarray(np.cos(np.pi / SIDE * (position + 0.5) * frequency), dtype=np.float64)


def thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """An RGB image in grey, stretched to `uint8[32, 32]`."""
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(grey, dtype=np.uint8)


def perceptual_hash(thumbnail: NDArray[np.uint8]) -> str:
    """The 64-bit hash of an image, of which the thumbnail `uint8[32, 32]` is given, as 16 hex digits."""
    rows = _dct_rows()
    # Rounded, so that the last digits, which differ between machines, never decide a bit of a flat image.
    low = np.round(rows @ thumbnail.astype(np.float64) @ rows.T, 3)
    ordered = np.sort(low, axis=None)  # np.median takes as long as all of this
    bits = (low > (ordered[len(ordered) // 2 - 1] + ordered[len(ordered) // 2]) / 2).ravel()
    return np.packbits(bits).tobytes().hex()


def similarity(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How similar thumbnails are, pair by pair: `float32[N]`, at most 1.

    The correlation of the detail, whatever brightness and contrast are; the largest over the crops of either image that
    keep at least 90 % of each side. An image without detail is similar to nothing: 0.

    Args:
        first: `uint8[N, 32, 32]`.
        second: `uint8[N, 32, 32]`.
    """
    a, b = first.astype(np.float32), second.astype(np.float32)
    detail_a, detail_b = _detail(a), _detail(b)
    has_detail = np.minimum(detail_a.std(axis=(1, 2)), detail_b.std(axis=(1, 2))) >= _MIN_DETAIL
    best = np.where(has_detail, _correlation(detail_a, detail_b), np.float32(0))
    undecided = np.flatnonzero(has_detail & (best < _SURE))
    if not len(undecided):
        return best
    for image, target in ((a, detail_b), (b, detail_a)):
        cropped = _correlation(_aligned(image[undecided], target[undecided]), target[undecided])
        best[undecided] = np.maximum(best[undecided], cropped)
    return best


@cache
def _blur() -> NDArray[np.float32]:
    """Gaussian blur of one axis, `float32[32, 32]`, each row with the sum 1."""
    place = np.arange(SIDE)
    weights = np.exp(-0.5 * ((place[:, None] - place) / _BLUR) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


@cache
def _windows() -> NDArray[np.float32]:
    """Crop of one axis and linear interpolation back to 32 pixels, `float32[9, 32, 32]`, one for each pair of cuts."""
    matrices = np.zeros((len(_CUTS) ** 2, SIDE, SIDE), np.float32)
    rows = np.arange(SIDE)
    for matrix, (low, high) in zip(matrices, ((low, high) for low in _CUTS for high in _CUTS), strict=True):
        centre = (low + (rows + 0.5) / SIDE * (1 - low - high)) * SIDE - 0.5
        left = np.clip(np.floor(centre).astype(int), 0, SIDE - 2)
        part = np.clip(centre - left, 0, 1)
        matrix[rows, left] += 1 - part
        matrix[rows, left + 1] += part
    return matrices


def _detail(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(images - _blur() @ images @ _blur().T, dtype=np.float32)


def _norm(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sqrt(np.square(images).sum(axis=(-2, -1))), dtype=np.float32)


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of the square roots of the detail, so that texture everywhere counts for more than one bright spot."""

    def unit(detail: NDArray[np.float32]) -> NDArray[np.float32]:
        flat = (np.sign(detail) * np.sqrt(np.abs(detail))).reshape(len(detail), SIDE * SIDE)
        flat = flat - flat.mean(axis=1, keepdims=True)
        return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), dtype=np.float32)

    return np.asarray((unit(first) * unit(second)).sum(axis=1), dtype=np.float32)


def _aligned(images: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
    """The detail of that crop of each image whose product with the target's detail is the largest."""
    # <detail(Y A X'), T> = <Y A, K X> with K the transposed detail of T: 81 crops for the price of 18.
    windows = _windows()
    blur = _blur()
    back = target - blur.T @ target @ blur
    rows = windows @ images[:, None]
    columns = back[:, None] @ windows
    flat = (len(images), len(windows), SIDE * SIDE)
    products = rows.reshape(flat) @ columns.reshape(flat).transpose(0, 2, 1)
    # Interpolation takes detail away: without this the crop that needs none would always win.
    lost = _norm(_detail(rows))[:, :, None] * _norm(_detail(images[:, None] @ windows.transpose(0, 2, 1)))[:, None]
    products = products / np.maximum(lost, 1e-6)
    best_row, best_column = np.divmod(products.reshape(len(images), len(windows) ** 2).argmax(axis=1), len(windows))
    best = windows[best_row] @ images @ windows[best_column].transpose(0, 2, 1)
    return _detail(np.asarray(best, dtype=np.float32))
