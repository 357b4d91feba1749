"""Nearly equal perceptual hashes among many, found without comparing every pair.

Two hashes that differ in d bits differ in at most d // 4 bits in one of their four quarters (multi-index hashing:
Norouzi, Punjani, Fleet 2012), so each hash is compared with those in a few buckets of 65,536 only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Ints = NDArray[np.int64]

MAX_DISTANCE = 10

# What bounds the work where very many images look alike; a million photographs stay far below.
_MAX_COMPARISONS = 20_000_000_000
_MAX_CANDIDATES = 2_000_000
_MAX_SAME_HASH = 10
_CHUNK_COMPARISONS = 1_000_000
# Up to this many, comparing all pairs is faster than searching the buckets.
_FEW_HASHES = 5000

_BANDS = 4
_BAND_BITS = 16


def near_hashes(hashes: NDArray[np.uint64], max_distance: int = MAX_DISTANCE) -> tuple[Ints, int]:
    """Pairs of hashes that differ in at most `max_distance` bits.

    Of more than ten equal hashes each is compared with the first ten, and only these ten with other hashes. Where there
    would be too many comparisons, the distance is lowered.

    Args:
        hashes: `uint64[N]`.
        max_distance: Bits, up to 11.

    Returns:
        The pairs `int64[M, 2]`, the smaller index first, and the distance that was searched.
    """
    order = np.argsort(hashes, kind="stable")
    ranked = hashes[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(ranked) else np.zeros(0, np.int64)
    within = np.arange(len(ranked)) - np.repeat(starts, np.diff(np.r_[starts, len(ranked)]))
    same = [np.stack([order[places - step], order[places]], axis=1) for places, step in _same_hash_steps(within)]
    kept = np.sort(order[within < _MAX_SAME_HASH])
    if len(kept) < len(hashes):
        logger.warning(
            "%d images share their perceptual hash with at least %d others: each was compared with %d of them.",
            len(hashes) - len(kept), _MAX_SAME_HASH, _MAX_SAME_HASH,
        )  # fmt: skip
    different, reached = _different_hashes(hashes[kept], max_distance)
    pairs = np.concatenate([*same, kept[different]])
    return np.sort(pairs, axis=1)[np.lexsort((pairs.max(axis=1), pairs.min(axis=1)))], reached


def _same_hash_steps(within: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Places in the order of hashes, and how far before each lies one of the first ten of its equals."""
    for anchor in range(_MAX_SAME_HASH):
        places = np.flatnonzero(within > anchor)
        if len(places):
            yield places, within[places] - anchor


