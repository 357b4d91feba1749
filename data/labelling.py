"""Labels and splits from the way a data set lies on disk: class folders, split folders, file names, or a CSV."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict

from data.errors import LabelError
from data.listing import FileEntry

SPLIT_FOLDERS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "training_set": "train",
    "train_set": "train",
    "seg_train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "validation_set": "validation",
    "val_set": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "test_set": "test",
    "seg_test": "test",
}
_PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path", "filepath", "image_id", "id", "name")
_LABEL_COLUMNS = ("label", "class", "category", "target", "species", "breed", "diagnosis", "labels")
_FILE_NAME = r"^(?P<label>[A-Za-z]+)[._-]\d+\.[A-Za-z]+$"


class LabelRules(BaseModel):
    """How labels are found; by default the layout is recognised and said in the log.

    Attributes:
        source: `auto`, `folders` (the folder that holds the file), `filename` (`pattern`) or `csv`.
        pattern: Regular expression on the file name with a group named `label`; searched, not matched from the start.
        csv: CSV file with a header, relative to the source or absolute; found by itself in `auto` where it is the only
            one whose paths name images.
        path_column: Column of paths or ids; found by its name where None.
        label_column: Column of labels; found by its name where None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["auto", "folders", "filename", "csv"] = "auto"
    pattern: str | None = None
    csv: str | None = None
    path_column: str | None = None
    label_column: str | None = None


@dataclass(frozen=True)
class Labelled:
    """A listed file with its label and the split that its folder names; both None where there is none."""

    entry: FileEntry
    label: str | None
    source_split: str | None


@dataclass(frozen=True)
class Labelling:
    """The files in listing order, and one sentence that says how they were labelled."""

    files: tuple[Labelled, ...]
    decision: str


def label_files(folder: Path, entries: Sequence[FileEntry], rules: LabelRules) -> Labelling:
    """Give each listed file its label and split; a file set aside keeps None.

    Raises:
        LabelError: where the rules name something that is not there, or no label is found at all.
    """
    source = _choose(folder, entries, rules)
    if source == "csv":
        labels, decision = _from_csv(folder, entries, rules)
    elif source == "filename":
        labels, decision = _from_names(entries, rules.pattern or _FILE_NAME)
    else:
        labels, decision = _from_folders(entries)
    files = tuple(
        Labelled(entry, None if entry.reason else labels.get(entry.path), _split_of(entry.path)) for entry in entries
    )
    if not any(file.label for file in files):
        raise LabelError(
            f"No image in {folder} has a label ({decision}). Put the images into one folder a class, or give "
            "--labels-csv FILE or --label-pattern REGEX."
        )
    found = Counter(file.source_split for file in files if file.label and file.source_split)
    split_words = f"; split folders: {', '.join(f'{k} {v}' for k, v in sorted(found.items()))}" if found else ""
    return Labelling(files, decision + split_words)


def _choose(folder: Path, entries: Sequence[FileEntry], rules: LabelRules) -> str:
    if rules.source != "auto":
        return rules.source
    if rules.csv:
        return "csv"
    if rules.pattern:
        return "filename"
    images = [entry for entry in entries if entry.reason is None]
    if len({label for entry in images if (label := _class_folder(entry.path))}) >= 2:
        by_csv = _found_csv(folder, entries, rules)
        # One folder a class is the common layout; a CSV wins only where the folders tell nothing.
        in_folders = sum(1 for entry in images if _class_folder(entry.path))
        if in_folders == len(images) or by_csv is None:
            return "folders"
    if _found_csv(folder, entries, rules) is not None:
        return "csv"
    matching = sum(1 for entry in images if re.search(_FILE_NAME, PurePosixPath(entry.path).name))
    return "filename" if images and matching >= 0.5 * len(images) else "folders"


def _split_of(path: str) -> str | None:
    """The split that the outermost matching folder names."""
    for part in PurePosixPath(path).parent.parts:
        if part.lower() in SPLIT_FOLDERS:
            return SPLIT_FOLDERS[part.lower()]
    return None


def _class_folder(path: str) -> str | None:
    parent = PurePosixPath(path).parent.name
    return parent if parent and parent.lower() not in SPLIT_FOLDERS else None


def _from_folders(entries: Sequence[FileEntry]) -> tuple[dict[str, str], str]:
    labels = {entry.path: name for entry in entries if (name := _class_folder(entry.path))}
    return labels, "labels from class folders"


