"""Slices: accuracy by label, image size, brightness and source folder, so that the average hides no weak group.

Size and brightness are divided into thirds of the evaluated images (terciles); the source folder is the top-level one,
below the folders that all evaluated images share.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from darkroom.models.evaluation.reporting.split_predictions import SplitPredictions
from darkroom.models.measures.intervals import Frozen, Interval, wilson_interval

# Below this many images the interval of a share is more than 0.3 wide: too wide to call the slice weak or not.
FEW_IMAGES = 30

SliceKind = Literal["label", "size", "brightness", "folder"]
KINDS: tuple[SliceKind, ...] = ("label", "size", "brightness", "folder")


class Slice(Frozen):
    """A group of the evaluated images.

    Attributes:
        kind: What the images are grouped by.
        name: Of the group, such as `small: up to 90,000 pixels`.
        num_images: Images in it.
        num_correct: Those that are right.
        accuracy: Their share.
        interval: 95 % Wilson score interval of `accuracy`.
        is_weak: Whether the interval lies wholly below that of all images.
        is_small: Whether there are fewer than 30 images.
    """

    kind: SliceKind
    name: str
    num_images: int
    num_correct: int
    accuracy: float
    interval: Interval
    is_weak: bool
    is_small: bool


def slices_of(judged: SplitPredictions) -> tuple[Slice, ...]:
    """All slices that hold images: by label in label order, by third from small and dark upwards, by folder name.

    An image of several labels is in the slice of each.

    Where each folder holds images of a single label, folders say nothing that labels do not, and are left out.
    """
    facts = _facts(judged)
    right, labels = judged.outcome.right, judged.bundle.labels
    flags = judged.bundle.answers.flags(judged.truth, labels)
    sizes = [fact["width"] * fact["height"] for fact in facts]
    brightness = [fact["mean_luminance"] for fact in facts]
    groups: dict[SliceKind, tuple[NDArray[np.object_], Sequence[str]]] = {
        "size": thirds(sizes, ("small", "medium", "large"), "pixels"),
        "brightness": thirds(brightness, ("dark", "medium", "bright"), "of 255"),
        "folder": _folders(judged.paths),
    }
    folders = groups["folder"][0]
    if len(set(zip(judged.true_texts, folders, strict=True))) == len(set(folders)):
        del groups["folder"]
    slices: list[tuple[SliceKind, str, NDArray[np.bool_]]] = [
        ("label", name, flags[:, index]) for index, name in enumerate(labels.names)
    ]
    slices += [(kind, name, members == name) for kind, (members, names) in groups.items() for name in names]
    overall = wilson_interval(int(right.sum()), len(right))
    return tuple(_slice(kind, name, right[members], overall) for kind, name, members in slices if members.any())


def thirds(values: Sequence[float | None], names: Sequence[str], unit: str) -> tuple[NDArray[np.object_], list[str]]:
    """Sort values into thirds; equal values stay together.

    Args:
        values: N numbers; None is `unknown`.
        names: Of the three thirds, lowest first.
        unit: Of the values.

    Returns:
        The third of each value, and the thirds' names, such as `small: up to 90,000 pixels`.
    """
    found = np.asarray(values, dtype=np.float64)  # None becomes NaN
    known = ~np.isnan(found)
    if not known.any():
        return np.full(len(found), "unknown", dtype=object), ["unknown"]
    lower, upper = np.quantile(found[known], [1 / 3, 2 / 3], method="inverted_cdf")
    if lower == found[known].max():
        titles = [f"all: {lower:,.0f} {unit}"] * 3
    else:
        titles = [f"{names[0]}: up to {lower:,.0f} {unit}", names[1], f"{names[2]}: over {upper:,.0f} {unit}"]
    place = np.where(known, (found > lower).astype(int) + (found > upper), 3)
    titles.append("unknown")
    return np.array(titles, dtype=object)[place], list(dict.fromkeys(titles))


def _slice(kind: SliceKind, name: str, right: NDArray[np.bool_], overall: Interval) -> Slice:
    num_images, num_correct = len(right), int(right.sum())
    interval = wilson_interval(num_correct, num_images)
    return Slice(
        kind=kind,
        name=name,
        num_images=num_images,
        num_correct=num_correct,
        accuracy=num_correct / num_images,
        interval=interval,
        is_weak=interval.high < overall.low,
        is_small=num_images < FEW_IMAGES,
    )


def _facts(judged: SplitPredictions) -> list[dict[str, Any]]:
    """Width, height and mean luminance of the evaluated images, in their order."""
    columns = ("path", "width", "height", "mean_luminance")
    rows = judged.dataset.manifest(*columns, "split").filter(pc.field("split") == judged.split).select(columns)
    by_path = {row.pop("path"): row for row in rows.to_pylist()}
    return [by_path[path] for path in judged.paths]


def _folders(paths: Sequence[str]) -> tuple[NDArray[np.object_], list[str]]:
    """Each image's source folder; `.` where it is in none."""
    folders = [path.split("/")[:-1] for path in paths]
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False)))
    found = np.array(["/".join(folder[: shared + 1]) or "." for folder in folders], dtype=object)
    return found, sorted(set(found))
