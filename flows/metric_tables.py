"""The metrics of an evaluation as tables, by class or by label."""

from __future__ import annotations

from darkroom.data.figures import fraction
from darkroom.models.multi_label.answers import AnyMetrics
from darkroom.models.multi_label.metrics import MultiLabelMetrics
from darkroom.models.pages.description import Table, cells_of

_MAX_MATRIX = 50


def metric_tables(metrics: AnyMetrics) -> tuple[Table, ...]:
    """Metrics by class and, of at most 50 classes, the confusion matrix; of several labels, one row for each."""
    if isinstance(metrics, MultiLabelMetrics):
        return (_label_metrics(metrics),)
    classes = metrics.per_class
    by_class = Table(
        title="Metrics by class",
        columns=("class", "precision", "recall", "F1", "images"),
        cells=cells_of(
            (row.label, *map(fraction, (row.precision, row.recall, row.f1)), row.support) for row in classes
        ),
    )
    if len(classes) > _MAX_MATRIX:
        return (by_class,)
    matrix = Table(
        title="Confusion matrix: a row per true class, a column per predicted class",
        columns=("", *(row.label for row in classes)),
        cells=cells_of((row.label, *numbers) for row, numbers in zip(classes, metrics.confusion_matrix, strict=True)),
    )
    return by_class, matrix


def _label_metrics(metrics: MultiLabelMetrics) -> Table:
    cells = cells_of(
        (
            row.label,
            *map(fraction, (row.threshold, row.precision, row.recall, row.f1, row.average_precision)),
            *(row.true_positives, row.false_negatives, row.false_positives, row.true_negatives),
        )
        for row in metrics.per_class
    )
    figures = ("label", "threshold", "precision", "recall", "F1", "average precision")
    counts = ("given rightly", "missed", "given wrongly", "rightly not given")
    return Table(title="Metrics by label", columns=(*figures, *counts), cells=cells)
