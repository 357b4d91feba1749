"""What a model says of an image that may be labelled, and how sure it is: from the rows of a prediction table.

With one label an image, the margin is that between the two most probable classes. With several, every label is a
question of its own: its margin is 0 where its probability is at the label's threshold, and 1 where it is 0 or 1; that
of the image is their mean (Esuli, Sebastiani 2009, "Active learning strategies for multi-label text classification").
The least of them alone (Brinker 2006) gains less: `benchmarks/label_next_several.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from darkroom.models.bundle.bundle import Bundle

# Below it an answer is called uncertain.
UNSURE_BELOW = 0.5


@dataclass(frozen=True)
class Opinion:
    """What a model says of an image.

    Attributes:
        labels: That it gives.
        confidence: The probability that they are right.
        top: The most probable labels with their probabilities.
        margin: 0 where it cannot tell, 1 where it is sure.
        doubts: In words, the labels that it is least sure of; "" where it is sure of all.
    """

    labels: tuple[str, ...]
    confidence: float
    top: tuple[tuple[str, float], ...]
    margin: float
    doubts: str


class Opinions(Protocol):
    """How the rows of a table are read."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are needed."""

    def of(self, rows: pa.Table) -> list[Opinion]:
        """What the model says of each row, all of which it has scored."""


@dataclass(frozen=True)
class OneLabel:
    """One label an image."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The most probable classes."""
        return ("top_k",)

    def of(self, rows: pa.Table) -> list[Opinion]:
        """The margin is that between the first two classes."""
        return [self._of(_top(each)) for each in rows["top_k"].to_pylist()]

    def _of(self, top: tuple[tuple[str, float], ...]) -> Opinion:
        (label, confidence), *others = top
        margin = float(np.float32(confidence - (others[0][1] if others else 0)))
        doubts = " or ".join(f"{name} ({probability:.0%})" for name, probability in top[:2])
        return Opinion((label,), confidence, top, margin, doubts if margin < UNSURE_BELOW else "")


ONE_LABEL = OneLabel()


@dataclass(frozen=True)
class SeveralLabels:
    """Any number of labels an image.

    Attributes:
        labels: K names, in the order of the table's probabilities.
        thresholds: K, from which each label is given.
    """

    labels: tuple[str, ...]
    thresholds: tuple[float, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The labels, their probabilities, and the most probable ones."""
        return ("labels", "confidence", "top_k", "probabilities")

    def of(self, rows: pa.Table) -> list[Opinion]:
        """The margin is the mean of the labels' margins."""
        flat = pc.list_flatten(rows["probabilities"].combine_chunks())
        chances = np.asarray(flat.to_numpy(zero_copy_only=False), np.float64).reshape(rows.num_rows, -1)
        margins = label_margins(chances, self.thresholds)
        given = (rows[name].to_pylist() for name in ("labels", "confidence", "top_k"))
        return [
            Opinion(
                tuple(labels),
                float(confidence),
                _top(top),
                float(margins[row].mean()),
                self._doubts(chances[row], margins[row]),
            )
            for row, (labels, confidence, top) in enumerate(zip(*given, strict=True))
        ]

    def _doubts(self, chances: NDArray[np.float64], margins: NDArray[np.float64]) -> str:
        """The two labels that are nearest to their thresholds, of those that are near."""
        near = [place for place in np.argsort(margins, kind="stable").tolist() if margins[place] < UNSURE_BELOW]
        return ", ".join(
            f"{self.labels[place]} or not ({chances[place]:.0%}, given from {self.thresholds[place]:.0%})"
            for place in near[:2]
        )


def opinions_of(bundle: Bundle) -> Opinions:
    """How the tables of a model are read."""
    card = bundle.card
    return SeveralLabels(card.labels, card.thresholds) if card.task == "multi-label" else ONE_LABEL


def label_margins(chances: NDArray[np.float64], thresholds: Sequence[float]) -> NDArray[np.float64]:
    """How far each probability is from its threshold, as a share of the way to 0 or to 1: `float64[N, K]`, 0 to 1.

    Args:
        chances: Calibrated probabilities, `float64[N, K]`.
        thresholds: K.
    """
    limits = np.asarray(thresholds, np.float64)
    room = np.where(chances >= limits, 1 - limits, limits)
    found: NDArray[np.float64] = np.abs(chances - limits) / np.maximum(room, 1e-12)
    return np.clip(found, 0, 1)


def _top(entries: list[dict[str, Any]]) -> tuple[tuple[str, float], ...]:
    return tuple((entry["label"], float(entry["probability"])) for entry in entries)
