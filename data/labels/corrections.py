"""What people said of images after the source had given its labels: `--corrections`, tables of path and label.

A table has the columns `path` and `label`, and may have `by`, `when` and `note`; the page of `darkroom label-next`
saves such a table. Its rows win over the labels of the source. An image without a label, or one that `--exclude` leaves
out, gets the label of its row; `__exclude__` in place of a label leaves an image out. Where an image may have several
labels, `label` holds all of them, `a|b` or a JSON list; they replace all that the source gives.

In a data set `corrections.parquet` holds one row per row of the tables: who said what, when, and what it changed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from darkroom.data.errors import LabelError
from darkroom.data.files.hashing import file_sha256
from darkroom.data.labels.label_cells import USE_MULTI_LABEL, LabelCells, several_labels_in_a_cell
from darkroom.data.labels.reading import ClassSize, LeftOut
from darkroom.data.labels.rules import LabelRules
from darkroom.data.stores.listing import FileEntry, printable
from darkroom.data.tables.matching import Names
from darkroom.data.tables.table import Table, read_csv
from darkroom.data.task import SINGLE_LABEL, Task

EXCLUDE = "__exclude__"
CORRECTIONS = "corrections.parquet"
_COLUMNS = ("path", "label")
_REMARKS = ("by", "when", "note")
_NUM_EXAMPLES = 3
_MAX_CHANGES = 100

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.string()),
        ("given", pa.string()),
        ("effect", pa.string()),
        ("by", pa.string()),
        ("when", pa.string()),
        ("note", pa.string()),
        ("file", pa.string()),
    ]
)


class Change(BaseModel):
    """Images whose label was changed from one class to another.

    Attributes:
        given: The source's label; None where it gave none.
        label: The corrected one; None where the image was left out.
        num_images: How many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    given: str | None
    label: str | None
    num_images: int


