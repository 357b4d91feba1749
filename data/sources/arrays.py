"""Arrays of images (`.npz`), as courses distribute them, written once as PNG, one folder per class.

The file holds `data`, `[N, H, W, 3]` (or 1 channel, or `[N, H, W]`), and `labels`, one-hot rows `[N, C]` or class
numbers `[N]`; `names`, `[C]` of text, names the classes, which are otherwise called by their numbers. Whole numbers
stand for 0 to 255; fractions too, unless none is above 1.

Nothing that the file says about itself is believed: shapes and types are checked before memory is asked for, images are
read one at a time, and nothing in it can run code (no pickles).
"""

from __future__ import annotations

import logging
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.errors import SourceError, WorkError
from darkroom.data.figures import count
from darkroom.data.files.atomic import atomic_folder
from darkroom.data.files.hashing import file_sha256
from darkroom.data.stores.listing import printable

logger = logging.getLogger(__name__)

ARRAY_SUFFIX = ".npz"

_CODE_VERSION = 1
_MAX_IMAGES = 5_000_000
_MAX_SIDE = 4096
_MAX_BYTES = 200 * 2**30
_MAX_RATIO = 1000  # zlib's own limit is 1,032
_MAX_LABEL_BYTES = 256 * 2**20
_MAX_NAME_BYTES = 100
_MAX_CODE_POINT = 0x10FFFF
_FORM = "Give data [N, H, W, 3] and labels, one-hot [N, C] or numbers [N], as numpy.savez writes them"
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError, RuntimeError, KeyError)


