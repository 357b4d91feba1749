"""How far an image's embedding lies from those of the training images.

An embedding is divided by its length, so that its direction counts: of the measures that were compared, this told
strange images from familiar ones best (docs/watching.md). The distance from the mean of the training images is
Mahalanobis's, under the covariance of probabilistic PCA (Tipping and Bishop 1999): along each of the 64 directions in
which training images differ most it is counted in their standard deviation there, and outside of these directions in
one that all others share.

It is divided by the distance that 99 % of the validation images do not exceed: 1 is the limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

MAX_DIRECTIONS = 64
# Of the validation images, those that are not unfamiliar.
FAMILIAR_SHARE = 0.99
# In all directions, 8 MiB.
MAX_NUMBERS = 2**21
# Training images for each direction: with fewer their spread would be an accident.
_IMAGES_A_DIRECTION = 8
# A standard deviation is no less, where an embedding has a length of 1: nothing is infinitely far.
LEAST_SPREAD = 1e-6
# Numbers are whole multiples of 2^-bits, so that sums of their products are exact in any order.
_MAX_BITS, _EXACT_BITS = 20, 53
# Multiplications that OpenBLAS does in the calling thread: it would start threads of its own, in each of ours.
_MAX_PRODUCT = 2**18


@dataclass(frozen=True)
class Familiarity:
    """The training embeddings, each divided by its length, as far as distances to them need.

    Attributes:
        mean: `float32[D]`.
        directions: `float32[R, D]`, orthonormal, those in which they differ most first.
        spread: `float64[R]`, their standard deviation along each.
        rest: Their standard deviation along any other direction.
    """

    mean: Vectors
    directions: Vectors
    spread: NDArray[np.float64]
    rest: float

    def distances(self, embeddings: Vectors) -> NDArray[np.float64]:
        """The distance of each embedding, `float64[N]`.

        It depends on that embedding alone: not on how many are given, and not on the number of threads.

        Args:
            embeddings: `float32[N, D]`, finite.
        """
        mean, directions = self._whole
        unit = 2.0**self._bits
        away = _whole(_directed(embeddings), self._bits) - mean
        step = max(1, _MAX_PRODUCT // directions.size)
        steps = [away[start : start + step] @ directions for start in range(0, len(away), step)]
        inside = np.concatenate(steps) / unit**2 if steps else np.empty((0, len(self.spread)))
        outside = np.einsum("nd,nd->n", away, away) / unit**2 - (inside**2).sum(axis=1)
        squared = ((inside / self.spread) ** 2).sum(axis=1) + np.maximum(outside, 0.0) / self.rest**2
        distances: NDArray[np.float64] = np.sqrt(squared)
        return distances

    @property
    def _bits(self) -> int:
        """Of a whole number: two of them multiplied, and D such products added, stay below 2^53."""
        return min(_MAX_BITS, (_EXACT_BITS - 3 - math.ceil(math.log2(len(self.mean)))) // 2)

    @cached_property
    def _whole(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean and the directions, `float64[D, R]`, as whole numbers."""
        directions = np.ascontiguousarray(_whole(self.directions.T, self._bits))
        return _whole(self.mean, self._bits), directions


def fit_familiarity(embeddings: Vectors) -> Familiarity | None:
    """What the embeddings of training images have in common.

    Args:
        embeddings: `float32[N, D]`, finite.

    Returns:
        None where they are fewer than 8, or all of one direction.
    """
    from sklearn.decomposition import PCA

    size = embeddings.shape[1]
    num_directions = min(MAX_DIRECTIONS, len(embeddings) // _IMAGES_A_DIRECTION, size, MAX_NUMBERS // size)
    if num_directions < 1:
        return None
    directed = _directed(embeddings)
    length = float(np.sqrt(directed.var(axis=0, ddof=1).sum()))
    if length < LEAST_SPREAD:
        return None
    found = PCA(num_directions, svd_solver="full").fit(directed)
    variances = found.explained_variance_
    others = size - num_directions
    rest = float(np.sqrt(max(0.0, length**2 - variances.sum()) / others)) if others else 0.0
    return Familiarity(
        found.mean_.astype(np.float32),
        found.components_.astype(np.float32),
        np.maximum(np.sqrt(variances), LEAST_SPREAD),
        max(rest, LEAST_SPREAD),
    )


def limit_of(distances: NDArray[np.float64]) -> float | None:
    """The distance that 99 % of the validation images do not exceed; of fewer than a hundred, the largest.

    Args:
        distances: Of validation images.

    Returns:
        None where there are none, or all are 0.
    """
    limit = float(np.quantile(distances, FAMILIAR_SHARE, method="higher")) if len(distances) else 0.0
    return limit if limit > 0 else None


def _directed(embeddings: Vectors) -> NDArray[np.float64]:
    """Each divided by its length; a vector of zeros stays one."""
    exact = embeddings.astype(np.float64)
    largest = np.abs(exact).max(axis=1, keepdims=True, initial=0.0)
    # Whole numbers here too: a length is the root of a sum.
    bits = min(_MAX_BITS, (_EXACT_BITS - 1 - math.ceil(math.log2(exact.shape[1]))) // 2)
    exact = np.rint(exact / np.where(largest > 0, largest, 1.0) * 2.0**bits)
    lengths = np.sqrt(np.einsum("nd,nd->n", exact, exact))[:, None]
    directed: NDArray[np.float64] = exact / np.where(lengths > 0, lengths, 1.0)
    return directed


def _whole(values: NDArray[np.floating], bits: int) -> NDArray[np.float64]:
    whole: NDArray[np.float64] = np.rint(values.astype(np.float64) * 2.0**bits)
    return whole
