"""Corrections win over the source's labels; what cannot be used is said; who said what is kept."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

import darkroom
from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.errors import LabelError
from darkroom.data.labels.corrections import EXCLUDE
from darkroom.data.labels.recognition.labelling import Labelling, label_files
from darkroom.data.labels.rules import LabelRules
from darkroom.data.stores.listing import list_files
from tests.folders import write_classes

Row = Sequence[str]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """20 cats, 20 dogs, and 5 images that nobody has labelled."""
    return write_classes(tmp_path / "source", {"cats": 20, "dogs": 20, "incoming": 5})


def write(path: Path, *rows: Row, header: Row = ("path", "label", "by", "when", "note")) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def label(source: Path, *tables: str, **rules: object) -> Labelling:
    given = LabelRules.model_validate({"exclude": "incoming/*", "corrections": tables} | rules)
    return label_files(source, list_files(source), given)


def labels(found: Labelling) -> dict[str, str | None]:
    return {file.entry.path: file.label for file in found.files}


def refused(source: Path, *tables: str, **rules: object) -> str:
    with pytest.raises(LabelError) as caught:
        label(source, *tables, **rules)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_a_row_changes_confirms_adds_or_leaves_out(source: Path, tmp_path: Path) -> None:
    table = write(
        tmp_path / "labels.csv",
        ("cats/0000.png", "dogs", "Ann", "2026-11-28T10:00:00Z", 'a "dog"'),
        ("cats/0001.png", "cats", "Ann", "2026-11-28T10:00:01Z", ""),
        ("0040.png", "eels", "Bo", "2026-11-28T10:00:02Z", ""),  # excluded by a pattern, and written without its folder
        ("0041.png", "eels", "Bo", "2026-11-28T10:00:02Z", ""),
        ("dogs/0020.png", EXCLUDE, "Bo", "2026-11-28T10:00:03Z", "blurred"),
    )
    before, after = labels(label(source)), label(source, table)
    changed = {path: said for path, said in labels(after).items() if said != before[path]}
    assert changed == {
        "cats/0000.png": "dogs",
        "incoming/0040.png": "eels",
        "incoming/0041.png": "eels",
        "dogs/0020.png": None,
    }
    reasons = {file.entry.path: file.entry.reason for file in after.files}
    assert reasons["dogs/0020.png"] == "excluded"
    assert reasons["incoming/0040.png"] is None
    assert reasons["incoming/0042.png"] == "excluded"
    summary = after.summary
    assert summary is not None
    assert (summary.num_images, summary.num_changed, summary.num_new) == (5, 1, 2)
    assert (summary.num_confirmed, summary.num_excluded) == (1, 1)
    assert {size.label: size.num_images for size in summary.before} == {"cats": 20, "dogs": 20}
    assert {size.label: size.num_images for size in summary.after} == {"cats": 19, "dogs": 20, "eels": 2}
    assert {size.label: size.num_images for size in summary.people} == {"Bo": 3, "Ann": 2}
    assert "1 changed, 2 new, 1 confirmed, 1 left out" in after.reading.corrections
    assert {size.label: size.num_images for size in after.reading.classes} == {"cats": 19, "dogs": 20, "eels": 2}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("cats/9999.png", "dogs")], "names no image here: 'cats/9999.png'"),
        ([("cats/0000.png", "")], "row 2 of labels.csv has no label"),
        ([("cats/0000.png", "dogs"), ("0000.png", "cats")], "cats/0000.png is 'dogs'"),
    ],
)
def test_rows_that_cannot_be_used_stop_or_are_left_out_and_counted(
    source: Path, tmp_path: Path, rows: list[Row], said: str
) -> None:
    table = write(tmp_path / "labels.csv", ("cats/0001.png", "dogs"), *rows, header=("path", "label"))
    message = refused(source, table)
    assert said in message
    assert "--bad-rows leave-out" in message
    found = label(source, table, bad_rows="leave-out")
    assert labels(found)["cats/0001.png"] == "dogs"
    assert labels(found)["cats/0000.png"] == "cats"  # as the source has it, where people contradict each other
    assert [left.number for left in found.reading.left_out if "corrections" in left.what] == [1]


def test_two_tables_that_contradict_each_other_stop_and_two_that_agree_are_both_kept(
    source: Path, tmp_path: Path
) -> None:
    one = write(tmp_path / "one.csv", ("cats/0000.png", "dogs", "Ann", "", ""))
    same = write(tmp_path / "same.csv", ("cats/0000.png", "dogs", "Bo", "", ""))
    other = write(tmp_path / "other.csv", ("cats/0000.png", "cats", "Bo", "", ""))
    assert "one.csv" in refused(source, one, other)
    found = label(source, one, same)
    assert found.corrections is not None
    assert [row.by for row in found.corrections.rows] == ["Ann", "Bo"]
    assert found.summary is not None
    assert found.summary.num_changed == 1


def test_a_missing_table_and_a_missing_column_are_named(source: Path, tmp_path: Path) -> None:
    assert "gone.csv" in refused(source, str(tmp_path / "gone.csv"))
    assert "'label'" in refused(
        source, write(tmp_path / "no.csv", ("cats/0000.png", "x"), header=("path", "predicted"))
    )


def test_a_table_in_the_source_is_found_there_and_is_no_second_opinion_on_its_labels(source: Path) -> None:
    write(
        source / "labels.csv", *((f"cats/{number:04d}.png", "dogs") for number in range(10)), header=("path", "label")
    )
    found = label(source, "labels.csv")
    assert found.summary is not None
    assert found.summary.num_changed == 10
    assert "class folders" in found.reading.labels_from


def ingest(source: Path, workspace: Path, *tables: str) -> Dataset:
    done = darkroom.ingest(
        source, "t", workspace=workspace, max_judged=0, image_size=16, exclude="incoming/*", corrections=tables
    )
    return open_dataset(Path(done.folder))


def test_the_data_set_keeps_who_said_what_and_its_version_is_of_what_was_said(source: Path, tmp_path: Path) -> None:
    rows = [("cats/0000.png", "dogs", "Ann", "2026", "oh"), ("dogs/0020.png", EXCLUDE, "Bo", "2025", "")]
    plain = ingest(source, tmp_path / "w")
    assert plain.card.corrections is None
    assert not (plain.folder / "corrections.parquet").exists()
    corrected = ingest(source, tmp_path / "w", write(tmp_path / "labels.csv", *rows))
    assert corrected.card.version != plain.card.version
    kept = (
        pd.read_parquet(corrected.folder / "corrections.parquet")
        .astype(object)
        .where(lambda cells: cells.notna(), None)
    )
    assert kept.to_numpy().tolist() == [
        ["cats/0000.png", "dogs", "cats", "changed", "Ann", "2026", "oh", "labels.csv"],
        ["dogs/0020.png", None, "dogs", "excluded", "Bo", "2025", None, "labels.csv"],
    ]
    manifest = corrected.manifest("path", "label", "status", "reason").to_pandas().set_index("path")
    assert manifest.loc["cats/0000.png", "label"] == "dogs"
    assert manifest.loc["dogs/0020.png", "reason"] == "excluded"
    page = (corrected.folder / "dataset.html").read_text(encoding="utf-8")
    assert 'id="corrections"' in page
    # The same words in another file, and in another order, are the same data set.
    elsewhere = ingest(source, tmp_path / "w", write(tmp_path / "again.csv", *reversed(rows)))
    assert elsewhere.card.version == corrected.card.version
    assert ingest(source, tmp_path / "w").card.version == plain.card.version


def test_what_was_corrected_in_the_file_since_is_another_version(source: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "labels.csv", ("cats/0000.png", "dogs"), header=("path", "label"))
    one = ingest(source, tmp_path / "w", table)
    write(tmp_path / "labels.csv", ("cats/0001.png", "dogs"), header=("path", "label"))
    two = ingest(source, tmp_path / "w", table)
    assert one.card.version != two.card.version
    assert two.manifest("path", "label").to_pandas().set_index("path").loc["cats/0000.png", "label"] == "cats"
