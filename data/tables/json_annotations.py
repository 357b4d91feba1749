"""Labels in JSON: COCO, Label Studio, a list of objects, JSON lines, a map of files to labels or of labels to files."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

from darkroom.data.errors import LabelError
from darkroom.data.stores.listing import printable
from darkroom.data.tables.matching import Names
from darkroom.data.tables.table import Rows, Table, folder_in, text_of

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
MAX_JSON_BYTES = 256 * 2**20

Record = Mapping[str, Any]


def read_json(file: Path, source: Path, names: Names) -> Table | None:
    """A table of the labels in a JSON file; None where it is of no form that is known here, such as a file of settings.

    COCO (`images`, `annotations`, `categories`) and Label Studio (`data`, `annotations` with `choices`) are read as
    they are exported. Boxes and outlines say which object is where: the image takes the object's class, and
    `Table.unused` counts what was not used.

    Args:
        file: The file.
        source: The folder that it belongs to.
        names: The images, which tell a list of labels from another list.

    Raises:
        LabelError: where it is too large, or damaged.
    """
    name = printable(file.name)
    if file.stat().st_size > MAX_JSON_BYTES:
        raise LabelError(f"{name} is larger than {MAX_JSON_BYTES >> 20} MiB. Save its paths and labels as CSV.")
    text = text_of(file)
    value = _lines(text) if file.suffix.lower() != ".json" else _value(text)
    rows = _rows(value, names)
    return rows.table(name, folder_in(file, source), unit="record") if rows else None


def _value(text: str) -> Any:
    """What a JSON file holds; JSON lines where they are called `.json`, as BigQuery and others do."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        return None
    except ValueError:
        return _lines(text)


def _lines(text: str) -> list[Any] | None:
    try:
        return [json.loads(line, object_pairs_hook=_object) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; what it says twice has to be the same."""
    found = dict(pairs)
    if len(found) < len(pairs):
        wrong = next((key for key, value in pairs if found[key] != value), None)
        if wrong is not None:
            raise LabelError(f"A JSON object has {wrong!r} twice, with other values. Correct the file.")
    return found


def _rows(value: Any, names: Names) -> Rows | None:
    if isinstance(value, dict):
        if all(isinstance(value.get(key), list) for key in ("images", "annotations", "categories")):
            return _coco(value)
        return _map(value, names)
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        return None
    records = cast(list[Record], value)
    if all("data" in each and "annotations" in each for each in records):
        return _label_studio(records, names)
    return _records(records, names)


def _coco(value: Record) -> Rows | None:
    """Each image with the class of its annotations; a row for each class where there are several."""
    try:
        class_of = {each["id"]: _cell(each["name"]) or "" for each in value["categories"]}
        found: dict[Any, dict[str, None]] = defaultdict(dict)
        path_of = {image["id"]: str(image["file_name"]) for image in value["images"]}
        drawn: list[str] = []
        strange: list[str] = []
        for annotation in value["annotations"]:
            if annotation["image_id"] not in path_of:
                strange.append(str(annotation["image_id"]))
                continue
            found[annotation["image_id"]][class_of[annotation["category_id"]]] = None
            if annotation.get("bbox") or annotation.get("segmentation"):
                drawn.append(path_of[annotation["image_id"]])
        rows = [
            (number, (path_of[image["id"]], label))
            for number, image in enumerate(value["images"], start=1)
            for label in found.get(image["id"], ())
        ]
    except (KeyError, TypeError):
        return None
    unused = {"boxes and outlines": drawn, "annotations of images that are not listed": strange}
    return Rows(("file_name", "category"), rows, unused=unused)


def _label_studio(tasks: Sequence[Record], names: Names) -> Rows | None:
    """Each task's choices, a column for each question; what an annotator skipped says nothing.

    The form is that of Label Studio's documentation, "Label Studio JSON format of annotated tasks".
    """
    questions: dict[str, None] = {}
    rows: list[tuple[int, dict[str, str]]] = []
    drawn: list[str] = []
    try:
        for number, task in enumerate(tasks, start=1):
            image = next(path for path in map(str, task["data"].values()) if names.is_path(_plain(path)))
            for annotation in task["annotations"]:
                if annotation.get("was_cancelled"):
                    continue
                answers: dict[str, str] = {}
                for result in annotation["result"]:
                    if result.get("type") == "choices":
                        questions[result["from_name"]] = None
                        answers[result["from_name"]] = "|".join(map(str, result["value"]["choices"]))
                    else:
                        drawn.append(image)
                if answers:
                    rows.append((number, {"image": image, **answers}))
    except (KeyError, TypeError, AttributeError, StopIteration):
        return None
    if not questions:
        return None
    header = ("image", *questions)
    cells = [(number, tuple(row.get(column, "") for column in header)) for number, row in rows]
    cells = [(number, (_plain(row[0]), *row[1:])) for number, row in cells]
    return Rows(header, cells, unused={"boxes and outlines": drawn})


def _records(records: Sequence[Record], names: Names) -> Rows | None:
    """Objects with scalars, as rows; lists of texts in a cell are joined by `|`."""
    header = tuple(dict.fromkeys(str(key) for record in records for key in record))
    columns = {key: [_cell(record.get(key)) for record in records] for key in header}
    columns = {key: cells for key, cells in columns.items() if any(cell is not None for cell in cells)}
    known = {key: [_plain(cell or "") for cell in cells] for key, cells in columns.items()}
    naming = [key for key, cells in known.items() if names.name_some(cells)]
    if not naming:
        return None
    # Numbers such as the records' own are found as the names of images too: what looks like a path comes first.
    paths = next((key for key in naming if any("." in cell or "/" in cell for cell in known[key])), naming[0])
    columns[paths] = list(known[paths])
    rows = [
        (number, tuple(cells[number - 1] or "" for cells in columns.values())) for number in range(1, len(records) + 1)
    ]
    return Rows(tuple(columns), rows)


def _map(value: Record, names: Names) -> Rows | None:
    """`{"a.jpg": "cat"}`, or `{"cat": ["a.jpg"]}`."""
    if value and all(isinstance(each, str | int) for each in value.values()) and names.name_some(value):
        rows = [(number, (path, str(label))) for number, (path, label) in enumerate(value.items(), start=1)]
        return Rows(("path", "label"), rows)
    if value and all(isinstance(each, list) and all(isinstance(path, str) for path in each) for each in value.values()):
        pairs = [(path, label) for label, paths in value.items() for path in paths]
        if names.name_some(path for path, _ in pairs):
            return Rows(("path", "label"), list(enumerate(pairs, start=1)))
    return None


def _cell(value: Any) -> str | None:
    """A scalar as text, a list of scalars joined; Label Studio's several choices are an object. None for all else."""
    if isinstance(value, dict) and set(value) == {"choices"}:
        value = value["choices"]
    if isinstance(value, list) and all(isinstance(each, str | int) for each in value):
        return "|".join(map(str, value))
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, str | int | float) else None


def _plain(written: str) -> str:
    """The path in an address: Label Studio's `/data/local-files/?d=images/a.jpg`, `s3://bucket/a.jpg`."""
    try:
        parts = urlsplit(written)
    except ValueError:
        return written
    if asked := parse_qs(parts.query).get("d"):
        return unquote(asked[0])
    return unquote(parts.path).lstrip("/") if parts.scheme and parts.netloc else written
