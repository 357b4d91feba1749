"""The splits of a multi-label ingest: all drawn before the first image is decoded, so that every label has its share.

With one label an image, each image's split follows from its own hash (`darkroom.data.splits.splits`). Here it depends
on the other images too; an image that an earlier version of the data set has in a split stays there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from darkroom.data.errors import ImageError
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.labels.recognition.labelling import Labelled
from darkroom.data.parallel import num_cpus, ordered_map
from darkroom.data.splits.iterative_stratification import stratify_labels
from darkroom.data.splits.splits import SPLITS, SplitPlan, draw
from darkroom.data.stores.listing import read_file


def multi_label_decision(splits: SplitPlan) -> str:
    """What the plan says of the splits, in a sentence."""
    return splits.decision.replace("drawn by content hash", "drawn with every label in proportion")


def hashes_of(folder: Path, files: Sequence[Labelled], max_bytes: int) -> dict[str, str]:
    """The SHA-256 of each labelled file, by its path; a file that cannot be read has none.

    Args:
        folder: The source's.
        files: All files, labelled or not.
        max_bytes: Files above this size are not read.
    """
    labelled = [file for file in files if file.label is not None]
    hashes = ordered_map(lambda file: _hash(folder, file, max_bytes), labelled, num_cpus(), window=8 * num_cpus())
    found = zip(labelled, hashes, strict=True)
    return {file.entry.path: sha256 for file, sha256 in found if sha256 is not None}


def multi_label_splits(
    files: Sequence[Labelled],
    hashes: Mapping[str, str],
    labels: LabelMap,
    splits: SplitPlan,
    earlier: pa.Table,
) -> dict[str, str]:
    """The split of each file that has a hash, by its path.

    Args:
        files: All files, labelled or not.
        hashes: As `hashes_of` gives them.
        labels: Of the data set.
        splits: Shares and seed, and which splits the source itself has.
        earlier: The columns `sha256` and `split` of images that stay where they are; of several rows the first counts.
    """
    by_hash: dict[str, list[Labelled]] = {}
    found: dict[str, str] = {}
    for file in files:
        sha256 = hashes.get(file.entry.path)
        if sha256 is None:
            continue
        if splits.is_drawn(file.source_split):
            by_hash.setdefault(sha256, []).append(file)
        else:
            found[file.entry.path] = splits.split(sha256, file.source_split)
    order = sorted(by_hash, key=lambda sha256: draw(sha256, splits.rules.seed))
    names, shares = _shares(splits)
    places = {name: place for place, name in enumerate(names)}
    rows = [labels.indices(str(by_hash[sha256][0].label)) for sha256 in order]
    before = dict(reversed(list(zip(earlier["sha256"].to_pylist(), earlier["split"].to_pylist(), strict=True))))
    fixed = [places.get(before.get(sha256, "")) for sha256 in order]
    for sha256, place in zip(order, stratify_labels(rows, shares, fixed), strict=True):
        found |= {file.entry.path: names[place] for file in by_hash[sha256]}
    return found


def _shares(splits: SplitPlan) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The splits among which images are drawn, and the share of each."""
    validation, test = splits.rules.validation, splits.rules.test
    if splits.held_out:
        return SPLITS[:2], (1 - validation, validation)
    return SPLITS, (1 - validation - test, validation, test)


def _hash(folder: Path, file: Labelled, max_bytes: int) -> str | None:
    try:
        return hashlib.sha256(read_file(folder, file.entry.os_path, max_bytes)).hexdigest()
    except ImageError:  # it becomes a row with this reason when its turn comes
        return None
