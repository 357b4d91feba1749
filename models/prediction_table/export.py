"""A prediction table in the form that somebody needs: CSV, JSON lines, or images sorted into folders by label."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.data.dataset.manifest import OK
from darkroom.data.errors import InputError
from darkroom.data.files.atomic import atomic_file, atomic_folder
from darkroom.data.stores.listing import printable
from darkroom.data.stores.table_paths import TablePaths
from darkroom.data.task import SEPARATOR
from darkroom.models.prediction_table.inbox_table import night_parts
from darkroom.models.prediction_table.schema import EMBEDDING, labels_in

ExportFormat = Literal["csv", "jsonl", "submission", "folders"]
QUARANTINED, ABSTAINED, NO_LABEL = "_quarantined", "_abstained", "_no_label"
_CHUNK_BYTES = 2**20
_MAX_NAME_BYTES = 200


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        num_rows: Rows of the file, or images in the folders.
        remarks: What the reader has to know, a sentence each.
    """

    num_rows: int
    remarks: tuple[str, ...] = ()


def batches(table: Path) -> Iterator[pa.Table]:
    """The rows of a table, a part at a time.

    Raises:
        InputError: where there is no table.
    """
    parts = TablePaths(table).parts() or list(night_parts(table).values())
    if not parts:
        raise InputError(f"There is no prediction table in {printable(str(table))}. Give a folder that `score` wrote.")
    for part in parts:
        yield pq.read_table(part)


def write_csv(table: Path, out: Path) -> Exported:
    """Write a row per file; `top_k` becomes the columns `top_1_label`, `top_1_probability` and so on.

    Several labels of an image are joined by `|`, and the probability of each is a column of its own,
    `probability_<label>`. A column of embeddings becomes JSON. A null is an empty cell.

    Args:
        table: The prediction table's folder.
        out: The file to write, whole or not at all.
    """
    width = max((pc.max(pc.list_value_length(part["top_k"])).as_py() or 0 for part in batches(table)), default=0)
    top = [f"top_{place + 1}_{what}" for place in range(width) for what in ("label", "probability")]
    labels = labels_in(next(batches(table)).schema)
    columns = [name for name in next(batches(table)).column_names if name not in ("top_k", "probabilities", EMBEDDING)]
    embedding = [EMBEDDING] if EMBEDDING in next(batches(table)).column_names else []
    num_rows = 0
    with atomic_file(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*columns, *top, *(f"probability_{label}" for label in labels), *embedding])
        for part in batches(table):
            for row in part.to_pylist():
                entries = row["top_k"] or []
                flat = [entry[what] for entry in entries for what in ("label", "probability")]
                vectors = [json.dumps(row[name]) if row[name] is not None else None for name in embedding]
                chances = (row["probabilities"] or [None] * len(labels)) if labels else []
                padding = [None] * (len(top) - len(flat))
                cells = [*(row[name] for name in columns), *flat, *padding, *chances, *vectors]
                writer.writerow([_cell(cell) for cell in cells])
                num_rows += 1
    return Exported(num_rows)


def write_jsonl(table: Path, out: Path) -> Exported:
    """Write an object per file and line, with the names and types of the table's columns.

    Of several labels an image, `probabilities` is an object by label.

    Args:
        table: The prediction table's folder.
        out: The file to write, whole or not at all.
    """
    num_rows = 0
    with atomic_file(out) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for part in batches(table):
            labels = labels_in(part.schema)
            for row in part.to_pylist():
                if labels and row["probabilities"] is not None:
                    row["probabilities"] = dict(zip(labels, row["probabilities"], strict=True))
                stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
                num_rows += 1
    return Exported(num_rows)


def sort_images(table: Path, images: Path, out: Path, link: bool) -> Exported:
    """Put the images of a table into folders named after their predicted labels, with their own folders below.

    What is quarantined goes into `_quarantined/<reason>`, what the model abstained from into `_abstained`. An image of
    several labels goes into the folder of each, one without any into `_no_label`. An image that has changed since it
    was scored, or is gone, is left out and counted.

    Args:
        table: The prediction table.
        images: The folder that was scored.
        out: Where the folders go; it must not be there yet.
        link: Hard links, which take no room, in place of copies; copies where the file system has no links.

    Raises:
        InputError: where `out` is there, or `images` is no folder.
    """
    if out.exists():
        raise InputError(f"{printable(str(out))} is there already. Choose another folder, or remove it.")
    if not images.is_dir():
        raise InputError(f"The scored images are not in {printable(str(images))}. Say where they are with --images.")
    counts: Counter[str] = Counter()
    with atomic_folder(out) as temporary:
        for part in batches(table):
            label = "labels" if labels_in(part.schema) else "label"
            for row in part.select(["path", "sha256", "status", "reason", label, "abstained"]).to_pylist():
                path = os_path(row["path"])
                if path.startswith("/") or ".." in path.split("/"):
                    raise InputError(f"The table names {row['path']!r}, which is no path in a folder.")
                done = [
                    _put(images / path, temporary / folder / path, row["sha256"], link) for folder in _folders_of(row)
                ]
                counts[done[0]] += 1
    gone = [f"{number} images are {what} and were left out." for what, number in sorted(counts.items()) if what != OK]
    return Exported(counts[OK], tuple(gone))


def os_path(path: str) -> str:
    """The path as the operating system knows it, of one as the table has it: its odd bytes are written `\\xNN`."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda odd: _byte(int(odd[1], 16)), path)


def _byte(value: int) -> str:
    return "\\" if value == ord("\\") else chr(0xDC00 + value)


def _folders_of(row: dict[str, Any]) -> list[str]:
    if row["status"] != OK:
        return [f"{QUARANTINED}/{folder_name(str(row['reason']))}"]
    if row["abstained"]:
        return [ABSTAINED]
    labels = row["labels"] if "labels" in row else [row["label"]]
    return [folder_name(label) for label in labels] or [NO_LABEL]


def folder_name(label: str) -> str:
    """A label as the name of one folder: nothing in it leads elsewhere, and no two labels give the same."""
    plain = re.sub(r"[/\\\0%]|^[._]|[ .]$", lambda odd: f"%{ord(odd[0]):02X}", label) or "%"
    if len(os.fsencode(plain)) <= _MAX_NAME_BYTES:
        return plain
    return f"{plain[: _MAX_NAME_BYTES // 8]}%{hashlib.sha256(os.fsencode(label)).hexdigest()[:12]}"


def _put(file: Path, target: Path, sha256: str | None, link: bool) -> str:
    """Copy or link a file; gives `ok`, or what is wrong with it."""
    if not file.is_file():
        return "no longer there"
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
    if sha256 is not None and digest.hexdigest() != sha256:
        return "no longer what was scored"
    try:
        if not link:
            raise OSError
        os.link(os.path.realpath(file), target)
    except OSError:
        shutil.copy2(file, target)
    return OK


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return SEPARATOR.join(value)
    return str(value).lower() if isinstance(value, bool) else value
