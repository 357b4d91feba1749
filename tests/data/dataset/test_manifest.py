"""The manifest: rows come back, equal tables give equal bytes, reasons are counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.data.dataset.manifest import (
    SCHEMA,
    ManifestRow,
    count_reasons,
    read_group,
    read_manifest,
    to_table,
    write_table,
)
from darkroom.data.errors import WorkError
from darkroom.data.reason_codes import ReasonCode

text = st.text(st.characters(codec="utf-8"))
BLANK = ManifestRow(**{field.name: None for field in fields(ManifestRow)})  # type: ignore[arg-type]
rows = st.builds(
    lambda path, size, side, label, reason: replace(
        BLANK,
        path=path,
        bytes=size,
        width=side,
        height=side,
        label=label,
        split=None if reason else "train",
        status="quarantined" if reason else "ok",
        reason=reason,
    ),
    text,
    st.integers(0, 2**62),
    st.none() | st.integers(0, 2**31 - 1),
    st.none() | text,
    st.none() | st.sampled_from(["truncated", "empty", "stray_file"]),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(rows, max_size=5))
def test_rows_come_back_from_disk(tmp_path_factory: pytest.TempPathFactory, made: list[ManifestRow]) -> None:
    path = tmp_path_factory.mktemp("m") / "manifest.parquet"
    write_table(path, to_table(made))
    table = read_manifest(path)
    assert [ManifestRow(**row) for row in table.to_pylist()] == made
    assert duckdb.execute("select path, bytes, label, reason from read_parquet(?)", [str(path)]).fetchall() == [
        (row.path, row.bytes, row.label, row.reason) for row in made
    ]


def test_the_columns_on_disk_are_the_fields_of_a_row() -> None:
    assert SCHEMA.names == [field.name for field in fields(ManifestRow)]
    assert to_table([]).schema.equals(SCHEMA)


def test_row_groups_are_found_by_one_reading_of_the_footer_until_the_file_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, footers, read_metadata = tmp_path / "plan.parquet", [], pq.read_metadata

    def noted(where: Path) -> pq.FileMetaData:
        footers.append(where)
        return read_metadata(where)

    monkeypatch.setattr(pq, "read_metadata", noted)
    for first in (0, 100):
        write_table(path, pa.table({"number": range(first, first + 10)}), rows_per_group=4)
        groups = [read_group(path, index)["number"].to_pylist() for index in (2, 0, 1)]
        assert groups == [[*range(first + start, first + stop)] for start, stop in ((8, 10), (0, 4), (4, 8))]
    assert footers == [path, path]


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    write_table(tmp_path / "m.parquet", to_table([replace(BLANK, path="a", bytes=3, status="ok")]))
    assert read_manifest(tmp_path / "m.parquet", ("bytes", "path")).to_pylist() == [{"bytes": 3, "path": "a"}]


def test_equal_tables_give_equal_bytes_however_they_are_cut(tmp_path: Path) -> None:
    made = [replace(BLANK, path=str(number), bytes=number, status="ok") for number in range(100)]
    whole = to_table(made)
    cut = pa.concat_tables([to_table(made[:37]), to_table(made[37:])]).combine_chunks()
    for name, table in (("a", whole), ("b", cut)):
        write_table(tmp_path / name, table)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "m.parquet", to_table([replace(BLANK, path="old", bytes=1, status="ok")]))
    before = (tmp_path / "m.parquet").read_bytes()

    def full(table: pa.Table, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("darkroom.data.dataset.manifest.pq.write_table", full)
    with pytest.raises(WorkError, match="Disk full"):
        write_table(tmp_path / "m.parquet", to_table([]))
    assert (tmp_path / "m.parquet").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.parquet"]


@settings(deadline=None)
@given(st.lists(st.none() | st.sampled_from(["truncated", "empty", "not_an_image", "stray_file"])))
def test_reasons_are_counted_the_most_frequent_first(reasons: list[ReasonCode | None]) -> None:
    table = to_table(replace(BLANK, path="x", bytes=0, status="x", reason=reason) for reason in reasons)
    counted = count_reasons(table)
    assert counted == Counter(reason for reason in reasons if reason)
    assert list(counted.values()) == sorted(counted.values(), reverse=True)
