"""A bundle compared with external answers to the same images: a cloud API, an earlier tool, a person.

Nothing is sent anywhere: the other service's answers come as a table, made by somebody with an account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.data.dataset.manifest import write_table
from darkroom.data.errors import InputError
from darkroom.data.labels.label_cells import ONE_LABEL, SeveralLabels
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.labels.label_tables import Columns, LabelTable, label_table
from darkroom.data.stores.listing import FileEntry
from darkroom.data.tables.matching import Names
from darkroom.data.tables.table import read_csv
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.evaluation.reporting.report import read_report
from darkroom.models.evaluation.reporting.split_predictions import PREDICTIONS
from darkroom.models.measures.comparison import ClassPairs, Pairs
from darkroom.models.measures.intervals import Frozen, Interval, wilson_interval
from darkroom.models.multi_label.checks import Flags
from darkroom.models.multi_label.side_by_side import LabelsSideBySide, labels_side_by_side


class Versus(Frozen):
    """A table's answers compared with a bundle's, on the images that the bundle was evaluated on.

    In each `Pairs` the current one is the table and the new one the bundle.

    Attributes:
        bundle, dataset: `name@version` of each.
        split: The split of these images.
        table: The table's file name.
        num_unanswered: Images for which the table names no class; they count as wrong.
        num_unknown_rows: Rows of the table that name none of the images, or several.
        overall: On all images.
        answered: On those that the table answers.
        classes: Those that are present, in the order of the label map.
        rows: Path of a table with one row per image: `path`, `truth`, `bundle`, `table` (null where it has no answer);
            where an image may have several labels, the last three are lists.
        several: All labels by themselves, where an image may have several; in `overall`, `answered` and `classes` an
            answer is then right where every label is. An image without an answer is given none.
        several_answered: The same on the images that the table answers.
        other_words: Words of the table that are no labels, the most frequent first; only where an image may have
            several.
    """

    bundle: str
    dataset: str
    split: str
    table: str
    num_unanswered: int
    num_unknown_rows: int
    overall: Pairs
    answered: Pairs
    classes: tuple[ClassPairs, ...]
    rows: str
    several: LabelsSideBySide | None = None
    several_answered: LabelsSideBySide | None = None
    other_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnswerTable:
    """A CSV of answers, with a column of paths and one of labels.

    With one label an image, the first of several rows that names a class counts, as services list the most confident
    label first. With several, the rows of an image add up; a cell may hold a list, and an empty one is the answer that
    no label applies; columns of 0 and 1 are read too. Case makes no difference.

    Attributes:
        path: The file.
        means: The table's words for classes, where they differ: `{"Feline": "cats"}`.
        path_column, label_column: Where they have no usual name.
        label_separator: Of the labels in a cell; None where it is to be recognised.
    """

    path: Path
    means: Mapping[str, str] = field(default_factory=dict)
    path_column: str | None = None
    label_column: str | None = None
    label_separator: str | None = None


class Right(Frozen):
    """Right answers.

    Attributes:
        num_correct: How many.
        num_images: Of how many.
        interval: The 95 % Wilson interval of their share.
    """

    num_correct: int
    num_images: int
    interval: Interval

    @classmethod
    def of(cls, num_correct: int, num_images: int) -> Right:
        """Counts with their interval.

        Args:
            num_correct: Right answers.
            num_images: Of how many.
        """
        return cls(num_correct=num_correct, num_images=num_images, interval=wilson_interval(num_correct, num_images))


class SideBySide(Frozen):
    """A model and a table on the same images.

    Attributes:
        model, table: Right answers of each.
    """

    model: Right
    table: Right

    @classmethod
    def of(cls, pairs: Pairs) -> SideBySide:
        """The two sides of paired answers."""
        counts = (pairs.num_new_correct, pairs.num_current_correct)
        model, table = (Right.of(count, pairs.num_images) for count in counts)
        return cls(model=model, table=table)


class ClassSideBySide(SideBySide):
    """The same, on the images of one true class.

    Attributes:
        label: The class.
    """

    label: str

    @classmethod
    def of_class(cls, pairs: ClassPairs) -> ClassSideBySide:
        """The two sides of a class."""
        return cls(label=pairs.label, **dict(SideBySide.of(pairs)))


@dataclass(frozen=True)
class _Judged:
    """The images of an evaluation and the answers to them.

    Attributes:
        paths: N paths.
        truth, ours: The labels of each image, and those that the bundle gives it.
        theirs: Those that the table gives it; None where it has no answer.
    """

    paths: Sequence[str]
    truth: Sequence[tuple[str, ...]]
    ours: Sequence[tuple[str, ...]]
    theirs: Sequence[tuple[str, ...] | None]

    @property
    def answered(self) -> Flags:
        return np.array([answer is not None for answer in self.theirs])

    @property
    def table_right(self) -> Flags:
        return np.array([answer == truth for answer, truth in zip(self.theirs, self.truth, strict=True)])

    @property
    def bundle_right(self) -> Flags:
        return np.array([answer == truth for answer, truth in zip(self.ours, self.truth, strict=True)])

    def flags(self, labels: LabelMap, of: Flags | None = None) -> tuple[Flags, Flags, Flags]:
        """Truth, bundle and table, `bool[N, K]` each, of all images or of some."""
        truth, ours, theirs = (
            np.array([[name in (row or ()) for name in labels.names] for row in rows])
            for rows in (self.truth, self.ours, self.theirs)
        )
        chosen = slice(None) if of is None else of
        return truth[chosen], ours[chosen], theirs[chosen]


def versus(bundle: Bundle, table: AnswerTable) -> Versus:
    """Compare a bundle's predictions from its evaluation with the answers of a table.

    Args:
        bundle: An evaluated bundle.
        table: The answers.

    Raises:
        InputError: where there is no such table, no row of it is an answer, or `means` names an unknown class.
        LabelError: where the table cannot be read or lacks the columns.
        FormatError: where the bundle was not evaluated.
    """
    report, labels = read_report(bundle.report_folder), bundle.labels
    several = labels.task.name == "multi-label"
    if not table.path.is_file():
        raise InputError(f"There is no table {table.path}. Give a CSV with a path column and a label column.")
    for word, label in table.means.items():
        if label not in labels.names:
            raise InputError(f"--means {word}={label}: {label!r} is not one of {', '.join(labels.names)}.")
    if table.label_separator and not several:
        raise InputError(f"--label-separator is for several labels an image, and {bundle.reference} gives one.")
    stored = pq.read_table(bundle.report_folder / PREDICTIONS, columns=["path", "truth", "predicted"]).to_pydict()
    names = Names([FileEntry(path, path, 0, 0) for path in stored["path"]])
    cells = SeveralLabels(table.label_separator, "no-label") if several else ONE_LABEL
    columns = Columns(table.path_column, table.label_column, cells=cells)
    written = label_table(read_csv(table.path, table.path.parent), names, columns)
    answers, num_unknown, other_words = (_sets if several else _answers)(written, labels, table.means)
    if not answers:
        raise InputError(
            f"No row of {written.name} names both an image that {bundle.reference} was evaluated on and one of its "
            f"classes ({', '.join(labels.names)}). Check the columns {written.path_column!r} and "
            f"{written.label_column!r}, and map the table's words to classes with --means WORD=CLASS."
        )
    truth, ours = (
        [tuple(sorted(each)) if several else (each,) for each in stored[name]] for name in ("truth", "predicted")
    )
    judged = _Judged(stored["path"], truth, ours, [answers.get(path) for path in stored["path"]])
    rows = bundle.report_folder / f"versus-{table.path.stem}.parquet"
    write_table(rows, _rows(judged, several))
    answered, table_right, bundle_right = judged.answered, judged.table_right, judged.bundle_right
    flags = judged.flags(labels)
    return Versus(
        bundle=bundle.reference,
        dataset=f"{report.dataset.name}@{report.dataset.version}",
        split=report.split,
        table=written.name,
        num_unanswered=int((~answered).sum()),
        num_unknown_rows=num_unknown,
        overall=Pairs.of(table_right, bundle_right),
        answered=Pairs.of(table_right[answered], bundle_right[answered]),
        classes=tuple(
            ClassPairs.of(table_right[has], bundle_right[has], label=label)
            for label, has in zip(labels.names, flags[0].T, strict=True)
            if has.any()
        ),
        rows=str(rows),
        several=labels_side_by_side(*flags, labels) if several else None,
        several_answered=labels_side_by_side(*judged.flags(labels, answered), labels) if several else None,
        other_words=other_words,
    )


def _rows(judged: _Judged, several: bool) -> pa.Table:
    """One row per image."""
    kind = pa.list_(pa.string()) if several else pa.string()
    columns = {"truth": judged.truth, "bundle": judged.ours, "table": judged.theirs}
    cells = {
        name: [each if several or each is None else each[0] for each in column] for name, column in columns.items()
    }
    return pa.table({"path": pa.array(judged.paths, pa.string())} | {n: pa.array(c, kind) for n, c in cells.items()})


@dataclass(frozen=True)
class _Words:
    """The classes that a table's words mean; classes may differ by their case alone."""

    exact: Mapping[str, str]
    folded: Mapping[str, str]

    @classmethod
    def of(cls, labels: LabelMap, means: Mapping[str, str]) -> _Words:
        exact = {label: label for label in labels.names} | dict(means)
        folded = {label.casefold(): label for label in labels.names}
        return cls(exact, folded | {word.casefold(): label for word, label in means.items()})

    def __getitem__(self, word: str) -> str | None:
        return self.exact.get(word) or self.folded.get(word.casefold())


