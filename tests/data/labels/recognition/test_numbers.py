"""A measured number is no class: a price or an age stops, ids of classes do not, and an option takes any."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import pytest

from darkroom.data.errors import LabelError
from darkroom.data.labels.recognition.labelling import Labelling, label_files
from darkroom.data.labels.rules import LabelRules
from darkroom.data.stores.listing import list_files


def read(folder: Path, column: str, labels: Iterable[object], **rules: object) -> Labelling:
    """A source whose table has a label for each image; the files need no content to be labelled."""
    rows = [(f"{number:05d}.jpg", str(label)) for number, label in enumerate(labels)]
    for name, _ in rows:
        (folder / name).write_bytes(name.encode())
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", column), *rows])
    return label_files(folder, list_files(folder), LabelRules.model_validate(rules))


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        ("label", [f"{number * 1.37:.2f}" for number in range(60)]),  # fractions
        ("target", [number % 200 for number in range(400)]),  # two images a number
        ("age", [number % 90 for number in range(1800)]),  # the name of a measure, and many images each
        ("price", [f"{number % 45}e3" for number in range(90)]),
        ("label", [-number for number in range(30)]),
    ],
)
def test_a_measured_number_stops_with_both_ways_on(tmp_path: Path, column: str, labels: list[object]) -> None:
    with pytest.raises(LabelError) as caught:
        read(tmp_path, column, labels, label_column=column)
    message = str(caught.value)
    assert caught.value.exit_status == 2
    assert f"column {column!r} holds {len(set(labels))} different numbers" in message
    assert "regression" in message
    assert f"pandas.qcut({column}, 5)" in message
    found = read(tmp_path, column, labels, label_column=column, numeric_labels="keep")
    assert len(found.reading.classes) == len(set(labels))


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        ("class_id", [number % 100 for number in range(1000)]),  # ten images a class
        ("label", [number % 10 for number in range(30)]),
        ("rating", [number % 9 / 2 for number in range(90)]),  # few enough to be grades
        ("label", [f"{number % 30:03d}" for number in range(60)]),  # codes
        ("label", [f"n{number % 30}" for number in range(60)]),
        ("age", [f"{number % 30}-{number % 30 + 5}" for number in range(60)]),  # ranges already
    ],
)
def test_ids_grades_codes_and_ranges_are_labels_as_before(tmp_path: Path, column: str, labels: list[object]) -> None:
    found = read(tmp_path, column, labels, label_column=column)
    assert {size.label: size.num_images for size in found.reading.classes} == {
        str(label): labels.count(label) for label in labels
    }


def test_several_labels_of_numbers_are_not_counted_as_a_measure(tmp_path: Path) -> None:
    labels = [f"{number % 25}|{(number + 1) % 25}" for number in range(50)]
    assert len(read(tmp_path, "labels", labels, task="multi-label").reading.classes) == 25


def test_the_default_leaves_the_settings_of_earlier_versions_as_they_were() -> None:
    assert "numeric_labels" not in LabelRules().model_dump(mode="json")
