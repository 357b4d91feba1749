"""Resizing to a network's image size: stretch, pad or crop.

By `fast_image_resize` (package `cykooz-resizer`): Pillow's filters in SIMD instructions, in a third of the time. Its
results are the same on every processor, and differ from Pillow's by rounding: at most 2 of 255 for `bilinear`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from cykooz_resizer import CropBox, FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from darkroom.data.images.pixels.decode_policy import DecodePolicy

_ALGORITHM = {
    "nearest": ResizeAlg.nearest(),
    "box": ResizeAlg.convolution(FilterType.box),
    "bilinear": ResizeAlg.convolution(FilterType.bilinear),
    "bicubic": ResizeAlg.convolution(FilterType.catmull_rom),
    "lanczos": ResizeAlg.convolution(FilterType.lanczos3),
}
Size = tuple[int, int]
# The filters resize columns first, then rows. What is between the two takes 4 bytes for each pixel.
_MAX_BYTES_BETWEEN = 512 * 2**20
_SAME_PLACE = 1e-9  # of a pixel


def resize(image: Image.Image | NDArray[np.uint8], policy: DecodePolicy) -> NDArray[np.uint8]:
    """Resize an image to the policy's size, `uint8[H, W, 3]`.

    Args:
        image: RGB, either Pillow's, which is not copied, or `uint8[h, w, 3]`.
        policy: Size, how to resize, filter, and the colour of the bars of `pad`.
    """
    height, width = policy.image_size
    size = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
    if policy.resize == "stretch":
        return _filtered(image, size, (width, height), policy.interpolation)
    if policy.resize == "crop":
        scale = min(size[0] / width, size[1] / height)
        # Rounding must not lead out of the image.
        cut_width, cut_height = min(size[0], width * scale), min(size[1], height * scale)
        cut = CropBox((size[0] - cut_width) / 2, (size[1] - cut_height) / 2, cut_width, cut_height)
        return _filtered(image, size, (width, height), policy.interpolation, cut)
    scale = min(width / size[0], height / size[1])
    inner = (max(1, min(width, round(size[0] * scale))), max(1, min(height, round(size[1] * scale))))
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = policy.padding
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = _filtered(image, size, inner, policy.interpolation)
    return canvas


def _reads_outside(size: Size, wanted: Size, interpolation: str, cut: CropBox | None) -> bool:
    """Whether the library would read outside the columns that it keeps between its two passes.

    It keeps those from the first one that the first pixel of a row needs. Where that pixel is enlarged by `bicubic` and
    its centre is that of a source pixel, all weights but one are 0, and the second pixel needs a column to the left of
    it: a process that dies, or pixels of other memory. In one pass nothing is kept.
    """
    if cut is None or interpolation != "bicubic" or cut.width >= wanted[0] or size[1] == wanted[1]:
        return False
    centre = cut.left + cut.width / wanted[0] / 2
    return bool(abs(centre % 1 - 0.5) < _SAME_PLACE)


def _filtered(
    image: Image.Image | NDArray[np.uint8], size: Size, wanted: Size, interpolation: str, cut: CropBox | None = None
) -> NDArray[np.uint8]:
    """The image, or what is cut out of it, at the size wanted; sizes are (width, height)."""
    if size == wanted:
        return np.asarray(image)
    wide = size[0] > wanted[0] and size[1] < wanted[1]
    if (wide and size[0] * wanted[1] * 4 > _MAX_BYTES_BETWEEN) or _reads_outside(size, wanted, interpolation, cut):
        # rows first
        rows = CropBox(cut.left, 0, cut.width, size[1]) if cut else None
        columns = CropBox(0, cut.top, wanted[0], cut.height) if cut else None
        narrow = (wanted[0], size[1])
        return _filtered(_filtered(image, size, narrow, interpolation, rows), narrow, wanted, interpolation, columns)
    options = ResizeOptions(_ALGORITHM[interpolation], use_alpha=False, crop_box=cut)
    if isinstance(image, Image.Image):
        result = Image.new("RGB", wanted)
        Resizer().resize_pil(image, result, options)
        return np.asarray(result)
    to = ImageData(*wanted, PixelType.U8x3)
    Resizer().resize(ImageData(*size, PixelType.U8x3, image.tobytes()), to, options)
    return np.frombuffer(to.get_buffer(), np.uint8).reshape(wanted[1], wanted[0], 3)
