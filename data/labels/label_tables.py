"""Which columns of a table are paths, labels and splits, and the images that its rows name."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from darkroom.data.errors import LabelError
from darkroom.data.labels.label_cells import ONE_LABEL, LabelCells, columns_of_0_and_1
from darkroom.data.labels.split_columns import split_column, split_of_cell, unused_folds
from darkroom.data.stores.listing import FileEntry
from darkroom.data.tables.cells import Cells
from darkroom.data.tables.matching import Names
from darkroom.data.tables.sidecars import sidecar_tables
from darkroom.data.tables.table import Table, files_beside
from darkroom.data.tables.table_files import TABLE_SUFFIXES, read_table
from darkroom.data.task import SINGLE_LABEL, Task

logger = logging.getLogger(__name__)

_PATH_COLUMNS = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "filepaths", "image", "image_path", "image_file",
    "image_name", "image_id", "img", "id", "id_code", "name",
)  # fmt: skip
_LABEL_COLUMNS = (
    "label", "class", "category", "target", "species", "breed", "diagnosis", "labels", "class_name", "classname",
    "class_id", "classid", "label_name", "dx", "choice",
)  # fmt: skip
# The same things named at different levels, without underscores: where a label is one of them, so may another be.
_LEVELS = (
    "kingdom", "phylum", "class", "subclass", "superclass", "order", "suborder", "family", "subfamily", "genus",
    "subgenus", "species", "subspecies", "breed", "variety", "cultivar", "category", "subcategory", "supercategory",
    "coarselabel", "finelabel",
)  # fmt: skip
# A table with one of these reasons says nothing about the images, and may stay beside them.
NAMES_NO_IMAGE = "names no image here"
NO_LABELS = "has no column of labels"
_SAMPLE_ROWS = 500


@dataclass(frozen=True)
class Columns:
    """The columns that the user names; None where they are to be recognised.

    Attributes:
        path: Of paths or ids.
        label: Of labels; several names, separated by commas, are one column of 0 and 1 for each class.
        split: Of splits; `none` ignores it.
        cells: How the label columns are read.
    """

    path: str | None = None
    label: str | None = None
    split: str | None = None
    cells: LabelCells = ONE_LABEL


class LabelRow(NamedTuple):
    """A row of a label file.

    Attributes:
        line: Its number in the file, counted in `Table.unit`.
        path: As written.
        label: The text of its labels; None where it has none.
        split: None where it has none.
        images: Those that the path can mean: see `Names.find`.
    """

    line: int
    path: str
    label: str | None
    split: str | None
    images: list[str]


@dataclass(frozen=True)
class LabelTable:
    """A label file and its columns.

    Attributes:
        table: Its cells.
        path_column, label_column: Their names; `label_column` is None for one column of 0 and 1 per class.
        cells: Path and label of each row, as written.
        images: By the place of a row that names some, those that its path can mean: see `Names.find`.
        splits, split_column: The split of each row, and the column's name; () and None without one.
        fold_column: A column of cross-validation folds, which is not used.
        levels: The columns that may be the label as well as this one, at another level, as genus and species; empty
            where the user named the column.
        task: How the labels are written.
        words, adds_up: How the cells were read; see `ReadCells`.
    """

    table: Table
    path_column: str
    label_column: str | None
    cells: Cells
    images: Mapping[int, list[str]]
    splits: tuple[str | None, ...] = ()
    split_column: str | None = None
    fold_column: str | None = None
    levels: tuple[str, ...] = ()
    task: Task = SINGLE_LABEL
    words: str = ""
    adds_up: bool = False

    @property
    def name(self) -> str:
        """The file's name."""
        return self.table.name

    @property
    def has_usual_label(self) -> bool:
        """Whether the label's column has one of the usual names, such as `label` or `species`."""
        return self.label_column is not None and bool(_usual([self.label_column], _LABEL_COLUMNS))

    @property
    def rows(self) -> Iterator[LabelRow]:
        """The rows, in the order of the file."""
        for place, (line, (path, label)) in enumerate(self.cells):
            split = self.splits[place] if self.splits else None
            said = label if label or self.task.name == "multi-label" else None
            yield LabelRow(line, path, said, split, self.images.get(place, []))

    @property
    def names_an_image(self) -> bool:
        """Whether a row names one image."""
        return any(len(images) == 1 for images in self.images.values())


@dataclass(frozen=True)
class FoundTables:
    """The tables of a source.

    Attributes:
        usable: Those that label its images.
        unusable: The reason for each of the others, by its path.
        splits: By image, from tables of paths and splits without labels.
        of_splits: The paths of these tables.
    """

    usable: tuple[LabelTable, ...] = ()
    unusable: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    of_splits: tuple[str, ...] = ()


