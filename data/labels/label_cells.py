"""What the label cells of a table hold: one label, several in a list, or 0 and 1 in a column of each label.

`OneLabel` and `SeveralLabels` read the same cells for the two tasks. What either cannot read stops, and the sentence
names the option of the other reading.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from darkroom.data.errors import LabelError
from darkroom.data.tables.table import Table
from darkroom.data.task import MULTI_LABEL, SEPARATOR, SINGLE_LABEL, Task

# More than one label in a cell; a blank only where each word is a label of its own elsewhere in the column.
_SEPARATORS = re.compile(r"\s*[|;,]\s*|\s+")
_MARKS = ("|", ";", ",")
USE_MULTI_LABEL = "--task multi-label"


@dataclass(frozen=True)
class ReadCells:
    """The labels of a table's rows.

    Attributes:
        texts: One a row, as the task writes them, None where the row says nothing; or None for the cells as they are,
            of which an empty one says nothing.
        words: How the cells were read, for the reading; "" where there is nothing to say.
        adds_up: Rows of one image add labels to it instead of contradicting each other.
    """

    texts: Iterable[str | None] | None
    words: str = ""
    adds_up: bool = False


class LabelCells(Protocol):
    """How the cells of a table's label columns are read."""

    @property
    def task(self) -> Task:
        """What the texts are."""

    def of_column(self, table: Table, column: int) -> ReadCells:
        """The labels that one column names.

        Args:
            table: The table.
            column: The position of the column.
        """

    def of_columns(self, table: Table, columns: Sequence[int]) -> ReadCells:
        """The labels of columns of 0 and 1, one for each label.

        Args:
            table: The table.
            columns: The positions of the columns.
        """

    def of_correction(self, cell: str) -> str | None:
        """The text of all labels that a row of corrections gives its image; None where the cell says nothing.

        Raises:
            LabelError: where the cell can be read in two ways.
        """


@dataclass(frozen=True)
class OneLabel:
    """One label an image."""

    @property
    def task(self) -> Task:
        """One label a text."""
        return SINGLE_LABEL

    def of_column(self, table: Table, column: int) -> ReadCells:
        # The cells as they are; an empty one says nothing.
        return ReadCells(None)

    def of_columns(self, table: Table, columns: Sequence[int]) -> ReadCells:
        # The column that is 1; raises LabelError where several are, since one image would have several labels.
        return ReadCells(_hot(table, line, cells, columns) for line, cells in table.rows)

    def of_correction(self, cell: str) -> str | None:
        # The cell itself.
        return cell or None


ONE_LABEL = OneLabel()


