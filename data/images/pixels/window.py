"""The window of an image of more than 8 bits: which of its values becomes black, and which white.

Files of 16 bits often hold 10 to 14, and seldom say so where every reader looks. Read over the full range they are
nearly black; read each over its own range, images can no longer be compared. So the window is a setting of the whole
data set, and an ingest of images that do not fill the full range asks for it (`data/images/value_range.py`).

What a file states (`file`): TIFF 6.0 has BitsPerSample, MinSampleValue and MaxSampleValue, SMinSampleValue and
SMaxSampleValue, SampleFormat; PNG (ISO/IEC 15948, 11.3.2.4) has the chunk sBIT.
"""

from __future__ import annotations

import io
import re
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from darkroom.data.errors import ImageError
from darkroom.data.images.pixels.colour import as_floats, strips

Window = Literal["auto", "full", "file"] | tuple[int, int]
# The values that become black and white.
Bounds = tuple[float, float]

FULL: Bounds = (0.0, 65535.0)
# 12 bits read over 16 fill a sixteenth.
_SMALLEST_SHARE = 1 / 16
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339
# The later pair of tags is the one that holds any type of number.
_EXTREMES = ((340, 341), (280, 281))
_SIGNED = 2
# Rawmodes of Pillow's for channels of 16 bits, of which it keeps the high byte.
_DEEP_COLOUR = re.compile(r"(RGBA?);16([BLN])")
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_DEEP_GREY_AND_ALPHA = "LA;16B"


@dataclass(frozen=True)
class Measured:
    """The values of an image of more than 8 bits a channel.

    Attributes:
        low, high: The smallest and the largest; of colours to 8 bits.
        negative: Share of the values that are below 0.
        stated: What the file says of its range, where that is not the full one.
        full: The range that it would be read over.
        upper_quartile: A quarter of the values are above it.
    """

    low: float
    high: float
    negative: float
    stated: Bounds | None
    full: Bounds = FULL
    upper_quartile: float = 0.0

    def fits(self, bounds: Bounds) -> bool:
        """Whether it is neither nearly black over these bounds nor white in more than a quarter of its values."""
        black, white = bounds
        return self.upper_quartile <= white and self.high >= black + (white - black) * _SMALLEST_SHARE


def check_window(value: object) -> object:
    """`0,4095` as (0, 4095), and a word as it is.

    Args:
        value: What was given.

    Raises:
        ValueError: where black is not below white.
    """
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(-?\d+)\s*,\s*(-?\d+)\s*", value)):
        value = (int(found[1]), int(found[2]))
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2 or not all(isinstance(each, int) and abs(each) < 2**32 for each in value):
            raise ValueError("a window is two whole numbers, such as 0,4095")
        if value[0] >= value[1]:
            raise ValueError(f"{value[0]} must be below {value[1]}: the first becomes black and the second white")
        return tuple(value)
    if value not in ("auto", "full", "file"):
        raise ValueError(f"{value!r} is no window; write auto, full, file, or LOW,HIGH such as 0,4095")
    return value


def is_deep(image: Image.Image) -> bool:
    """Whether an image holds more than 8 bits a channel.

    Args:
        image: Opened and not loaded.
    """
    return image.mode in ("I", "F") or image.mode.startswith("I;") or _deep_colour(image) is not None


def apply_window(image: Image.Image, window: Window) -> Image.Image | None:
    """An image of more than 8 bits a channel by the window asked for, as L, RGB or RGBA; None where there is none.

    Args:
        image: Opened and not loaded, so that its file can be asked.
        window: As the policy has it.

    Raises:
        ImageError: `unsupported`, for grey of 16 bits with transparency, of which only the high byte can be had.
    """
    if window in ("auto", "full") or not is_deep(image):
        return None
    bounds = window if isinstance(window, tuple) else stated_bounds(image)
    if bounds is None:
        return None
    rawmode = _deep_colour(image)
    return _windowed_grey(image, bounds) if rawmode is None else _windowed_colour(image, rawmode, bounds)


def stated_bounds(image: Image.Image) -> Bounds | None:
    """The range of values that a file states; None where it states none, or the full range of 16 bits.

    Args:
        image: Of more than 8 bits, opened and not loaded.
    """
    if isinstance(image, TiffImageFile):
        stated = _stated_by_tiff(image)
    else:
        stated = _stated_by_png(image) if image.format == "PNG" else None
    return None if stated == FULL else stated


def measured(image: Image.Image) -> Measured:
    """The values of an image of more than 8 bits a channel.

    Args:
        image: Opened and not loaded.
    """
    stated = stated_bounds(image)
    if _deep_colour(image):
        high = np.asarray(image)[..., :3]  # bytes; the low ones do not matter here
        quartile = 256.0 * float(np.percentile(high, 75))
        return Measured(256.0 * int(high.min()), 256.0 * int(high.max()) + 255, 0.0, stated, FULL, quartile)
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    below_0, quartile = float((values < 0).mean()), float(np.percentile(values, 75))
    return Measured(float(values.min()), float(values.max()), below_0, stated, FULL, quartile)


