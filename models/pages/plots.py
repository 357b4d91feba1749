"""The report's pictures: each function returns the bytes of a PNG with two pixels per CSS pixel.

PNG and not SVG, so that a label or a file name can never be markup. Drawn with matplotlib's objects alone: no pyplot,
no global state, safe in threads. Labels are data: `$` starts no formula. Glyphs that DejaVu Sans lacks come from an
installed CJK font; where there is none they are boxes. Everything else is drawn alike on all machines.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from darkroom.models.measures.curves import Curve, macro_precision_recall, macro_roc
from darkroom.models.measures.metrics import ClassMetrics, ReliabilityBin
from darkroom.models.multi_label.metrics import LabelMetrics

CSS_PIXELS_PER_INCH = 100
PIXEL_RATIO = 2
MAX_F1_BARS = 40
MAX_TRIALS = 40
MAX_CLASS_CURVES = 8
_MAX_NUMBERED_CLASSES = 15
_MAX_TICK_LABELS = 100
_MAX_LABEL_LENGTH = 24
# Two colours that stay apart for every kind of colour blindness (Okabe and Ito 2008).
_BLUE, _ORANGE = "#0072B2", "#D55E00"
_INK, _FAINT, _GREY = "#333333", "#dddddd", "#999999"
# By preference: those of Debian (fonts-noto-cjk, fonts-wqy-microhei, fonts-ipafont), macOS and Windows.
_CJK_FONTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "IPAGothic", "IPAPGothic",
    "Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic",
)  # fmt: skip
_CLASS_COLOURS = (_BLUE, _ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333", "#999999")


class EpochLike(Protocol):
    """What an epoch of training left; validation figures are None where there is no validation split."""

    @property
    def loss(self) -> float:
        """Mean cross-entropy on training images."""

    @property
    def accuracy(self) -> float:
        """Accuracy on training images, 0 to 1."""

    @property
    def val_loss(self) -> float | None:
        """Mean cross-entropy on validation images."""

    @property
    def val_accuracy(self) -> float | None:
        """Accuracy on validation images, 0 to 1."""


def training_curve(history: Sequence[EpochLike], quantity: Literal["loss", "accuracy"], best_epoch: int) -> bytes:
    """Training against validation by epoch, with the best epoch marked.

    Args:
        history: One or more epochs; the first is 1.
        quantity: What is drawn.
        best_epoch: The epoch whose weights were kept.
    """
    figure, axes = _figure(4.8, 3.2)
    epochs = range(1, len(history) + 1)
    marker = "o" if len(history) <= 30 else None
    training = [getattr(epoch, quantity) for epoch in history]
    validation = [getattr(epoch, f"val_{quantity}") for epoch in history]
    axes.plot(epochs, training, color=_BLUE, linestyle="--", marker=marker, markersize=3, label="training")
    if any(value is not None for value in validation):
        known = [np.nan if value is None else value for value in validation]
        axes.plot(epochs, known, color=_ORANGE, marker=marker, markersize=3, label="validation")
    axes.axvline(best_epoch, color=_INK, linestyle=":", linewidth=1, label=f"best epoch ({best_epoch})")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss (nats)" if quantity == "loss" else "accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if quantity == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> bytes:
    """Confusion matrix, coloured by the share of the row; with up to 15 classes, counts are written in the cells.

    Args:
        matrix: `int[C, C]`, rows truth, columns prediction.
        labels: C names.
    """
    counts = np.asarray(matrix)
    num_classes = len(labels)
    numbered = num_classes <= _MAX_NUMBERED_CLASSES
    names = [_plain(label) for label in labels]
    font_size = 9.0 if numbered else 7.0 if num_classes <= 40 else 5.0
    side = max(2.4, 0.42 * num_classes) if numbered else min(7.6, max(5.0, 0.2 * num_classes))
    cell = side / num_classes
    label_width = max(len(name) for name in names) * 0.0085 * font_size
    upright = label_width > 0.9 * cell
    figure, axes = _figure(
        side + label_width + (0.6 if numbered else 1.2), side + (label_width if upright else 0.2) + 0.5
    )
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Without numbers a share of some per cent must be seen by its colour alone: a square-root scale.
    scale = PowerNorm(1.0 if numbered else 0.5, vmin=0.0, vmax=1.0)
    image = axes.imshow(share, cmap="Blues", norm=scale, interpolation="nearest")
    axes.grid(False)
    shown = range(0, num_classes, -(-num_classes // _MAX_TICK_LABELS))
    shown_names = [names[index] for index in shown]
    axes.set_xticks(shown, shown_names, rotation=90 if upright else 0, fontsize=font_size, **_text())
    axes.set_yticks(shown, shown_names, fontsize=font_size, **_text())
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true class")
    if numbered:
        digits = len(str(counts.max()))
        number_size = min(9.0, 72 * 0.9 * cell / (0.65 * digits))
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if share[row, column] > 0.5 else _INK if count else "#999999"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=number_size, color=color)
    else:
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, format=PercentFormatter(1.0))
        bar.set_label("share of the true class", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return _png(figure)


def reliability(bins: Sequence[ReliabilityBin]) -> bytes:
    """Reliability diagram (accuracy against confidence; diagonal: perfect) over the share of images in each bin."""
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    used = [row for row in bins if row.num_images]
    centres = [(row.low + row.high) / 2 for row in used]
    width = 1 / len(bins)
    total = sum(row.num_images for row in used)
    upper.bar(centres, [row.accuracy or 0.0 for row in used], width, color=_BLUE, edgecolor="white", label="accuracy")
    confidences = [row.confidence or 0.0 for row in used]
    upper.plot(centres, confidences, color=_ORANGE, marker="D", markersize=4, linestyle="none", label="mean confidence")
    upper.plot([0, 1], [0, 1], color=_INK, linestyle=":", linewidth=1, label="perfect")
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1.03)
    upper.set_ylabel("accuracy")
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    lower.bar(centres, [row.num_images / total for row in used], width, color="#999999", edgecolor="white")
    lower.set_ylabel("images")
    lower.set_xlabel("confidence")
    for axes in (upper, lower):
        _style(axes)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return _png(figure)


def f1_bars(per_class: Sequence[ClassMetrics | LabelMetrics]) -> bytes:
    """F1 by class, lowest first; of more than 40 classes the 40 lowest. Classes without an F1 are left out."""
    known = sorted((row.f1, row.label) for row in per_class if row.f1 is not None)[:MAX_F1_BARS]
    figure, axes = _figure(4.8, 0.8 + 0.22 * max(2, len(known)))
    values = [f1 for f1, _ in known]
    places = range(len(known))
    axes.barh(places, values, height=0.7, color=_BLUE)
    for place, value in enumerate(values):
        inside = value > 0.15
        axes.text(
            value - 0.01 if inside else value + 0.01,
            place,
            f"{value:.3f}",
            ha="right" if inside else "left",
            va="center",
            fontsize=8,
            color="white" if inside else _INK,
        )
    axes.set_yticks(places, [_plain(label) for _, label in known], fontsize=8, **_text())
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(max(2, len(known)) - 0.4, -0.6)
    axes.set_xlabel("F1")
    axes.grid(False, axis="y")
    return _png(figure)


def roc(curves: Sequence[Curve]) -> bytes:
    """ROC curves: up to 8 classes, each in its own colour; more in grey, under their macro average."""
    figure, axes = _figure(4.8, 4.4)
    axes.plot([0, 1], [0, 1], color=_INK, linestyle=":", linewidth=1)
    shown = _draw_curves(axes, curves, macro_roc, "default")
    _set_axes(axes, "false positive rate", "true positive rate")
    _legend(axes, [f"{_plain(curve.label)} (AUC {curve.area:.3f})" for curve in shown], "lower right")
    return _png(figure)


def precision_recall(curves: Sequence[Curve]) -> bytes:
    """Precision-recall curves, drawn as `roc` draws its own."""
    figure, axes = _figure(4.8, 4.4)
    shown = _draw_curves(axes, curves, macro_precision_recall, "steps-pre")
    _set_axes(axes, "recall", "precision")
    _legend(axes, [f"{_plain(curve.label)} (AUC {curve.area:.3f})" for curve in shown], "lower left")
    return _png(figure)


def _draw_curves(
    axes: Axes,
    curves: Sequence[Curve],
    macro: Callable[[Sequence[Curve]], Curve],
    style: Literal["default", "steps-pre"],
) -> Sequence[Curve]:
    """Draw them; gives those that the legend names, whose lines are labelled by their numbers."""
    if len(curves) <= MAX_CLASS_CURVES:
        for number, (curve, colour) in enumerate(zip(curves, _CLASS_COLOURS, strict=False)):
            axes.plot(curve.x, curve.y, color=colour, linewidth=1.5, drawstyle=style, label=str(number))
        return curves
    for curve in curves:
        axes.plot(curve.x, curve.y, color=_GREY, linewidth=0.6, alpha=0.5, drawstyle=style)
    mean = macro(curves)
    axes.plot(mean.x, mean.y, color=_BLUE, linewidth=2, label="0")
    return [mean]


def _set_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _legend(axes: Axes, names: Sequence[str], corner: Literal["lower left", "lower right"]) -> None:
    """Names are set afterwards: matplotlib leaves out those that start with `_`, and takes `$` for mathematics."""
    if names:
        for text, name in zip(axes.legend(loc=corner, fontsize=8, frameon=False).get_texts(), names, strict=True):
            text.set(text=name, **_text())


def trial_intervals(trials: Sequence[tuple[str, float, float, float, bool]]) -> bytes:
    """Accuracy with its interval, one line per trial, in the order given; the first is the best.

    Args:
        trials: Name, low, accuracy, high, and whether the trial was stopped early; at most 40 are drawn.
    """
    shown = trials[:MAX_TRIALS]
    figure, axes = _figure(6.4, 0.8 + 0.22 * max(2, len(shown)))
    for place, (_, low, accuracy, high, stopped) in enumerate(shown):
        color = _ORANGE if place == 0 else "#999999" if stopped else _BLUE
        axes.plot([low, high], [place, place], color=color, linewidth=1.5, solid_capstyle="butt")
        axes.plot(accuracy, place, marker="o", markersize=5, color=color, markerfacecolor="white" if stopped else color)
    if shown:
        axes.axvline(shown[0][2], color=_INK, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(shown)), [_plain(name, 44) for name, *_ in shown], fontsize=8, **_text())
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(2, len(shown)) - 0.4, -0.6)
    axes.set_xlabel("validation accuracy")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(False, axis="y")
    return _png(figure)


def trial_curves(curves: Sequence[tuple[Sequence[float], bool]]) -> bytes:
    """Validation accuracy by epoch, one line per trial; the first is the best.

    Args:
        curves: Accuracy after each epoch, and whether the trial was stopped early.
    """
    figure, axes = _figure(4.8, 3.2)
    for place, (accuracies, stopped) in reversed(list(enumerate(curves))):
        color = _ORANGE if place == 0 else "#999999" if stopped else _BLUE
        epochs = range(1, len(accuracies) + 1)
        width, alpha = (2.0, 1.0) if place == 0 else (1.0, 0.6)
        axes.plot(epochs, accuracies, color=color, linewidth=width, alpha=alpha)
        if stopped or len(accuracies) == 1:
            axes.plot(len(accuracies), accuracies[-1], color=color, marker="x" if stopped else "o", markersize=5)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return _png(figure)


def pareto(networks: Sequence[tuple[str, float, float, tuple[float, float], bool]]) -> bytes:
    """Accuracy with its interval by speed, one point per network, and the line through those that none beats in both.

    Args:
        networks: Name, images/s, accuracy, its interval, and whether it lies on that line; the most accurate first.
    """
    figure, axes = _figure(6.4, 3.6)
    line = [(speed, accuracy) for _, speed, accuracy, _, on_it in networks if on_it]
    axes.step(*zip(*line, strict=True), where="pre", color=_ORANGE, linewidth=1.2, alpha=0.7)
    for place, (name, speed, accuracy, interval, on_it) in enumerate(networks, start=1):
        color = _ORANGE if on_it else _BLUE
        axes.plot([speed, speed], interval, color=color, linewidth=1.2, alpha=0.6)
        label = f"{place}  {_plain(name, 44)}"
        axes.plot(speed, accuracy, marker="o", markersize=5, color=color, linestyle="", label=label)
        axes.annotate(str(place), (speed, accuracy), (6, 4), textcoords="offset points", fontsize=8, color=_INK)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("images/s on one processor")
    axes.set_ylabel("validation accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    for text in axes.legend(loc="best", fontsize=7, frameon=False, handlelength=0.8).get_texts():
        text.set(**_text())
    return _png(figure)


def css_size(png: bytes) -> tuple[int, int]:
    """(width, height) in CSS pixels at which a plot of this module is shown."""
    # The header chunk comes first: width and height are bytes 16 to 24 (PNG specification, 11.2.2).
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    return round(width / PIXEL_RATIO), round(height / PIXEL_RATIO)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # The box that stands for a missing glyph is seen; a warning for each would bury the log.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from", category=UserWarning)
        # The name of the software would change the bytes with every release of matplotlib.
        figure.savefig(stream, format="png", dpi=CSS_PIXELS_PER_INCH * PIXEL_RATIO, metadata={"Software": None})
    return stream.getvalue()


def _text() -> dict[str, Any]:
    """How text that comes from outside is drawn."""
    return {"parse_math": False, "family": font_families()}


@cache
def font_families() -> list[str]:
    """DejaVu Sans, which comes with matplotlib, followed by the installed fonts with CJK glyphs."""
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _CJK_FONTS if name in installed)]


def _plain(label: str, max_length: int = _MAX_LABEL_LENGTH) -> str:
    """A label as one short line of printable characters."""
    text = "".join(character if character.isprintable() else "\ufffd" for character in label)
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
