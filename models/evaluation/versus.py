"""A bundle compared with external answers to the same images: a cloud API, an earlier tool, a person.

Nothing is sent anywhere: the other service's answers come as a table, made by somebody with an account.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.data.dataset.manifest import write_table
from darkroom.data.errors import InputError
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.labels.label_tables import Columns, LabelTable, label_table
from darkroom.data.stores.listing import FileEntry
from darkroom.data.tables.matching import Names
from darkroom.data.tables.table import read_csv
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.evaluation.reporting.report import read_report
from darkroom.models.evaluation.reporting.split_predictions import PREDICTIONS
from darkroom.models.measures.comparison import ClassPairs, Pairs
from darkroom.models.measures.metrics import Frozen, Interval, wilson_interval


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
        rows: Path of a table with one row per image: `path`, `truth`, `bundle`, `table` (null where it has no answer).
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


def versus(
    bundle: Bundle,
    table: Path,
    means: Mapping[str, str],
    path_column: str | None = None,
    label_column: str | None = None,
) -> Versus:
    """Compare a bundle's predictions from its evaluation with the answers of a table.

    Args:
        bundle: An evaluated bundle.
        table: A CSV with a column of paths and one of labels. Of several rows for one image the first that names a
            class counts, as services list the most confident label first. Case makes no difference.
        means: The table's words for classes, where they differ: `{"Feline": "cats"}`.
        path_column: Where it has no usual name.
        label_column: Where it has no usual name.

    Raises:
        InputError: where there is no such table, no row of it is an answer, or `means` names an unknown class.
        LabelError: where the table cannot be read or lacks the columns.
        FormatError: where the bundle was not evaluated.
    """
    if bundle.card.task == "multi-label":
        raise InputError(
            f"{bundle.reference} gives an image any number of labels, and versus compares one answer an image. Compare "
            "such a model by its own report."
        )
    report, labels = read_report(bundle.report_folder), LabelMap(bundle.card.labels)
    if not table.is_file():
        raise InputError(f"There is no table {table}. Give a CSV with a path column and a label column.")
    for word, label in means.items():
        if label not in labels.names:
            raise InputError(f"--means {word}={label}: {label!r} is not one of {', '.join(labels.names)}.")
    judged = pq.read_table(bundle.report_folder / PREDICTIONS, columns=["path", "truth", "predicted"]).to_pydict()
    names = Names([FileEntry(path, path, 0, 0) for path in judged["path"]])
    written = label_table(read_csv(table, table.parent), names, Columns(path_column, label_column))
    answers, num_unknown = _answers(written, labels, means)
    if not answers:
        raise InputError(
            f"No row of {written.name} names both an image that {bundle.reference} was evaluated on and one of its "
            f"classes ({', '.join(labels.names)}). Check the columns {written.path_column!r} and "
            f"{written.label_column!r}, and map the table's words to classes with --means WORD=CLASS."
        )
    theirs = [answers.get(path) for path in judged["path"]]
    rows = bundle.report_folder / f"versus-{table.stem}.parquet"
    columns = {"path": judged["path"], "truth": judged["truth"], "bundle": judged["predicted"], "table": theirs}
    write_table(rows, pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}))
    truth, ours, others = (np.array(values, dtype=object) for values in (judged["truth"], judged["predicted"], theirs))
    answered = np.array([answer is not None for answer in theirs])
    table_right, bundle_right = others == truth, ours == truth
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
            ClassPairs.of(table_right[truth == label], bundle_right[truth == label], label=label)
            for label in labels.names
            if (truth == label).any()
        ),
        rows=str(rows),
    )


def _answers(table: LabelTable, labels: LabelMap, means: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """The class that the table names for each image, and how many of its rows name no image, or several."""
    classes = {label.casefold(): label for label in labels.names}
    classes |= {word.casefold(): label for word, label in means.items()}
    exact = {label: label for label in labels.names} | dict(means)  # classes may differ by their case alone
    answers: dict[str, str] = {}
    num_unknown = 0
    for row in table.rows:
        num_unknown += len(row.images) != 1
        word = row.label or ""
        answer = exact.get(word) or classes.get(word.casefold())
        if len(row.images) == 1 and answer:
            answers.setdefault(row.images[0], answer)
    return answers, num_unknown