def scaled_to_bytes(values: NDArray[Any], bounds: Bounds) -> NDArray[np.uint8]:
    """Values as grey: what lies beyond the bounds is black or white.

    Args:
        values: Of any shape and type of number.
        bounds: The values that become black and white; black may be the greater, which inverts the image.
    """
    black, white = bounds
    wide = np.asarray(values, np.float64).clip(min(bounds), max(bounds))
    return np.rint((wide - black) * (255 / (white - black))).astype(np.uint8)


def _windowed_grey(image: Image.Image, bounds: Bounds) -> Image.Image:
    image.load()
    whole = Image.new("L", image.size)
    for box in strips(image):
        values = np.nan_to_num(as_floats(image.crop(box)), nan=bounds[0])
        whole.paste(Image.fromarray(scaled_to_bytes(values, bounds)), box)
    return whole


def _windowed_colour(image: Image.Image, rawmode: str, bounds: Bounds) -> Image.Image:
    """Both bytes of each value, from two images. Transparency is not windowed."""
    if rawmode == _DEEP_GREY_AND_ALPHA:
        raise ImageError("unsupported", "no window can be applied to grey of 16 bits with transparency")
    low_bytes = _low_bytes(image, rawmode)
    image.load()
    for box in strips(image):
        high, low = (np.asarray(each.crop(box)) for each in (image, low_bytes))
        strip = high.copy()
        strip[..., :3] = scaled_to_bytes(high[..., :3].astype(np.float64) * 256 + low[..., :3], bounds)
        low_bytes.paste(Image.fromarray(strip), box)
    return low_bytes


def _deep_colour(image: Image.Image) -> str | None:
    """The rawmode of a colour image of 16 bits that is not loaded yet."""
    if not isinstance(image, ImageFile.ImageFile) or image.format not in ("PNG", "TIFF"):
        return None
    rawmodes = {tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in image.tile}
    if len(rawmodes) != 1:
        return None
    (rawmode,) = rawmodes
    is_one = rawmode == _DEEP_GREY_AND_ALPHA or (isinstance(rawmode, str) and _DEEP_COLOUR.fullmatch(rawmode))
    return str(rawmode) if is_one else None


def _low_bytes(image: Image.Image, rawmode: str) -> Image.Image:
    """A colour image of 16 bits by the low byte of each value: told the other order of bytes, Pillow keeps that one."""
    stream = image.fp  # type: ignore[attr-defined]
    place = stream.tell()
    stream.seek(0)
    data = stream.read()
    stream.seek(place)
    other = rawmode[:-1] + _OTHER_BYTE[rawmode[-1]]
    with Image.open(io.BytesIO(data), formats=("PNG", "TIFF")) as again:
        again.tile = [  # type: ignore[attr-defined]
            tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)
            for tile in again.tile  # type: ignore[attr-defined]
        ]
        again.load()
        return again.copy()


def _stated_by_tiff(image: TiffImageFile) -> Bounds | None:
    tags = image.tag_v2
    for low, high in _EXTREMES:
        found = [_number(tags.get(tag)) for tag in (low, high)]
        if found[1] is not None and (found[0] or 0.0) < found[1]:
            return found[0] or 0.0, found[1]
    bits = _number(tags.get(_BITS_PER_SAMPLE))
    if image.mode == "F" or bits is None or bits > 16:
        return None
    if _number(tags.get(_SAMPLE_FORMAT)) == _SIGNED:
        return -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    return 0.0, 2.0**bits - 1


def _number(value: object) -> float | None:
    """A tag's number, or the first of several."""
    if isinstance(value, tuple) and value:
        value = value[0]
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if np.isfinite(number) else None


def _stated_by_png(image: Image.Image) -> Bounds | None:
    """The range of a PNG with sBIT.

    The standard asks that values be scaled to 16 bits whatever sBIT says. Writers that scale are told from those that
    do not by the low bits, which then repeat the high ones or are 0.
    """
    stream = getattr(image, "fp", None)
    if stream is None:
        return None
    place, bits = stream.tell(), 16
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        num_bytes, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            break
        if kind == b"sBIT" and 1 <= num_bytes <= 4:
            bits = stream.read(num_bytes)[0]
            break
        stream.seek(num_bytes + 4, io.SEEK_CUR)
    stream.seek(place)
    if not 8 <= bits < 16 or not image.mode.startswith("I"):
        return None
    image.load()
    return None if _is_scaled(np.asarray(image).astype(np.int64), bits) else (0.0, 2.0**bits - 1)


def _is_scaled(values: NDArray[np.int64], bits: int) -> bool:
    """Whether values of 16 bits were made from fewer: shifted, with the high bits repeated, or by multiplication."""
    shift, top = 16 - bits, 2**bits - 1
    if values.max() > top:
        return True
    kept = values >> shift
    shifted = kept << shift
    multiplied = np.rint(np.rint(values * (top / 65535)) * (65535 / top)).astype(np.int64)
    return any(bool((values == made).all()) for made in (shifted, shifted | kept >> (bits - shift), multiplied))
