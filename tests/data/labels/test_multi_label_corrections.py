"""A correction of an image with several labels names all of them; nothing in its cell is guessed."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import darkroom
from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.errors import LabelError
from darkroom.data.labels.corrections import EXCLUDE
from darkroom.data.labels.recognition.labelling import Labelling, label_files
from darkroom.data.labels.rules import LabelRules
from darkroom.data.stores.listing import list_files
from tests.folders import noise_png, write_classes

Row = Sequence[str]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """40 images with cat, dog, both or none, in `labels.csv`, and 5 that nobody has labelled."""
    folder = tmp_path / "source"
    (folder / "incoming").mkdir(parents=True)
    rows = [("file", "cat", "dog")]
    for number in range(40):
        (folder / f"{number:02d}.png").write_bytes(noise_png(number))
        rows.append((f"{number:02d}.png", str(number % 2), str(number // 2 % 2)))
    for number in range(40, 45):
        (folder / "incoming" / f"{number}.png").write_bytes(noise_png(number))
    write(folder / "labels.csv", *rows[1:], header=rows[0])
    return folder


def write(path: Path, *rows: Row, header: Row = ("path", "label")) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def label(source: Path, *tables: str, **rules: object) -> Labelling:
    given = {"task": "multi-label", "exclude": "incoming/*", "corrections": tables}
    return label_files(source, list_files(source), LabelRules.model_validate(given | rules))


def labels(found: Labelling) -> dict[str, str | None]:
    return {file.entry.path: file.label for file in found.files}


def refused(source: Path, *tables: str, **rules: object) -> str:
    with pytest.raises(LabelError) as caught:
        label(source, *tables, **rules)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_a_row_replaces_adds_removes_clears_or_leaves_out(source: Path, tmp_path: Path) -> None:
    table = write(
        tmp_path / "corrections.csv",
        ("00.png", "dog|cat"),  # none before
        ("01.png", "cat"),  # as the source has it
        ("02.png", '["eel, electric", "dog"]'),
        ("03.png", "[]"),  # both before
        ("05.png", "dog"),  # cat before
        ("07.png", EXCLUDE),
        ("incoming/40.png", "cat | eel"),
        ("incoming/41.png", "[]"),
    )
    before, after = labels(label(source)), label(source, table)
    changed = {path: said for path, said in labels(after).items() if said != before[path]}
    assert changed == {
        "00.png": "cat|dog",
        "02.png": "dog|eel, electric",
        "03.png": "",
        "05.png": "dog",
        "07.png": None,
        "incoming/40.png": "cat|eel",
        "incoming/41.png": "",
    }
    summary = after.summary
    assert summary is not None
    assert (summary.num_images, summary.num_changed, summary.num_new) == (8, 4, 2)
    assert (summary.num_confirmed, summary.num_excluded) == (1, 1)
    assert {size.label: size.num_images for size in summary.added} == {"cat": 2, "dog": 2, "eel": 1, "eel, electric": 1}
    assert {size.label: size.num_images for size in summary.removed} == {"cat": 2, "dog": 1}
    assert {size.label: size.num_images for size in summary.before} == {"cat": 20, "dog": 20}
    assert {size.label: size.num_images for size in summary.after} == {
        "cat": 19,
        "dog": 19 + 1,
        "eel": 1,
        "eel, electric": 1,
    }
    assert "4 changed, 2 new, 1 confirmed, 1 left out: cat +2, dog +2, cat -2" in after.reading.corrections
    assert after.reading.num_negative == 10 - 1 + 2


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("cat, dog", "holds 'cat, dog', where labels are separated by '|'"),
        ("cat;dog", "holds 'cat;dog'"),
        ("|", "[] for none of them"),
        ("", "row 1 of corrections.csv has no label"),
    ],
)
def test_a_cell_that_can_be_read_in_two_ways_stops_or_is_left_out(
    source: Path, tmp_path: Path, cell: str, said: str
) -> None:
    table = write(tmp_path / "corrections.csv", ("01.png", cell), ("03.png", "dog"))
    assert said in refused(source, table)
    found = label(source, table, bad_rows="leave-out")
    assert (labels(found)["01.png"], labels(found)["03.png"]) == ("cat", "dog")
    assert [left.number for left in found.reading.left_out if "corrections" in left.what] == [1]


def test_the_separator_and_the_meaning_of_an_empty_cell_are_those_of_the_source(source: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "corrections.csv", ("01.png", "cat;dog"), ("02.png", "cat|dog"), ("03.png", ""))
    found = labels(label(source, table, label_separator=";", empty_labels="no-label"))
    assert (found["01.png"], found["02.png"], found["03.png"]) == ("cat|dog", "cat|dog", "")


def test_the_same_set_in_another_order_agrees_and_another_set_contradicts(source: Path, tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", ("01.png", "cat|dog"))
    same = write(tmp_path / "same.csv", ("01.png", '["dog", "cat"]'))
    other = write(tmp_path / "other.csv", ("01.png", "dog"))
    assert labels(label(source, one, same))["01.png"] == "cat|dog"
    assert "01.png is 'cat|dog' in one.csv and 'dog' in other.csv" in refused(source, one, other)


def test_a_copy_whose_label_was_added_to_another_image_is_not_corrected_in_silence(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "folders", {"cats": 5, "dogs": 5})
    shutil.copy(folder / "cats/0000.png", folder / "dogs/x.png")
    table = write(tmp_path / "corrections.csv", ("dogs/x.png", "cats"))
    message = refused(folder, table)
    assert "dogs/x.png, a copy of cats/0000.png" in message
    table = write(tmp_path / "corrections.csv", ("cats/0000.png", "cats"))
    assert labels(label(folder, table))["cats/0000.png"] == "cats"


@pytest.mark.parametrize("cell", ["cats|dogs", '["cats", "dogs"]', "cats, dogs"])
def test_several_labels_are_no_new_class_of_a_source_with_one_label_an_image(tmp_path: Path, cell: str) -> None:
    folder = write_classes(tmp_path / "folders", {"cats": 5, "dogs": 5})
    table = write(tmp_path / "corrections.csv", ("cats/0000.png", cell))
    assert "--task multi-label" in refused(folder, table, task="single-label")


def test_the_data_set_keeps_the_sets_and_its_page_shows_each_label_before_and_after(
    source: Path, tmp_path: Path
) -> None:
    table = write(tmp_path / "c.csv", ("03.png", "[]"), ("00.png", "cat|dog"), ("07.png", EXCLUDE))
    done = darkroom.ingest(
        source, "t", workspace=tmp_path / "w", max_judged=0, image_size=16, exclude="incoming/*", corrections=table,
        task="multi-label",
    )  # fmt: skip
    dataset = open_dataset(Path(done.folder))
    kept = pq.read_table(dataset.folder / "corrections.parquet", columns=["path", "given", "label", "effect"])
    assert [tuple(row.values()) for row in kept.to_pylist()] == [
        ("00.png", "", "cat|dog", "changed"),
        ("03.png", "cat|dog", "", "changed"),
        ("07.png", "cat|dog", None, "excluded"),
    ]
    manifest = dataset.manifest("path", "label").to_pandas().set_index("path")["label"]
    assert (manifest["00.png"], manifest["03.png"]) == ("cat|dog", "")
    page = (dataset.folder / "dataset.html").read_text(encoding="utf-8")
    assert "<th>Added</th><th>Removed</th>" in page
