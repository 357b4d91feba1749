"""Why a file is not decoded: of another format, or damaged."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from darkroom.data.errors import ImageError
from darkroom.data.images.formats.accepted import FORMATS

# Images that people have and that are not decoded here: JPEG XL, JPEG 2000, Photoshop.
_UNSUPPORTED = re.compile(rb"\xff\x0a|\0\0\0\x0c(JXL |jP  )|\xff\x4f\xff\x51|8BPS")


_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339
_UNSIGNED, _SIGNED = 1, 2
# What Pillow and libheif say of a file that ends too soon.
_CUT = ("truncat", "not enough", "reached eof", "unexpected end of file", "cannot read full")


def unidentified(data: bytes) -> ImageError:
    """Why Pillow opened nothing: no image at all, or a known signature and a header that cannot be read.

    Args:
        data: The whole file, bytes.
    """
    if _UNSUPPORTED.match(data):
        return ImageError("unsupported", "JPEG XL, JPEG 2000 and Photoshop files are not read")
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        if accept and accept(data[:16]):
            try:
                factory(io.BytesIO(data), "")
            except Exception as error:
                # Pillow's ImageFile raises SyntaxError from the one that says what happened.
                cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
                return image_error(cause, data)
    return ImageError("not_an_image")


def image_error(error: Exception, data: bytes) -> ImageError:
    """The reason code for what Pillow raised.

    Args:
        error: Raised while it opened or loaded an image.
        data: The whole file, bytes.
    """
    message = str(error)
    lowered = message.lower()
    if isinstance(error, (Image.DecompressionBombError, MemoryError)) or "too large" in lowered:
        return ImageError("too_large", message)
    # The types are those that Pillow takes for the end of data.
    ended = isinstance(error, (EOFError, IndexError, TypeError, struct.error))
    short_riff = data[:4] == b"RIFF" and len(data) < 8 + int.from_bytes(data[4:8], "little")
    if message.startswith(("Unsupported feature", "Unsupported file-type")):  # libheif
        return ImageError("unsupported", message)
    if ended or short_riff or any(words in lowered for words in _CUT):
        return ImageError("truncated", message)
    return ImageError("unsupported" if isinstance(error, KeyError) else "corrupt", message)


def check_samples(image: Image.Image) -> None:
    """Refuse a TIFF whose samples Pillow would take for others: signed bytes, and 32 bits without a sign beyond 2^31.

    Args:
        image: Opened, of any format; loaded here where it holds whole numbers of 32 bits.

    Raises:
        ImageError: `unsupported`.
    """
    if not isinstance(image, TiffImageFile):
        return
    bits, kinds = image.tag_v2.get(_BITS_PER_SAMPLE, (1,)), image.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))
    if _SIGNED in kinds and max(bits) <= 8:
        raise ImageError("unsupported", "TIFF with signed samples of 8 bits")
    if image.mode == "I" and max(bits) == 32 and _SIGNED not in kinds and np.asarray(image).min() < 0:
        raise ImageError("unsupported", "TIFF with samples of 32 bits over 2147483647")


def check_chunks(data: bytes) -> None:
    """Refuse a PNG with a bad CRC or without its end; Pillow does not look at the CRC of the pixels.

    Args:
        data: The whole file, bytes.

    Raises:
        ImageError: `corrupt`.
        struct.error: where it ends too soon.
    """
    view, place, kind = memoryview(data), 8, b""
    while kind != b"IEND":
        num_bytes, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + num_bytes
        (checksum,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(view[place + 4 : end]) != checksum:
            raise ImageError("corrupt", f"bad CRC in {kind!r}")
        place = end + 4