def _different_hashes(hashes: NDArray[np.uint64], max_distance: int) -> tuple[Ints, int]:
    if len(hashes) <= _FEW_HASHES:
        pieces = _all_with_all(hashes, max_distance)
    else:
        bands = [
            ((hashes >> np.uint64(_BAND_BITS * band)) & np.uint64(0xFFFF)).astype(np.int64) for band in range(_BANDS)
        ]
        while max_distance > 0 and _num_comparisons(bands, max_distance // _BANDS) > _MAX_COMPARISONS:
            max_distance = max_distance // _BANDS * _BANDS - 1
        pieces = _in_buckets(hashes, bands, max_distance)
    found = [np.zeros((0, 2), np.int64)]
    distances = [np.zeros(0, np.int64)]
    for pairs, distance in pieces:
        near = distance <= max_distance  # which may have been lowered since
        found.append(pairs[near])
        distances.append(distance[near])
        if sum(map(len, distances[1:])) > _MAX_CANDIDATES:
            found, distances, max_distance = _bounded(found, distances, max_distance)
    found, distances, max_distance = _bounded(found, distances, max_distance)
    return np.concatenate(found), max(max_distance, 0)


def _all_with_all(hashes: NDArray[np.uint64], max_distance: int) -> Iterator[tuple[Ints, Ints]]:
    """The different hashes within a distance, as pairs with the smaller index first, and how far apart; in pieces."""
    rows = _CHUNK_COMPARISONS // max(1, len(hashes))
    for start in range(0, len(hashes), rows):
        distance = np.bitwise_count(hashes[start : start + rows, None] ^ hashes[start:])
        left, right = np.nonzero((distance > 0) & (distance <= max_distance))
        once = left < right
        left, right = left[once], right[once]
        yield start + np.stack([left, right], axis=1), distance[left, right].astype(np.int64)


def _in_buckets(hashes: NDArray[np.uint64], bands: list[Ints], max_distance: int) -> Iterator[tuple[Ints, Ints]]:
    """The same by the buckets of the hashes' quarters, `bands`; which index is first is left open."""
    most = max_distance // _BANDS
    for band in range(_BANDS if max_distance > 0 else 0):
        for left, right in _bucket_pairs(bands[band], _flips(most)):
            differ = hashes[left] ^ hashes[right]
            distance = np.bitwise_count(differ)
            near = (distance > 0) & (distance <= max_distance)
            near[near] = _is_first_band(differ[near], band, most)
            yield np.stack([left[near], right[near]], axis=1), distance[near].astype(np.int64)


def _bounded(found: list[Ints], distances: list[Ints], max_distance: int) -> tuple[list[Ints], list[Ints], int]:
    """Lower the distance until the pairs within it are few enough to look at closely."""
    pairs, distance = np.concatenate(found), np.concatenate(distances)
    while max_distance > 0 and (distance <= max_distance).sum() > _MAX_CANDIDATES:
        max_distance -= 1
    near = distance <= max_distance
    return [pairs[near]], [distance[near]], max_distance


def _flips(most: int) -> list[int]:
    """All 16-bit numbers with at most `most` bits set."""
    return [
        sum(1 << bit for bit in bits) for number in range(most + 1) for bits in combinations(range(_BAND_BITS), number)
    ]


def _num_comparisons(bands: list[Ints], most: int) -> int:
    if (all_with_all := len(bands) * len(bands[0]) ** 2 // 2) <= _MAX_COMPARISONS:
        return all_with_all
    counts = [np.bincount(band, minlength=1 << _BAND_BITS) for band in bands]
    keys = np.arange(1 << _BAND_BITS)
    return sum(int(count @ count[keys ^ flip]) for count in counts for flip in _flips(most)) // 2


def _bucket_pairs(keys: Ints, flips: list[int]) -> Iterator[tuple[Ints, Ints]]:
    """Each pair of indices whose keys differ by one of `flips`, once, in pieces of bounded size."""
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    counts = np.bincount(keys, minlength=1 << _BAND_BITS)
    ends = np.cumsum(counts)
    rows = np.arange(len(keys))
    for flip in flips:
        partner = ranked ^ flip
        start = rows + 1 if flip == 0 else ends[partner] - counts[partner]
        number = np.where((ranked < partner) | (flip == 0), ends[partner] - start, 0)
        total = np.cumsum(number)
        place = 0
        while place < len(rows):
            stop = max(place + 1, int(np.searchsorted(total, total[place] - number[place] + _CHUNK_COMPARISONS)))
            part = number[place:stop]
            offset = np.arange(int(part.sum())) - np.repeat(np.cumsum(part) - part, part)
            yield order[np.repeat(rows[place:stop], part)], order[np.repeat(start[place:stop], part) + offset]
            place = stop


def _is_first_band(differ: NDArray[np.uint64], band: int, most: int) -> NDArray[np.bool_]:
    """Whether no earlier band has found the pair already."""
    earlier = np.zeros(len(differ), dtype=np.bool_)
    for before in range(band):
        bits = (differ >> np.uint64(_BAND_BITS * before)) & np.uint64(0xFFFF)
        earlier |= np.bitwise_count(bits) <= most
    return ~earlier
