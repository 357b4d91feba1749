"""The one way from an image file's bytes to pixels, and the policy that says how.

Ingest, training and scoring all call `decode(data, policy)`; the policy travels in the dataset card and in the model
bundle, so that what a network sees when it scores is what it saw when it was trained.

What the policy leaves no choice about, because only one answer is right:
- 16-bit and float images are scaled to 8 bits, never clipped (see `_to_eight_bits`);
- CMYK, YCbCr, palette, grey and 1-bit images become RGB;
- of an animation or a multi-page file, the first frame is taken;
- ICC profiles are not applied: pixel values are taken as stored, as the training tutorials do.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from data.errors import ImageError

# The policy's own limit is checked before any pixel is decoded; Pillow's warning would say it a second time.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# EPS, PDF and the like are left out: they start other programs or are no photographs. MPO comes as JPEG.
Image.init()
FORMATS = tuple(
    name for name in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM", "JPEG2000") if name in Image.OPEN
)

_INTERPOLATION = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# EXIF tag 0x0112 to the transpositions that undo it (EXIF 2.32, 4.6.4.A).
_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = frozenset({5, 6, 7, 8})

Byte = Annotated[int, Field(ge=0, le=255)]
Side = Annotated[int, Field(ge=8, le=4096)]


class DecodePolicy(BaseModel):
    """How an image file becomes `uint8[H, W, 3]`.

    Attributes:
        version: Of the decoding code; raised whenever the same file and settings would give other pixels.
        image_size: (height, width) of the result in pixels.
        resize: `stretch` to the size; `pad`: fit inside and fill the rest with `padding`; `crop`: fill and cut the
            centre.
        interpolation: Pillow's filter; all but `nearest` are antialiased when they shrink.
        apply_exif_rotation: Turn the image upright as its EXIF orientation asks.
        scaled_jpeg: Let the JPEG decoder shrink by 2, 4 or 8 while it decodes, never below the size asked for.
        background: RGB colour under transparent pixels.
        padding: RGB colour of the bars of `pad`.
        max_bytes: Largest file, in bytes; a larger one is `too_large`.
        max_pixels: Largest image, width x height; a larger one is `too_large` and not a pixel of it is decoded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    image_size: tuple[Side, Side] = (160, 160)
    resize: Literal["stretch", "pad", "crop"] = "stretch"
    interpolation: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = "bilinear"
    apply_exif_rotation: bool = True
    scaled_jpeg: bool = True
    background: tuple[Byte, Byte, Byte] = (255, 255, 255)
    padding: tuple[Byte, Byte, Byte] = (0, 0, 0)
    max_bytes: int = Field(default=256 * 2**20, ge=1)
    max_pixels: int = Field(default=120_000_000, ge=1, le=170_000_000)


@dataclass(frozen=True)
class Decoded:
    """Pixels `uint8[H, W, 3]`, and what the file's header says of the image as stored."""

    pixels: NDArray[np.uint8]
    format: str
    width: int
    height: int
    mode: str


@dataclass(frozen=True)
class Header:
    """What a file's header says: format, width and height as stored (before any rotation), Pillow's mode."""

    format: str
    width: int
    height: int
    mode: str


def decode(data: bytes, policy: DecodePolicy) -> NDArray[np.uint8]:
    """Pixels `uint8[H, W, 3]` of an image file's bytes; raises ImageError with a reason code."""
    return decode_with_header(data, policy).pixels


