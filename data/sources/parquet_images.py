"""Parquet files that hold images, as Hugging Face's data sets do, written once as a folder (`image_rows.py`).

A column of images holds the bytes of their files, alone or in a struct `{bytes, path}`. Every plain column goes into
the table, so that the label is looked for as in every other table. What else lies in a folder of such files (tables,
archives, documents) is linked into `beside/`, so that it is read, refused or listed as in any other source.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.data.errors import SourceError, WorkError
from darkroom.data.files.hashing import content_version, file_sha256
from darkroom.data.files.parquet_columns import cell_text, class_names, is_scalar
from darkroom.data.sources.image_rows import image_rows, suffix_of
from darkroom.data.sources.unpacking.archive_folder import is_loose_image
from darkroom.data.split_names import split_named
from darkroom.data.stores.listing import FileEntry, is_stray_path, iter_files, printable

logger = logging.getLogger(__name__)

PARQUET_SUFFIX = ".parquet"
_CODE_VERSION = 1
_BATCH_ROWS = 64
_MAX_IMAGES = 5_000_000


@dataclass(frozen=True)
class _Columns:
    """The column of images, and the plain ones with the names of their classes."""

    image: str
    plain: tuple[str, ...]
    classes: dict[str, list[str]]


@dataclass(frozen=True)
class ImageParquet:
    """Parquet files with images.

    Attributes:
        folder: Where they lie.
        files: Their paths in it, as the operating system knows them.
        others: The other files of the folder; those in hidden folders and recycle bins are no part of it.
    """

    folder: Path
    files: tuple[str, ...]
    others: tuple[FileEntry, ...] = ()

    def images_folder(self, workspace_sources: Path) -> Path:
        """Where the images are written, or will be: a folder named after their hashes, absolute.

        Args:
            workspace_sources: The workspace's `sources` folder.

        Raises:
            SourceError: where a file cannot be read.
        """
        try:
            found = [(_name(file), file_sha256(self.folder / file)) for file in self.files]
        except OSError as error:
            raise SourceError(f"{printable(str(error.filename))} cannot be read: {error.strerror}.") from None
        beside = [[(each.path, each.size_bytes, each.mtime_ns) for each in self.others]] if self.others else []
        splits = [[_split_of(file) for file in self.files]] if any(map(_split_above, self.files)) else []
        key = content_version(_CODE_VERSION, found, *beside, *splits)
        return Path(os.path.abspath(workspace_sources)) / f"{key}-parquet-v{_CODE_VERSION}"


def image_parquet(path: Path) -> ImageParquet | None:
    """The Parquet files with images that a source is; None where it is no such file, or a folder with other images.

    Args:
        path: A Parquet file, or a folder with some.

    Raises:
        SourceError: where a Parquet file of the folder is a link that is not followed, or may not be read.
    """
    if not path.is_dir():
        one = path.name.lower().endswith(PARQUET_SUFFIX) and has_images(path)
        return ImageParquet(path.parent, (path.name,)) if one else None
    files, others, lost = [], [], []
    for entry in iter_files(path):
        if is_loose_image(entry):
            return None
        if is_stray_path(f"{entry.path.rpartition('/')[0]}/x"):
            continue
        is_parquet = entry.path.lower().endswith(PARQUET_SUFFIX)
        if is_parquet and entry.reason == "stray_file" and has_images(path / entry.os_path):
            files.append(entry.os_path)
        elif is_parquet and entry.reason not in (None, "stray_file"):
            lost.append(entry)
        elif entry.reason in (None, "stray_file"):
            others.append(entry)
    if files and lost:
        raise SourceError(
            f"{lost[0].path} cannot be used ({lost[0].reason}), and other Parquet files beside it hold images. Copy "
            "what it leads to (cp -rL), or remove it."
        )
    return ImageParquet(path, tuple(files), tuple(others)) if files else None


def write_images(found: ImageParquet, workspace_sources: Path) -> Path:
    """Write the images of Parquet files, or find them already written. Memory: 64 rows.

    Args:
        found: The files, with the same columns.
        workspace_sources: The workspace's `sources` folder; created where it is missing.

    Returns:
        The absolute path of the folder.

    Raises:
        SourceError: where a file is damaged or has several columns of images, or the files differ in their columns.
        WorkError: where the workspace cannot be written to.
    """
    import pyarrow as pa

    folder = found.images_folder(workspace_sources)
    files = [found.folder / file for file in found.files]
    if folder.is_dir():
        logger.info("The images of %s are already written: %s", printable(str(files[0])), folder)
        return folder
    columns = [_columns(file) for file in files]
    if len({(each.image, each.plain) for each in columns}) > 1:
        names = f"{printable(files[0].name)} and {printable(files[-1].name)}"
        raise SourceError(f"{names} have different columns. Give those of one kind as the source.")
    splits = [_split_of(file) for file in found.files]
    plain = columns[0].plain
    extra = ["split"] if any(splits) and "split" not in plain else []
    try:
        with image_rows(folder, [*plain, *extra]) as rows:
            num_images = 0
            for place, (file, split, its) in enumerate(zip(files, splits, columns, strict=True)):
                for number, (image, cells) in enumerate(_rows(file, its)):
                    num_images += 1
                    if num_images > _MAX_IMAGES:
                        raise SourceError(f"More than {_MAX_IMAGES:,} images in Parquet files are not read at once.")
                    rows.add(f"part_{place:05d}/{number:07d}", image, {**dict.fromkeys(extra, split), **cells})
            for entry in found.others:
                rows.link(f"beside/{entry.os_path}", found.folder / entry.os_path)
    except pa.ArrowException as error:
        raise SourceError(
            f"{printable(str(files[0]))} is damaged ({printable(str(error))[:200]}). Write it anew."
        ) from None
    except OSError as error:
        raise WorkError(f"The images cannot be written into {folder}: {error.strerror}. Free space there.") from None
    logger.info("Wrote %d images of %d Parquet files to %s", num_images, len(files), folder)
    return folder


def has_images(file: Path) -> bool:
    """Whether a Parquet file has a column of images; False also where it cannot be read."""
    try:
        return bool(_image_columns(file))
    except SourceError:
        return False


def images_in_parquet(folder: Path, entries: Iterable[FileEntry]) -> list[FileEntry]:
    """The Parquet files beside images that hold more of them.

    Args:
        folder: The source.
        entries: Its files.
    """
    return [
        entry
        for entry in entries
        if entry.reason == "stray_file"
        and entry.path.lower().endswith(PARQUET_SUFFIX)
        and not is_stray_path(f"{entry.path.rpartition('/')[0]}/x")
        and has_images(folder / entry.os_path)
    ]


def _rows(file: Path, columns: _Columns) -> Iterator[tuple[bytes, dict[str, str]]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as opened:
        for batch in opened.iter_batches(_BATCH_ROWS, columns=[columns.image, *columns.plain]):
            for row in batch.to_pylist():
                image = row[columns.image]
                image = image.get("bytes") if isinstance(image, dict) else image
                yield image or b"", {name: cell_text(row[name], columns.classes.get(name)) for name in columns.plain}


def _columns(file: Path) -> _Columns:
    import pyarrow.parquet as pq

    images = _image_columns(file)
    if len(images) > 1:
        raise SourceError(
            f"{printable(file.name)} has several columns of images: {', '.join(images[:4])}. Write a file with one."
        )
    schema = pq.read_schema(file)
    plain = tuple(field.name for field in schema if is_scalar(field.type))
    return _Columns(images[0], plain, class_names(schema))


def _image_columns(file: Path) -> list[str]:
    """The columns whose first value is the bytes of an image."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyarrow.types as types

    def holds_bytes(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(each.name == "bytes" and holds_bytes(each.type) for each in kind)
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    def holds_image(values: Sequence[Any]) -> bool:
        found = (each.get("bytes") if isinstance(each, dict) else each for each in values)
        return any(each and suffix_of(each) != ".img" for each in found)

    try:
        with pq.ParquetFile(file) as opened:
            candidates = [field.name for field in opened.schema_arrow if holds_bytes(field.type)]
            if not candidates or not opened.metadata.num_rows:
                return []
            first = next(opened.iter_batches(_BATCH_ROWS, columns=candidates)).to_pydict()
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{printable(str(file))} is no Parquet file ({printable(str(error))[:200]}).") from None
    return [name for name in candidates if holds_image(first[name])]


def _split_of(file: str) -> str:
    """The split of a file: `train-00000-of-00002.parquet`, or `train/0000.parquet`; "" for none."""
    return split_named(re.split(r"[-_.]", _name(file), maxsplit=1)[0]) or _split_above(file)


def _split_above(file: str) -> str:
    """The split that the innermost folder named as one means; "" for none."""
    above = file.split("/")[-2::-1]
    return next((split for part in above if (split := split_named(part))), "")


def _name(file: str) -> str:
    return file.rpartition("/")[2]
