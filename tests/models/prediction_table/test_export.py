"""A prediction table as CSV, JSON lines, a Kaggle submission, and images in folders."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.data.errors import InputError
from darkroom.data.stores.listing import printable
from darkroom.models.prediction_table.export import folder_name, os_path, sort_images, write_csv, write_jsonl
from darkroom.models.prediction_table.schema import as_table, flatten_top_k
from darkroom.models.prediction_table.submission import Answers, write_submission

LABELS = ("cat", "dog")


def row(path: str, cat: float | None, reason: str | None = None, abstained: bool = False) -> dict[str, Any]:
    """A row with that probability of a cat; None for a quarantined file."""
    rest: dict[str, Any] = {"label": None, "confidence": None, "abstained": None, "top_k": None}
    if cat is not None:
        chances = sorted([("cat", cat), ("dog", 1 - cat)], key=lambda pair: -pair[1])
        top = [{"label": label, "probability": chance} for label, chance in chances]
        rest = {"label": chances[0][0], "confidence": chances[0][1], "abstained": abstained, "top_k": top}
    status = "quarantined" if reason else "ok"
    sha256 = hashlib.sha256(path.encode()).hexdigest()
    return {"path": path, "sha256": sha256, "status": status, "reason": reason, "width": 1, "height": 2, **rest}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four files in two parts, and the files, each holding its own path."""
    rows = [
        row("a/1.jpg", 0.75),
        row("b/2.jpg", 0.25),
        row("3,é.jpg", 0.5, abstained=True),
        row("4.jpg", None, "empty"),
    ]
    folder = tmp_path / "scored"
    folder.mkdir()
    for part, of_part in enumerate((rows[:3], rows[3:])):
        pq.write_table(as_table(of_part), folder / f"part-{part:05d}.parquet")
    for each in rows:
        file = tmp_path / "images" / each["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(each["path"])
    return folder


def test_csv_has_a_row_per_file_and_the_values_of_the_table(table: Path, tmp_path: Path) -> None:
    assert write_csv(table, tmp_path / "scored.csv").num_rows == 4
    found = pd.read_csv(tmp_path / "scored.csv")
    wanted = flatten_top_k(pd.read_parquet(table))
    assert list(found) == list(wanted)
    found["abstained"] = found["abstained"].astype(object).where(found["abstained"].notna(), None)
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, check_exact=False)
    again = (tmp_path / "scored.csv").read_bytes()
    write_csv(table, tmp_path / "scored.csv")
    assert (tmp_path / "scored.csv").read_bytes() == again


def test_json_lines_hold_the_rows_as_they_are(table: Path, tmp_path: Path) -> None:
    assert write_jsonl(table, tmp_path / "scored.jsonl").num_rows == 4
    found = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    assert found == [each for part in sorted(table.iterdir()) for each in pq.read_table(part).to_pylist()]
    assert (found[2]["path"], found[3]["top_k"]) == ("3,é.jpg", None)


def submit(table: Path, sample: str, labels: tuple[str, ...] = LABELS, **answers: Any) -> list[list[str]]:
    file = table.parent / "sample_submission.csv"
    file.write_text(sample)
    write_submission(table, file, table.parent / "submission.csv", labels, Answers(**answers))
    with (table.parent / "submission.csv").open(newline="") as stream:
        return list(csv.reader(stream))


def test_a_submission_has_the_ids_and_order_of_the_sample(table: Path) -> None:
    found = submit(table, "id,label\n2,cat\n1,cat\n")
    assert found == [["id", "label"], ["2", "dog"], ["1", "cat"]]


def test_ids_of_a_submission_are_texts_to_the_last_blank(tmp_path: Path) -> None:
    ids = ["007", "1e5", "NA", "null", "1.0", " 3", "nan", "+1", "0x1F"]
    folder = tmp_path / "scored"
    folder.mkdir()
    scored = sorted(f"{each.strip()}.jpg" for each in ids)
    pq.write_table(as_table([row(path, 0.25) for path in scored]), folder / "part-00000.parquet")
    found = submit(folder, "id ,label\n" + "".join(f"{each},cat\n" for each in ids))
    assert found == [["id ", "label"], *([each, "dog"] for each in ids)]


@pytest.mark.parametrize(
    ("scored", "sample", "said"),
    [
        (["a.jpg", "b.jpg"], "id,label\na,cat\nA,cat\n", "Ids 'a' and 'A' of .* both mean a.jpg"),
        (["1.jpg"], "id,label\n1.jpg,cat\n1.png,cat\n", "Ids '1.jpg' and '1.png' of .* both mean 1.jpg"),
        (["a/1.jpg", "b/1.jpg"], "id,label\n1,cat\n", "Id '1' .* means 2 scored images, as a/1.jpg and b/1.jpg"),
        (["1.jpg", "2.jpg"], "1,cat\n2,cat\n", "no header: its first line names '1'"),
        (["1.jpg"], "id,cat,dog,cat\n1,0,0,0\n", "are not the classes of the model"),
    ],
)
def test_an_id_has_one_answer_and_an_answer_one_id(scored: list[str], sample: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "scored").mkdir()
    pq.write_table(as_table([row(path, 0.25) for path in scored]), tmp_path / "scored" / "part-00000.parquet")
    with pytest.raises(InputError, match=said):
        submit(tmp_path / "scored", sample)


def test_a_column_per_class_takes_probabilities_in_the_sample_s_order(table: Path) -> None:
    assert submit(table, "file,dog,cat\nb/2.jpg,0.5,0.5\na/1.jpg,0.5,0.5\n")[1:] == [
        ["b/2.jpg", "0.75", "0.25"], ["a/1.jpg", "0.25", "0.75"],
    ]  # fmt: skip


