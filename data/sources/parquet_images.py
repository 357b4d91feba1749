"""Parquet files that hold images, as Hugging Face's data sets do, written once as a folder (`image_rows.py`).

A column of images holds the bytes of their files, alone or in a struct `{bytes, path}`. Every plain column goes into
the table, so that the label is looked for as in every other table.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.data.errors import SourceError, WorkError
from darkroom.data.files.hashing import content_version, file_sha256
from darkroom.data.files.parquet_columns import cell_text, class_names, is_scalar
from darkroom.data.sources.image_rows import image_rows, suffix_of
from darkroom.data.split_names import split_named
from darkroom.data.stores.listing import iter_files, printable

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


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files with images that a source is: the file itself, or those of a folder without any other image."""
    if not path.is_dir():
        return [path] if path.name.lower().endswith(PARQUET_SUFFIX) and _has_images(path) else []
    found = []
    for entry in iter_files(path):
        if entry.reason is None:
            return []
        if entry.reason == "stray_file" and entry.path.lower().endswith(PARQUET_SUFFIX):
            found.append(path / entry.os_path)
    return found if found and all(_has_images(file) for file in found) else []


def images_folder(files: Sequence[Path], workspace_sources: Path) -> Path:
    """Where the images of Parquet files are written, or will be: a folder named after their hashes, absolute.

    Args:
        files: Read as a whole, for their hashes.
        workspace_sources: The workspace's `sources` folder.

    Raises:
        SourceError: where a file cannot be read.
    """
    try:
        key = content_version(_CODE_VERSION, [(file.name, file_sha256(file)) for file in files])
    except OSError as error:
        raise SourceError(f"{printable(str(error.filename))} cannot be read: {error.strerror}.") from None
    return Path(os.path.abspath(workspace_sources)) / f"{key}-parquet-v{_CODE_VERSION}"


def write_images(files: Sequence[Path], workspace_sources: Path) -> Path:
    """Write the images of Parquet files, or find them already written. Memory: 64 rows.

    Args:
        files: With the same columns.
        workspace_sources: The workspace's `sources` folder; created where it is missing.

    Returns:
        The absolute path of the folder.

    Raises:
        SourceError: where a file is damaged or has several columns of images, or the files differ in their columns.
        WorkError: where the workspace cannot be written to.
    """
    import pyarrow as pa

    folder = images_folder(files, workspace_sources)
    if folder.is_dir():
        logger.info("The images of %s are already written: %s", printable(str(files[0])), folder)
        return folder
    columns = [_columns(file) for file in files]
    if len({(each.image, each.plain) for each in columns}) > 1:
        names = f"{printable(files[0].name)} and {printable(files[-1].name)}"
        raise SourceError(f"{names} have different columns. Give those of one kind as the source.")
    splits = [_split_of(file) for file in files]
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
    except pa.ArrowException as error:
        raise SourceError(
            f"{printable(str(files[0]))} is damaged ({printable(str(error))[:200]}). Write it anew."
        ) from None
    except OSError as error:
        raise WorkError(f"The images cannot be written into {folder}: {error.strerror}. Free space there.") from None
    logger.info("Wrote %d images of %d Parquet files to %s", num_images, len(files), folder)
    return folder


def _has_images(file: Path) -> bool:
    try:
        return bool(_image_columns(file))
    except SourceError:
        return False


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


def _split_of(file: Path) -> str:
    """The split that a file's name begins with, as in `train-00000-of-00002.parquet`; "" for none."""
    return split_named(re.split(r"[-_.]", file.name, maxsplit=1)[0]) or ""
