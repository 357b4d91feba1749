"""The column of a table that says which split a row belongs to, however it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping

from darkroom.data.errors import LabelError
from darkroom.data.split_names import normalised, split_named
from darkroom.data.tables.table import Table

NO_COLUMN = "none"

_NAMES = ("split", "subset", "set", "partition", "phase", "usage", "data_set", "dataset")
# FER2013 has Usage: Training, PublicTest, PrivateTest; the private part is what a competition is decided by.
_OTHER_WORDS = {"publictest": "validation", "privatetest": "test", "holdout": "test", "hold_out": "test"}
# `is_train` with 1 and 0: the split of the ones, and of the others.
_FLAGS: Mapping[str, tuple[str, str]] = {
    "is_train": ("train", "test"),
    "is_training": ("train", "test"),
    "is_training_image": ("train", "test"),
    "is_test": ("test", "train"),
    "is_valid": ("validation", "train"),
    "is_validation": ("validation", "train"),
    "is_val": ("validation", "train"),
}
_TRUE = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}


def split_column(table: Table, asked: str | None) -> int | None:
    """The position of the column of splits; None where there is none.

    Args:
        table: The cells of the file.
        asked: The column that the user named; `none` for no column, None to recognise it by its name.

    Raises:
        LabelError: where the named column is missing, or a cell of the column names no split.
    """
    if asked == NO_COLUMN:
        return None
    plain = [normalised(column) for column in table.header]
    if asked is not None:
        if asked not in table.header:
            have = ", ".join(repr(column) for column in table.header[:20])
            raise LabelError(f"{table.path} has no column {asked!r}; it has {have}. Correct --split-column.")
        index: int | None = table.header.index(asked)
    else:
        index = next((plain.index(name) for name in (*_NAMES, *_FLAGS) if name in plain), None)
    if index is None or not len(table.rows):
        return None
    cells = table.rows.distinct(index)
    wrong = sorted(cell for cell in cells if split_of_cell(table, index, cell) is None)
    some = any(split_of_cell(table, index, cell) for cell in cells)
    certain = asked is not None or plain[index] in ("split", "usage", *_FLAGS)
    if wrong and (some or certain):
        shown = ", ".join(repr(cell) for cell in wrong[:4])
        raise LabelError(
            f"{table.path}: column {table.header[index]!r} holds values that name no split ({shown}). Write train, "
            "validation and test there, or ignore the column with --split-column none."
        )
    return None if wrong else index


def split_of_cell(table: Table, column: int, cell: str) -> str | None:
    """The split that a cell means; None where it means none.

    Args:
        table: The cells of the file.
        column: The position of the column of splits.
        cell: As written.
    """
    flag = _FLAGS.get(normalised(table.header[column]))
    if flag is not None:
        truth = _TRUE.get(cell.lower())
        return None if truth is None else flag[0 if truth else 1]
    return split_named(cell) or _OTHER_WORDS.get(normalised(cell))


def unused_folds(table: Table) -> str | None:
    """The name of a column of cross-validation folds, which are not splits; None where there is none."""
    return next(
        (column for column in table.header if re.fullmatch(r"(?:k_?)?folds?(?:_?id)?", normalised(column))), None
    )