@dataclass(frozen=True)
class SeveralLabels:
    """Any number of labels an image.

    Attributes:
        separator: Of the labels in a cell; None where it is to be recognised.
        empty: What an empty cell means: nothing that can be used (`stop`), or that no label applies (`no-label`).
    """

    separator: str | None = None
    empty: Literal["stop", "no-label"] = "stop"

    @property
    def task(self) -> Task:
        """Several labels a text."""
        return MULTI_LABEL

    def of_column(self, table: Table, column: int) -> ReadCells:
        # Lists in cells, or one label a row, of which those of one image add up.
        cells = list(table.column(column))
        nothing = "" if self.empty == "no-label" else None
        if self.separator is None and any(is_json_list(cell) for cell in cells):
            texts = (self._of_json(table, line, cells[column]) for line, cells in table.rows)
            return ReadCells(tuple(nothing if text is None else text for text in texts), " (JSON lists)")
        separator = self.separator or self._recognised(table, table.header[column], cells)
        if separator is None:
            return ReadCells(tuple(MULTI_LABEL.text([cell]) if cell else nothing for cell in cells), "", adds_up=True)
        lists = [[each.strip() for each in cell.split(separator) if each.strip()] for cell in cells]
        texts = (MULTI_LABEL.text(each) if each else nothing for each in lists)
        return ReadCells(tuple(texts), f" (lists separated by {separator!r})")

    def of_columns(self, table: Table, columns: Sequence[int]) -> ReadCells:
        # The columns that are 1, of each row; all 0 is an image to which no label applies.
        texts = []
        for line, cells in table.rows:
            values = {index: cells[index].removesuffix(".0") for index in columns}
            wrong = next((index for index, value in values.items() if value not in ("0", "1")), None)
            if wrong is not None:
                raise LabelError(
                    f"{table.path} {table.unit} {line}: column {table.header[wrong]!r} holds {cells[wrong]!r}, where 1 "
                    "means that the label applies and 0 that it does not. Correct the cell, or leave the column out of "
                    "--label-column."
                )
            texts.append(MULTI_LABEL.text(table.header[index] for index, value in values.items() if value == "1"))
        return ReadCells(tuple(texts))

    def of_correction(self, cell: str) -> str | None:
        # `a|b`, in which no label has a mark that may separate labels, or a JSON list.
        if not cell:
            return "" if self.empty == "no-label" else None
        found = _json_list(cell)
        if found is not None:
            return MULTI_LABEL.text(found)
        parts = [part for piece in cell.split(SEPARATOR) for part in piece.split(self.separator or SEPARATOR)]
        names = [part.strip() for part in parts if part.strip()]
        unclear = next((name for name in names if self.separator is None and {",", ";"} & set(name)), None)
        if unclear or not names:
            raise LabelError(
                f"holds {cell!r}, where labels are separated by {SEPARATOR!r} or stand in a JSON list such as "
                '["a", "b"], [] for none of them'
            )
        return MULTI_LABEL.text(names)

    def _recognised(self, table: Table, name: str, cells: Sequence[str]) -> str | None:
        """The mark between labels; None where every cell has one label.

        Raises:
            LabelError: where two marks stand in the column, or blanks that may separate labels.
        """
        marks = [mark for mark in _MARKS if any(mark in cell for cell in cells)]
        if len(marks) > 1:
            raise LabelError(
                f"{table.path}: column {name!r} holds {' and '.join(map(repr, marks))}. Say which of them separates "
                f"labels: --label-separator '{marks[0]}'."
            )
        if not marks and (several := several_labels_in_a_cell(cells)):
            raise LabelError(
                f"{table.path}: column {name!r} holds {several[0]!r}, which may be one label or several. Use "
                "--label-separator ' ' if blanks separate labels, or --label-separator '|' if they do not."
            )
        return marks[0] if marks else None

    def _of_json(self, table: Table, line: int, cell: str) -> str | None:
        if not cell:
            return None
        found = _json_list(cell)
        if found is None:
            raise LabelError(
                f"{table.path} {table.unit} {line} holds {cell!r}, other cells of the column JSON lists such as "
                '["a", "b"]. Write it as a list too.'
            )
        return MULTI_LABEL.text(found)


def is_json_list(cell: str) -> bool:
    """Whether a cell is a list of texts, as in `["a", "b"]`."""
    return _json_list(cell) is not None


def several_labels_in_a_cell(labels: Sequence[str]) -> list[str]:
    """Labels that look like several in one cell: each of their words is a label, or part of another such cell.

    Classes such as `air hockey` and `ice hockey` share a word and are no such cells: `hockey` alone is no label. A
    JSON list is one always.
    """
    counts = Counter(labels)
    words = {label: [word for word in _SEPARATORS.split(label) if word] for label in counts}
    written = {label for label, parts in words.items() if len(parts) == 1}
    uses = Counter(word for parts in words.values() for word in set(parts))
    found = []
    for label, parts in words.items():
        marked = re.search(r"[|;,]", label) is not None
        enough = all(word in written or (marked and uses[word] > 1) for word in parts)
        if (len(parts) > 1 and enough) or is_json_list(label):
            found.append(label)
    return sorted(found)


def columns_of_0_and_1(table: Table, taken: Collection[int | None]) -> tuple[int, ...]:
    """The columns of 0 and 1, where there are two or more.

    Args:
        table: The table.
        taken: Positions of columns that are something else.
    """
    found = []
    for index in range(len(table.header)):
        cells = {cell.removesuffix(".0") for cell in table.rows.distinct(index)}
        if index not in taken and cells and cells <= {"0", "1"}:
            found.append(index)
    return tuple(found) if len(found) >= 2 else ()


def _json_list(cell: str) -> list[str] | None:
    """The texts of a JSON list, or of a Python one, whose quotes are single; None for anything else."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    for text in (cell, re.sub(r"'([^'\"]*)'", r'"\1"', cell)):
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, list) and all(isinstance(each, str | int) for each in found):
            return [str(each) for each in found]
    return None


def _hot(table: Table, line: int, cells: Sequence[str], columns: Sequence[int]) -> str | None:
    """The class of a row of 0 and 1."""
    hot = [table.header[index] for index in columns if cells[index].removesuffix(".0") == "1"]
    if len(hot) > 1:
        raise LabelError(
            f"{table.path} {table.unit} {line} is 1 in several columns ({', '.join(hot[:4])}). If an image may have "
            f"several labels, use {USE_MULTI_LABEL}. If some of these columns are no classes, name those that are: "
            f"--label-column {','.join(hot)}"
        )
    return hot[0] if hot else None
