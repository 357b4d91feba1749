"""The labels and splits that tables give: one table, or one for each split."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from darkroom.data.errors import LabelError
from darkroom.data.labels.from_folders import Found, Source, listed
from darkroom.data.labels.label_cells import USE_MULTI_LABEL, several_labels_in_a_cell
from darkroom.data.labels.label_tables import (
    FoundTables,
    LabelTable,
)
from darkroom.data.labels.reading import LeftOut, ambiguous
from darkroom.data.labels.recognition.numbers import stop_at_numbers
from darkroom.data.labels.recognition.predictions import stop_at_sessions
from darkroom.data.split_names import split_named
from darkroom.data.tables.sidecars import CLASSES, OBJECTS

_NUM_EXAMPLES = 3
_EXCEL_ERRORS = ("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!")
# Of rows and of images: where more of both are lost, paths and files do not fit each other.
_MAX_LOST_SHARE = 0.1


@dataclass(frozen=True)
class TableLabels:
    """What the rows of a table say.

    Attributes:
        labels: By path.
        splits: By path, where the table has a column of them.
        decision: In words, with what is lost.
        unmatched: Paths as written that name no image here.
        unclear: Paths as written that could mean several.
        bad_rows: Rows without a label, or that contradict an earlier one, in words.
    """

    labels: dict[str, str]
    splits: dict[str, str]
    decision: str
    unmatched: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    bad_rows: tuple[str, ...] = ()


def chosen_tables(tables: FoundTables, source: Source) -> list[LabelTable]:
    """The one table that labels images, or the tables of the splits.

    Args:
        tables: All tables of the source.
        source: For the message.

    Raises:
        LabelError: where no table labels images, or several do and are not one per split.
    """
    if len(tables.usable) == 1 or (tables.usable and one_a_split(tables.usable)):
        return list(tables.usable)
    if not tables.usable:
        why = "".join(f" {path}: {reason.rstrip('.')}." for path, reason in sorted(tables.unusable.items())[:3])
        raise LabelError(
            f"{source} holds no table with a path and a label column whose rows name images.{why} Name the file with "
            "--labels-csv, its columns with --path-column and --label-column."
        )
    listed = ", ".join(table.table.path for table in tables.usable)
    raise LabelError(
        f"{source} holds several tables of labels: {listed}. Choose one, or several, with --labels-csv A.csv,B.csv."
    )


def names_for_numbers(tables: FoundTables) -> FoundTables:
    """The tables without webdataset's `a.cls` where that numbers the classes that `a.json` names.

    Args:
        tables: All tables of the source.
    """
    of_kind = {table.table.path: _by_image(table) for table in tables.usable if table.table.path in (CLASSES, OBJECTS)}
    if len(of_kind) < 2 or of_kind[CLASSES].keys() != of_kind[OBJECTS].keys():
        return tables
    pairs = {(number, of_kind[OBJECTS][path]) for path, number in of_kind[CLASSES].items()}
    if not len(pairs) == len({number for number, _ in pairs}) == len({name for _, name in pairs}):
        return tables
    return replace(tables, usable=tuple(table for table in tables.usable if table.table.path != CLASSES))


def _by_image(table: LabelTable) -> dict[str, str | None]:
    return {row.images[0]: row.label for row in table.rows if len(row.images) == 1}


def one_a_split(tables: Sequence[LabelTable]) -> bool:
    """Whether each table is of a different split, by its own name or by its folder's."""
    splits = [_split_of_table(table) for table in tables]
    return all(splits) and len(set(splits)) == len(splits)


def _split_of_table(table: LabelTable) -> str | None:
    """The split that a word of the table's name means, as in `train_labels.csv`, or a folder that it lies in."""
    words = re.split(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])", PurePosixPath(table.name).stem)
    of_name = next((split for word in words if (split := split_named(word))), None)
    return of_name or next((split for part in table.table.folder.split("/") if (split := split_named(part))), None)


