"""Tables that are no labels by the look of them: what a model predicted, and who or when was photographed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from darkroom.data.errors import LabelError
from darkroom.data.labels.from_folders import listed
from darkroom.data.labels.label_tables import LabelTable
from darkroom.data.labels.layout import is_session
from darkroom.data.split_names import normalised

_SCORE = re.compile(r"(?:.+_)?(?:confidence|conf|prob|proba|probability|probabilities|score|logit|softmax)s?(?:_.+)?")
_PREDICTED = re.compile(r"(?:.+_)?(?:pred|preds|predicted|prediction|predictions|inferred)(?:_.+)?")
# Of Darkroom's own table: `models/prediction_table/schema.py`.
_OURS = {"label", "confidence", "abstained"}
_FRACTION = re.compile(r"[01]?\.\d+(?:e-?\d+)?|[01](?:\.0+)?", re.IGNORECASE)
_SESSIONS = re.compile(
    r"(?:.+_)?(?:patient|subject|person|date|datetime|day|time|timestamp|week|month|year|session|visit|camera|device|"
    r"scanner|site|hospital|fold|series|study|slide|batch|run)s?(?:_?(?:id|no|nr|num|number|name))?"
)


def stop_at_predictions(tables: Sequence[LabelTable]) -> None:
    """Refuse a table that a model wrote: a network that learns from it learns the other's mistakes.

    Args:
        tables: Those that would give the labels; none of them named by the user.

    Raises:
        LabelError: naming the table, what it has of predictions, and the options of both readings.
    """
    for table in tables:
        why = _why_predicted(table)
        if why:
            raise LabelError(
                f"{table.table.path} looks like what a model predicted ({why}), not like what people say. If its "
                f"labels are to be learned, use --labels-csv {table.table.path}; if not, leave it out with --exclude "
                f"'{table.table.path}' and say where the labels are."
            )


def _why_predicted(table: LabelTable) -> str:
    """What a table has of predictions, in words; "" for nothing. Beside the truth, a prediction is only a column."""
    if table.name.lower().startswith("metadata."):  # by Hugging Face's convention, what people say
        return ""
    columns = {normalised(column): index for index, column in enumerate(table.table.header)}
    label = normalised(table.label_column or "")
    if columns.keys() >= _OURS and label == "label":
        return "its columns are those of a prediction table"
    if _PREDICTED.fullmatch(label):
        return f"column {table.label_column!r}"
    if any(_PREDICTED.fullmatch(column) for column in columns):
        return ""
    if _PREDICTED.fullmatch(normalised(PurePosixPath(table.name).stem)):
        return "its name"
    for column, index in columns.items():
        cells = table.table.rows.distinct(index) - {""}
        are_chances = all(map(_FRACTION.fullmatch, cells)) and any(float(cell) not in (0, 1) for cell in cells)
        if _SCORE.fullmatch(column) and column != label and are_chances:
            return f"column {table.table.header[index]!r}"
    return ""


def stop_at_sessions(table: LabelTable) -> None:
    """Refuse labels that say who or when was photographed, in a column that nothing calls a label.

    Args:
        table: Whose column the user has not named.

    Raises:
        LabelError: naming the column, and the option that takes it.
    """
    column = table.label_column
    if column is None or table.has_usual_label:
        return
    labels = {row.label for row in table.rows if row.label}
    if _SESSIONS.fullmatch(normalised(column)) or (labels and all(map(is_session, labels))):
        raise LabelError(
            f"{table.table.path}: column {column!r} looks like days, patients or the like ({listed(labels)}), not like "
            f"classes. If it holds the classes, use --label-column '{column}'; if not, add a column called label."
        )
