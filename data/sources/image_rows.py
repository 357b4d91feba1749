"""Rows of images and labels, as Parquet files and data frames hold them, written once as a folder with a `labels.csv`.

`sources/<key>/`
    images/part_00000/0000000.jpg …    the bytes as they were, by file; the suffix says what they are
    labels.csv                         `path`, the row's other columns, and `split` where a file is one's
    beside/…                           what lay beside the Parquet files
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from darkroom.data.files.atomic import atomic_folder
from darkroom.data.files.hard_links import link_or_copy
from darkroom.data.files.locks import exclusive

_SUFFIXES = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)


class ImageRows:
    """A folder of images and their table, while it is written.

    Args:
        folder: Where the images go.
        table: The open `labels.csv`.
        columns: The table's columns, besides that of paths.
    """

    def __init__(self, folder: Path, table: TextIO, columns: Iterable[str]) -> None:
        self._folder = folder
        self._columns = list(columns)
        self._rows = csv.writer(table)
        header = [f"{name}_column" if name.strip().lower() == "path" else name for name in self._columns]
        self._rows.writerow(["path", *header])

    def add(self, name: str, image: bytes | Path, cells: Mapping[str, str]) -> None:
        """Write a row.

        Args:
            name: Of the image below `images/`, without a suffix: folders and letters that are safe in a path.
            image: The bytes of its file, or the file; no bytes are an empty file, which is quarantined as such.
            cells: The row's other columns.
        """
        path = f"images/{name}{suffix_of(image) if isinstance(image, bytes) else ''}"
        file = self._folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(image, bytes):
            file.write_bytes(image)
        else:
            link_or_copy(image, file)
        self._rows.writerow([path, *(cells.get(column, "") for column in self._columns)])

    def link(self, name: str, file: Path) -> None:
        """Put a file that is no row beside the images.

        Args:
            name: Its path in the folder.
            file: The file.
        """
        (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(file, self._folder / name)


@contextmanager
def image_rows(folder: Path, columns: Iterable[str]) -> Iterator[ImageRows]:
    """Write a folder of images and labels within the block; it appears whole or not at all.

    Args:
        folder: The folder.
        columns: The columns of `labels.csv`, besides that of paths.
    """
    with (
        exclusive(folder.parent),
        atomic_folder(folder) as temporary,
        (temporary / "labels.csv").open("w", encoding="utf-8", newline="") as table,
    ):
        yield ImageRows(temporary, table, columns)


def suffix_of(image: bytes) -> str:
    """The suffix of a file with these bytes; `.img` where no format begins like them."""
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for mark, suffix in _SUFFIXES if image.startswith(mark)), ".img")
