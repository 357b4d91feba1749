"""Duplicates among the images of a data set, and the gate that keeps duplicates of held-out images out of training.

An exact copy has the same bytes (sha256). A near copy has a perceptual hash at most `MAX_DISTANCE` bits away and,
looked at closely, the same detail (`perceptual.similarity`): resized, encoded again, brightened, or cropped a little.
Mirrored and turned images are not found. `benchmarks/duplicates.py` measures precision and recall.

On disk `duplicates.parquet`, sorted by `path` and `other`: every image that has a copy in a split stands in at least
one row with an image of that split, so the table stays in proportion to the images however many copies there are.
Where the two lie in different splits, `other` is the one that is held out (test before validation before train).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from darkroom.data.dataset.duplicate_summary import THUMBNAILS, DuplicateSummary, Leaks
from darkroom.data.dataset.manifest import QUARANTINED
from darkroom.data.quality.hash_search import MAX_DISTANCE, Ints, near_hashes
from darkroom.data.quality.perceptual import SIDE, similarity
from darkroom.data.reason_codes import ReasonCode

logger = logging.getLogger(__name__)

Thumbnails = Callable[[NDArray[np.int64]], NDArray[np.uint8]]

MIN_SIMILARITY = 0.86
# Below this many pixels a side, different images of one kind look the same: only what is all but equal is a copy.
SMALL_SIDE = 32
MIN_SIMILARITY_SMALL = 0.98

_CHUNK_CANDIDATES = 1024

_RANK = {"test": 0, "validation": 1, "train": 2}

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("other", pa.string()),
        ("kind", pa.string()),
        ("split", pa.string()),
        ("other_split", pa.string()),
        ("label", pa.string()),
        ("other_label", pa.string()),
        ("distance", pa.int32()),
        ("similarity", pa.float64()),
        ("action", pa.string()),
    ]
)


@dataclass(frozen=True)
class Images:
    """The used images, held-out ones first: columns of the manifest, N entries each.

    Attributes:
        table: The manifest's rows.
        rank: 0 test, 1 validation, 2 train; ascending.
        hashes: Perceptual hashes, `uint64[N]`.
        is_small: Whether a side is below `SMALL_SIDE` pixels.
        place: The position by which thumbnails are fetched.
    """

    table: pa.Table
    rank: Ints
    hashes: NDArray[np.uint64]
    is_small: NDArray[np.bool_]
    place: Ints

    @classmethod
    def of(cls, manifest: pa.Table, image_size: tuple[int, int]) -> Images:
        """From a manifest's rows with one more column, `place`; rows without a split are left out.

        Args:
            manifest: Sorted by path.
            image_size: Of the decode policy: what the thumbnails were made from.
        """
        used = manifest.filter(pc.is_valid(pc.field("split")))
        rank = np.array([_RANK[split] for split in used["split"].to_pylist()], dtype=np.int64)
        order = np.argsort(rank, kind="stable")
        used = used.take(order)
        digits = "".join(used["perceptual_hash"].to_pylist())
        side = np.minimum(used["width"].to_numpy(), used["height"].to_numpy())
        return cls(
            table=used,
            rank=rank[order],
            hashes=np.frombuffer(bytes.fromhex(digits), dtype=">u8").astype(np.uint64),
            is_small=np.minimum(side, min(image_size)) < SMALL_SIDE,
            place=used["place"].to_numpy(),
        )


@dataclass(frozen=True)
class Pairs:
    """Pairs of duplicates, arrays of length M.

    Attributes:
        first, second: Indices of images, `first < second`: the first is the one held out.
        is_exact: Whether the files are equal byte for byte.
        distance: Hash bits that differ.
        similarity: Of the pixels, to two decimals.
        max_distance: The distance up to which pairs were searched for.
    """

    first: Ints
    second: Ints
    is_exact: NDArray[np.bool_]
    distance: Ints
    similarity: NDArray[np.float64]
    max_distance: int


@dataclass(frozen=True)
class Quarantined:
    """Why an image is kept out.

    Attributes:
        reason: The reason code of its row.
        copy_of: The index of the image that it duplicates.
    """

    reason: ReasonCode
    copy_of: int


def find_duplicates(images: Images, thumbnails: Thumbnails) -> Pairs:
    """Find duplicates and near-duplicates.

    Args:
        images: N images.
        thumbnails: Returns `uint8[M, 32, 32]` for M places.
    """
    content = images.table["sha256"].combine_chunks().dictionary_encode().indices.to_numpy()
    _, heads = np.unique(content, return_index=True)  # the first image of each content, in the order of the images
    near, similarities, max_distance = _near_copies(images, heads, thumbnails)
    members = _members(content)
    found: dict[tuple[int, int], tuple[bool, float]] = {}
    for (first, second), value in zip(near.tolist(), similarities.tolist(), strict=True):
        for pair in _links(members[first], members[second], images.rank):
            found[pair] = (False, value)
    for group in members:
        if len(group) > 1:
            for pair in _links(group, group, images.rank):
                found[pair] = (True, 1.0)
    rows = np.array(list(found), dtype=np.int64).reshape(-1, 2)
    first, second = rows.min(axis=1), rows.max(axis=1)
    return Pairs(
        first=first,
        second=second,
        is_exact=np.array([is_exact for is_exact, _ in found.values()], dtype=np.bool_),
        distance=np.bitwise_count(images.hashes[first] ^ images.hashes[second]).astype(np.int64),
        similarity=np.array([value for _, value in found.values()], dtype=np.float64),
        max_distance=max_distance,
    )


def tied_images(images: Images, pairs: Pairs) -> frozenset[str]:
    """SHA-256 of every image that has a near-duplicate, or an exact one under another label.

    Exact duplicates of one label have one SHA-256, and so are in one split whatever it is.

    Args:
        images: All of them.
        pairs: Of duplicates among them.
    """
    labels = images.table["label"].combine_chunks().dictionary_encode().indices.to_numpy()
    tied = ~pairs.is_exact | (labels[pairs.first] != labels[pairs.second])
    places = np.unique(np.concatenate([pairs.first[tied], pairs.second[tied]]))
    return frozenset(images.table["sha256"].take(pa.array(places)).to_pylist())


def stored_thumbnails(folders: Sequence[Path], num_rows: Sequence[int]) -> Thumbnails:
    """Thumbnails from the file `THUMBNAILS` of each folder, read when asked for.

    Args:
        folders: The parts of an ingest; places count through them in this order.
        num_rows: Rows of each part.

    Returns:
        A function from places `int64[M]` to `uint8[M, 32, 32]`.
    """
    ends = np.cumsum(num_rows)

    @lru_cache(maxsize=4096)
    def mapped(index: int) -> NDArray[np.uint8]:
        return np.asarray(np.load(folders[index] / THUMBNAILS, mmap_mode="r"))

    def fetch(places: Ints) -> NDArray[np.uint8]:
        part = np.searchsorted(ends, places, side="right")
        found = np.empty((len(places), SIDE, SIDE), np.uint8)
        for index in np.unique(part).tolist():
            here = part == index
            found[here] = mapped(index)[places[here] - (ends[index] - num_rows[index])]
        return found

    return fetch


def choose_leaks(images: Images, pairs: Pairs) -> dict[int, Quarantined]:
    """The images to keep out: duplicates of held-out images, and training images with a duplicate under another label.

    Never a test image. A validation image is kept out where it duplicates a test image, a training image where it
    duplicates a test image or a validation image that stays. Of several originals the closest is named: exact before
    near, then by distance.

    Args:
        images: N images.
        pairs: Their duplicates.

    Returns:
        Why, by index of the image.
    """
    labels = images.table["label"].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort((pairs.first, pairs.distance, ~pairs.is_exact))
    first, second = pairs.first[order], pairs.second[order]
    conflicts = labels[first] != labels[second]
    low, high = images.rank[first], images.rank[second]
    chosen: dict[int, Quarantined] = {}
    copies: tuple[tuple[int, ReasonCode], ...] = ((0, "copy_of_test"), (1, "copy_of_validation"))
    for rank, reason in copies:
        for row in np.flatnonzero((low == rank) & (high > rank)).tolist():
            kept, copy = int(first[row]), int(second[row])
            if kept not in chosen:
                chosen.setdefault(copy, Quarantined("conflicting_label" if conflicts[row] else reason, kept))
    within = [
        (int(first[row]), int(second[row])) for row in np.flatnonzero((low == _RANK["train"]) & conflicts).tolist()
    ]
    left = [pair for pair in within if not chosen.keys() & set(pair)]
    for a, b in left:
        chosen.setdefault(a, Quarantined("conflicting_label", b))
        chosen.setdefault(b, Quarantined("conflicting_label", a))
    return chosen


def quarantine(manifest: pa.Table, images: Images, chosen: dict[int, Quarantined]) -> pa.Table:
    """The manifest with the chosen images quarantined: a reason, and in `copy_of` the path of what they duplicate.

    Args:
        manifest: With the column `place`.
        images: The images that indices refer to.
        chosen: What `choose_leaks` returned.
    """
    paths = images.table["path"]
    rows = {int(images.place[index]): (why.reason, paths[why.copy_of].as_py()) for index, why in chosen.items()}
    found = [rows.get(place) for place in manifest["place"].to_pylist()]
    is_gone = pa.array([row is not None for row in found])
    values = {
        "split": pa.scalar(None, pa.string()),
        "status": QUARANTINED,
        "reason": pa.array([row and row[0] for row in found], pa.string()),
        "copy_of": pa.array([row and row[1] for row in found], pa.string()),
    }
    for name, value in values.items():
        column = pc.if_else(is_gone, value, manifest[name])
        manifest = manifest.set_column(manifest.schema.get_field_index(name), manifest.schema.field(name), column)
    return manifest


def describe(images: Images, chosen: dict[int, Quarantined], limit: int = 10) -> str:
    """One sentence: how many images of each kind are kept out, and the first of them with what they duplicate.

    Args:
        images: The images that indices refer to.
        chosen: What `choose_leaks` returned.
        limit: The most images to name.
    """
    kinds = Counter((why.reason, str(images.table["split"][index])) for index, why in chosen.items())
    counts = ", ".join(f"{number} of {split} as {reason}" for (reason, split), number in sorted(kinds.items()))
    paths = images.table["path"]
    names = sorted((str(paths[index]), str(paths[why.copy_of])) for index, why in chosen.items())
    shown = "; ".join(f"{path} = {other}" for path, other in names[:limit])
    return f"{counts} ({shown}{'; …' if len(names) > limit else ''})"


def summarise(images: Images, pairs: Pairs, chosen: dict[int, Quarantined], leaks: Leaks) -> DuplicateSummary:
    """The counts for the card.

    Args:
        images: N images.
        pairs: Their duplicates.
        chosen: The images kept out, by index.
        leaks: The setting.
    """
    labels = images.table["label"].combine_chunks().dictionary_encode().indices.to_numpy()
    conflicts = labels[pairs.first] != labels[pairs.second]
    leaked = pairs.second[images.rank[pairs.first] < images.rank[pairs.second]]
    return DuplicateSummary(
        leaks=leaks,
        num_exact=int(pairs.is_exact.sum()),
        num_near=int((~pairs.is_exact).sum()),
        num_leaked=len(np.unique(leaked)),
        num_conflicting=len(np.unique(np.concatenate([pairs.first[conflicts], pairs.second[conflicts]]))),
        num_set_aside=len(chosen) if leaks == "drop" else 0,
        max_distance=pairs.max_distance,
    )


def duplicates_table(images: Images, pairs: Pairs, quarantined: Iterable[int]) -> pa.Table:
    """The rows of `duplicates.parquet`; `action` is `kept`, `set_aside` (`path` was) or `both_set_aside`.

    Args:
        images: N images.
        pairs: Their duplicates.
        quarantined: Indices of the images kept out.
    """
    gone = np.zeros(len(images.rank), dtype=np.int64)
    gone[list(quarantined)] = 1
    # Of two images in one split either may be the one that was quarantined.
    action = np.array(["kept", "set_aside", "both_set_aside"])[gone[pairs.first] + gone[pairs.second]]
    swap = (gone[pairs.first] > gone[pairs.second]) & (images.rank[pairs.first] == images.rank[pairs.second])
    path = np.where(swap, pairs.first, pairs.second)
    one, other = images.table.take(path), images.table.take(pairs.first + pairs.second - path)
    columns = {
        "path": one["path"],
        "other": other["path"],
        "kind": pa.array(np.where(pairs.is_exact, "exact", "near").tolist(), pa.string()),
        "split": one["split"],
        "other_split": other["split"],
        "label": one["label"],
        "other_label": other["label"],
        "distance": pa.array(pairs.distance, pa.int32()),
        "similarity": pa.array(pairs.similarity, pa.float64()),
        "action": pa.array(action.tolist(), pa.string()),
    }
    return pa.table(columns, schema=SCHEMA).sort_by([("path", "ascending"), ("other", "ascending")]).combine_chunks()


def _near_copies(images: Images, heads: Ints, thumbnails: Thumbnails) -> tuple[Ints, NDArray[np.float64], int]:
    """Pairs of content numbers whose pixels are alike, `int64[M, 2]`, and how much; and the distance searched."""
    candidates, max_distance = near_hashes(images.hashes[heads])
    if max_distance < MAX_DISTANCE:
        logger.warning(
            "Very many images look alike: only those whose perceptual hashes differ in at most %d bits, not %d, were "
            "compared.", max_distance, MAX_DISTANCE,
        )  # fmt: skip
    values = [np.zeros(0, np.float64)]
    for start in range(0, len(candidates), _CHUNK_CANDIDATES):
        pairs = heads[candidates[start : start + _CHUNK_CANDIDATES]]
        needed, where = np.unique(images.place[pairs], return_inverse=True)
        small = thumbnails(needed)[where.reshape(pairs.shape)]
        values.append(similarity(small[:, 0], small[:, 1]).astype(np.float64))
    value = np.concatenate(values).round(2)
    is_small = images.is_small[heads[candidates]].any(axis=1)
    alike = value >= np.where(is_small, MIN_SIMILARITY_SMALL, MIN_SIMILARITY)
    return candidates[alike], value[alike], max_distance


def _members(content: NDArray[np.int32]) -> list[list[int]]:
    """The images of each content, ascending."""
    members: list[list[int]] = [[] for _ in range(int(content.max()) + 1 if len(content) else 0)]
    for index, number in enumerate(content.tolist()):
        members[number].append(index)
    return members


def _links(a: list[int], b: list[int], rank: Ints) -> Iterator[tuple[int, int]]:
    """Pairs that join each image of either group with the first image of each split of the other."""
    heads = [{int(rank[index]): index for index in reversed(group)} for group in (a, b)]
    for group, other in ((a, heads[1]), (b, heads[0])):
        for index in group:
            for head in other.values():
                if index != head:
                    yield min(index, head), max(index, head)