Answered = tuple[dict[str, tuple[str, ...]], int, tuple[str, ...]]


def _answers(table: LabelTable, labels: LabelMap, means: Mapping[str, str]) -> Answered:
    """The class that the table names for each image, how many of its rows name no image, or several; and no words."""
    words = _Words.of(labels, means)
    answers: dict[str, tuple[str, ...]] = {}
    num_unknown = 0
    for row in table.rows:
        num_unknown += len(row.images) != 1
        answer = words[row.label or ""]
        if len(row.images) == 1 and answer:
            answers.setdefault(row.images[0], (answer,))
    return answers, num_unknown, ()


def _sets(table: LabelTable, labels: LabelMap, means: Mapping[str, str]) -> Answered:
    """The labels that the table gives each image, how many rows name no image, or several, and words that are none.

    An image all of whose words are no labels is given none.
    """
    words = _Words.of(labels, means)
    found: dict[str, set[str]] = {}
    other = Counter[str]()
    num_unknown = 0
    for row in table.rows:
        if len(row.images) != 1:
            num_unknown += 1
            continue
        given = {word: words[word] for word in labels.task.names(row.label or "")}
        other.update(word for word, label in given.items() if label is None)
        found.setdefault(row.images[0], set()).update(label for label in given.values() if label is not None)
    if not any(found.values()) and other:
        return {}, num_unknown, ()  # none of its words is a label: they need `means`
    named = tuple(word for word, _ in sorted(other.items(), key=lambda each: (-each[1], each[0])))
    return {path: tuple(sorted(each)) for path, each in found.items()}, num_unknown, named
