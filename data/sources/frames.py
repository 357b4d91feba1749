"""Data frames of images and labels, written once as a folder (`image_rows.py`)."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from darkroom.data.errors import SourceError
from darkroom.data.files.hashing import content_version
from darkroom.data.sources.image_rows import image_rows, suffix_of
from darkroom.data.stores.listing import printable

if TYPE_CHECKING:
    import pandas as pd

_CODE_VERSION = 1


def write_frame(frame: pd.DataFrame, workspace_sources: Path) -> Path:
    """Write the images of a frame and its other columns, or find them already written.

    Args:
        frame: A row per image. One column holds the images: paths of files, the bytes of files, Pillow images, or
            `uint8[H, W]` or `uint8[H, W, 3]`. The others go into the table as they are.
        workspace_sources: The workspace's `sources` folder. Files are linked there, or copied from another file system.

    Returns:
        The absolute path of the folder.

    Raises:
        SourceError: where no column holds images, or several do, or a file is not there.
    """
    if not frame.columns.is_unique:
        twice = str(frame.columns[frame.columns.duplicated()][0])
        raise SourceError(f"The frame has several columns called {twice!r}. Rename or drop all but one.")
    column = _image_column(frame)
    others = [name for name in frame.columns if name != column]
    images = [_image(value, number) for number, value in enumerate(frame[column])]
    cells = [[_text(value) for value in frame[name]] for name in others]
    key = content_version(_CODE_VERSION, [str(name) for name in others], [_identity(image) for image in images], cells)
    folder = Path(os.path.abspath(workspace_sources)) / f"{key}-frame-v{_CODE_VERSION}"
    if folder.is_dir():
        return folder
    names = _names(images)
    with image_rows(folder, map(str, others)) as rows:
        for number, (name, image) in enumerate(zip(names, images, strict=True)):
            row = {str(other): column_cells[number] for other, column_cells in zip(others, cells, strict=True)}
            rows.add(name, image, row)
    return folder


def _image_column(frame: pd.DataFrame) -> Any:
    found = [name for name in frame.columns if _holds_images(frame[name].dropna().head(5))]
    if len(found) == 1:
        return found[0]
    columns = ", ".join(repr(str(name)) for name in (found or frame.columns)[:8])
    if found:
        raise SourceError(f"The frame has several columns of images: {columns}. Drop all but one.")
    raise SourceError(
        f"No column of the frame holds images: it has {columns or 'none'}. Give paths of files that are there, the "
        "bytes of files, Pillow images or uint8 arrays in one of them."
    )


def _holds_images(values: Iterable[Any]) -> bool:
    """Whether there are values, each of them an image; a text is one where a file of that name is there."""
    kinds = [
        suffix_of(value) != ".img"
        if isinstance(value, bytes)
        else Path(value).is_file()
        if isinstance(value, str | os.PathLike)
        else isinstance(value, np.ndarray) or hasattr(value, "save")
        for value in values
    ]
    return bool(kinds) and all(kinds)


def _image(value: Any, number: int) -> bytes | Path:
    """A file, or the bytes of one; arrays and Pillow images are written as PNG, which loses nothing."""
    from PIL import Image

    if isinstance(value, str | os.PathLike):
        path = Path(value)
        if not path.is_file():
            raise SourceError(f"Row {number} of the frame names {printable(str(path))!r}, and there is no such file.")
        return Path(os.path.abspath(path))
    if isinstance(value, np.ndarray):
        if value.dtype != np.uint8 or value.ndim not in (2, 3) or (value.ndim == 3 and value.shape[2] not in (1, 3)):
            raise SourceError(
                f"Row {number} of the frame holds {value.dtype}{list(value.shape)}: give uint8[H, W] or uint8[H, W, 3]."
            )
        value = Image.fromarray(value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value)
    if isinstance(value, Image.Image):
        stream = io.BytesIO()
        value.save(stream, "PNG")
        return stream.getvalue()
    return value if isinstance(value, bytes) else b""


def _identity(image: bytes | Path) -> Any:
    """What changes when the image does: the hash of its bytes; of a file its path, size and time of change."""
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    found = image.stat()
    return [str(image), found.st_size, found.st_mtime_ns]


def _names(images: list[bytes | Path]) -> list[str]:
    """Names below `images/`: of files their path below the folder that all share, of others their number."""
    files = [image for image in images if isinstance(image, Path)]
    if len(files) < len(images):
        suffixes = [image.suffix if isinstance(image, Path) else "" for image in images]
        return [f"{number:07d}{suffix}" for number, suffix in enumerate(suffixes)]
    shared = os.path.commonpath([file.parent for file in files])
    names = [file.relative_to(shared).as_posix() for file in files]
    if len(set(names)) < len(names):
        raise SourceError("The frame names a file in several rows. Keep one row per image.")
    return names


def _text(value: Any) -> str:
    from pandas import NA

    if value is None or value is NA or value != value:  # NaN
        return ""
    return str(int(value)) if isinstance(value, bool | np.bool_) else str(value)
