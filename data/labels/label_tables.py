"""Label files: CSVs with a column of paths or ids and a column of labels, and the file that each row means."""

from __future__ import annotations

import csv
import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from darkroom.data.errors import LabelError
from darkroom.data.files.listing import FileEntry, printable

logger = logging.getLogger(__name__)

_PATH_COLUMNS = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "filepaths", "image", "image_path", "image_file",
    "image_name", "image_id", "img", "id", "id_code", "name",
)  # fmt: skip
_LABEL_COLUMNS = (
    "label", "class", "category", "target", "species", "breed", "diagnosis", "labels", "class_name", "classname",
    "class_id", "classid", "label_name", "dx",
)  # fmt: skip
_MOST_CANDIDATES = 50


@dataclass(frozen=True)
class LabelTable:
    """A label file's rows as `(line in the file, path as written, label)`, and where it lies in the source."""

    name: str
    folder: str
    path_column: str
    label_column: str
    rows: tuple[tuple[int, str, str], ...]


class Names:
    """Finds the listed image that a row means: by its path, the end of its path, or either without the suffix."""

    def __init__(self, images: Sequence[FileEntry]) -> None:
        self._paths = {entry.path for entry in images}
        self._of_stem: dict[str, list[str]] = defaultdict(list)
        for entry in images:
            self._of_stem[_stem(entry.path.rpartition("/")[2])].append(entry.path)

    def find(self, written: str, table: LabelTable) -> list[str]:
        """The images that a row of `table` can mean: none, one, or several that nothing tells apart.

        A name that the training and the test part share, as ids counted from 1 in both, is that of the part which
        the table is named after: `trainLabels.csv`, `Training_set.csv`.
        """
        if not written:
            return []
        for key in _spellings(written):
            for whole in (key, f"{table.folder}/{key}"):
                if whole in self._paths:
                    return [whole]
            name = key.rpartition("/")[2]
            stems = dict.fromkeys((name, _stem(name)))
            found = [path for stem in stems for path in self._of_stem.get(stem, ()) if _ends_with(path, key)]
            if found:
                return _of_same_split(found, table.name) if len(found) > 1 else found
        return []

    def count(self, table: LabelTable) -> int:
        """How many images the rows of `table` name."""
        found = (self.find(written, table) for _, written, _ in table.rows)
        return len({paths[0] for paths in found if len(paths) == 1})


def find_tables(
    folder: Path, entries: Sequence[FileEntry], names: Names, path_column: str | None, label_column: str | None
) -> list[LabelTable]:
    """The CSVs of a source that have both columns and whose rows name an image. Sample submissions are no labels."""
    found = []
    candidates = [
        entry.os_path
        for entry in entries
        if entry.os_path.lower().endswith(".csv")
        and entry.reason == "stray_file"
        and "submission" not in PurePosixPath(entry.path).name.lower()
        and (folder / entry.os_path).is_file()  # a FIFO of that name would block
    ]
    for os_path in candidates[:_MOST_CANDIDATES]:
        try:
            table = read_table(folder / os_path, folder, path_column, label_column)
        except LabelError as error:
            logger.debug("Not a label file: %s", error)
            continue
        if any(label for _, _, label in table.rows) and names.count(table):
            found.append(table)
    return found


def read_table(file: Path, source: Path, path_column: str | None, label_column: str | None) -> LabelTable:
    """Read a label file, UTF-8 with or without a byte order mark.

    Raises:
        LabelError: where it cannot be read or has no such columns.
    """
    name = printable(file.name)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = [column.strip() for column in next(reader, [])]
            paths = _column(header, path_column, _PATH_COLUMNS, name, "path")
            labels = _column(header, label_column, _LABEL_COLUMNS, name, "label")
            rows = []
            for row in reader:
                if any(cell.strip() for cell in row):
                    written = row[paths].strip() if paths < len(row) else ""
                    label = row[labels].strip() if labels < len(row) else ""
                    rows.append((reader.line_num, written, label))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{name} cannot be read as UTF-8 CSV: {error}. Save it as UTF-8 CSV.") from None
    within = file.parent.relative_to(source) if file.is_relative_to(source) else Path()
    inside = "" if within == Path() else printable(within.as_posix())
    return LabelTable(name, inside, header[paths], header[labels], tuple(rows))


def labels_of(table: LabelTable, names: Names, classes: Sequence[str]) -> tuple[dict[str, str], str]:
    """Labels by path, and a sentence that counts the rows that name no image, or more than one.

    Raises:
        LabelError: where a row has no label, its label is not one of `classes` (() allows any), or two rows contradict
            each other.
    """
    labels: dict[str, str] = {}
    none = several = 0
    allowed = set(classes)
    for line, written, label in table.rows:
        if not label:
            raise LabelError(f"{table.name} line {line} has no {table.label_column}. Fill it in or remove the row.")
        if allowed and label not in allowed:
            raise LabelError(
                f"Label {label!r} in {table.name} line {line} is not one of {', '.join(classes)}. Correct the row, or "
                "add the label to the classes of the recipe."
            )
        paths = names.find(written, table)
        none += not paths
        several += len(paths) > 1
        if len(paths) == 1 and labels.setdefault(paths[0], label) != label:
            raise LabelError(
                f"{table.name} line {line} gives {written!r} the label {label!r}, an earlier row gave it "
                f"{labels[paths[0]]!r}. Keep one of them."
            )
    lost = f", {none} rows name no file here" if none else ""
    unclear = f", {several} rows name more than one file and are left out" if several else ""
    return labels, f"labels from {table.name}, columns {table.path_column!r} and {table.label_column!r}{lost}{unclear}"


def _column(header: Sequence[str], asked: str | None, usual: Sequence[str], name: str, kind: str) -> int:
    """The place of a column: the one asked for, or the first of the usual names that there is."""
    plain = [re.sub(r"[\s-]+", "_", column.lower()) for column in header]
    if asked is not None and asked.strip() in header:
        return header.index(asked.strip())
    found = next((plain.index(wanted) for wanted in usual if wanted in plain), None) if asked is None else None
    if found is None:
        missing = f"no column {asked!r} for the {kind}s" if asked else f"no {kind} column with a usual name"
        have = ", ".join(repr(column) for column in header[:20] if column) or "no header"
        raise LabelError(f"{name} has {missing}; it has {have}. Name it with --{kind}-column.")
    return found


def _ends_with(path: str, key: str) -> bool:
    return f"/{path}".endswith(f"/{key}") or f"/{_stem(path)}".endswith(f"/{key}")


def _spellings(written: str) -> Iterator[str]:
    """A path as written, and with its backslashes, double slashes and dots made plain."""
    yield written
    yield str(PurePosixPath(written.replace("\\", "/")))


def _stem(name: str) -> str:
    """Without the suffix. Not pathlib's: this runs several times for each of a million rows."""
    return name.rpartition(".")[0] or name


def _of_same_split(paths: list[str], table_name: str) -> list[str]:
    """Those in the folder that is named like the table, where only one is."""
    word = re.match(r"train|val|test", table_name.lower())
    if word is None:
        return paths
    inside = [path for path in paths if any(part.lower().startswith(word[0]) for part in path.split("/")[:-1])]
    return inside if len(inside) == 1 else paths
