"""Images as the Python interface takes them, and `decode`, which gives the pixels that a network sees."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.errors import ImageError, InputError
from darkroom.data.images.decode import decode_opened, decode_with_header
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.stores.listing import printable, read_named
from darkroom.data.stores.storage import Url, place_from, read_object
from darkroom.models.scoring.rows import Contents

# A file's path or URL, its bytes, an image of Pillow, or an array `uint8[H, W]`, `[H, W, 3]` or `[H, W, 4]` (RGBA).
ImageInput = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]


def decode(file_or_bytes: ImageInput | BinaryIO, policy: DecodePolicy) -> NDArray[np.uint8]:
    """Pixels `uint8[H, W, 3]` of an image: those that ingest, training and scoring compute from the same file.

    Args:
        file_or_bytes: A path or URL, a binary file, or bytes; an image of Pillow or a `uint8` array is resized only.
        policy: The size and all other rules, such as `model.decode_policy`.

    Raises:
        ImageError: where it cannot be decoded; `reason` says why, as in the prediction table.
        InputError: where it is neither of these.
    """
    given = file_or_bytes.read() if hasattr(file_or_bytes, "read") else file_or_bytes
    _, contents = read_image(check_image(given), policy)
    if isinstance(contents, ImageError):
        raise contents
    if isinstance(contents, bytes):
        return decode_with_header(contents, policy).pixels
    return decode_opened(contents, policy).pixels


def check_images(images: Iterable[ImageInput]) -> Iterable[str | bytes | Image.Image]:
    """The images one by one, each checked when it is reached.

    Raises:
        InputError: where `images` is a single image, or one of them is no image.
    """
    if isinstance(images, (str, os.PathLike, bytes, Image.Image)):
        raise InputError("A single image was given where a list of images is expected. Write [image].")
    if isinstance(images, np.ndarray) and images.ndim != 4:
        raise InputError(
            f"An array of shape {images.shape} was given where a list of images is expected. Write [image], or give an "
            "array of shape (N, H, W, 3)."
        )
    return (check_image(image, f"Image {number}") for number, image in enumerate(images))


def check_image(image: Any, name: str = "The image") -> str | bytes | Image.Image:
    """An image as a path, as bytes or as Pillow's.

    Args:
        image: What the caller gave.
        name: What a message calls it.

    Raises:
        InputError: where it is no image, or one whose values have no known range.
    """
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    if isinstance(image, Image.Image):
        if image.mode in ("I", "F"):  # numbers of no known range
            raise InputError(f"{name} has Pillow's mode {image.mode}. Scale it to 0 to 255 and convert it to L or RGB.")
        return image
    if not hasattr(image, "__array__"):
        raise InputError(
            f"{name} is of type {type(image).__name__}. Give a path, bytes, an image of Pillow, or a uint8 array."
        )
    return _from_array(np.asarray(image), name)


def read_image(image: str | bytes | Image.Image, policy: DecodePolicy) -> tuple[str | None, Contents]:
    """What to score of an image.

    Args:
        image: As `check_image` returned it.
        policy: Its size limit applies to files.

    Returns:
        The path that the prediction table names, for a file, and its bytes, its pixels or why it has neither.
    """
    if not isinstance(image, str):
        return None, image
    try:
        place = place_from(image)
        if isinstance(place, Url):
            return image, read_object(place, policy.max_bytes)
        return printable(image), read_named(image, policy.max_bytes)
    except ImageError as error:
        return printable(image), error


def _from_array(pixels: NDArray[Any], name: str) -> Image.Image:
    if pixels.dtype != np.uint8:
        remedy = "Multiply by 255 and convert to uint8" if pixels.dtype.kind == "f" else "Convert it to uint8"
        raise InputError(f"{name} is an array of {pixels.dtype}, not of uint8 from 0 to 255. {remedy}.")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or pixels.size == 0:
        raise InputError(f"{name} is an array of shape {pixels.shape}. Give (H, W), (H, W, 3) or (H, W, 4) for RGBA.")
    return Image.fromarray(np.ascontiguousarray(pixels))
