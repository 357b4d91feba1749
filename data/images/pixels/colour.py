"""From any mode of Pillow's to RGB of 8 bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.errors import ImageError

_STRIP_PIXELS = 2**20


def to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Convert an image to 8-bit RGB, on `background` where it is transparent.

    Args:
        image: Loaded, of any mode.
        background: RGB, 0 to 255.

    Raises:
        ImageError: `unsupported`, where Pillow cannot convert the mode.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _to_eight_bits(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        boxes = strips(image)
        if len(boxes) == 1:
            return _composited(image, background)
        whole = Image.new("RGB", image.size)
        for box in boxes:
            whole.paste(_composited(image.crop(box), background), box)
        return whole
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise ImageError("unsupported", f"mode {image.mode}: {error}") from None


def strips(image: Image.Image) -> list[tuple[int, int, int, int]]:
    """Boxes of the image's whole rows, top to bottom: all at once may take eight times the image's memory.

    Args:
        image: Of any mode.
    """
    rows = max(1, _STRIP_PIXELS // image.width)
    return [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]


def as_floats(image: Image.Image) -> NDArray[np.float64]:
    """The values of a grey image, `float64[H, W]`, without NumPy's warning of a signalling NaN."""
    with np.errstate(invalid="ignore"):
        return np.asarray(image, dtype=np.float64)


def _composited(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """The image in RGB, on `background`."""
    layers = image if image.mode == "RGBA" and "transparency" not in image.info else image.convert("RGBA")
    alpha = layers.getchannel("A")
    if alpha.getextrema() == (255, 255):  # opaque: nothing shows through
        return layers.convert("RGB")
    return Image.composite(layers.convert("RGB"), Image.new("RGB", layers.size, background), alpha)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, scaled so that white becomes 255.

    White is 65535 for whole numbers; for floats the first of 1, 255 and 65535 that no pixel is above. Where a pixel is
    above 65535 it is white. What is negative or not finite becomes 0.
    """

    def values() -> Iterator[NDArray[np.float64]]:
        for box in strips(image):
            yield np.nan_to_num(as_floats(image.crop(box)), nan=0.0, posinf=0.0, neginf=0.0).clip(0)

    whites = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    largest = max(float(strip.max()) for strip in values())
    white = next((white for white in whites if largest <= white), largest)
    return Image.fromarray(np.concatenate([np.rint(strip * (255 / white)).astype(np.uint8) for strip in values()]))
