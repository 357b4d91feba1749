"""Makes the golden images of `data/images/golden/` and the table of their hashes.

The images were made once. Encoders of other versions write other bytes, and other images give every decoder another
fingerprint, so that no data set could be told from one of another decoder: add files, do not make these again.

    python -m tests.golden --images    also write the images that are missing
    python -m tests.golden             write tests/data/images/golden.json anew, by the decoder that is installed
"""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.images.decoder_fingerprint import GOLDEN, decoder, golden_hashes

TABLE = Path(__file__).parent / "data" / "images" / "golden.json"
# Adam7 (ISO/IEC 15948, 8.2): first column and row of each pass, and the steps between.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def picture(height: int = 45, width: int = 61) -> NDArray[np.uint8]:
    """`uint8[height, width, 3]`: waves of three colours, a bright disc and a dark bar, without any symmetry."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(9 * x + 4 * y), np.sin(5 * y - 7 * x + 1), np.sin(13 * x * y + 2)]
    pixels = np.stack([127 + 100 * wave for wave in waves], axis=-1)
    pixels[(x - 0.3) ** 2 + (y - 0.2) ** 2 < 0.02] = (250, 240, 30)
    pixels[:, int(width * 0.7) : int(width * 0.8)] = (20, 10, 60)
    made: NDArray[np.uint8] = np.rint(pixels).clip(0, 255).astype(np.uint8)
    return made


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


def jpeg(subsampling: str) -> bytes:
    """By libjpeg-turbo's own interface, which writes the subsamplings that Pillow does not."""
    return bytes(simplejpeg.encode_jpeg(picture(), quality=85, colorspace="RGB", colorsubsampling=subsampling))


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(picture()), "JPEG", quality=85, exif=exif)


def interlaced() -> bytes:
    """Pillow does not write interlaced PNG."""
    pixels = picture(29, 23)
    height, width, _ = pixels.shape
    rows = b"".join(
        b"\0" + row.tobytes() for left, top, over, down in _PASSES for row in pixels[top::down, left::over] if row.size
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def transparent() -> Image.Image:
    pixels = picture()
    alpha = np.linspace(0, 255, pixels.shape[1]).astype(np.uint8)
    return Image.fromarray(np.dstack([pixels, np.broadcast_to(alpha, pixels.shape[:2])]))


def sixteen_bits() -> Image.Image:
    height, width = 45, 61
    return Image.fromarray((np.arange(height * width).reshape(height, width) * 23 % 65536).astype(np.uint16))


def images() -> dict[str, Callable[[], bytes]]:
    """File name to what makes it."""
    rgb, small, large = (Image.fromarray(picture(*size)) for size in ((45, 61), (29, 23), (331, 352)))
    palette = rgb.quantize(32)
    return {
        "jpeg-444.jpg": lambda: jpeg("444"),
        "jpeg-440.jpg": lambda: jpeg("440"),
        "jpeg-422.jpg": lambda: jpeg("422"),
        "jpeg-420.jpg": lambda: jpeg("420"),
        "jpeg-411.jpg": lambda: jpeg("411"),
        "jpeg-grey.jpg": lambda: saved(rgb.convert("L"), "JPEG", quality=85),
        "jpeg-progressive.jpg": lambda: saved(rgb, "JPEG", quality=85, progressive=True),
        "jpeg-cmyk.jpg": lambda: saved(rgb.convert("CMYK"), "JPEG", quality=85),
        "jpeg-rotated.jpg": rotated,
        "jpeg-large.jpg": lambda: saved(large, "JPEG", quality=40),  # shrunk by 2 while it is decoded to 160 x 160
        "png-rgb.png": lambda: saved(rgb, "PNG"),
        "png-rgba.png": lambda: saved(transparent(), "PNG"),
        "png-palette.png": lambda: saved(palette, "PNG", transparency=3),
        "png-grey.png": lambda: saved(rgb.convert("L"), "PNG"),
        "png-16-bit.png": lambda: saved(sixteen_bits(), "PNG"),
        "png-1-bit.png": lambda: saved(rgb.convert("1"), "PNG"),
        "png-interlaced.png": interlaced,
        "webp-lossy.webp": lambda: saved(transparent(), "WEBP", quality=80),
        "webp-lossless.webp": lambda: saved(rgb, "WEBP", lossless=True),
        "tiff-lzw.tif": lambda: saved(small, "TIFF", compression="tiff_lzw"),
        "tiff-float.tif": lambda: saved(Image.fromarray(picture(29, 23)[..., 0] / np.float32(255)), "TIFF"),
        "gif.gif": lambda: saved(palette, "GIF", save_all=True, append_images=[palette.rotate(90)]),
        "bmp.bmp": lambda: saved(small, "BMP"),
        "ppm.ppm": lambda: saved(small, "PPM"),
    }


def main() -> None:
    """Write the images that are missing, where that is asked for, and the table of hashes."""
    if "--images" in sys.argv[1:]:
        GOLDEN.mkdir(exist_ok=True)
        for name, made in images().items():
            if not (GOLDEN / name).exists():
                (GOLDEN / name).write_bytes(made())
    table = {"fingerprint": decoder().fingerprint, "pixels": golden_hashes()}
    TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