@dataclass(frozen=True)
class _Header:
    """The header of one array in the file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def is_array_file(path: Path) -> bool:
    """Whether the name ends as that of a file that `write_images` reads."""
    return path.name.lower().endswith(ARRAY_SUFFIX)


def write_images(arrays: Path, workspace_sources: Path) -> Path:
    """Write the images of an `.npz` file, or find them already written.

    Args:
        arrays: The `.npz`: `data` `[N, H, W, 3]`, and `labels`, one-hot `[N, C]` or class numbers `[N]`.
        workspace_sources: The workspace's `sources` folder; created where it is missing.

    Returns:
        The absolute path of `sources/<sha256[:16] of the file>-arrays-v1/`, which holds `<class>/image-00000.png` ….

    Raises:
        SourceError: naming the array that is wrong and what is expected.
        WorkError: where the workspace cannot be written to.
    """
    folder = images_folder(arrays, workspace_sources)
    if folder.is_dir():
        logger.info("The images of %s are already written: %s", printable(str(arrays)), folder)
        return folder
    try:
        with zipfile.ZipFile(arrays) as opened, atomic_folder(folder) as temporary:
            num_images = _Arrays(arrays, opened).write_to(temporary)
    except OSError as error:
        raise WorkError(
            f"The images of {printable(str(arrays))} cannot be written into {folder}: {error.strerror or error}. "
            "Free space there, or choose another folder with --workspace."
        ) from None
    except _DAMAGE as error:
        raise SourceError(
            f"{printable(str(arrays))} is damaged, or not what numpy.savez writes ({printable(str(error))}). {_FORM}."
        ) from None
    logger.info("Wrote %s of %s to %s", count(num_images, "image"), printable(str(arrays)), folder)
    return folder


def images_folder(arrays: Path, workspace_sources: Path) -> Path:
    """Where the images of an `.npz` are written, or will be: a folder named after its hash, absolute.

    Args:
        arrays: The file; it is read as a whole, for its hash.
        workspace_sources: The workspace's `sources` folder.

    Raises:
        SourceError: where the file cannot be read.
    """
    try:
        key = f"{file_sha256(arrays)[:16]}-arrays-v{_CODE_VERSION}"
    except OSError as error:
        raise SourceError(f"{printable(str(arrays))} cannot be read: {error.strerror}.") from None
    return Path(os.path.abspath(workspace_sources)) / key


class _Arrays:
    """An opened `.npz`."""

    def __init__(self, path: Path, opened: zipfile.ZipFile) -> None:
        self.path = path
        self.opened = opened
        self.names = {name.removesuffix(".npy") for name in opened.namelist()}

    def refusal(self, array: str, reason: str) -> SourceError:
        return SourceError(f"{printable(str(self.path))}: its array {array!r} {reason}. {_FORM}.")

    def write_to(self, folder: Path) -> int:
        """Write every image; returns their number."""
        header = self._data_header()
        labels, num_classes = self._labels(header.shape[0])
        names = self._names(num_classes)
        factor = 1.0 if header.dtype.kind in "ui" else self._factor(header)
        for number in sorted(set(labels.tolist())):
            (folder / names[number]).mkdir()
        digits = max(5, len(str(header.shape[0] - 1)))
        for index, image in enumerate(self._images(header)):
            if header.dtype != np.uint8:
                self._check_range(image)
                image = np.rint(image.astype(np.float64) * factor).astype(np.uint8)
            pixels = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
            place = folder / names[int(labels[index])] / f"image-{index:0{digits}d}.png"
            Image.fromarray(np.ascontiguousarray(pixels)).save(place, "PNG")
        return header.shape[0]

    def _data_header(self) -> _Header:
        with self._open("data") as (header, _):
            shape = header.shape
            if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
                raise self.refusal("data", f"has the shape {list(shape)[:8]}, which is not that of images")
            if header.dtype.kind not in "uif" or header.dtype.itemsize > 8:
                raise self.refusal("data", f"is of type {header.dtype}, not of numbers")
            if not 1 <= shape[0] <= _MAX_IMAGES or not all(1 <= side <= _MAX_SIDE for side in shape[1:3]):
                limits = f"1 to {_MAX_IMAGES:,} images of 1 to {_MAX_SIDE} pixels a side are read"
                raise self.refusal("data", f"has the shape {list(shape)}: {limits}")
            return header

    def _labels(self, num_images: int) -> tuple[NDArray[np.int64], int]:
        """The class number of each image, and how many classes there are."""
        with self._open("labels") as (header, stream):
            shape = header.shape
            if header.num_bytes > _MAX_LABEL_BYTES:
                raise self.refusal("labels", f"has {header.num_bytes:,} bytes, more than {_MAX_LABEL_BYTES:,}")
            if len(shape) not in (1, 2) or shape[0] != num_images or header.dtype.kind not in "buif":
                found = f"has the shape {list(shape)[:8]} and the type {header.dtype}"
                raise self.refusal("labels", f"{found}, but there are {num_images} images")
            values = _read(stream, header)
        if values.ndim == 1:
            if header.dtype.kind not in "ui" or values.min() < 0 or values.max() >= num_images:
                raise self.refusal("labels", "does not hold class numbers from 0")
            return values.astype(np.int64), int(values.max()) + 1
        if not (np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()):
            raise self.refusal("labels", "is not one-hot: each row must hold a single 1, and 0 elsewhere")
        return values.argmax(axis=1), values.shape[1]

    def _names(self, num_classes: int) -> list[str]:
        """The folder of each class: its number, or its name where the file has one."""
        if "names" not in self.names:
            return [f"{number:0{len(str(num_classes - 1))}d}" for number in range(num_classes)]
        with self._open("names") as (header, stream):
            if header.shape != (num_classes,) or header.dtype.kind != "U" or header.num_bytes > _MAX_LABEL_BYTES:
                raise self.refusal("names", f"is not {num_classes} texts, one a class")
            values = _read(stream, header)
            points = np.frombuffer(values.tobytes(), header.dtype.str[0] + "u4")
            if ((points > _MAX_CODE_POINT) | ((points >= 0xD800) & (points <= 0xDFFF))).any():
                raise self.refusal("names", "holds what is no character of Unicode")
            names = [str(name) for name in values]
        for name in names:
            plain = name and not name.startswith(".") and not {"/", "\\"} & set(name) and name.isprintable()
            if not plain or len(name.encode()) > _MAX_NAME_BYTES:
                raise self.refusal("names", f"holds {printable(name[:80])!r}, which cannot be the name of a folder")
        if len({name.casefold() for name in names}) != num_classes:
            raise self.refusal("names", "names a class twice")
        return names

    def _factor(self, header: _Header) -> float:
        """What takes fractions to 0 to 255: 255 where none is above 1."""
        highest = 0.0
        for image in self._images(header):
            self._check_range(image)
            highest = max(highest, float(image.max()))
        return 255.0 if highest <= 1 else 1.0

    def _check_range(self, image: NDArray[Any]) -> None:
        if not (image.min() >= 0 and image.max() <= 255):  # also where a value is no number
            raise self.refusal("data", "holds values that are not from 0 to 255")

    def _images(self, header: _Header) -> Iterator[NDArray[Any]]:
        one = _Header(header.shape[1:], header.dtype)
        with self._open("data") as (_, stream):
            for _number in range(header.shape[0]):
                yield _read(stream, one)

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[_Header, IO[bytes]]]:
        """The header of an array, and the stream where its values begin."""
        if name not in self.names:
            found = ", ".join(printable(known) for known in sorted(self.names)[:8])
            raise SourceError(f"{printable(str(self.path))} holds no array {name!r} (it holds: {found}). {_FORM}.")
        info = self.opened.getinfo(f"{name}.npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self.refusal(name, "is compressed in a way other than Deflate")
        if info.file_size > min(_MAX_BYTES, _MAX_RATIO * max(info.compress_size, 1)):
            raise self.refusal(name, f"unpacks to {info.file_size:,} bytes, too many for its {info.compress_size:,}")
        with self.opened.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):  # the others, whose headers may have gigabytes, are for records of many fields
                raise self.refusal(name, f"is of NumPy's format {version}, which is not for plain arrays")
            shape, by_column, dtype = np.lib.format.read_array_header_1_0(stream)
            if dtype.hasobject or dtype.fields or dtype.subdtype:
                raise self.refusal(name, f"is of type {str(dtype)[:80]}: only plain numbers and text are read")
            if by_column and len(shape) > 1:
                raise self.refusal(name, "lies column by column: save numpy.ascontiguousarray of it")
            header = _Header(tuple(shape), dtype)
            if header.num_bytes != info.file_size - stream.tell():
                reason = f"has the shape {list(shape)[:8]}, which does not fit its {info.file_size:,} bytes"
                raise self.refusal(name, reason)
            yield header, stream


def _read(stream: IO[bytes], header: _Header) -> NDArray[Any]:
    """The next values; their number was checked against the member's size before."""
    data = stream.read(header.num_bytes)
    return np.frombuffer(data, header.dtype).reshape(header.shape)
