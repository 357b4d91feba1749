"""A table of labels is read to the last cell, up to a stated size, and in little memory."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import pytest

from darkroom.data.errors import LabelError
from darkroom.data.labels.label_tables import Columns, find_tables
from darkroom.data.stores.listing import FileEntry
from darkroom.data.tables import table as tables
from darkroom.data.tables.matching import Names
from darkroom.data.tables.table import Rows, read_csv


def written(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / name


def rows(file: Path) -> list[tuple[int, tuple[str, ...]]]:
    return list(read_csv(file, file.parent).rows)


def test_lines_and_cells_are_those_of_the_file(tmp_path: Path) -> None:
    text = 'path,label\r\n a.jpg , cat\r\n\r\n"b\nc.jpg","a, b"\nd.jpg\ne.jpg,dog,,\n'
    assert rows(written(tmp_path, text)) == [
        (2, ("a.jpg", "cat")),
        (5, ("b\nc.jpg", "a, b")),
        (6, ("d.jpg", "")),
        (7, ("e.jpg", "dog")),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_every_encoding_and_delimiter_gives_the_same_cells(encoding: str, delimiter: str, tmp_path: Path) -> None:
    text = f"path{delimiter}label\nfür.jpg{delimiter}Käfer\n" * 1
    assert rows(written(tmp_path, text.encode(encoding))) == [(2, ("für.jpg", "Käfer"))]


def test_more_rows_than_a_batch_come_back_in_order(tmp_path: Path) -> None:
    count = 150_000
    table = read_csv(written(tmp_path, "path,label\n" + "".join(f"{n}.jpg,{n % 3}\n" for n in range(count))), tmp_path)
    assert len(table.rows) == count
    assert [cells[0] for _, cells in table.rows] == [f"{n}.jpg" for n in range(count)]
    assert table.rows.distinct(1) == {"0", "1", "2"}
    assert table.rows.head(2) == [(2, ("0.jpg", "0")), (3, ("1.jpg", "1"))]
    assert list(table.rows.select(1))[-1] == (count + 1, (str((count - 1) % 3),))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,label\n" + "a,b\n" * 11, "more than 10 rows of 2 columns"),
        (",".join(f"c{n}" for n in range(50)) + "\n" + "a\n" * 3, "more than 2 rows of 50 columns"),
        ("," * 2**21 + "\n", "a line of more than 1,048,576 characters"),
        ("path,label\n" + "x" * 2**21 + "\n", "a line of more than 1,048,576 characters"),
        ('path,label\n"' + "x\n" * 200_000, "cannot be read as CSV"),
        (b"path,label\na\0\x81,b\n", "no text in UTF-8"),
        (b"\xff\xfea\x00,\x00\x00\xd8", "no text in UTF-8"),
    ],
    ids=["rows", "cells", "wide header", "long line", "open quote", "binary", "half a character"],
)
def test_a_table_beyond_its_limits_is_refused(
    text: str | bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_TABLE_ROWS", 10)
    monkeypatch.setattr(tables, "MAX_TABLE_CELLS", 100)
    with pytest.raises(LabelError, match=reason):
        read_csv(written(tmp_path, text), tmp_path)


def test_a_file_too_large_and_a_device_are_refused_unread(tmp_path: Path) -> None:
    with written(tmp_path, "path,label\n").open("r+") as stream:
        stream.truncate(tables.MAX_TABLE_BYTES + 1)
    with pytest.raises(LabelError, match="larger than 512 MiB"):
        read_csv(tmp_path / "labels.csv", tmp_path)
    for name in ("/dev/zero", "pipe"):
        if name == "pipe":
            os.mkfifo(tmp_path / name)
        with pytest.raises(LabelError, match="is not a file"):
            read_csv(tmp_path / name, tmp_path)


def test_half_of_a_character_in_another_kind_of_table_is_refused() -> None:
    with pytest.raises(LabelError, match="not Unicode"):
        Rows(("path", "label"), [(1, ("a.jpg", "\ud800"))]).table("a.json", "", "row")


def test_a_table_of_junk_costs_little_time_and_memory(tmp_path: Path) -> None:
    """A tenth of the 3 million rows that took 42 s and 535 MiB."""
    count = 300_000
    file = written(tmp_path, "path,label\n" + "x/y1.jpg,1\n" * count)
    names = Names([FileEntry(f"{kind}/{n}.jpg", f"{kind}/{n}.jpg", 1, 1) for kind in ("a", "b") for n in range(50)])
    stray = FileEntry("labels.csv", "labels.csv", file.stat().st_size, 1, "stray_file")
    started = time.process_time()
    found = find_tables(tmp_path, [stray], names, Columns())
    assert time.process_time() - started < 4
    assert not found.usable
    assert list(found.unusable) == ["labels.csv"]
    tracemalloc.start()
    assert len(read_csv(file, tmp_path).rows) == count
    assert tracemalloc.get_traced_memory()[1] < 48 * 2**20
    tracemalloc.stop()