def read_header(data: bytes) -> Header | None:
    """Format and stored size without decoding, or None where no header can be read."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return Header(image.format or "", image.width, image.height, image.mode)
    except Exception:  # hostile bytes make Pillow's parsers raise nearly anything
        return None


def decode_with_header(data: bytes, policy: DecodePolicy) -> Decoded:
    """The same as `decode`, with format, stored size and mode.

    Raises:
        ImageError: `empty`, `not_an_image`, `too_large`, `truncated`, `corrupt` or `unsupported`.
    """
    if not data:
        raise ImageError("empty")
    if len(data) > policy.max_bytes:
        raise ImageError("too_large", f"{len(data)} bytes, the limit is {policy.max_bytes}")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", str(error)) from None
    except Exception as error:
        raise ImageError("not_an_image", str(error)) from None
    with image:
        header = Header(image.format or "", image.width, image.height, image.mode)
        if header.width * header.height > policy.max_pixels:
            raise ImageError(
                "too_large", f"{header.width} x {header.height} pixels, the limit is {policy.max_pixels} in all"
            )
        try:
            pixels = _pixels(image, policy)
        except Image.DecompressionBombError as error:
            raise ImageError("too_large", str(error)) from None
        except MemoryError:
            raise ImageError("too_large", "not enough memory") from None
        except ImageError:
            raise
        except Exception as error:
            reason = "truncated" if "truncat" in str(error).lower() or isinstance(error, EOFError) else "corrupt"
            raise ImageError(reason, str(error)) from None
    return Decoded(pixels, header.format, header.width, header.height, header.mode)


def _pixels(image: Image.Image, policy: DecodePolicy) -> NDArray[np.uint8]:
    orientation = _orientation(image) if policy.apply_exif_rotation else 1
    height, width = policy.image_size
    if policy.scaled_jpeg and image.format in ("JPEG", "MPO"):
        asked = (height, width) if orientation in _SWAPS_SIDES else (width, height)
        image.draft(None, asked)
    image.load()
    upright = _to_rgb(image, policy.background)
    if orientation in _ORIENTATION:
        upright = upright.transpose(_ORIENTATION[orientation])
    return np.asarray(_resize(upright, policy), dtype=np.uint8)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # broken metadata is no reason to lose the pixels
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _to_eight_bits(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layers = image.convert("RGBA")
        if layers.getchannel("A").getextrema() == (255, 255):  # opaque: nothing shows through
            return layers.convert("RGB")
        flat = Image.new("RGBA", layers.size, (*background, 255))
        flat.alpha_composite(layers)
        return flat.convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise ImageError("unsupported", f"mode {image.mode}: {error}") from None


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, scaled: 16-bit 65535 becomes 255; float 1.0 becomes 255 where none is above 1."""
    values = np.asarray(image)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=255.0, neginf=0.0)
        scale = 255.0 if values.size == 0 or values.max() <= 1.0 else 1.0
        grey = np.rint(np.clip(values * scale, 0, 255))
    else:
        grey = (np.clip(values.astype(np.int64), 0, 65535) * 255 + 32767) // 65535
    return Image.fromarray(grey.astype(np.uint8))


def _resize(image: Image.Image, policy: DecodePolicy) -> Image.Image:
    height, width = policy.image_size
    how = _INTERPOLATION[policy.interpolation]
    if policy.resize == "stretch":
        return image if image.size == (width, height) else image.resize((width, height), how)
    if policy.resize == "crop":
        scale = min(image.width / width, image.height / height)
        cut_width, cut_height = width * scale, height * scale
        left, top = (image.width - cut_width) / 2, (image.height - cut_height) / 2
        return image.resize((width, height), how, box=(left, top, left + cut_width, top + cut_height))
    scale = min(width / image.width, height / image.height)
    inner = (max(1, min(width, round(image.width * scale))), max(1, min(height, round(image.height * scale))))
    canvas = Image.new("RGB", (width, height), policy.padding)
    canvas.paste(image.resize(inner, how), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Lossless PNG of `uint8[H, W, 3]`; the fastest compression, since shards are read far more often than sent."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def encode_jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """JPEG of `uint8[H, W, 3]` without chroma subsampling."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def decode_stored(data: bytes) -> NDArray[np.uint8]:
    """Pixels `uint8[H, W, 3]` of an image that a shard holds: already at the policy's size, so never resized."""
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