def _from_names(entries: Sequence[FileEntry], pattern: str) -> tuple[dict[str, str], str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise LabelError(f"The label pattern {pattern!r} is not a regular expression: {error}.") from None
    if "label" not in compiled.groupindex:
        raise LabelError(f"The label pattern {pattern!r} needs a group named label, as in '(?P<label>[a-z]+)'.")
    labels = {}
    for entry in entries:
        found = compiled.search(PurePosixPath(entry.path).name)
        if found and found["label"]:
            labels[entry.path] = found["label"]
    return labels, f"labels from file names by {pattern!r}"


def _from_csv(folder: Path, entries: Sequence[FileEntry], rules: LabelRules) -> tuple[dict[str, str], str]:
    if rules.csv is None:
        found = _found_csv(folder, entries, rules)
        if found is None:
            raise LabelError(f"{folder} holds no CSV with a path and a label column. Name one with --labels-csv.")
        file = found
    else:
        file = folder / rules.csv
        if not file.is_file():
            raise LabelError(f"The label file {rules.csv} is neither in {folder} nor an absolute path to a file.")
    rows, path_column, label_column = _read_csv(file, rules)
    known = _Names(entries)
    labels: dict[str, str] = {}
    missing = 0
    for number, row in enumerate(rows, start=2):
        label = (row[label_column] or "").strip()
        if not label:
            raise LabelError(f"{file.name} row {number} has no {label_column}. Fill it in or remove the row.")
        path = known.find(row[path_column] or "")
        if path is None:
            missing += 1
        elif labels.setdefault(path, label) != label:
            raise LabelError(
                f"{file.name} row {number} gives {row[path_column]!r} the label {label!r}, an earlier row gave it "
                f"{labels[path]!r}. Keep one of them."
            )
    lost = f", {missing} rows name no file here" if missing else ""
    return labels, f"labels from {file.name}, columns {path_column!r} and {label_column!r}{lost}"


class _Names:
    """Finds a listed file by its path, its file name or its stem, where that is unambiguous."""

    def __init__(self, entries: Sequence[FileEntry]) -> None:
        self._by_key: dict[str, str | None] = {}
        for entry in entries:
            if entry.reason is None:
                pure = PurePosixPath(entry.path)
                for key in {entry.path, pure.name, str(pure.with_suffix("")), pure.stem}:
                    self._by_key[key] = None if key in self._by_key else entry.path
        self._paths = {entry.path for entry in entries if entry.reason is None}

    def find(self, written: str) -> str | None:
        key = str(PurePosixPath(written.strip().replace("\\", "/"))) if written.strip() else ""
        return key if key in self._paths else self._by_key.get(key)


def _read_csv(file: Path, rules: LabelRules) -> tuple[list[dict[str, str]], str, str]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = [name for name in (reader.fieldnames or []) if name]
            rows = [row for row in reader if any(value for value in row.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{file} cannot be read as UTF-8 CSV: {error}.") from None
    path_column = rules.path_column or _column(columns, _PATH_COLUMNS)
    label_column = rules.label_column or _column(columns, _LABEL_COLUMNS)
    for wanted, name, option in (
        ("path", path_column, "--path-column"),
        ("label", label_column, "--label-column"),
    ):
        if name is None or name not in columns:
            raise LabelError(
                f"{file.name} has no {wanted} column {name or ''!r}; it has {', '.join(columns) or 'no header'}. "
                f"Name it with {option}."
            )
    return rows, str(path_column), str(label_column)


def _column(columns: Sequence[str], wanted: Sequence[str]) -> str | None:
    lowered = {name.lower().strip(): name for name in columns}
    return next((lowered[name] for name in wanted if name in lowered), None)


def _found_csv(folder: Path, entries: Sequence[FileEntry], rules: LabelRules) -> Path | None:
    """The only CSV of the source whose columns are recognised and whose first rows name images."""
    candidates = [entry for entry in entries if entry.os_path.lower().endswith(".csv")]
    usable = []
    names = _Names(entries) if candidates else None
    for entry in candidates[:50]:
        try:
            rows, path_column, _ = _read_csv(folder / entry.os_path, rules)
        except LabelError:
            continue
        if names and any(names.find(row[path_column] or "") for row in rows[:100]):
            usable.append(folder / entry.os_path)
    return usable[0] if len(usable) == 1 else None
