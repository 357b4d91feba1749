"""Pixels to the bytes of an image file: what shards and reports hold."""

from __future__ import annotations

import io
import struct
import zlib

import deflate
import numpy as np
from numpy.typing import NDArray
from PIL import Image

# The least work, since shards are read far more often than sent. libdeflate's level 1 is thrice as fast as zlib's and
# compresses better; unlike faster ones it gives the same bytes on every processor.
_LEVEL = 1
_UP = 2  # PNG's filter "Up", each byte less the one above it: as small as the best filter a row, within 2 %


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Lossless PNG (ISO/IEC 15948): the same pixels give the same bytes on every processor.

    Args:
        pixels: `uint8[H, W, 3]`, RGB.
    """
    height, width, _ = pixels.shape
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    flat = pixels.reshape(height, 3 * width)
    rows[:, 0] = _UP
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB, not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", bytes(deflate.zlib_compress(rows, _LEVEL))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
        for kind, content in chunks
    )


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Baseline JPEG without chroma subsampling (4:4:4).

    Args:
        image: RGB.
        quality: libjpeg's, 1 to 100.
    """
    stream = io.BytesIO()
    # libjpeg-turbo's own interface, as simplejpeg has it, takes its inaccurate DCT up to a quality of 95.
    image.save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()
