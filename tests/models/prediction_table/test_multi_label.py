"""A prediction table with several labels an image: its columns, and the forms that it is given in."""

import csv
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.models.prediction_table.export import sort_images, write_csv, write_jsonl
from darkroom.models.prediction_table.schema import SCHEMA, as_table, labels_in, multi_label_schema, table_schema
from darkroom.models.prediction_table.submission import Answers, write_submission

LABELS = ("cat", "dog", "fox")


def row(path: str, labels: list[str] | None, *chances: float, abstained: bool = False) -> dict[str, object]:
    """A row with these labels and probabilities; None for a quarantined file."""
    ranked = sorted(zip(LABELS, chances, strict=False), key=lambda pair: -pair[1])
    return {
        "path": path,
        "sha256": hashlib.sha256(path.encode()).hexdigest(),
        "status": "quarantined" if labels is None else "ok",
        "reason": "truncated" if labels is None else None,
        "labels": labels,
        "confidence": None if labels is None else 0.5,
        "abstained": None if labels is None else abstained,
        "top_k": None if labels is None else [{"label": name, "probability": value} for name, value in ranked],
        "probabilities": None if labels is None else list(chances),
    }


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [
        row("a.jpg", ["cat", "fox"], 0.75, 0.25, 0.5),
        row("b.jpg", [], 0.125, 0.25, 0.0625),
        row("c.jpg", None),
        row("d.jpg", ["dog"], 0.25, 0.5, 0.125, abstained=True),
    ]
    (tmp_path / "scored").mkdir()
    pq.write_table(as_table(rows, labels=LABELS), tmp_path / "scored" / "part-00000.parquet")
    return tmp_path / "scored"


def test_the_columns_are_those_of_one_label_but_for_the_labels() -> None:
    several = multi_label_schema(LABELS)
    assert [name for name in several.names if name not in SCHEMA.names] == ["labels", "probabilities"]
    assert [name for name in SCHEMA.names if name not in several.names] == ["label"]
    assert several.field("probabilities").type == pa.list_(pa.float32(), 3)
    assert labels_in(several) == LABELS
    assert labels_in(SCHEMA) == ()
    assert table_schema() == SCHEMA
    assert table_schema(LABELS, 7).field("embedding").type == pa.list_(pa.float32(), 7)


def test_csv_has_a_column_for_the_probability_of_each_label(table: Path, tmp_path: Path) -> None:
    write_csv(table, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as stream:
        found = {each["path"]: each for each in csv.DictReader(stream)}
    assert [found[path]["labels"] for path in ("a.jpg", "b.jpg", "c.jpg")] == ["cat|fox", "", ""]
    assert [found["a.jpg"][f"probability_{label}"] for label in LABELS] == ["0.75", "0.25", "0.5"]
    assert (found["c.jpg"]["probability_cat"], found["c.jpg"]["status"]) == ("", "quarantined")
    assert (found["a.jpg"]["top_1_label"], found["a.jpg"]["top_3_label"]) == ("cat", "dog")


def test_json_lines_name_the_label_of_each_probability(table: Path, tmp_path: Path) -> None:
    write_jsonl(table, tmp_path / "out.jsonl")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found[0]["labels"] == ["cat", "fox"]
    assert found[0]["probabilities"] == {"cat": 0.75, "dog": 0.25, "fox": 0.5}
    assert (found[2]["labels"], found[2]["probabilities"]) == (None, None)


def test_an_image_lies_in_the_folder_of_each_of_its_labels(table: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        (tmp_path / "images" / name).write_bytes(name.encode())
    done = sort_images(table, tmp_path / "images", tmp_path / "sorted", link=False)
    files = {file.relative_to(tmp_path / "sorted").as_posix() for file in (tmp_path / "sorted").rglob("*.jpg")}
    assert files == {"cat/a.jpg", "fox/a.jpg", "_no_label/b.jpg", "_quarantined/truncated/c.jpg", "_abstained/d.jpg"}
    assert done.num_rows == 4


def test_a_submission_takes_all_labels_or_a_probability_for_each(table: Path, tmp_path: Path) -> None:
    sample = tmp_path / "sample_submission.csv"
    sample.write_text("id,tags\na,cat dog\nb,cat\nd,cat\n")
    write_submission(table, sample, tmp_path / "tags.csv", LABELS, Answers())
    assert (tmp_path / "tags.csv").read_text().splitlines() == ["id,tags", "a,cat fox", "b,", "d,dog"]
    sample.write_text("id,dog,cat,fox\na,0,0,0\nb,0,0,0\nd,0,0,0\n")
    write_submission(table, sample, tmp_path / "chances.csv", LABELS, Answers())
    assert (tmp_path / "chances.csv").read_text().splitlines()[1] == "a,0.25,0.75,0.5"
