"""Iterative stratification: splits in which every label has its share, where an image may have several.

Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of Multi-Label Data" (ECML PKDD), figure 1: the label with
the fewest images left is dealt out first, each image to the split that lacks that label most; of equals, to the split
that lacks images most. Where the authors draw at random among equals, the first split is taken, so that the same
images in the same order are always split alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def stratify_labels(rows: Sequence[tuple[int, ...]], shares: Sequence[float], fixed: Sequence[int | None]) -> list[int]:
    """The split of each image, by its number.

    Args:
        rows: The label indices of each image, in the order in which images are dealt out; () for none.
        shares: The wanted share of the images of each split; they sum to 1.
        fixed: The split of each image that has one already, and None for those to be dealt out.
    """
    num_labels = 1 + max((index for row in rows for index in row), default=-1)
    found = list(fixed)
    weights = np.asarray(shares, np.float64)
    wanted = weights * len(rows)
    counts = np.bincount([index for row in rows for index in row], minlength=num_labels)
    wanted_of_label = weights[:, None] * counts
    members: list[list[int]] = [[] for _ in range(num_labels)]
    num_left = np.zeros(num_labels, np.int64)
    for image, row in enumerate(rows):
        split = found[image]
        if split is not None:
            wanted[split] -= 1
            wanted_of_label[split, list(row)] -= 1
            continue
        for index in row:
            members[index].append(image)
            num_left[index] += 1

    def deal(image: int, lacking: np.ndarray) -> None:
        most = np.flatnonzero(lacking >= lacking.max() - 1e-9)
        split = int(most[wanted[most].argmax()])
        found[image] = split
        row = list(rows[image])
        wanted[split] -= 1
        wanted_of_label[split, row] -= 1
        num_left[row] -= 1

    while num_left.any():
        rarest = int(np.where(num_left > 0, num_left, np.iinfo(np.int64).max).argmin())
        for image in members[rarest]:
            if found[image] is None:
                deal(image, wanted_of_label[:, rarest])
    for image, split in enumerate(found):
        if split is None:
            deal(image, wanted)
    return [int(split) for split in found if split is not None]
