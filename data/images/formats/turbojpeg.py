"""Ordinary JPEGs by libjpeg-turbo directly: bit for bit what Pillow decodes, without its extra copies."""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

# What Pillow's `draft` knows; libjpeg-turbo has fast code for these alone.
_SHRINKS = (8, 4, 2)


def shrink_by(stored: tuple[int, int], wanted: tuple[int, int]) -> int:
    """The largest of 1, 2, 4 and 8 by which an image can shrink without a side falling below the size wanted.

    The same choice as that of Pillow's `JpegImageFile.draft`.

    Args:
        stored: (width, height) in pixels.
        wanted: (width, height) in pixels.
    """
    room = min(stored[0] // wanted[0], stored[1] // wanted[1])
    return next((shrink for shrink in _SHRINKS if shrink <= room), 1)


def decode_plain_jpeg(data: bytes, image: Image.Image, shrink: int) -> NDArray[np.uint8] | None:
    """Decode an ordinary JPEG: `uint8[h, w, 3]`, each side the stored one divided by `shrink`, rounded up.

    None where it is not ordinary: CMYK, truncated, damaged, or anything else that makes libjpeg-turbo report an error
    or a warning. Such a file is left to Pillow.

    Args:
        data: The file's bytes.
        image: The same file, opened by Pillow and not loaded.
        shrink: 1, 2, 4 or 8.
    """
    if image.mode not in ("RGB", "L"):
        return None
    width, height = -(-image.width // shrink), -(-image.height // shrink)
    least = {"min_width": width, "min_height": height} if shrink > 1 else {}  # of all n/8, the smallest not below
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", **least)
    except ValueError:
        return None
    return pixels if pixels.shape == (height, width, 3) else None
