"""Which of many candidates to label: those that the model is unsure of, that look new to it, and that differ.

A candidate's value is its uncertainty, one minus the margin between the two most probable classes (Scheffer, Decomain,
Wrobel 2001), raised where its embedding lies far from the images that the model knows. The candidates are divided into
as many clusters as there are labels to spend, weighted by value, so that what is uncertain is divided finely and all
of the folder is covered (Cluster-Margin: Citovsky et al. 2021, arXiv:2107.14263); of the half of a cluster that is
nearest its centre, the most valuable candidate is taken. The most uncertain ones alone are outliers and wrong labels:
`benchmarks/label_next.py` measures them to be worse than chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The distance to this neighbour, not to the nearest: a single duplicate does not make an image familiar.
_NEIGHBOUR = 3
# Further than this share of the known images lie from each other, an image is called unfamiliar.
UNFAMILIAR_FROM = 0.95
# What a candidate weighs of which the model is quite sure: enough to be in a cluster, too little to be a centre.
_LEAST = np.float32(1e-3)
_COMPONENTS = 64
_ROUNDS = 15
_ROWS = 1024

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """Embeddings scaled to length 1, `float32[N, D]`; one of zeros stays as it is."""
    rows = np.asarray(vectors, np.float32)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


@dataclass(frozen=True)
class Known:
    """The images that a model is taken to know, by their embeddings.

    Attributes:
        vectors: `float32[M, D]`, of length 1.
        distances: Ascending, `float32[M]`: how far each lies from its own third neighbour among the others.
    """

    vectors: Vectors
    distances: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: NDArray[np.floating]) -> Known:
        """From embeddings `[M, D]` of any length."""
        rows = unit(vectors)
        return cls(rows, np.sort(_neighbour_distances(rows, rows, same=True)))

    def unfamiliarity(self, vectors: Vectors) -> NDArray[np.float32]:
        """The share of the known images that lie closer to the others than each of these does: `float32[N]`, 0 to 1.

        Args:
            vectors: `float32[N, D]`, of length 1.
        """
        if len(self.vectors) <= _NEIGHBOUR:
            return np.zeros(len(vectors), np.float32)
        found = _neighbour_distances(vectors, self.vectors, same=False)
        return np.asarray(np.searchsorted(self.distances, found) / len(self.distances), np.float32)


def value(margin: NDArray[np.float32], unfamiliarity: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much a label is worth, before diversity: `float32[N]`, 0 to 1.1.

    Args:
        margin: Between the two most probable classes, 0 to 1.
        unfamiliarity: As `Known.unfamiliarity` gives it.
    """
    # Only the far tail counts, and little: enough that an image of something new is not passed over because the model
    # is sure of it. With 0.5 in place of 0.1, outliers cost half of what the choice gains on cats and dogs.
    far = np.clip((unfamiliarity - UNFAMILIAR_FROM) / (1 - UNFAMILIAR_FROM), 0, 1)
    return np.asarray(1 - margin + np.float32(0.1) * far, np.float32)