def find_tables(folder: Path, entries: Sequence[FileEntry], names: Names, columns: Columns) -> FoundTables:
    """The tables of a source: which label its images, and why the others do not. Sample submissions are left out.

    Args:
        folder: The source.
        entries: All its files.
        names: Its images.
        columns: The columns that the user named.
    """
    usable, unusable = [], {}
    splits, of_splits = dict[str, str](), list[str]()
    for path, read in _tables_beside(folder, entries, names):
        if isinstance(read, LabelError):
            unusable[path] = str(read)
            continue
        try:
            if found := _splits_alone(read, names, columns):
                splits |= found
                of_splits.append(path)
                continue
            table = label_table(read, names, columns)
        except LabelError as error:
            logger.debug("Not a label file: %s", error)
            named = any(_num_named(read, index, names) for index in range(len(read.header)))
            unusable[path] = str(error) if named else f"{read.name} {NAMES_NO_IMAGE}"
            continue
        if table.names_an_image and any(row.label is not None for row in table.rows):
            usable.append(table)
            continue
        unclear = next((row.path for row in table.rows if len(row.images) > 1), None)
        if unclear:
            unusable[path] = f"its paths name several images each, as {unclear!r}: write them with their folders"
        elif not table.names_an_image:
            unusable[path] = f"{table.name} {NAMES_NO_IMAGE}"
    return FoundTables(tuple(usable), unusable, splits, tuple(of_splits))


def _tables_beside(
    folder: Path, entries: Sequence[FileEntry], names: Names
) -> Iterator[tuple[str, Table | LabelError]]:
    """Each table of a source, or why it cannot be read, with its path; files of other forms are passed over."""
    sidecars = sidecar_tables(folder, entries, names)
    yield from ((table.path, table) for table in sidecars)
    in_sidecars = {path for table in sidecars for path in table.files}
    for entry in files_beside(folder, (each for each in entries if each.path not in in_sidecars), TABLE_SUFFIXES):
        try:
            table = read_table(folder / entry.os_path, folder, names)
        except LabelError as error:
            yield entry.path, error
        else:
            if table:
                yield entry.path, table


def _splits_alone(table: Table, names: Names, columns: Columns) -> dict[str, str]:
    """The splits by image of a table that has a column of paths, one of splits and no other."""
    split = split_column(table, columns.split, _usual(table.header, _LABEL_COLUMNS))
    if split is None or len(table.header) != 2 or columns.label:
        return {}
    found = {}
    for _, cells in table.rows:
        paths = names.find(cells[1 - split], table.folder, table.name)
        meant = split_of_cell(table, split, cells[split])
        if len(paths) == 1 and meant:
            found[paths[0]] = meant
    return found


def label_table(table: Table, names: Names, columns: Columns) -> LabelTable:
    """Find the columns of a table, those asked for, with a usual name, or the only ones that fit, and match its rows.

    Args:
        table: The cells of the file.
        names: The images of the source.
        columns: The columns that the user named.

    Raises:
        LabelError: where a column cannot be found or told from others, or the table has no header.
    """
    unheaded = next((cell for cell in table.header if "." in cell and names.count_any([cell], table.folder, "")), None)
    if unheaded:
        raise LabelError(
            f"{table.path} has no header: its first line names {unheaded!r}. Add a line such as path,label."
        )
    path = _path_column(table, names, columns.path)
    _stop_at_swallowed_rows(table, path, names)
    usual = (path, *_usual(table.header, _LABEL_COLUMNS))
    split = split_column(table, columns.split, (*usual, *_asked_for(table, columns.label)))
    one_hot: tuple[int, ...] = ()
    label: int | None = None
    if columns.label and "," in columns.label and columns.label not in table.header:
        asked = [each.strip() for each in columns.label.split(",")]
        one_hot = tuple(_asked(table, each, "label") for each in asked)
    else:
        label = _label_column(table, columns.label, {path, split})
        one_hot = columns_of_0_and_1(table, {path, split}) if label is None else ()
    if label is None and not one_hot:
        label = _only_label_column(table, path, split)
    if label == path:
        raise LabelError(f"{table.path}: column {table.header[path]!r} cannot be both path and label.")
    read = columns.cells.of_columns(table, one_hot) if label is None else columns.cells.of_column(table, label)
    written = enumerate(table.column(path))
    found = {place: images for place, cell in written if (images := names.find(cell, table.folder, table.name))}
    if read.texts is None and label is not None:
        cells = table.rows.select(path, label)
    else:
        said = zip(table.rows, read.texts or (), strict=True)
        cells = Cells.of(((line, row[path], text) for (line, row), text in said), 2)
    return LabelTable(
        table,
        table.header[path],
        table.header[label] if label is not None else None,
        cells,
        found,
        tuple(split_of_cell(table, split, cell) for cell in table.column(split)) if split is not None else (),
        table.header[split] if split is not None else None,
        unused_folds(table),
        _levels(table, label, {path, split}) if label is not None and columns.label is None else (),
        columns.cells.task,
        read.words,
        read.adds_up,
    )


def _stop_at_swallowed_rows(table: Table, path: int, names: Names) -> None:
    """Refuse a cell with whole rows in it: a quote was opened by mistake, and another one closed it further down."""
    for line, cell in table.rows.of_several_lines():
        for inner in cell.splitlines()[1:]:
            parts = re.split(r"[,;\t|]", inner)
            if len(parts) == len(table.header) and names.find(parts[path].strip(), table.folder, table.name):
                raise LabelError(
                    f"{table.path} {table.unit} {line} ends a cell that holds other rows, as {inner.strip()!r}: a "
                    "double quote further up is not closed. Close it."
                )


