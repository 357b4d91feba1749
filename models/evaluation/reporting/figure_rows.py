"""The figures of an evaluation as rows of text, for one label an image and for several."""

from __future__ import annotations

from darkroom.data.figures import percent
from darkroom.models.evaluation.reporting.report import EvaluationReport, percent_range
from darkroom.models.measures.intervals import Interval
from darkroom.models.measures.metrics import Metrics
from darkroom.models.measures.resampling import Intervals
from darkroom.models.multi_label.intervals import MultiLabelIntervals
from darkroom.models.multi_label.metrics import MultiLabelMetrics

# The kind that Hugging Face's model index knows a figure by, its name, its value.
Indexed = tuple[str, str, float | None]


def indexed_figures(report: EvaluationReport) -> list[Indexed]:
    """The figures of a model index, the first in front."""
    metrics = report.metrics
    error = ("ece", "Expected calibration error", metrics.expected_calibration_error)
    auc = ("roc_auc", "Macro ROC AUC", metrics.macro_roc_auc)
    if isinstance(metrics, MultiLabelMetrics):
        return [
            ("f1", "Macro F1", metrics.macro_f1),
            ("f1", "Micro F1", metrics.micro_f1),
            ("mean_average_precision", "Mean average precision", metrics.mean_average_precision),
            ("accuracy", "Every label right", metrics.accuracy),
            auc,
            error,
        ]
    return [
        ("accuracy", "Accuracy", metrics.accuracy),
        ("f1", "Macro F1", metrics.macro_f1),
        ("recall", "Balanced accuracy", metrics.balanced_accuracy),
        auc,
        error,
    ]


def figure_rows(report: EvaluationReport) -> list[list[str]]:
    """Metric, value and 95 % interval."""
    if isinstance(report.metrics, MultiLabelMetrics) and isinstance(report.intervals, MultiLabelIntervals):
        return _of_several(report.metrics, report.intervals)
    if isinstance(report.metrics, Metrics) and isinstance(report.intervals, Intervals):
        return _of_one(report.metrics, report.intervals)
    raise TypeError("the metrics and intervals of a report are of one task")


def label_rows(metrics: MultiLabelMetrics) -> list[list[str]]:
    """Label, images, threshold, precision, recall, F1 and average precision of each label."""
    return [
        [
            row.label,
            str(row.support),
            percent(row.threshold),
            *map(figure, (row.precision, row.recall, row.f1, row.average_precision)),
        ]
        for row in metrics.per_class
    ]


def figure(value: float | None) -> str:
    """Three decimals, or a dash for what is undefined."""
    return "–" if value is None else f"{value:.3f}"


def _of_one(metrics: Metrics, intervals: Intervals) -> list[list[str]]:
    error = metrics.expected_calibration_error
    return [
        ["Accuracy", percent(metrics.accuracy), percent_range(metrics.accuracy_interval)],
        *([f"Top-{row.k} accuracy", percent(row.accuracy), percent_range(row.interval)] for row in metrics.top_k[1:]),
        ["Balanced accuracy", percent(metrics.balanced_accuracy), _percents(intervals.balanced_accuracy)],
        ["Macro F1", figure(metrics.macro_f1), _range(intervals.macro_f1)],
        ["Macro ROC AUC", figure(metrics.macro_roc_auc), _range(intervals.macro_roc_auc)],
        ["Macro PR AUC", figure(metrics.macro_pr_auc), _range(intervals.macro_pr_auc)],
        ["Log loss (nats)", figure(metrics.log_loss), _range(intervals.log_loss)],
        ["Calibration error", percent(error), _percents(intervals.expected_calibration_error)],
    ]


def _of_several(metrics: MultiLabelMetrics, intervals: MultiLabelIntervals) -> list[list[str]]:
    error, average = metrics.expected_calibration_error, metrics.mean_average_precision
    return [
        ["Macro F1", figure(metrics.macro_f1), _range(intervals.macro_f1)],
        ["Micro F1", figure(metrics.micro_f1), _range(intervals.micro_f1)],
        ["Weighted F1", figure(metrics.weighted_f1), _range(intervals.weighted_f1)],
        ["Mean average precision", figure(average), _range(intervals.mean_average_precision)],
        ["Macro ROC AUC", figure(metrics.macro_roc_auc), _range(intervals.macro_roc_auc)],
        ["Every label right", percent(metrics.accuracy), percent_range(metrics.accuracy_interval)],
        ["Decisions right", percent(metrics.label_accuracy), _percents(intervals.label_accuracy)],
        ["Log loss (nats)", figure(metrics.log_loss), _range(intervals.log_loss)],
        ["Calibration error", percent(error), _percents(intervals.expected_calibration_error)],
    ]


def _range(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"


def _percents(interval: Interval | None) -> str:
    return "–" if interval is None else percent_range(interval)
