"""The column of a table that says which split a row belongs to, however it is written."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

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


def split_column(table: Table, asked: str | None, others: Collection[int] = ()) -> int | None:
    """The position of the column of splits; None where there is none.

    Args:
        table: The cells of the file.
        asked: The column that the user named; `none` for no column, None to recognise it by its name, or by its cells
            where each of them names a split.
        others: Positions of columns that are something else.

    Raises:
        LabelError: where the named column is missing, a cell of the column names no split, or two columns of splits
            contradict each other.
    """
    if asked == NO_COLUMN or not len(table.rows):
        return None
    plain = [normalised(column) for column in table.header]
    if asked is not None:
        if asked not in table.header:
            have = ", ".join(repr(column) for column in table.header[:20])
            raise LabelError(f"{table.path} has no column {asked!r}; it has {have}. Correct --split-column.")
        return _checked(table, table.header.index(asked), certain=True)
    named = next((plain.index(name) for name in (*_NAMES, *_FLAGS) if name in plain), None)
    index = None if named is None else _checked(table, named, certain=plain[named] in ("split", "usage", *_FLAGS))
    for other in (each for each in range(len(plain)) if each not in (index, *others) and _holds_splits(table, each)):
        if index is None:
            index = other
        elif any(
            split_of_cell(table, index, cells[index]) != split_of_cell(table, other, cells[other])
            for _, cells in table.rows
        ):
            both = f"{table.header[index]!r} and {table.header[other]!r}"
            raise LabelError(
                f"{table.path} has two columns of splits that contradict each other, {both}. Choose one with "
                "--split-column."
            )
    return index


def _checked(table: Table, index: int, certain: bool) -> int | None:
    """The position of a column if its cells name splits; a cell that names none is wrong where others do."""
    cells = table.rows.distinct(index)
    wrong = sorted(cell for cell in cells if split_of_cell(table, index, cell) is None)
    some = any(split_of_cell(table, index, cell) for cell in cells)
    if wrong and (some or certain):
        shown = ", ".join(repr(cell) for cell in wrong[:4])
        raise LabelError(
            f"{table.path}: column {table.header[index]!r} holds values that name no split ({shown}). Write train, "
            "validation and test there, or ignore the column with --split-column none."
        )
    return None if wrong else index


def _holds_splits(table: Table, index: int) -> bool:
    """Whether each cell of a column of any name is the name of a split, and training and another are among them."""
    if normalised(table.header[index]) in _FLAGS:
        return False
    splits = {split_of_cell(table, index, cell) for cell in table.rows.distinct(index)}
    return None not in splits and "train" in splits and len(splits) > 1


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