def from_tables(source: Source, tables: Sequence[LabelTable]) -> Found:
    """Labels from one table, or from one per split.

    Args:
        source: What to label.
        tables: One, or one per split.

    Raises:
        LabelError: where no row names an image, tables overlap or contradict the split folders, a cell holds several
            labels, or many rows and many images do not match.
    """
    rules = source.rules
    for table in tables:
        _stop_at_levels(table)
        if rules.label_column is None:
            stop_at_sessions(table)
    said = [labels_of(table, rules.classes, rules.bad_rows == "leave-out") for table in tables]
    labels: dict[str, str] = {}
    splits: dict[str, str] = {}
    for table, found in zip(tables, said, strict=True):
        twice = sorted(labels.keys() & found.labels.keys())
        if twice:
            raise LabelError(
                f"{len(twice)} images stand in two tables, as {twice[0]} in {table.table.path}. Keep each in one, or "
                "choose a table with --labels-csv."
            )
        labels |= found.labels
        splits |= found.splits
        if len(tables) > 1 and not table.split_column and one_a_split(tables):
            splits |= dict.fromkeys(found.labels, str(_split_of_table(table)))
    _stop_at_several_labels(source, tables, labels)
    if rules.task == "single-label" and rules.numeric_labels == "stop":
        stop_at_numbers(tables, list(labels.values()))
    _stop_at_paths_that_do_not_fit(source, tables, said, labels)
    splits_from = ""
    if splits:
        column = next((table.split_column for table in tables if table.split_column), None)
        splits_from = f"splits from column {column!r}" if column else "splits from the tables"
    left_out = []
    for table, found in zip(tables, said, strict=True):
        rows = (
            (f"rows of {table.name} that name no file here", found.unmatched),
            (f"rows of {table.name} that name more than one file", found.unclear),
            (f"rows of {table.name} without a label or that contradict another", found.bad_rows),
        )
        left_out += [LeftOut.of(what, each) for what, each in rows if each]
        left_out += [LeftOut.of(f"{what} of {table.name}", each) for what, each in table.table.unused.items() if each]
    columns = {found.decision.partition(", columns")[2] for found in said}
    decision = " and ".join(found.decision for found in said)
    if len(said) > 1 and len(columns) == 1:
        decision = f"labels from {', '.join(table.name for table in tables)}, columns{columns.pop()}"
    for table in tables:
        if table.fold_column:
            words = f"column {table.fold_column!r} of {table.name} (name it with --split-column if it is a split)"
            left_out.append(LeftOut.of(words, [table.fold_column]))
    if not labels:
        raise _nothing_named(source, tables, said)
    used = tuple(path for table in tables for path in table.table.files or (table.table.path,))
    return Found(labels, decision, _checked_splits(source, splits), splits_from, tuple(left_out), used)


def labels_of(table: LabelTable, classes: Sequence[str], leave_out_bad_rows: bool = False) -> TableLabels:
    """Labels by path, and the rows that could not be used.

    Args:
        table: The label file.
        classes: The only labels allowed; () allows any.
        leave_out_bad_rows: Leave out rows without a label and rows that contradict each other.

    Raises:
        LabelError: where there are such rows and they are not left out, or a label is not one of `classes`.
    """
    labels: dict[str, str] = {}
    splits: dict[str, str] = {}
    unmatched: list[str] = []
    unclear: list[str] = []
    bad: list[str] = []
    contradicted: set[str] = set()
    allowed, task = set(classes), table.task
    for line, written, label, split, paths in table.rows:
        if label is None:
            bad.append(f"{table.table.unit} {line} has no {table.label_column or 'class'}")
            continue
        if label in _EXCEL_ERRORS:
            bad.append(f"{table.table.unit} {line} holds Excel's error {label}")
            continue
        unknown = next((name for name in task.names(label) if name not in allowed), None) if allowed else None
        if unknown is not None:
            raise LabelError(
                f"Label {unknown!r} in {table.name} {table.table.unit} {line} is not one of {', '.join(classes)}. "
                "Correct the row, or add the label to the classes of the recipe."
            )
        if len(paths) != 1:
            (unclear if paths else unmatched).append(written)
            continue
        if table.adds_up:
            labels[paths[0]] = task.text((*task.names(labels.get(paths[0], "")), *task.names(label)))
        elif labels.setdefault(paths[0], label) != label:
            bad.append(
                f"{table.table.unit} {line} gives {written!r} the label {label!r}, an earlier row {labels[paths[0]]!r}"
            )
            contradicted.add(paths[0])
        if split:
            splits[paths[0]] = split
    if bad and not leave_out_bad_rows:
        shown = "; ".join(bad[:_NUM_EXAMPLES])
        more = f" (and {len(bad) - _NUM_EXAMPLES} more rows)" if len(bad) > _NUM_EXAMPLES else ""
        mixed = contradicted or several_labels_in_a_cell([row.label for row in table.rows if row.label])
        remedy = f", or, if an image may have several labels, use {USE_MULTI_LABEL}" if mixed else ""
        if task.name == "multi-label":
            remedy = ", or, if an empty cell means that no label applies, use --empty-labels no-label"
        raise LabelError(
            f"{table.name}: {shown}{more}. Correct the rows, or leave them out with --bad-rows leave-out{remedy}."
        )
    for path in contradicted:
        del labels[path]
        splits.pop(path, None)
    lost = f", {len(unmatched)} rows name no file here" if unmatched else ""
    several = f", {len(unclear)} rows name more than one file and are left out" if unclear else ""
    wrong = f", {len(bad)} rows left out that have no label or contradict another" if bad else ""
    columns = (
        f"columns {table.path_column!r} and {table.label_column!r}"
        if table.label_column is not None
        else f"column {table.path_column!r} and one column a class"
    )
    decision = f"labels from {table.name}, {columns}{table.words}{lost}{several}{wrong}"
    return TableLabels(labels, splits, decision, tuple(unmatched), tuple(unclear), tuple(bad))