def choose(
    vectors: NDArray[np.float16], values: NDArray[np.float32], budget: int, accepted: Callable[[int], bool]
) -> list[int]:
    """Indices of the chosen candidates, those of the clusters with the most value first; the same each time.

    Args:
        vectors: `float16[N, D]`, of length 1.
        values: `float32[N]`, at least 0.
        budget: How many to choose; fewer where no more are accepted.
        accepted: Asked once for each that would be next; a refused one does not count, and the next of its cluster
            takes its place.
    """
    if len(values) == 0:
        return []
    weights = values + _LEAST
    reduced = _reduced(vectors)
    cluster, distances = _clusters(reduced, weights, min(budget, len(values)))
    totals = np.bincount(cluster, weights)
    chosen: list[int] = []
    left: list[int] = []
    for place in np.argsort(-totals, kind="stable").tolist():
        members = np.flatnonzero(cluster == place)
        nearest = members[np.argsort(distances[members], kind="stable")]
        half = -(-len(nearest) // 2)
        best = nearest[:half][np.argsort(-values[nearest[:half]], kind="stable")]
        queue = [*best.tolist(), *nearest[half:].tolist()]
        taken = next((at for at, index in enumerate(queue) if accepted(index)), len(queue))
        chosen += queue[taken : taken + 1]
        left += queue[taken + 1 :]
    for index in sorted(left, key=lambda each: (-values[each], each)):
        if len(chosen) >= budget:
            break
        if accepted(index):
            chosen.append(index)
    return chosen


def _reduced(vectors: NDArray[np.float16]) -> Vectors:
    """The first principal components, `float32[N, 64]`: clusters are the same, twenty times as fast."""
    rows = vectors.astype(np.float32)
    rows -= rows.mean(axis=0)
    if rows.shape[1] <= _COMPONENTS:
        return rows
    # By a random range (Halko, Martinsson, Tropp 2011): an embedding may have tens of thousands of numbers.
    start = np.random.default_rng(0).normal(size=(rows.shape[1], _COMPONENTS + 16)).astype(np.float32)
    basis, _ = np.linalg.qr(rows @ (rows.T @ (rows @ start)))
    left, lengths, _ = np.linalg.svd(basis.T @ rows, full_matrices=False)
    return np.asarray(basis @ (left * lengths)[:, :_COMPONENTS], np.float32)


def _clusters(
    rows: Vectors, weights: NDArray[np.float32], number: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Weighted k-means (Lloyd), begun by k-means++: the cluster of each row and its squared distance to the centre.

    Not scikit-learn's: its sums depend on which thread ends first.
    """
    rng = np.random.default_rng(0)
    centres = np.empty((number, rows.shape[1]), np.float32)
    nearest = np.full(len(rows), np.inf, np.float32)
    for at in range(number):
        shares = np.cumsum(weights * np.where(np.isinf(nearest), 1, nearest), dtype=np.float64)
        drawn = np.searchsorted(shares, rng.random() * shares[-1], side="right")
        centres[at] = rows[min(int(drawn), len(rows) - 1)]
        np.minimum(nearest, np.square(rows - centres[at]).sum(axis=1), out=nearest)
    cluster, distances = _nearest(rows, centres)
    for _ in range(_ROUNDS):
        order = np.argsort(cluster, kind="stable")
        used, starts = np.unique(cluster[order], return_index=True)
        sums = np.add.reduceat((rows * weights[:, None])[order], starts)
        centres[used] = sums / np.add.reduceat(weights[order], starts)[:, None]
        before = cluster
        cluster, distances = _nearest(rows, centres)
        if np.array_equal(before, cluster):
            break
    return cluster, distances


def _nearest(rows: Vectors, centres: Vectors) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nearest centre of each row, and its squared distance."""
    lengths = np.square(centres).sum(axis=1)
    found, distances = [], []
    for at in range(0, len(rows), _ROWS):
        some = rows[at : at + _ROWS]
        squared = lengths - 2 * some @ centres.T
        best = squared.argmin(axis=1)
        found.append(best)
        distances.append(squared[np.arange(len(best)), best] + np.square(some).sum(axis=1))
    return np.concatenate(found), np.maximum(np.concatenate(distances), 0)


def _neighbour_distances(vectors: Vectors, known: Vectors, same: bool) -> NDArray[np.float32]:
    """From each vector to its third neighbour among the known ones, itself not counted where they are the same."""
    place = min(_NEIGHBOUR - (0 if same else 1), len(known) - 1)
    found = [np.zeros(0, np.float32)]
    for at in range(0, len(vectors), _ROWS):
        squared = np.maximum(2 - 2 * vectors[at : at + _ROWS] @ known.T, 0)
        found.append(np.sqrt(np.partition(squared, place, axis=1)[:, place]))
    return np.concatenate(found)
