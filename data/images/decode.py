"""The only path from an image file's bytes to pixels, and the policy that configures it.

Ingest, training and scoring all call `decode(data, policy)`; the policy travels in the dataset card and in the model
bundle, so that what a network sees when it scores is what it saw when it was trained.

What the policy leaves no choice about, because only one answer is right:
- grey of 16 bits or of floats is scaled to 8 bits, never clipped (see `colour.py`);
- CMYK, YCbCr, palette, grey and 1-bit images become RGB;
- of an animation or a multi-page file, the first frame is taken; of HEIC, the primary image;
- ICC profiles are not applied: pixel values are taken as stored, as the training tutorials do.

Plain JPEGs are decoded by libjpeg-turbo itself (`turbojpeg.py`), with the pixels that Pillow would give; all else, and
whatever is odd about a JPEG, by Pillow.

Bytes are hostile. What makes a header slow to read is looked for before it is read, and what makes pixels slow or
hungry before one is decoded (`limits.py`). Of the images over 20 megapixels one is decoded at a time, in at most 2 GiB
besides the file: 16 bytes for each of 120 megapixels, which WebP takes; all else takes less.
"""

from __future__ import annotations

import io
import threading
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from darkroom.data.errors import ImageError
from darkroom.data.images.formats.accepted import FORMATS, settle_pillow
from darkroom.data.images.formats.complaints import complaints
from darkroom.data.images.formats.limits import MAX_EXIF_BYTES, check_bytes, check_cost, check_size
from darkroom.data.images.formats.optional_formats import open_extra
from darkroom.data.images.formats.refusals import check_chunks, check_samples, image_error, unidentified
from darkroom.data.images.formats.turbojpeg import decode_plain_jpeg, shrink_by
from darkroom.data.images.pixels.colour import to_rgb
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.pixels.resizing import resize
from darkroom.data.images.pixels.window import apply_window
from darkroom.data.images.several_frames import dicom_holds_several, holds_several

