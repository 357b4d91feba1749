"""Every picture is a PNG of sensible size for any number of classes and any label."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from darkroom.models.measures.curves import Curve
from darkroom.models.measures.metrics import ClassMetrics, ReliabilityBin
from darkroom.models.pages import plots

pytestmark = pytest.mark.filterwarnings("error")

HOSTILE = ["$\\frac{", "<script>alert(1)</script>", "日本語 😀", "two\nlines\x00\u202e", "x" * 300]


@dataclass(frozen=True)
class Epoch:
    loss: float
    accuracy: float
    val_loss: float | None = None
    val_accuracy: float | None = None


def class_metrics(label: str, f1: float | None) -> ClassMetrics:
    return ClassMetrics(
        label=label, support=1, precision=None, recall=None, f1=f1, roc_auc=None, average_precision=None
    )


def pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("num_classes", [2, 15, 16, 100, 130])
def test_a_confusion_matrix_of_any_size_fits_a_desktop_page(num_classes: int) -> None:
    png = plots.confusion(np.eye(num_classes, dtype=int).tolist(), [f"class {n}" for n in range(num_classes)])
    width, height = plots.css_size(png)
    assert pixels(png).shape[:2] == (pytest.approx(2 * height, abs=1), pytest.approx(2 * width, abs=1))
    assert 250 < width < 1050
    assert height < 1050


def test_the_confusion_matrix_is_dark_where_the_counts_are() -> None:
    # All in the second column: nothing but the right half may be dark blue.
    image = pixels(plots.confusion([[0, 9], [0, 9]], ["a", "b"])).astype(int)
    dark = np.argwhere((image[..., 2] - image[..., 0] > 60) & (image[..., 0] < 40))
    light = np.argwhere((image[..., 2] - image[..., 0] > 5) & (image[..., 0] > 230))
    assert len(dark) > 10_000
    assert len(light) > 10_000
    assert dark[:, 1].min() > np.percentile(light[:, 1], 99)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.confusion(np.eye(5, dtype=int).tolist(), HOSTILE),
        lambda: plots.confusion(np.eye(20, dtype=int).tolist(), HOSTILE * 4),
        lambda: plots.f1_bars([class_metrics(label, 0.5) for label in HOSTILE]),
    ],
)
def test_hostile_labels_are_drawn_as_they_are(draw: Callable[[], bytes]) -> None:
    width, height = plots.css_size(draw())
    assert max(width, height) < 1100


def test_counts_of_millions_stay_inside_the_picture() -> None:
    assert plots.confusion([[12_345_678, 0], [1, 2]], ["a", "b"]).startswith(b"\x89PNG")


def test_f1_bars_leave_out_what_has_none_and_stop_at_forty() -> None:
    few = plots.f1_bars([class_metrics("a", 0.0), class_metrics("b", None)])
    many = plots.f1_bars([class_metrics(str(n), n / 200) for n in range(200)])
    more = plots.f1_bars([class_metrics(str(n), n / 200) for n in range(41)])
    assert plots.css_size(few)[1] < plots.css_size(many)[1] == plots.css_size(more)[1] < 1100


@pytest.mark.parametrize(
    "history",
    [
        [Epoch(0.7, 0.5, 0.8, 0.4)],
        [Epoch(0.7, 0.5)] * 3,
        [Epoch(float("nan"), 0.5, float("nan"), None)] * 2,
        [Epoch(1 / n, 1 - 1 / n, 1 / n, 1 - 1 / n) for n in range(1, 200)],
    ],
)
def test_training_curves_of_any_history(history: list[Epoch]) -> None:
    for quantity in ("loss", "accuracy"):
        assert plots.css_size(plots.training_curve(history, quantity, best_epoch=1)) == (480, 320)


def test_the_reliability_diagram_copes_with_empty_bins() -> None:
    empty = ReliabilityBin(low=0.0, high=0.5, num_images=0, confidence=None, accuracy=None)
    used = ReliabilityBin(low=0.5, high=1.0, num_images=3, confidence=0.9, accuracy=0.0)
    assert plots.css_size(plots.reliability([empty, used])) == (480, 440)


def test_the_same_figures_give_the_same_bytes() -> None:
    matrix = [[3, 1], [0, 4]]
    assert plots.confusion(matrix, ["a", "b"]) == plots.confusion(matrix, ["a", "b"])


def test_drawing_needs_no_global_state() -> None:
    code = "import sys, darkroom.models.pages.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_of_many_trials_the_first_forty_are_drawn_and_the_stopped_ones_otherwise():
    trials = [(f"{number}  $a_b$ · <b>", 0.5, 0.6 + number / 1000, 0.8, False) for number in range(60)]
    drawn = plots.trial_intervals(trials)
    assert drawn == plots.trial_intervals(trials[:40])
    assert drawn != plots.trial_intervals(trials[:39])
    stopped = [(*trials[0][:4], False), (*trials[1][:4], True)]
    assert plots.trial_intervals(stopped) != plots.trial_intervals(trials[:2])
    assert plots.css_size(plots.trial_intervals(trials[:1]))[0] == 640


def test_curves_of_trials_may_differ_in_length_and_mark_the_stopped_ones():
    whole = plots.trial_curves([([0.1, 0.5, 0.9], False), ([0.2], False)])
    assert whole != plots.trial_curves([([0.1, 0.5, 0.9], False), ([0.2], True)])
    assert plots.css_size(whole) == (480, 320)


def test_a_font_with_more_glyphs_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "matplotlib.font_manager.get_font_names", lambda: ["WenQuanYi Micro Hei", "Other", "DejaVu Sans"]
    )
    plots.font_families.cache_clear()
    assert plots.font_families() == ["DejaVu Sans", "WenQuanYi Micro Hei"]
    monkeypatch.undo()
    plots.font_families.cache_clear()
    assert plots.font_families()[0] == "DejaVu Sans"


def curves(num_classes: int) -> list[Curve]:
    rng = np.random.default_rng(0)
    return [Curve(name, np.linspace(0, 1, 9), np.sort(rng.random(9)), 0.5) for name in (HOSTILE * 30)[:num_classes]]


@pytest.mark.parametrize("draw", [plots.roc, plots.precision_recall])
@pytest.mark.parametrize("num_classes", [1, 8, 9, 130])
def test_curves_of_any_number_of_classes(draw: Callable[[Sequence[Curve]], bytes], num_classes: int) -> None:
    png = draw(curves(num_classes))
    assert plots.css_size(png) == (480, 440)
    assert draw(curves(num_classes)) == png


def test_a_label_that_starts_with_an_underscore_is_in_the_legend() -> None:
    (curve,) = curves(1)
    named, unnamed = (plots.roc([replace(curve, label=label)]) for label in ("_nolegend_", ""))
    assert named != unnamed
