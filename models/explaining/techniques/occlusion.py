"""Occlusion: what happens to a class's probability when a part of the image is covered (Zeiler and Fergus 2013,
"Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, section 4.2).

Needs no gradient and no look inside: any function from images to probabilities will do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

GRID = 10
_BATCH = 50


def occlusion(
    probabilities: Callable[[NDArray[np.uint8]], NDArray[np.float64]],
    image: NDArray[np.uint8],
    class_index: int,
    grid: int = GRID,
) -> NDArray[np.float64]:
    """How much the probability of a class falls when each part is covered: `float64[g, g]`, negative where it rises.

    The image is divided into g x g cells, where g is `grid` or, for a smaller image, its shorter side. A cell is
    covered together with its neighbours, three by three cells in all, with the mean colour of the image.

    Args:
        probabilities: `uint8[N, H, W, 3]` to `float[N, C]`.
        image: `uint8[H, W, 3]`.
        class_index: Column of the class.
        grid: Cells along each side.
    """
    height, width = image.shape[:2]
    size = min(grid, height, width)
    rows, columns = (np.linspace(0, side, size + 1).round().astype(int) for side in (height, width))
    colour = image.mean(axis=(0, 1)).round().astype(np.uint8)
    covered = np.repeat(image[None], size * size, axis=0)
    for place, picture in enumerate(covered):
        row, column = divmod(place, size)
        top, bottom = rows[max(row - 1, 0)], rows[min(row + 2, size)]
        left, right = columns[max(column - 1, 0)], columns[min(column + 2, size)]
        picture[top:bottom, left:right] = colour
    found = [probabilities(covered[at : at + _BATCH])[:, class_index] for at in range(0, len(covered), _BATCH)]
    whole = probabilities(image[None])[0, class_index]
    return np.asarray(whole - np.concatenate(found), dtype=np.float64).reshape(size, size)
