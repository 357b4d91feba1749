"""What became of an image's answer: right or not, and how confident it was; the same for one label and for several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Outcome:
    """The answers for N images.

    Attributes:
        right: `bool[N]`, whether the answer is the truth.
        confidence: `float64[N]`, the probability that it is, as the model gives it.
    """

    right: NDArray[np.bool_]
    confidence: NDArray[np.float64]

    @property
    def stored_confidence(self) -> NDArray[np.float32]:
        """`float32[N]` as tables store it: thresholds are chosen and compared on these."""
        return self.confidence.astype(np.float32)

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(self.right.mean())
