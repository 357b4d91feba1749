"""What is observed of some images, those of a run or those that a model was trained on, as arrays to be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


def _none() -> NDArray[np.float64]:
    return np.empty(0)


@dataclass(frozen=True)
class Observed:
    """Facts of some images; of what is not known there are none.

    Attributes:
        labels: Images by the label that the model gives them; empty where an image may have several.
        confidences: `float[N]`, the calibrated probability of that label.
        predicted: Of the same images, the label that the model gives them; () where it may be several, or is not known.
        unfamiliarity: `float[N]`, of the same images, the distance from the training images, 1 at the limit.
        widths, heights: `float[N]`, of the files, in pixels.
        formats: Images by the format of their file, such as `PNG`.
        brightness: `float[N]`, mean luminance, 0 to 255.
        embeddings: `float[N, D]`, in no order that tells anything.
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    confidences: NDArray[np.floating] = field(default_factory=_none)
    predicted: tuple[str, ...] = ()
    unfamiliarity: NDArray[np.floating] = field(default_factory=_none)
    widths: NDArray[np.floating] = field(default_factory=_none)
    heights: NDArray[np.floating] = field(default_factory=_none)
    formats: Mapping[str, int] = field(default_factory=dict)
    brightness: NDArray[np.floating] = field(default_factory=_none)
    embeddings: NDArray[np.floating] = field(default_factory=lambda: np.empty((0, 0)))


def pooled(parts: Iterable[Observed]) -> Observed:
    """The images of several runs as one, without their embeddings."""
    given = list(parts)

    def joined(name: str) -> NDArray[np.floating]:
        return np.concatenate([_none(), *(getattr(part, name) for part in given)])

    return Observed(
        labels=_summed([part.labels for part in given]),
        confidences=joined("confidences"),
        predicted=tuple(label for part in given for label in part.predicted),
        unfamiliarity=joined("unfamiliarity"),
        widths=joined("widths"),
        heights=joined("heights"),
        formats=_summed([part.formats for part in given]),
        brightness=joined("brightness"),
    )


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            total[name] = total.get(name, 0) + number
    return total
