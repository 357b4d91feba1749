"""Tables of labels, and the commonest file of them: CSV by comma, semicolon, tab or bar, in any usual encoding."""

from __future__ import annotations

import codecs
import csv
import re
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
# The line by which Excel says what separates the cells.
_SEPARATOR_LINE = re.compile(r'"?sep=(?P<mark>[^\r\n"])"?\s*', re.IGNORECASE)
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
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


def read_csv(file: Path, source: Path, exact: bool = False) -> Table:
    """Read a table with a header: its first line that is not blank, after the line `sep=;` that Excel may write.

    Args:
        file: The file.
        source: The folder that it belongs to.
        exact: Keep the spaces at the ends of cells and column names.

    Raises:
        LabelError: where the file is too large or not text, a quote is never closed, or a row has more cells than the
            header, as after an unquoted comma in a label.
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
            first = next((line for line in _Lines(stream, name) if line.strip()), "")
            stream.seek(0)
            said = _SEPARATOR_LINE.fullmatch(first)
            lines = _Lines(stream, name)
            reader = csv.reader(lines, delimiter=said["mark"] if said else _delimiter(first))
            full = (row for row in reader if any(map(str.strip, row)))
            if said:
                next(full, [])
            clean = str if exact else str.strip
            header = tuple(map(clean, next(full, [])))
            rows = ([*map(clean, row)] for row in reader)
            cells = Cells.of(_rows(rows, reader, lines, header), len(header))
    except (OSError, csv.Error) as error:
        raise LabelError(f"{name} cannot be read as CSV: {error}. Save it as CSV in UTF-8.") from None
    return Table(name, folder_in(file, source), header, cells)


class _Lines:
    """The lines of a file of text, none of them endless.

    Args:
        stream: The open file.
        name: For the message.
    """

    def __init__(self, stream: IO[str], name: str) -> None:
        self.name = name
        self.num_quotes = 0
        self._stream = stream

    def __iter__(self) -> Iterator[str]:
        while line := self._stream.readline(_MAX_LINE + 1):
            if len(line) > _MAX_LINE:
                raise LabelError(
                    f"{self.name} has a line of more than {_MAX_LINE:,} characters: it is no table of labels."
                )
            self.num_quotes += line.count('"')
            yield line


def _delimiter(header: str) -> str:
    """The mark that divides a header into most cells; the comma where none does."""
    return max(_DELIMITERS, key=lambda each: (len(next(csv.reader([header], delimiter=each), [])), each == ","))


def _rows(
    rows: Iterable[list[str]], reader: Any, lines: _Lines, header: Sequence[str]
) -> Iterator[tuple[int | str, ...]]:
    """Line and cells of each row that is not blank."""
    num_columns, num_rows, begun, num_lines = len(header), 0, reader.line_num, 1
    max_rows = min(MAX_TABLE_ROWS, MAX_TABLE_CELLS // max(num_columns, 1))
    for cells in rows:
        num_lines, begun = reader.line_num - begun, reader.line_num
        if not any(map(str.strip, cells)):
            continue
        num_rows += 1
        if num_rows > max_rows:
            raise LabelError(
                f"{lines.name} has more than {max_rows:,} rows of {num_columns:,} columns, more than are read. Divide "
                "it, or keep its path and label columns only."
            )
        while len(cells) > num_columns and not cells[-1].strip():
            cells.pop()
        if len(cells) > num_columns:
            raise LabelError(
                f"{lines.name} line {reader.line_num} has {len(cells)} cells and its header {num_columns}: put a label "
                f"that holds {reader.dialect.delimiter!r} in double quotes."
            )
        yield (reader.line_num, *cells, *[""] * (num_columns - len(cells)))
    if num_lines > 1 and lines.num_quotes % 2:
        raise LabelError(
            f"{lines.name} line {begun - num_lines + 1} opens a double quote that is never closed, so that the lines "
            "after it are no rows. Close it."
        )


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
    if not marked and len(start) == 4 and start.count(0) == 2:  # UTF-16 without its mark
        marked = ["utf-16-le" if start[1] == 0 else "utf-16-be"]
    for encoding in marked[:1] or ("utf-8", "cp1252"):
        if _is_text(file, encoding):
            return encoding
    raise LabelError(f"{printable(file.name)} is no text in UTF-8, UTF-16 or Windows-1252. Save it as CSV in UTF-8.")


def _is_text(file: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(2**20):
                if encoding in ("utf-8", "cp1252") and b"\0" in chunk:
                    return False
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
