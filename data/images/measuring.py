"""The values of images of more than 8 bits, by which an ingest tells whether they fill the range they are read over."""

from __future__ import annotations

import io

from PIL import Image

from darkroom.data.errors import ImageError
from darkroom.data.images.formats.accepted import FORMATS, settle_pillow
from darkroom.data.images.formats.limits import check_bytes, check_cost, check_size
from darkroom.data.images.formats.optional_formats import open_extra
from darkroom.data.images.formats.refusals import check_samples, image_error
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.pixels.window import Measured, is_deep, measured


def has_deep_values(data: bytes) -> bool:
    """Whether a file's header speaks of more than 8 bits a channel.

    Args:
        data: The whole file, bytes.
    """
    settle_pillow()
    try:
        check_bytes(data)
        if extra := open_extra(data):
            return extra.is_deep
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return is_deep(image)
    except Exception:  # ingest sets it aside, and says why
        return False


def measure(data: bytes, policy: DecodePolicy) -> Measured:
    """The values of an image of more than 8 bits.

    Args:
        data: The whole file, bytes.
        policy: Its limits count.

    Raises:
        ImageError: as `decode` does.
    """
    settle_pillow()
    try:
        check_bytes(data)
        if extra := open_extra(data):
            check_size(extra.width, extra.height, policy)
            return extra.measured()
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_cost(data, image, policy)
            check_samples(image)
            return measured(image)
    except ImageError:
        raise
    except Exception as error:
        raise image_error(error, data) from None
