"""Label columns that hold a measured number, such as a price or an age: there is no regression."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable

from darkroom.data.errors import LabelError
from darkroom.data.labels.label_tables import LabelTable
from darkroom.data.split_names import normalised

# Fewer different numbers may be grades or ids.
_MIN_DISTINCT = 20
# Images a number: ids of classes come with many each, measured numbers seldom do.
_MIN_IMAGES = 10
# `007` and `1_000` are names. Grouped thousands and a decimal comma would be several labels in a cell.
_NUMBER = re.compile(r"[-+]?(?:0|[1-9]\d*)?(?:\.\d+)?(?:[eE][-+]?\d+)?")
_MEASURES = re.compile(
    r"(?:.+_)?(?:age|price|cost|salary|weight|height|width|length|depth|area|volume|size|distance|angle|temperature|"
    r"speed|bmi|percent|percentage|rating|score|value|amount|count|quantity|popularity|pawpularity)(?:_.+)?"
)


def stop_at_numbers(tables: Iterable[LabelTable], labels: Collection[str]) -> None:
    """Refuse labels that are measured numbers: a class for each would know nothing of their order.

    Labels are taken for measured where all are numbers, 20 or more different ones, and one of these holds: some have a
    fraction, the column is called like a measure, or there are fewer than ten images a number.

    Args:
        tables: Those that give the labels.
        labels: The label of each image.

    Raises:
        LabelError: with how to make classes of the numbers, and the option that takes them as they are.
    """
    counts = Counter(labels)
    if len(counts) < _MIN_DISTINCT or not all(map(_is_number, counts)):
        return
    table = next(iter(tables))
    column = table.label_column or ""
    measured = _MEASURES.fullmatch(normalised(column)) is not None
    fractions = any(float(label) % 1 for label in counts)
    if not measured and not fractions and len(labels) >= _MIN_IMAGES * len(counts):
        return
    low, high = (f"{value:g}" for value in (min(map(float, counts)), max(map(float, counts))))
    raise LabelError(
        f"{table.table.path}: column {column!r} holds {len(counts):,} different numbers, {low} to {high}, on "
        f"{len(labels):,} images. Darkroom predicts classes; it does not predict a number (regression). Add a column "
        f"of ranges, as pandas.qcut({column}, 5) makes them, and name it with --label-column; or, if each number is a "
        "class of its own, use --numeric-labels keep."
    )


def _is_number(label: str) -> bool:
    return any(character.isdigit() for character in label) and _NUMBER.fullmatch(label) is not None
