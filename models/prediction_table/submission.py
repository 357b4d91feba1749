"""A Kaggle submission: the ids and columns of `sample_submission.csv`, with the answers of a prediction table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.data.dataset.manifest import OK
from darkroom.data.errors import InputError
from darkroom.data.files.atomic import atomic_file
from darkroom.data.stores.listing import FileEntry
from darkroom.data.tables.matching import Names
from darkroom.data.tables.table import Table, read_csv
from darkroom.models.prediction_table.export import Exported, batches
from darkroom.models.prediction_table.schema import labels_in

_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class Answers:
    """How the columns of a submission are filled.

    Attributes:
        positive: The class whose probability is written into a column of numbers.
        numbers: The number of each class, where the column holds class numbers.
        fill_missing: Keep the sample's values where an image has no prediction; otherwise that stops.
    """

    positive: str | None = None
    numbers: Mapping[str, str] | None = None
    fill_missing: bool = False


def write_submission(table: Path, sample: Path, out: Path, labels: Sequence[str], answers: Answers) -> Exported:
    """Write a submission with exactly the columns, ids and order of the sample.

    One column besides the ids takes labels; `labels` as columns take probabilities. A column of numbers can be read as
    class numbers or as the probability of a class: `answers` says which.

    Args:
        table: The prediction table of the competition's test images.
        sample: The competition's sample submission.
        out: The file to write.
        labels: The model's classes.
        answers: How the columns are filled.

    Raises:
        InputError: where the columns do not fit the model, an id has no prediction or several, or two ids have the
            same.
    """
    form = read_csv(sample, sample.parent, exact=True)
    if len(form.header) < 2 or not form.rows:
        raise InputError(f"{form.name} has no column of ids and of answers. Give the competition's sample submission.")
    rows = {row["path"]: row for part in batches(table) for row in _rows(part)}
    names = Names([FileEntry(path, path, 0, 0) for path in rows])
    if _images_of(form.header[0], names):
        raise InputError(
            f"{form.name} has no header: its first line names {form.header[0]!r}. Add a line such as id,label."
        )
    fill = _filler(form, labels, answers)
    written, missing = [], []
    meant: dict[str, str] = {}
    for _, cells in form.rows:
        found = _images_of(cells[0], names)
        if len(found) > 1:
            raise InputError(
                f"Id {cells[0]!r} of {form.name} means {len(found)} scored images, as {found[0]} and {found[1]}. Score "
                "the competition's test images alone."
            )
        if found and meant.setdefault(found[0], cells[0]) != cells[0]:
            raise InputError(
                f"Ids {meant[found[0]]!r} and {cells[0]!r} of {form.name} both mean {found[0]}. Score all test "
                "images of the competition."
            )
        row = rows[found[0]] if found else None
        if row is None or row["status"] != OK:
            missing.append(cells[0])
            written.append(list(cells))
        else:
            written.append([cells[0], *fill(row, cells)])
    if missing and not answers.fill_missing:
        shown = ", ".join(missing[:_NUM_EXAMPLES])
        raise InputError(
            f"{len(missing)} of {len(written)} ids of {form.name} have no prediction, as {shown}. Score the "
            "competition's test images, or keep the sample's values for these with --fill-missing."
        )
    with atomic_file(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(form.header)
        writer.writerows(written)
    unused = len(rows) - (len(written) - len(missing))
    remarks = [f"{len(missing)} ids without a prediction keep the sample's value."] if missing else []
    remarks += [f"{unused} scored images are no ids of {form.name}."] if unused > 0 else []
    return Exported(len(written), tuple(remarks))


def _images_of(written: str, names: Names) -> list[str]:
    return names.find(written, "", "test.csv") or names.find(written.strip(), "", "test.csv")


def _rows(part: Any) -> list[dict[str, Any]]:
    """The rows with `label`, of several labels with all of them and blanks between, and `chances`, by label."""
    labels = labels_in(part.schema)
    columns = ("labels", "probabilities") if labels else ("label", "top_k")
    found: list[dict[str, Any]] = part.select(["path", "status", *columns]).to_pylist()
    for row in found:
        if labels:
            row["label"] = " ".join(row["labels"] or ())
            row["chances"] = dict(zip(labels, row["probabilities"] or (), strict=False))
        else:
            row["chances"] = {entry["label"]: entry["probability"] for entry in row["top_k"] or ()}
    return found


def _filler(form: Table, labels: Sequence[str], answers: Answers) -> Any:
    """The function that gives the cells of a row after its id."""
    columns = [column.strip() for column in form.header[1:]]
    if len(columns) > 1:
        return _probabilities(form, columns, labels)
    cells = [cell.strip() for cell in form.column(1) if cell.strip()]
    several = max((len(cell.split()) for cell in cells), default=1)
    known = set(labels)
    if cells and all(set(cell.split()) <= known or cell in known for cell in cells):
        return _labels(form, 1 if all(cell in known for cell in cells) else several, len(labels))
    if not all(map(_is_number, cells)):
        return _labels(form, several, len(labels))
    if answers.numbers is not None:
        return _numbers(answers.numbers, labels)
    if answers.positive is not None:
        if answers.positive not in labels:
            raise InputError(f"{answers.positive!r} is no class of the model, which has {', '.join(labels[:8])}.")
        return _probability(form, answers.positive)
    example = labels[-1]
    numbers = ",".join(f"{label}={number}" for number, label in enumerate(labels[:4])) + (
        ",…" if len(labels) > 4 else ""
    )
    raise InputError(
        f"Column {columns[0]!r} of {form.name} holds numbers, which can be read in two ways: use --positive {example} "
        f"if it takes the probability of a class, or --label-numbers {numbers} if it takes class numbers."
    )


def _labels(form: Table, number: int, num_labels: int) -> Any:
    """A cell with the label, or so many of the most likely ones; of several labels an image, all those given."""

    def fill(row: dict[str, Any], _: Sequence[str]) -> list[str]:
        ranked = number > 1 and "labels" not in row
        if ranked and len(row["chances"]) < min(number, num_labels):
            raise _keeps_too_few(form, row, f"{number} labels of an image", f"--top-k {number}")
        return [" ".join(list(row["chances"])[:number]) if ranked else row["label"]]

    return fill


def _numbers(numbers: Mapping[str, str], labels: Sequence[str]) -> Any:
    lacking = [label for label in labels if label not in numbers]
    if lacking:
        raise InputError(f"--label-numbers gives none for {', '.join(lacking[:4])}. Give every class its number.")
    return lambda row, _: [" ".join(numbers[label] for label in row.get("labels", [row["label"]]))]


def _probability(form: Table, label: str) -> Any:
    def fill(row: dict[str, Any], _: Sequence[str]) -> list[str]:
        if label not in row["chances"]:
            raise _keeps_too_few(form, row, f"that of {label!r}, which is not among them", "--top-k all")
        return [_shown(row["chances"][label])]

    return fill


def _probabilities(form: Table, columns: Sequence[str], labels: Sequence[str]) -> Any:
    if sorted(columns) != sorted(labels):
        missing = sorted(set(labels) - set(columns)) or sorted(set(columns) - set(labels))
        raise InputError(
            f"The columns of {form.name} are not the classes of the model: {', '.join(missing[:4])} is in one of them "
            "only. Train on the classes of the competition."
        )

    def fill(row: dict[str, Any], _: Sequence[str]) -> list[str]:
        chances = row["chances"]
        if len(chances) < len(columns):
            raise _keeps_too_few(form, row, f"all {len(columns)} probabilities", "--top-k all")
        return [_shown(chances[column]) for column in columns]

    return fill


def _keeps_too_few(form: Table, row: dict[str, Any], asked: str, remedy: str) -> InputError:
    """What is wrong with a table that was scored with too small a `--top-k`.

    Args:
        form: The sample, which asks for more.
        row: A row of the table.
        asked: What the sample asks for.
        remedy: The option that helps.
    """
    kept = len(row["chances"])
    return InputError(
        f"The table keeps the {kept} most likely classes of {row['path']}, and {form.name} asks for {asked}. Score the "
        f"images again with {remedy}."
    )


def _shown(probability: float) -> str:
    return f"{probability:.6g}"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