def _stop_at_levels(table: LabelTable) -> None:
    """Genus and species are both labels, and only the user knows which is meant."""
    readings = []
    for column in table.levels:
        cells = table.table.rows.distinct(table.table.header.index(column)) - {""}
        readings.append((f"column {column!r} holds the classes ({listed(cells)})", f"--label-column '{column}'"))
    if readings:
        raise ambiguous(table.table.path, readings)


def _nothing_named(source: Source, tables: Sequence[LabelTable], said: Sequence[TableLabels]) -> LabelError:
    """The error for tables of which no row names one image, with a row and a file to compare."""
    name = ", ".join(table.name for table in tables)
    image = source.images[0].path if source.images else "nothing"
    unclear = next((each for found in said for each in found.unclear), None)
    if unclear is not None:
        return LabelError(
            f"The rows of {name} name several images each, as {unclear!r}. Write the paths with their folders and "
            "suffixes, or leave the other images out with --exclude, as '*.png'."
        )
    written = next((each for found in said for each in found.unmatched), "")
    return LabelError(
        f"No row of {name} names an image: column {tables[0].path_column!r} has {written!r}, and an image is "
        f"{image!r}. Correct the table, or choose another column with --path-column."
    )


def _checked_splits(source: Source, splits: Mapping[str, str]) -> dict[str, str]:
    """The splits of a table, which must not contradict the folders."""
    for entry in source.images:
        place = source.place(entry).split
        if place and splits.get(entry.path, place) != place:
            raise LabelError(
                f"{entry.path} lies in the {place} part, and its table puts it into {splits[entry.path]}. Correct one "
                "of the two."
            )
    return dict(splits)


def _stop_at_several_labels(source: Source, tables: Sequence[LabelTable], labels: Mapping[str, str]) -> None:
    rules = source.rules
    if rules.task == "multi-label" or rules.combined_labels == "keep":
        return
    several = several_labels_in_a_cell(list(labels.values()))
    if several:
        number = sum(label in set(several) for label in labels.values())
        raise LabelError(
            f"{number} images have several labels in one cell of {', '.join(table.name for table in tables)}, as "
            f"{several[0]!r}. If an image may have several labels, use {USE_MULTI_LABEL}; if each combination is a "
            "class of its own, use --combined-labels keep."
        )


def _stop_at_paths_that_do_not_fit(
    source: Source, tables: Sequence[LabelTable], said: Sequence[TableLabels], labels: Mapping[str, str]
) -> None:
    """Rows without files and files without rows: where there are many of both, the paths do not fit."""
    num_rows = sum(len(table.cells) for table in tables)
    unmatched = [path for found in said for path in found.unmatched]
    divided = [entry for entry in source.images if source.place(entry).split != "test"]
    unlabelled = [entry.path for entry in divided if entry.path not in labels]
    if (
        source.rules.bad_rows == "stop"
        and len(unmatched) > _MAX_LOST_SHARE * num_rows
        and len(unlabelled) > _MAX_LOST_SHARE * len(divided)
        and labels
    ):
        raise LabelError(
            f"{len(unmatched)} of {num_rows} rows of {', '.join(table.name for table in tables)} name no file, as "
            f"{unmatched[0]!r}, and {len(unlabelled)} images stand in no row, as {unlabelled[0]!r}. Correct the paths, "
            "or go on without both with --bad-rows leave-out."
        )
