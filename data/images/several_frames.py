"""Whether a file holds more than the image that is used: an animation, or a document of several pages."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

# Not MPO: what follows a telephone's photograph there is a preview or a depth map of it.
_FORMATS = frozenset({"GIF", "TIFF", "WEBP", "PNG", "AVIF", "HEIF"})


def holds_several(image: Image.Image, data: bytes) -> bool:
    """Whether more frames or pages follow the first.

    Args:
        image: Opened by Pillow; it stays as it is.
        data: The whole file, bytes.
    """
    if image.format not in _FORMATS:
        return False
    try:
        if image.format != "GIF":
            return bool(getattr(image, "is_animated", False))
        with Image.open(io.BytesIO(data), formats=("GIF",)) as again:  # it looks for the next frame, which moves it
            return bool(getattr(again, "is_animated", False))
    except Exception:  # what follows the first frame may be anything
        return False


def dicom_holds_several(opened: Any) -> bool:
    """Whether a DICOM has more than one frame (PS3.3, C.7.6.6).

    Args:
        opened: The data set, of pydicom.
    """
    try:
        return int(opened.get("NumberOfFrames") or 1) > 1
    except (AttributeError, TypeError, ValueError):
        return False