def test_several_words_in_a_cell_are_as_many_labels_surest_first(table: Path) -> None:
    assert submit(table, "image,labels\n1.jpg,dog cat\n2.jpg,dog cat\n")[1:] == [
        ["1.jpg", "cat dog"],
        ["2.jpg", "dog cat"],
    ]


def test_a_column_of_numbers_is_not_guessed(table: Path) -> None:
    with pytest.raises(InputError, match=r"two ways: use --positive dog .* or --label-numbers cat=0,dog=1"):
        submit(table, "id,label\n1,0.5\n2,0.5\n")
    assert submit(table, "id,label\n1,0.5\n2,0.5\n", positive="dog")[1:] == [["1", "0.25"], ["2", "0.75"]]
    assert submit(table, "id,label\n1,0\n2,0\n", numbers={"cat": "0", "dog": "1"})[1:] == [["1", "0"], ["2", "1"]]
    with pytest.raises(InputError, match="'cow' is no class"):
        submit(table, "id,label\n1,0.5\n", positive="cow")
    with pytest.raises(InputError, match="none for dog"):
        submit(table, "id,label\n1,0\n", numbers={"cat": "0"})


def test_an_id_without_a_prediction_stops_or_keeps_the_sample_s_value(table: Path) -> None:
    sample = "id,label\n1,dog\n4,dog\n99,dog\n"
    with pytest.raises(InputError, match=r"2 of 3 ids .* as 4, 99\. .*--fill-missing"):
        submit(table, sample)
    assert not (table.parent / "submission.csv").exists()
    assert submit(table, sample, fill_missing=True)[1:] == [["1", "cat"], ["4", "dog"], ["99", "dog"]]


def test_columns_that_are_not_the_classes_are_refused(table: Path) -> None:
    with pytest.raises(InputError, match=r"columns .* not the classes of the model: dog"):
        submit(table, "id,cat,cow\n1,0,0\n")
    with pytest.raises(InputError, match=r"keeps the 2 most likely .* all 3 probabilities.*--top-k all"):
        submit(table, "id,cat,dog,cow\n1,0,0,0\n", labels=("cat", "cow", "dog"))


def test_what_a_table_does_not_keep_is_not_taken_for_nothing(table: Path) -> None:
    """A class that is not among the kept ones has some probability, and a table of two has no third label."""
    labels = ("cat", "cow", "dog")
    with pytest.raises(InputError, match=r"asks for that of 'cow'.*--top-k all"):
        submit(table, "id,label\n1,0.5\n", labels=labels, positive="cow")
    with pytest.raises(InputError, match=r"asks for 3 labels.*--top-k 3"):
        submit(table, "id,labels\n1,cat cow dog\n", labels=labels)


@pytest.mark.parametrize("link", [True, False])
def test_images_lie_in_the_folder_of_their_label(table: Path, tmp_path: Path, link: bool) -> None:
    done = sort_images(table, tmp_path / "images", tmp_path / "sorted", link)
    found = {
        path.relative_to(tmp_path / "sorted").as_posix(): path
        for path in (tmp_path / "sorted").rglob("*")
        if path.is_file()
    }
    assert set(found) == {"cat/a/1.jpg", "dog/b/2.jpg", "_abstained/3,é.jpg", "_quarantined/empty/4.jpg"}
    assert [found[name].read_text() for name in ("cat/a/1.jpg", "dog/b/2.jpg")] == ["a/1.jpg", "b/2.jpg"]
    assert found["cat/a/1.jpg"].samefile(tmp_path / "images/a/1.jpg") == link
    assert (done.num_rows, done.remarks) == (4, ())
    with pytest.raises(InputError, match="is there already"):
        sort_images(table, tmp_path / "images", tmp_path / "sorted", link)


def test_an_image_that_changed_since_it_was_scored_is_not_sorted(table: Path, tmp_path: Path) -> None:
    (tmp_path / "images/a/1.jpg").write_text("another")
    (tmp_path / "images/b/2.jpg").unlink()
    done = sort_images(table, tmp_path / "images", tmp_path / "sorted", link=False)
    assert done.num_rows == 2
    assert done.remarks == (
        "1 images are no longer there and were left out.",
        "1 images are no longer what was scored and were left out.",
    )


def test_a_table_from_elsewhere_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "scored").mkdir()
    (tmp_path / "images").mkdir()
    pq.write_table(as_table([row("../secret", 0.5)]), tmp_path / "scored/part-00000.parquet")
    with pytest.raises(InputError, match="no path in a folder"):
        sort_images(tmp_path / "scored", tmp_path / "images", tmp_path / "sorted", link=False)
    assert not (tmp_path / "sorted").exists()


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=300), unique=True))
def test_a_label_is_the_name_of_one_folder_of_its_own(labels: list[str]) -> None:
    names = [folder_name(label) for label in labels]
    assert len(set(names)) == len(names)
    assert all(name and not name.startswith((".", "_")) and not {"/", "\0"} & set(name) for name in names)
    assert all(len(name.encode()) <= 255 for name in names)


@given(st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name))
def test_a_printed_path_leads_back_to_the_file(name: bytes) -> None:
    assert os_path(printable(name.decode("utf-8", "surrogateescape"))).encode("utf-8", "surrogateescape") == name


def test_a_folder_without_a_table_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prediction table"):
        write_csv(tmp_path, tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []
