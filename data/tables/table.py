"""Tables of labels, and the commonest file of them: CSV by comma, semicolon, tab or bar, in any usual encoding."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any

from darkroom.data.errors import LabelError
from darkroom.data.stores.listing import FileEntry, printable
from darkroom.data.tables.cells import Cells

CSV_SUFFIXES = (".csv", ".tsv")
# Larger tables are refused: as many rows as an archive may have files, and one-hot columns for 100,000 images of 1,000
# classes.
MAX_TABLE_BYTES = 512 * 2**20
MAX_TABLE_ROWS = 5_000_000
MAX_TABLE_CELLS = 100_000_000
_MAX_LINE = 2**20
_MAX_FILES = 50
_DELIMITERS = ",;\t|"
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        name: The file's name, printable.
        folder: Its folder in the source, `/`-separated; "" for the source itself, and for a file outside it.
        header: The columns' names, without spaces at their ends.
        rows: Line number in the file, and as many cells as the header has.
        unit: What the rows are counted in, such as `line` or `record`.
        unused: What else the file holds, such as boxes, by image.
        files: The paths of the files that it was made from, where there are several.
    """

    name: str
    folder: str
    header: tuple[str, ...]
    rows: Cells
    unit: str = "line"
    unused: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: frozenset[str] = frozenset()

    @property
    def path(self) -> str:
        """The file's path in the source."""
        return f"{self.folder}/{self.name}" if self.folder else self.name

    def column(self, index: int) -> Iterator[str]:
        """The cells of a column."""
        return self.rows.column(index)


@dataclass
class Rows:
    """A table in the making.

    Attributes:
        header: The columns' names.
        rows: Number, and as many cells as the header has.
        unused: What is not used, such as boxes, by image.
    """

    header: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str]]]
    unused: dict[str, list[str]] = field(default_factory=dict)

    def table(self, name: str, folder: str, unit: str, files: frozenset[str] = frozenset()) -> Table:
        """The finished table; cells lose spaces at their ends.

        Args:
            name: The file's name.
            folder: Its folder in the source.
            unit: What the rows are counted in.
            files: As in `Table`.

        Raises:
            LabelError: where a cell is no text, as half of a surrogate pair in JSON.
        """
        rows = ((number, *[cell.strip() for cell in cells]) for number, cells in self.rows)
        try:
            made = Cells.of(rows, len(self.header))
        except UnicodeEncodeError:
            raise LabelError(f"{name} holds text that is not Unicode. Correct it.") from None
        return Table(name, folder, tuple(column.strip() for column in self.header), made, unit, self.unused, files)


def files_beside(folder: Path, entries: Iterable[FileEntry], suffixes: tuple[str, ...]) -> list[FileEntry]:
    """The files beside the images that have one of the suffixes, at most 50; sample submissions are left out.

    Args:
        folder: The source.
        entries: All its files.
        suffixes: In lower case, with their dots.
    """
    found = (
        entry
        for entry in entries
        if entry.reason == "stray_file"
        and entry.os_path.lower().endswith(suffixes)
        and "submission" not in PurePosixPath(entry.path).name.lower()
        and (folder / entry.os_path).is_file()  # a FIFO of that name would block
    )
    return list(islice(found, _MAX_FILES))


def read_csv(file: Path, source: Path) -> Table:
    """Read a table with a header.

    Args:
        file: The file.
        source: The folder that it belongs to.

    Raises:
        LabelError: where the file is too large or not text, or a row has more cells than the header, as after an
            unquoted comma in a label.
    """
    name = printable(file.name)
    try:
        size = file.stat().st_size
        if not file.is_file():  # a device has no end
            raise LabelError(f"{name} is not a file. Give a CSV.")
        if size > MAX_TABLE_BYTES:
            limit = MAX_TABLE_BYTES >> 20
            raise LabelError(f"{name} is larger than {limit} MiB. Keep its path and label columns only.")
        with file.open(encoding=_encoding(file), newline="") as stream:
            first = next(_lines(stream, name), "")
            stream.seek(0)
            delimiter = max(
                _DELIMITERS, key=lambda each: (len(next(csv.reader([first], delimiter=each), [])), each == ",")
            )
            reader = csv.reader(_lines(stream, name), delimiter=delimiter)
            header = tuple(cell.strip() for cell in next(reader, []))
            rows = Cells.of(_rows(reader, header, name), len(header))
    except (OSError, csv.Error) as error:
        raise LabelError(f"{name} cannot be read as CSV: {error}. Save it as CSV in UTF-8.") from None
    return Table(name, folder_in(file, source), header, rows)


def _lines(stream: IO[str], name: str) -> Iterator[str]:
    while line := stream.readline(_MAX_LINE + 1):
        if len(line) > _MAX_LINE:
            raise LabelError(f"{name} has a line of more than {_MAX_LINE:,} characters: it is no table of labels.")
        yield line


def _rows(reader: Any, header: Sequence[str], name: str) -> Iterator[tuple[int | str, ...]]:
    """Line and cells of each row that is not blank."""
    num_columns, num_rows = len(header), 0
    max_rows = min(MAX_TABLE_ROWS, MAX_TABLE_CELLS // max(num_columns, 1))
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        num_rows += 1
        if num_rows > max_rows:
            raise LabelError(
                f"{name} has more than {max_rows:,} rows of {num_columns:,} columns, more than are read. Divide it, or "
                "keep its path and label columns only."
            )
        while len(cells) > num_columns and not cells[-1]:
            cells.pop()
        if len(cells) > num_columns:
            raise LabelError(
                f"{name} line {reader.line_num} has {len(cells)} cells and its header {num_columns}: put a label "
                f"that holds {reader.dialect.delimiter!r} in double quotes."
            )
        yield (reader.line_num, *cells, *[""] * (num_columns - len(cells)))


def folder_in(file: Path, source: Path) -> str:
    """The folder of a file in a source, `/`-separated; "" for the source itself, and for a file outside it.

    Args:
        file: The file.
        source: The source's folder.
    """
    inside = file.parent.relative_to(source) if file.is_relative_to(source) else Path()
    return "" if inside == Path() else printable(inside.as_posix())


def text_of(file: Path) -> str:
    """The text of a file; in Windows' Western encoding, which Excel writes by default, where it is not UTF-8.

    Raises:
        LabelError: where it is not text.
        OSError: where it cannot be read.
    """
    return file.read_bytes().decode(_encoding(file))


def _encoding(file: Path) -> str:
    """The encoding of a file of text."""
    with file.open("rb") as stream:
        start = stream.read(4)
    marked = [each for mark, each in _BYTE_ORDER_MARKS if start.startswith(mark)]
    for encoding in marked[:1] or ("utf-8", "cp1252"):
        if _is_text(file, encoding):
            return encoding
    raise LabelError(f"{printable(file.name)} is no text in UTF-8, UTF-16 or Windows-1252. Save it as CSV in UTF-8.")


def _is_text(file: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(2**20):
                if encoding == "cp1252" and b"\0" in chunk:
                    return False
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