class CorrectionSummary(BaseModel):
    """What corrections did to the labels of a source.

    Attributes:
        num_images: Images that they name.
        num_changed: Those that got another label.
        num_new: Those that had none.
        num_confirmed: Those that kept theirs.
        num_excluded: Those that were left out.
        changes: The most frequent changes, by number, of the whole text of an image's labels.
        added, removed: Labels that images got and lost, by number; only where an image may have several.
        people: Names with their rows, by number; "" stands for nobody.
        before: Images of each class as the source gives them, sorted by name.
        after: The same with the corrections.
        digest: SHA-256 of the rows, which belongs to the data set's version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_images: int
    num_changed: int
    num_new: int
    num_confirmed: int
    num_excluded: int
    changes: tuple[Change, ...]
    people: tuple[ClassSize, ...]
    before: tuple[ClassSize, ...]
    after: tuple[ClassSize, ...]
    digest: str
    added: tuple[ClassSize, ...] = ()
    removed: tuple[ClassSize, ...] = ()

    @property
    def sentence(self) -> str:
        """The counts, and the most frequent changes."""
        if self.added or self.removed:
            signed = [(size, "+") for size in self.added] + [(size, "-") for size in self.removed]
            signed.sort(key=lambda each: -each[0].num_images)
            return self._with_examples([f"{size.label} {sign}{size.num_images}" for size, sign in signed])
        return self._with_examples(
            [f"{each.given or 'no label'} to {each.label or 'left out'} {each.num_images}" for each in self.changes]
        )

    def _with_examples(self, shown: Sequence[str]) -> str:
        more = ", …" if len(shown) > _NUM_EXAMPLES else ""
        return f"{self}{': ' if shown else ''}{', '.join(shown[:_NUM_EXAMPLES])}{more}"

    @property
    def classes(self) -> tuple[tuple[str, int, int], ...]:
        """Each class with its images before and after, those that changed most first."""
        before, after = ({row.label: row.num_images for row in rows} for rows in (self.before, self.after))
        rows = [(label, before.get(label, 0), after.get(label, 0)) for label in sorted(before.keys() | after.keys())]
        return tuple(sorted(rows, key=lambda row: -abs(row[2] - row[1])))

    def __str__(self) -> str:
        counts = (
            (self.num_changed, "changed"),
            (self.num_new, "new"),
            (self.num_confirmed, "confirmed"),
            (self.num_excluded, "left out"),
        )
        said = ", ".join(f"{number} {word}" for number, word in counts if number)
        return f"corrections of {self.num_images} images: {said}"


@dataclass(frozen=True)
class Row:
    """A row of a table of corrections.

    Attributes:
        path: Of the image that it names, in the source.
        label: The text of its labels, see `darkroom.data.task`; `EXCLUDE` to leave it out.
        by, when, note: As written; "" where there is nothing.
        file: The table's name.
    """

    path: str
    label: str
    by: str
    when: str
    note: str
    file: str


@dataclass(frozen=True)
class Corrections:
    """The rows of all tables of corrections.

    Attributes:
        rows: Sorted by path, then by time.
        left_out: Rows that are not used.
        tables: The paths of the tables that lie in the source.
        task: How the labels are written.
    """

    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    tables: frozenset[str]
    task: Task = SINGLE_LABEL

    @property
    def labels(self) -> dict[str, str]:
        """The label by path, `EXCLUDE` among them."""
        return {row.path: row.label for row in self.rows}

    def check(self, given: Mapping[str, str], merged: Mapping[str, str]) -> None:
        """Refuse corrections that do not mean what they seem to.

        Args:
            given: The source's labels by path.
            merged: By the path of a copy, the image that has its labels.

        Raises:
            LabelError: where a row names such a copy, or one label looks like several.
        """
        copy = next((row for row in self.rows if row.path in merged), None)
        if copy:
            raise LabelError(
                f"{copy.file} corrects {copy.path}, a copy of {merged[copy.path]}: its label was added to that image. "
                "Correct that image instead."
            )
        if self.task.name == "single-label":
            said = set(self.labels.values()) - set(given.values()) - {EXCLUDE}
            several = said.intersection(several_labels_in_a_cell([*given.values(), *said]))
            if several:
                raise LabelError(
                    f"The corrections give an image the label {min(several)!r}, which looks like several labels. If an "
                    f"image may have several, use {USE_MULTI_LABEL}; if not, correct the row."
                )

    def apply(self, given: Mapping[str, str]) -> dict[str, str]:
        """The source's labels by path, corrected; an image that is left out has none."""
        said = self.labels
        merged = {**given, **said}
        return {path: label for path, label in merged.items() if label != EXCLUDE}

    def summary(self, given: Mapping[str, str]) -> CorrectionSummary:
        """What the corrections change in the source's labels by path."""
        said = self.labels
        effects = Counter(_effect(given.get(path), label) for path, label in said.items())
        changes = Counter(
            (given.get(path), None if label == EXCLUDE else label)
            for path, label in said.items()
            if given.get(path) != label
        )
        ordered = sorted(changes.items(), key=lambda each: (-each[1], str(each[0])))
        added, removed = self._by_label(given) if self.task.name == "multi-label" else ((), ())
        return CorrectionSummary(
            num_images=len(said),
            num_changed=effects["changed"],
            num_new=effects["new"],
            num_confirmed=effects["confirmed"],
            num_excluded=effects["excluded"],
            changes=tuple(Change(given=a, label=b, num_images=number) for (a, b), number in ordered[:_MAX_CHANGES]),
            people=_by_number(Counter(row.by for row in self.rows)),
            before=self._sizes(given.values()),
            after=self._sizes(self.apply(given).values()),
            digest=self._digest(),
            added=added,
            removed=removed,
        )

    def _by_label(self, given: Mapping[str, str]) -> tuple[tuple[ClassSize, ...], tuple[ClassSize, ...]]:
        """The labels that images got and lost; those that are left out lose none."""
        added, removed = Counter[str](), Counter[str]()
        for path, label in self.labels.items():
            before = set(self.task.names(given.get(path, "")))
            after = before if label == EXCLUDE else set(self.task.names(label))
            added.update(after - before)
            removed.update(before - after)
        return _by_number(added), _by_number(removed)

    def _sizes(self, texts: Iterable[str]) -> tuple[ClassSize, ...]:
        counts = Counter(name for text in texts for name in self.task.names(text))
        return tuple(ClassSize(label=label, num_images=number) for label, number in sorted(counts.items()))

    def table(self, given: Mapping[str, str]) -> pa.Table:
        """The rows of `corrections.parquet`, for the source's labels by path.

        `effect` is `changed`, `new`, `confirmed` or `excluded`; `given` is the source's label.
        """
        rows = [
            {
                "path": row.path,
                "label": None if row.label == EXCLUDE else row.label,
                "given": given.get(row.path),
                "effect": _effect(given.get(row.path), row.label),
                **{name: getattr(row, name) or None for name in _REMARKS},
                "file": row.file,
            }
            for row in self.rows
        ]
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    def _digest(self) -> str:
        """Of what was said; not of the tables that it was said in."""
        said = [[row.path, row.label, row.by, row.when, row.note] for row in self.rows]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def read_corrections(folder: Path, images: Sequence[FileEntry], rules: LabelRules) -> Corrections:
    """Read all tables of corrections and find the images that their rows name.

    Args:
        folder: The source.
        images: Its images, those that `exclude` leaves out among them.
        rules: Name the tables, and say what happens to rows that cannot be used.

    Raises:
        LabelError: where a table is missing, lacks a column or, unless bad rows are left out, has rows without a label,
            rows that name no image or several, or rows that contradict each other.
    """
    names, cells = Names(images), rules.cells()
    rows: list[Row] = []
    bad: list[str] = []
    files = correction_files(folder, rules)
    for file in files:
        found, wrong = _rows_of(read_csv(file, folder), names, cells)
        rows += found
        bad += wrong
    said: dict[str, Row] = {}
    contradicted: set[str] = set()
    for row in rows:
        first = said.setdefault(row.path, row)
        if first.label != row.label:
            contradicted.add(row.path)
            bad.append(f"{row.path} is {first.label!r} in {first.file} and {row.label!r} in {row.file}")
    if bad and rules.bad_rows == "stop":
        shown = "; ".join(bad[:_NUM_EXAMPLES])
        more = f" (and {len(bad) - _NUM_EXAMPLES} more)" if len(bad) > _NUM_EXAMPLES else ""
        raise LabelError(
            f"The corrections have rows that cannot be used: {shown}{more}. Correct the rows, or leave them out with "
            "--bad-rows leave-out."
        )
    kept = sorted({row for row in rows if row.path not in contradicted}, key=lambda row: (row.path, row.when, str(row)))
    inside = frozenset(printable(file.relative_to(folder).as_posix()) for file in files if file.is_relative_to(folder))
    left_out = (LeftOut.of("rows of the corrections that cannot be used", bad),) if bad else ()
    return Corrections(tuple(kept), left_out, inside, cells.task)


