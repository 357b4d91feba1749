"""The labels that folders and file names give, and the types that every reading of labels shares."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from darkroom.data.errors import LabelError
from darkroom.data.labels.layout import Layout, Level, Place, is_session, read_layout
from darkroom.data.labels.reading import LeftOut, ambiguous
from darkroom.data.labels.rules import LabelRules
from darkroom.data.split_names import is_split_word
from darkroom.data.stores.listing import FileEntry, printable
from darkroom.data.task import TASKS

# cat.0.jpg, american_bulldog_12.jpg; but not what cameras and exports call every file.
FILE_NAME = (
    r"^(?!(?:image|images|img|dsc|dscn|photo|picture|pic|frame|scan|file)[ ._-]*\d)"
    r"(?P<label>[A-Za-z]+(?:[ _-][A-Za-z]+)*)[ ._-]\d+\.[A-Za-z]+$"
)
LEVELS: Mapping[str, Level] = {"top-folder": "top", "parent-folder": "parent"}


@dataclass(frozen=True)
class Found:
    """Labels, and what they were found in.

    Attributes:
        labels: Label by path.
        decision: One sentence on where they come from.
        splits: Split by path, where a table gives it.
        splits_from: The table that does, or "".
        left_out: What was not used.
        tables: The paths of the tables that were used.
        merged: The image that has their labels too, by the paths of its copies.
    """

    labels: dict[str, str]
    decision: str
    splits: dict[str, str] = field(default_factory=dict)
    splits_from: str = ""
    left_out: tuple[LeftOut, ...] = ()
    tables: tuple[str, ...] = ()
    merged: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """What labels are looked for in.

    Attributes:
        folder: The source.
        entries: All its files.
        images: Those that are not left out.
        layout: What their folders mean.
        rules: How labels are found.
    """

    folder: Path
    entries: Sequence[FileEntry]
    images: Sequence[FileEntry]
    layout: Layout
    rules: LabelRules

    def place(self, entry: FileEntry) -> Place:
        """The label and the split that a file's folder gives it."""
        return self.layout.places[parent_folder(entry.path)]

    def __str__(self) -> str:
        return printable(str(self.folder))


def from_folders(source: Source, chosen: bool = False, doubted: bool = True) -> Found:
    """Labels by class folders; where skipping containers leaves fewer than two classes, they count as classes too.

    Args:
        source: What to label.
        chosen: The user said which folders are the classes.
        doubted: Stop where the folders can be read in two ways.

    Raises:
        LabelError: where they can, or all look like days, patients or the like, and nothing settles it.
    """
    layout = source.layout
    if len(layout.classes()) < 2:
        level = LEVELS.get(source.rules.source, "auto")
        layout = read_layout(set(layout.places), False, level, source.rules.class_folders)
    labels = {entry.path: label for entry in source.images if (label := layout.places[parent_folder(entry.path)].label)}
    if doubted and layout.doubt:
        raise ambiguous(str(source), layout.doubt.readings)
    classes = set(labels.values())
    if doubted and not chosen and len(classes) >= 2 and all(is_session(label) for label in classes):
        raise ambiguous(
            str(source),
            [
                (f"the folders are the classes, though they look like days, patients or the like ({listed(classes)})",
                 "--labels-from parent-folder"),
                ("the labels stand in a table", "--labels-csv FILE"),
            ],
        )  # fmt: skip
    return Found(labels, "labels from class folders")


def from_names(source: Source, pattern: str) -> Found:
    """Labels by a regular expression on the file names, from its group `label`.

    Args:
        source: What to label.
        pattern: The regular expression, searched for in the name without its folders.

    Raises:
        LabelError: where the pattern is invalid or has no such group.
    """
    try:
        compiled = re.compile(pattern, re.IGNORECASE if pattern == FILE_NAME else 0)
    except re.error as error:
        raise LabelError(f"The label pattern {pattern!r} is not a regular expression: {error}.") from None
    if "label" not in compiled.groupindex:
        raise LabelError(f"The label pattern {pattern!r} needs a group named label, as in '(?P<label>[a-z]+)'.")
    labels, task = {}, TASKS[source.rules.task]
    for entry in source.images:
        found = compiled.search(PurePosixPath(entry.path).name)
        if found and found["label"] and not (pattern == FILE_NAME and is_split_word(found["label"])):
            labels[entry.path] = task.text([found["label"]])
    usual = "such as cat.0.jpg" if pattern == FILE_NAME else f"by {pattern!r}"
    return Found(labels, f"labels from file names {usual}")


def listed(names: Set[str]) -> str:
    """Names for a message: the first four in alphabetical order, and how many more."""
    shown = sorted(names)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


def parent_folder(path: str) -> str:
    """The folder that holds a file, `/`-separated; "" for the source itself."""
    return path.rpartition("/")[0]
