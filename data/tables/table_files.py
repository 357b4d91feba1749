"""Every form in which a source may bring a table of labels, read as one `Table`."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.errors import LabelError
from darkroom.data.stores.listing import printable
from darkroom.data.tables.json_annotations import JSON_SUFFIXES, read_json
from darkroom.data.tables.matching import Names
from darkroom.data.tables.parquet_table import PARQUET_SUFFIX, read_parquet
from darkroom.data.tables.table import CSV_SUFFIXES, Table, read_csv
from darkroom.data.tables.xml_annotations import read_cvat

TABLE_SUFFIXES = (*CSV_SUFFIXES, *JSON_SUFFIXES, ".xml", PARQUET_SUFFIX)

# What a clone without Git LFS has in place of a file.
_LFS, _LFS_BYTES = b"version https://git-lfs", 1024


def read_table(file: Path, source: Path, names: Names) -> Table | None:
    """The table in a file: CSV, JSON, XML or Parquet; None where the file is no table of labels by its form.

    Args:
        file: The file; its suffix says what it is.
        source: The folder that it belongs to.
        names: The images of the source.

    Raises:
        LabelError: where it is too large, damaged, or no text.
    """
    suffix = file.suffix.lower()
    try:
        if file.is_file() and file.stat().st_size < _LFS_BYTES and file.read_bytes().startswith(_LFS):
            raise LabelError(f"{printable(file.name)} is not here, only Git's pointer to it. Fetch it (git lfs pull).")
        if suffix in JSON_SUFFIXES:
            return read_json(file, source, names)
        if suffix == ".xml":
            return read_cvat(file, source)
        if suffix == PARQUET_SUFFIX:
            return read_parquet(file, source)
    except OSError as error:
        raise LabelError(f"{printable(file.name)} cannot be read: {error.strerror}. Allow reading.") from None
    return read_csv(file, source)
