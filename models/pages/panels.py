"""Pictures of what a network looks at: heat maps over images, maps and filters as tiles, and sheets of them as PNG.

A panel is pixels with a title. The page shows panels side by side as the window allows; a sheet is the same panels in
one PNG file, with their titles drawn.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from darkroom.models.pages.plots import font_families

Pixels = NDArray[np.uint8]

_MIN_SIDE = 160
_TILE_SIDE = 64
_GAP = 4
_DOTS_PER_INCH = 120
_LETTERS_PER_INCH = 18


@dataclass(frozen=True)
class Panel:
    """A picture with a title.

    Attributes:
        title: Its text, which may come from outside.
        pixels: `uint8[H, W, 3]`.
    """

    title: str
    pixels: Pixels


def heat_over(image: Pixels, heat: NDArray[np.floating]) -> Pixels:
    """A heat map over an image, smoothed to its size.

    Args:
        image: `uint8[H, W, 3]`.
        heat: `float[h, w]`, 0 (dark) to 1 (yellow).
    """
    colours = matplotlib.colormaps["inferno"](_resized(heat, image))[..., :3]
    return _bytes(0.5 * image / 255 + 0.5 * colours)


def change_over(image: Pixels, change: NDArray[np.floating], limit: float) -> Pixels:
    """A map over a pale grey image: red where it is positive, blue where it is negative, nothing at 0.

    Args:
        image: `uint8[H, W, 3]`.
        change: `float[h, w]`.
        limit: The value of full colour, above 0.
    """
    scaled = np.clip(_resized(change, image) / limit, -1, 1)
    colours = matplotlib.colormaps["RdBu_r"]((scaled + 1) / 2)[..., :3]
    grey = 0.4 + 0.6 * image.mean(axis=2, keepdims=True) / 255
    share = np.abs(scaled)[..., None] * 0.85
    return _bytes((1 - share) * np.repeat(grey, 3, axis=2) + share * colours)


def map_tile(values: NDArray[np.floating]) -> Pixels:
    """A map `float[h, w]`, coloured from its smallest value (dark) to its largest (yellow)."""
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return _bytes(matplotlib.colormaps["viridis"](scaled)[..., :3])


def kernel_tile(kernel: NDArray[np.floating]) -> Pixels:
    """A filter: `float[h, w, 3]` as colours around grey, `float[h, w, 1]` from blue (negative) to red (positive)."""
    limit = float(np.abs(kernel).max()) or 1.0
    scaled = (kernel / limit + 1) / 2
    return _bytes(scaled if kernel.shape[2] == 3 else matplotlib.colormaps["RdBu_r"](scaled[..., 0])[..., :3])


def mosaic(tiles: Sequence[Pixels], num_columns: int = 8) -> Pixels:
    """Tiles in rows with white between them, each enlarged to 64 pixels or more.

    Args:
        tiles: `uint8[h, w, 3]` each, all of one size.
        num_columns: Tiles per row.
    """
    large = [enlarged(tile, _TILE_SIDE) for tile in tiles]
    height, width = large[0].shape[:2]
    num_rows = -(-len(large) // num_columns)
    canvas = np.full((num_rows * (height + _GAP) - _GAP, num_columns * (width + _GAP) - _GAP, 3), 255, dtype=np.uint8)
    for place, tile in enumerate(large):
        row, column = divmod(place, num_columns)
        top, left = row * (height + _GAP), column * (width + _GAP)
        canvas[top : top + height, left : left + width] = tile
    return canvas


def enlarged(pixels: Pixels, least_side: int = _MIN_SIDE) -> Pixels:
    """The image with each pixel as a square of pixels.

    Args:
        pixels: `uint8[h, w, 3]`.
        least_side: Pixels that the shorter side then has, or more.
    """
    factor = -(-least_side // min(pixels.shape[:2]))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def sheet(rows: Sequence[Sequence[Panel]], width_inches: float = 2.2) -> bytes:
    """Rows of panels as one PNG, with the titles above them; the same panels give the same bytes.

    Args:
        rows: They may differ in length; the panels of a row have one size.
        width_inches: Of a panel in the longest row.
    """
    num_columns = max(len(row) for row in rows)
    heights = [max(panel.pixels.shape[0] / panel.pixels.shape[1] for panel in row) for row in rows]
    inches = [width_inches * ratio + 0.3 for ratio in heights]
    figure = Figure(figsize=(num_columns * width_inches, sum(inches)), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(rows), num_columns, height_ratios=inches)
    for row, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(panel.pixels, interpolation="nearest")
            title = _shortened(panel.title, int(width_inches * _LETTERS_PER_INCH))
            axes.set_title(title, fontsize=8, parse_math=False, family=font_families())
            axes.set_axis_off()
    stream = io.BytesIO()
    # The name of the software would change the bytes with every release of matplotlib.
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _resized(values: NDArray[np.floating], image: Pixels) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    picture = Image.fromarray(np.asarray(values, dtype=np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def _bytes(colours: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.round(np.clip(colours, 0, 1) * 255), dtype=np.uint8)


def _shortened(title: str, length: int) -> str:
    text = "".join(character if character.isprintable() else "\ufffd" for character in title)
    return text if len(text) <= length else text[: length - 1] + "…"