def correction_files(folder: Path, rules: LabelRules) -> tuple[Path, ...]:
    """The tables of corrections: a path on this machine, or one in the source.

    Args:
        folder: The source.
        rules: Name them.

    Raises:
        LabelError: where one is missing, or two files have that path.
    """
    return tuple(_file(folder, given) for given in rules.corrections)


def with_digests(settings: dict[str, Any], folder: Path, rules: LabelRules) -> dict[str, Any]:
    """Settings as JSON values, with the hashes of the tables of corrections in place of their paths.

    Args:
        settings: An ingest's, with `labels`; not changed.
        folder: The source.
        rules: Those labels' rules.

    Raises:
        LabelError: as `correction_files` raises it.
    """
    if not rules.corrections:
        return settings
    digests = [file_sha256(file) for file in correction_files(folder, rules)]
    return settings | {"labels": settings["labels"] | {"corrections": digests}}


def _file(folder: Path, given: str) -> Path:
    here, inside = Path(given), folder / given
    found = [file.resolve() for file in (here, inside) if file.is_file()]
    if not found:
        raise LabelError(
            f"There is no file of corrections {printable(given)!r}, here or in the source. Check the path."
        )
    if len(set(found)) > 1:
        raise LabelError(f"{printable(given)!r} is a file here and another in the source. Give its absolute path.")
    return found[0]


def _rows_of(table: Table, names: Names, cells: LabelCells) -> tuple[list[Row], list[str]]:
    """The rows of one table that can be used, and the others in words."""
    header = [column.lower() for column in table.header]
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise LabelError(
            f"{table.name} has no column {missing[0]!r}; it has {', '.join(table.header) or 'no header'}. Corrections "
            "have the columns path and label, and may have by, when and note."
        )
    nothing = [""] * len(list(table.column(header.index("path"))))
    columns = [table.column(header.index(name)) if name in header else nothing for name in (*_COLUMNS, *_REMARKS)]
    found, bad = [], []
    for number, (written, cell, by, when, note) in enumerate(zip(*columns, strict=True), start=1):
        paths = names.find(written, table.folder, table.name)
        try:
            label = cell if cell == EXCLUDE else cells.of_correction(cell)
        except LabelError as error:
            bad.append(f"row {number} of {table.name} {error}")
            continue
        if label is None:
            bad.append(f"row {number} of {table.name} has no label")
        elif len(paths) != 1:
            what = "more than one image" if paths else "no image here"
            bad.append(f"row {number} of {table.name} names {what}: {written!r}")
        else:
            found.append(Row(paths[0], label, by, when, note, table.name))
    return found, bad


def _effect(given: str | None, label: str) -> str:
    if label == EXCLUDE:
        return "excluded"
    return "new" if given is None else "confirmed" if given == label else "changed"


def _by_number(counts: Counter[str]) -> tuple[ClassSize, ...]:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return tuple(ClassSize(label=name, num_images=number) for name, number in ordered)
