"""Labels and splits from the layout of a data set: class folders, split folders, file names, or a CSV."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, model_validator

from darkroom.data.errors import LabelError
from darkroom.data.files.listing import FileEntry, printable
from darkroom.data.labels.label_tables import LabelTable, Names, find_tables, labels_of, read_table
from darkroom.data.labels.layout import Place, is_split_word, read_layout
from darkroom.data.settings import SettingsModel

# cat.0.jpg, american_bulldog_12.jpg; but not what cameras and exports call every file.
_FILE_NAME = (
    r"^(?!(?:image|images|img|dsc|dscn|photo|picture|pic|frame|scan|file)[ ._-]*\d)"
    r"(?P<label>[A-Za-z]+(?:[ _-][A-Za-z]+)*)[ ._-]\d+\.[A-Za-z]+$"
)
_REMEDY = (
    "Put the images into one folder per class, or give --labels-csv FILE with --path-column and --label-column, or "
    "--label-pattern REGEX."
)


class LabelRules(SettingsModel):
    """How labels are found; by default the layout is recognised and said in the log."""

    source: Literal["auto", "folders", "filename", "csv"] = Field(
        default="auto",
        description="Where labels come from: auto recognises the layout; folders, the folder that holds the file; "
        "filename, a pattern; csv, a table",
    )
    pattern: str | None = Field(
        default=None, description="Regular expression with a group named label, searched for in the file name"
    )
    csv: str | None = Field(
        default=None,
        description="CSV file with a header, relative to the source or absolute (default: the only one whose paths "
        "name images)",
    )
    path_column: str | None = Field(
        default=None, description="Column of paths or ids in the CSV (default: recognised by its name)"
    )
    label_column: str | None = Field(
        default=None, description="Column of labels in the CSV (default: recognised by its name)"
    )
    classes: tuple[str, ...] = Field(
        default=(), description="The only labels allowed, so that a misspelt one is found; empty allows any"
    )

    @model_validator(mode="after")
    def _names_one_source(self) -> LabelRules:
        of_csv = self.csv or self.path_column or self.label_column
        if self.pattern and of_csv:
            raise ValueError("labels come from a file name pattern or from a CSV: give only one of the two")
        if self.pattern and self.source in ("folders", "csv"):
            raise ValueError(f"a pattern is for labels from file names, not from {self.source}: leave one of them out")
        if of_csv and self.source in ("folders", "filename"):
            raise ValueError(f"a CSV and its columns do not fit labels from {self.source}: leave one of them out")
        return self


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


@dataclass(frozen=True)
class _Found:
    """Labels by path, and where they are from."""

    labels: dict[str, str]
    decision: str


@dataclass(frozen=True)
class _Source:
    """What labels are found in: `images` are the entries that are not set aside, `layout` their folders."""

    folder: Path
    entries: Sequence[FileEntry]
    images: Sequence[FileEntry]
    layout: Mapping[str, Place]

    def place(self, entry: FileEntry) -> Place:
        return self.layout[_parent(entry.path)]

    def __str__(self) -> str:
        return printable(str(self.folder))


def label_files(folder: Path, entries: Sequence[FileEntry], rules: LabelRules) -> Labelling:
    """Give each listed file its label and split; None for a quarantined file.

    Raises:
        LabelError: where the rules name something that is not there, a label is not one of `rules.classes`, or fewer
            than two classes are found.
    """
    images = [entry for entry in entries if entry.reason is None]
    layout = read_layout({_parent(entry.path) for entry in images})
    source = _Source(folder, entries, images, layout)
    found = _find(source, rules)
    _check(source, found, rules.classes)
    places = (layout.get(_parent(entry.path), Place(None, None)) for entry in entries)
    files = tuple(
        Labelled(entry, found.labels.get(entry.path) if entry.reason is None else None, place.split)
        for entry, place in zip(entries, places, strict=True)
    )
    splits = Counter(file.source_split for file in files if file.label and file.source_split)
    split_words = f"; split folders: {', '.join(f'{k} {v}' for k, v in sorted(splits.items()))}" if splits else ""
    without = len(images) - len(found.labels)
    return Labelling(files, found.decision + split_words + (f"; {without} files without a label" if without else ""))


def _find(source: _Source, rules: LabelRules) -> _Found:
    if rules.source == "folders":
        return _from_folders(source)
    if rules.pattern or rules.source == "filename":
        return _from_names(source, rules.pattern or _FILE_NAME)
    names = Names(source.images)
    columns = (rules.path_column, rules.label_column)
    if rules.csv:
        file = source.folder / rules.csv
        if not file.is_file():
            raise LabelError(
                f"The label file {printable(rules.csv)} is neither in {source} nor an absolute path to a file. Correct "
                "--labels-csv."
            )
        return _Found(*labels_of(read_table(file, source.folder, *columns), names, rules.classes))
    tables = find_tables(source.folder, source.entries, names, *columns)
    if rules.source == "csv" or any(columns):
        return _Found(*labels_of(_only(tables, source), names, rules.classes))
    return _recognised(source, tables, names, rules)


def _recognised(source: _Source, tables: Sequence[LabelTable], names: Names, rules: LabelRules) -> _Found:
    """One folder per class is the common layout; a CSV wins if it names more images than the class folders hold."""
    in_folders = [label for entry in source.images if (label := source.place(entry).label)]
    if len(set(in_folders)) >= 2 and (len(tables) != 1 or names.count(tables[0]) <= len(in_folders)):
        return _from_folders(source)
    if tables:
        return _Found(*labels_of(_only(tables, source), names, rules.classes))
    by_name = _from_names(source, _FILE_NAME)
    judged = [entry for entry in source.images if source.place(entry).split == "train"] or source.images
    named = sum(entry.path in by_name.labels for entry in judged)
    return by_name if len(set(by_name.labels.values())) >= 2 and 2 * named >= len(judged) else _from_folders(source)


def _only(tables: Sequence[LabelTable], source: _Source) -> LabelTable:
    if len(tables) == 1:
        return tables[0]
    if not tables:
        raise LabelError(
            f"{source} holds no CSV with a path and a label column whose rows name images. Name the file with "
            "--labels-csv, its columns with --path-column and --label-column."
        )
    listed = ", ".join(table.name for table in tables)
    raise LabelError(f"{source} holds several CSVs with labels: {listed}. Choose one with --labels-csv.")


def _from_folders(source: _Source) -> _Found:
    """By class folders; where passing over containers leaves fewer than two classes, those count too."""
    layout = source.layout
    if len({place.label for place in layout.values()} - {None}) < 2:
        layout = read_layout(set(layout), containers=False)
    labels = {entry.path: label for entry in source.images if (label := layout[_parent(entry.path)].label)}
    return _Found(labels, "labels from class folders")


def _from_names(source: _Source, pattern: str) -> _Found:
    try:
        compiled = re.compile(pattern, re.IGNORECASE if pattern == _FILE_NAME else 0)
    except re.error as error:
        raise LabelError(f"The label pattern {pattern!r} is not a regular expression: {error}.") from None
    if "label" not in compiled.groupindex:
        raise LabelError(f"The label pattern {pattern!r} needs a group named label, as in '(?P<label>[a-z]+)'.")
    labels = {}
    for entry in source.images:
        found = compiled.search(PurePosixPath(entry.path).name)
        if found and found["label"] and not (pattern == _FILE_NAME and is_split_word(found["label"])):
            labels[entry.path] = found["label"]
    usual = "such as cat.0.jpg" if pattern == _FILE_NAME else f"by {pattern!r}"
    return _Found(labels, f"labels from file names {usual}")


def _check(source: _Source, found: _Found, classes: Sequence[str]) -> None:
    """Refuse labels that cannot be trained on, and a label that is not in `classes` (() allows any)."""
    counts = Counter(found.labels.values())
    if not counts:
        raise LabelError(f"No image in {source} has a label ({found.decision}). {_REMEDY}")
    unknown = next((path for path, label in found.labels.items() if classes and label not in classes), None)
    if unknown is not None:
        raise LabelError(
            f"{unknown} has the label {found.labels[unknown]!r} ({found.decision}), which is not one of "
            f"{', '.join(classes)}. Correct it, or add the label to the classes of the recipe."
        )
    if len(counts) == 1:
        ((label, number),) = counts.items()
        raise LabelError(
            f"All {number} labelled images in {source} are of one class, {label!r} ({found.decision}); classification "
            f"needs two or more. {_REMEDY}"
        )


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