def _path_column(table: Table, names: Names, asked: str | None) -> int:
    """The column of paths: the one asked for, the usual one, or the one whose cells name most images."""
    if asked is not None:
        return _asked(table, asked, "path")
    usual = _usual(table.header, _PATH_COLUMNS)
    if usual and _num_named(table, usual[0], names):
        return usual[0]
    columns = range(len(table.header))
    named = [_num_named(table, index, names) for index in columns]
    if any(_looks_like_paths(table, index) for index in columns):  # the numbers of its rows are no names of images
        named = [0 if all(map(str.isdigit, table.rows.distinct(index))) else named[index] for index in columns]
    if not named or (best := max(named)) == 0:
        if usual:
            return usual[0]
        raise LabelError(
            f"{table.path} {NAMES_NO_IMAGE}: no column holds paths of images; it has {_columns(table)}. Name it with "
            "--path-column."
        )
    return named.index(best)


def _looks_like_paths(table: Table, column: int) -> bool:
    cells = [cells[column] for _, cells in table.rows.head(_SAMPLE_ROWS)]
    return bool(cells) and all(re.search(r"\w\.[A-Za-z]{3,4}$", cell) for cell in cells)


def _num_named(table: Table, column: int, names: Names) -> int:
    cells = [cells[column] for _, cells in table.rows.head(_SAMPLE_ROWS)]
    return names.count_any(cells, table.folder, table.name)


def _label_column(table: Table, asked: str | None, taken: set[int | None]) -> int | None:
    """The column of labels: the one asked for, or the one with a usual name; several of them must say the same."""
    if asked is not None:
        return _asked(table, asked, "label")
    usual = [index for index in _usual(table.header, _LABEL_COLUMNS) if index not in taken]
    for other in usual[1:]:
        pairs = {(cells[usual[0]], cells[other]) for _, cells in table.rows}
        if len(pairs) != len({first for first, _ in pairs}) or len(pairs) != len({second for _, second in pairs}):
            found = ", ".join(repr(table.header[index]) for index in usual)
            raise LabelError(
                f"{table.path} has several columns that may be the label: {found}. Choose one with --label-column."
            )
    return usual[0] if usual else None


def _levels(table: Table, label: int, taken: set[int | None]) -> tuple[str, ...]:
    """Columns that name the same thing as the label's, in fewer or more classes; () where there is no such column."""

    def is_level(index: int) -> bool:
        return _plain(table.header[index]).replace("_", "") in _LEVELS

    if not is_level(label):
        return ()
    others = [index for index in range(len(table.header)) if index not in (label, *taken) and is_level(index)]
    found = []
    for other in others:
        pairs = {(cells[label], cells[other]) for _, cells in table.rows}
        numbers = {len({first for first, _ in pairs}), len({second for _, second in pairs})}
        if min(numbers) >= 2 and numbers != {len(pairs)} and not _is_measure(table, other):
            found.append(other)
    return tuple(table.header[index] for index in sorted([label, *found])) if found else ()


def _only_label_column(table: Table, path: int, split: int | None) -> int:
    """The one column left that repeats its values."""
    left = [index for index in range(len(table.header)) if index not in (path, split)]
    fit = [index for index in left if len(table.rows.distinct(index)) >= 2 and not _is_measure(table, index)]
    if len(fit) == 1:
        return fit[0]
    found = "has no label column with a usual name" if fit else NO_LABELS
    if not fit and any(_is_measure(table, index) for index in left):
        found = f"{NO_LABELS} (a number that is measured is no class)"
    raise LabelError(f"{table.path} {found}; it has {_columns(table)}. Name it with --label-column.")


def _is_measure(table: Table, index: int) -> bool:
    """Whether a column holds numbers with fractions, or a value of its own in every row of many."""
    if all(re.fullmatch(r"-?\d*\.\d+(?:[eE]-?\d+)?|", cell) for cell in table.column(index)):
        return True
    return len(table.rows) > 20 and len(table.rows.distinct(index)) == len(table.rows)


def _asked_for(table: Table, label: str | None) -> list[int]:
    """The positions of the label columns that the user names."""
    names = {label, *(label or "").split(",")}
    return [index for index, column in enumerate(table.header) if column in names]


def _asked(table: Table, name: str, kind: str) -> int:
    """The position of a column that the user names; raises LabelError where there is none."""
    if name.strip() in table.header:
        return table.header.index(name.strip())
    raise LabelError(
        f"{table.path} has no column {name!r} for the {kind}s; it has {_columns(table)}. Correct --{kind}-column."
    )


def _usual(header: Sequence[str], usual: Sequence[str]) -> list[int]:
    """The positions of the columns with one of the usual names, in the order of these names."""
    plain = [_plain(column) for column in header]
    return [index for name in usual for index, column in enumerate(plain) if column == name]


def _columns(table: Table) -> str:
    return ", ".join(repr(column) for column in table.header[:20] if column) or "no header"


def _plain(column: str) -> str:
    return re.sub(r"[\s-]+", "_", column.lower())
