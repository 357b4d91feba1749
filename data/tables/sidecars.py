"""Labels in a file beside each image: Pascal VOC's XML, webdataset's `.cls` and `.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from darkroom.data.errors import LabelError
from darkroom.data.stores.listing import FileEntry
from darkroom.data.tables.matching import Names
from darkroom.data.tables.table import Rows, Table
from darkroom.data.tables.xml_annotations import read_voc

_MAX_BYTES = 2**20
# What the tables are called.
CLASSES, OBJECTS = "*.cls", "*.json"


def sidecar_tables(folder: Path, entries: Sequence[FileEntry], names: Names) -> list[Table]:
    """A table of each kind of files beside the images; their names are those of the images, with another suffix.

    Args:
        folder: The source.
        entries: Its files, without those that are left out.
        names: Its images.
    """
    beside = [entry for entry in entries if entry.reason == "stray_file" and entry.size_bytes <= _MAX_BYTES]
    images = {_stem(entry.path): entry.path for entry in entries if entry.reason is None}
    found = [read_voc(folder, beside, names), _classes(folder, beside, images), _objects(folder, beside, images)]
    return [table for table in found if table]


def _classes(folder: Path, beside: Sequence[FileEntry], images: Mapping[str, str]) -> Table | None:
    """`a.cls` beside `a.jpg` holds its class."""
    files = {
        entry.path: entry for entry in beside if entry.path.lower().endswith(".cls") and _stem(entry.path) in images
    }
    rows = [
        (number, (images[_stem(path)], _class(folder, entry)))
        for number, (path, entry) in enumerate(files.items(), start=1)
    ]
    return Rows(("path", "label"), rows).table(CLASSES, "", "file", frozenset(files)) if rows else None


def _class(folder: Path, entry: FileEntry) -> str:
    text = _text(folder / entry.os_path)
    if "\0" in text or "\ufffd" in text:
        raise LabelError(f"{entry.path} holds bytes that are no text. Write the name or the number of the class there.")
    return text


def _objects(folder: Path, beside: Sequence[FileEntry], images: Mapping[str, str]) -> Table | None:
    """`a.json` beside `a.jpg` holds an object of scalars, with the class among them."""
    found: dict[str, Mapping[str, object]] = {}
    for entry in beside:
        if entry.path.lower().endswith(".json") and _stem(entry.path) in images:
            try:
                value = json.loads(_text(folder / entry.os_path))
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                found[entry.path] = value
    columns = dict.fromkeys(
        key
        for value in found.values()
        for key, cell in value.items()
        if (isinstance(cell, str | int) and key != "path") or (isinstance(cell, list) and key == "labels")
    )
    if len(found) < 2 or not columns:
        return None
    rows = [
        (number, (images[_stem(path)], *(_cell(value.get(key, "")) for key in columns)))
        for number, (path, value) in enumerate(found.items(), start=1)
    ]
    return Rows(("path", *columns), rows).table(OBJECTS, "", "file", frozenset(found))


def _cell(value: object) -> str:
    """A value as a cell of a table has it; a list stays JSON, as several labels may be written."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").strip()


def _stem(path: str) -> str:
    """The path without the suffix; webdataset's key ends at the first dot of the name."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"
