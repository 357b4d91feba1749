"""Text and JSON files that list images, and tables that refer to other tables: said, and never passed over."""

from __future__ import annotations

import re
from collections.abc import Set

from darkroom.data.errors import LabelError
from darkroom.data.labels.from_folders import Source
from darkroom.data.labels.label_tables import LabelTable
from darkroom.data.stores.listing import FileEntry
from darkroom.data.tables.matching import Names
from darkroom.data.tables.table import CSV_SUFFIXES, files_beside, read_csv

_TEXT = (".txt", ".lst", ".list")
_JSON = (".json", ".jsonl", ".ndjson")
_HEAD_BYTES = 2**20
_HEAD_LINES = 50
_HEAD_WORDS = 3


def stop_at_unread_lists(source: Source, names: Names, read: Set[str]) -> None:
    """Refuse a source with a text or JSON file that lists its images: it may hold their labels or splits.

    Args:
        source: What to label.
        names: Its images.
        read: Paths of the files that were read as tables.

    Raises:
        LabelError: naming the file, and how to give it or leave it out.
    """
    for entry in _beside(source, (*_TEXT, *_JSON)):
        if entry.path in read:
            continue
        with (source.folder / entry.os_path).open("rb") as stream:
            head = stream.read(_HEAD_BYTES).decode("utf-8", "replace")
        lists = _lists_lines(head, names) if entry.path.lower().endswith(_TEXT) else _lists_names(head, source)
        if lists:
            kind = "text" if entry.path.lower().endswith(_TEXT) else "JSON"
            raise LabelError(
                f"{entry.path} lists images of this source, perhaps their labels or splits, and {kind} files are not "
                "read in this form. Save it as a CSV with a header (path,label or path,label,split) and give it with "
                f"--labels-csv, or leave it out with --exclude '{entry.path}'."
            )


def stop_at_references(source: Source, table: LabelTable, names: Names) -> None:
    """Refuse a table whose IDs refer to another table, which says what files they mean.

    Args:
        source: What to label.
        table: The table with the labels.
        names: The images of the source.

    Raises:
        LabelError: naming the two tables and the column that they share.
    """
    for entry in _beside(source, CSV_SUFFIXES):
        if entry.path == table.table.path:
            continue
        try:
            other = read_csv(source.folder / entry.os_path, source.folder)
        except LabelError:
            continue
        if table.path_column not in other.header:
            continue
        shared = other.header.index(table.path_column)
        columns = [index for index in range(len(other.header)) if index != shared]
        cells = [[cells[index] for _, cells in other.rows.head(_HEAD_LINES)] for index in columns]
        if any(_are_paths(column) and names.count_any(column, other.folder, "") == len(column) > 0 for column in cells):
            raise LabelError(
                f"{table.table.path} refers by {table.path_column!r} to {entry.path}, which has the files. Join them "
                "into one table with a column of paths."
            )


def _beside(source: Source, suffixes: tuple[str, ...]) -> list[FileEntry]:
    """The files with these suffixes that the rules do not leave out."""
    kept = (entry for entry in source.entries if not source.rules.excludes(entry.path))
    return files_beside(source.folder, kept, suffixes)


def _lists_lines(head: str, names: Names) -> bool:
    """Whether one of the first three words of at least half of the first lines is the path of an image."""
    lines = [line.strip() for line in head.splitlines() if line.strip()][:_HEAD_LINES]
    words = [[word.strip("\"'") for word in re.split(r"[\s,;]+", line)[:_HEAD_WORDS]] for line in lines]
    listing = [line for line in words if any(("/" in word or "." in word) and names.is_path(word) for word in line)]
    return len(lines) >= 2 and 2 * len(listing) >= len(lines)


def _lists_names(head: str, source: Source) -> bool:
    """Whether the names of at least three images, or of all, are quoted in it."""
    names = [entry.path.rpartition("/")[2] for entry in source.images[:200]]
    found = sum(1 for name in names if f'{name}"' in head)
    return found >= min(3, len(names)) > 0


def _are_paths(cells: list[str]) -> bool:
    return all("." in cell or "/" in cell for cell in cells)