_BIG_PIXELS = 20_000_000
_one_big_image = threading.Lock()

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
_INVERSE = {6: 8, 8: 6}


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes:
        pixels: `uint8[H, W, 3]`, RGB.
        format, width, height, mode: As in `Header`.
        num_complaints: What the decoder found wrong, though it gave pixels: they may be damaged.
        first_of_several: More frames or pages follow the one that was decoded.
    """

    pixels: NDArray[np.uint8]
    format: str
    width: int
    height: int
    mode: str
    num_complaints: int = 0
    first_of_several: bool = False


@dataclass(frozen=True)
class Header:
    """What a file's header says of the image as stored.

    Attributes:
        format, mode: As Pillow names them, such as `JPEG` and `RGB`.
        width, height: In pixels, before any rotation.
    """

    format: str
    width: int
    height: int
    mode: str


def decode(data: bytes, policy: DecodePolicy) -> NDArray[np.uint8]:
    """The pixels of an image file, upright, in RGB, and of the policy's size.

    Args:
        data: The whole file, bytes.
        policy: How it is decoded and resized.

    Returns:
        `uint8[H, W, 3]`, 0 to 255; (H, W) is `policy.image_size`.

    Raises:
        ImageError: `empty`, `not_an_image`, `too_large`, `too_costly`, `truncated`, `corrupt`, `unsupported` or
            `needs_extra`.
    """
    return decode_with_header(data, policy).pixels


def read_header(data: bytes) -> Header | None:
    """The header of an image file, without decoding; None where the bytes are no image."""
    settle_pillow()
    try:
        check_bytes(data)
        if extra := open_extra(data):
            return Header(extra.format, extra.width, extra.height, extra.mode)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _header(image)
    except Exception:  # hostile bytes make Pillow's parsers raise nearly anything
        return None


def decode_with_header(data: bytes, policy: DecodePolicy) -> Decoded:
    """Decode as `decode` does, and keep what the header says.

    Args:
        data, policy: As for `decode`.

    Raises:
        ImageError: `empty`, `not_an_image`, `too_large`, `too_costly`, `truncated`, `corrupt`, `unsupported` or
            `needs_extra`.
    """
    settle_pillow()
    if not data:
        raise ImageError("empty")
    if len(data) > policy.max_bytes:
        raise ImageError("too_large", f"{len(data)} bytes, the limit is {policy.max_bytes}")
    check_bytes(data)
    if (extra := _decode_extra(data, policy)) is not None:
        return extra
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise unidentified(data) from None
    except Exception as error:
        raise image_error(error, data) from None
    with image:
        try:
            header = _header(image)
            check_cost(data, image, policy)
            several = holds_several(image, data)
            if image.format == "PNG":
                check_chunks(data)
            one_by_one = _one_big_image if image.width * image.height > _BIG_PIXELS else nullcontext()
            with one_by_one, complaints() as heard:
                pixels = _pixels(data, image, policy)
        except ImageError:
            raise
        except Exception as error:
            raise image_error(error, data) from None
    return Decoded(pixels, header.format, header.width, header.height, header.mode, heard.number, several)


def _decode_extra(data: bytes, policy: DecodePolicy) -> Decoded | None:
    """A DICOM or RAW file decoded; None for any other."""
    try:
        found = open_extra(data)
        if found is None:
            return None
        check_size(found.width, found.height, policy)
        with _one_big_image if found.width * found.height > _BIG_PIXELS else nullcontext():
            pixels = resize(found.load(policy).convert("RGB"), policy)
    except ImageError:
        raise
    except Exception as error:  # hostile bytes make their parsers raise nearly anything
        raise image_error(error, data) from None
    several = found.format == "DICOM" and dicom_holds_several(found.opened)
    return Decoded(pixels, found.format, found.width, found.height, found.mode, first_of_several=several)


def decode_opened(image: Image.Image, policy: DecodePolicy) -> Decoded:
    """Decode an image that Pillow has opened, or that was made from an array.

    A JPEG is decoded at full size, where `decode` may shrink it; other formats give the same pixels as `decode`.

    Args:
        image: Not yet loaded, or loaded.
        policy: How it is decoded and resized.

    Raises:
        ImageError: `too_large`, `truncated`, `corrupt` or `unsupported`.
    """
    settle_pillow()
    try:
        header = _header(image)
        turn, windowed = _turn_and_window(image, policy)
        pixels = _finished(windowed or image, turn, policy)
    except ImageError:
        raise
    except Exception as error:
        raise image_error(error, b"") from None
    return Decoded(pixels, header.format, header.width, header.height, header.mode)


def _header(image: Image.Image) -> Header:
    width, height = image.size
    if image.format == "TIFF" and _orientation(image) in _SWAPS_SIDES:  # Pillow has it upright already
        width, height = height, width
    return Header(image.format or "", width, height, image.mode)


def _pixels(data: bytes, image: Image.Image, policy: DecodePolicy) -> NDArray[np.uint8]:
    turn, windowed = _turn_and_window(image, policy)
    rgb: NDArray[np.uint8] | None = None
    if image.format in ("JPEG", "MPO"):
        height, width = policy.image_size
        wanted = (height, width) if turn in _SWAPS_SIDES else (width, height)
        rgb = decode_plain_jpeg(data, image, shrink_by(image.size, wanted) if policy.scaled_jpeg else 1)
        if rgb is None and policy.scaled_jpeg:
            image.draft(None, wanted)
    return _finished((windowed or image) if rgb is None else rgb, turn, policy)


def _turn_and_window(image: Image.Image, policy: DecodePolicy) -> tuple[int, Image.Image | None]:
    """The orientation that is still to be undone, and the image by the policy's window where it has one."""
    if image.format == "PNG":  # its EXIF may come after the pixels
        windowed = apply_window(image, policy.window)
        image.load()
        return _turn(image, policy), windowed
    turn = _turn(image, policy)
    check_samples(image)
    return turn, apply_window(image, policy.window)


def _finished(image: Image.Image | NDArray[np.uint8], turn: int, policy: DecodePolicy) -> NDArray[np.uint8]:
    """Pixels of the policy's size: in RGB, upright, resized."""
    if isinstance(image, Image.Image):
        image.load()
        image = to_rgb(image, policy.background)
    if turn in _ORIENTATION:
        image = (Image.fromarray(image) if isinstance(image, np.ndarray) else image).transpose(_ORIENTATION[turn])
    return resize(image, policy)


def _turn(image: Image.Image, policy: DecodePolicy) -> int:
    """The orientation, as EXIF numbers them, that is still to be undone once the image is loaded."""
    orientation = _orientation(image)
    if image.format == "TIFF":  # Pillow turns it upright by itself
        return 1 if policy.apply_exif_rotation else _INVERSE.get(orientation, orientation)
    return orientation if policy.apply_exif_rotation else 1


def _orientation(image: Image.Image) -> int:
    if any(len(image.info.get(name) or b"") > MAX_EXIF_BYTES for name in ("exif", "Raw profile type exif")):
        raise ImageError("too_costly", f"more than {MAX_EXIF_BYTES} bytes of EXIF")
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # broken metadata is no reason to lose the pixels
        return 1
    return value if isinstance(value, int) else 1


def decode_stored(data: bytes) -> NDArray[np.uint8]:
    """Pixels `uint8[H, W, 3]` of a shard's image, which already has the policy's size.

    Args:
        data: PNG or JPEG bytes, as `encode.py` writes them.

    Raises:
        OSError: for any other bytes (Pillow's UnidentifiedImageError is one), and for damaged ones.
    """
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
