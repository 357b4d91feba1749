"""Splits that are fair to each class: where chance gave a class too few or too many images of a split, it is cut anew.

`splits.py` draws each image on its own, which is fair on average but not in a class of 60. A class is left as it was
drawn where every split has between half and one and a half times the share asked for, or is off by no more than one
image. Otherwise its free images are put in the order of their draws and cut by rank: the first go to test, the next to
validation, the rest to train. Images that an earlier version assigned, and those that have duplicates, stay.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from darkroom.data.splits.splits import SplitPlan, draw

# By how much of its share a split of a class may be off, and by how many images at least.
TOLERANCE, MIN_TOLERANCE = 0.5, 1.0
# From so many images on, a class has at least one in each split.
MIN_CLASS_SIZE = 3


@dataclass(frozen=True)
class Member:
    """An image of a class.

    Attributes:
        sha256: Of its file, hex.
        split: The split that it was drawn or assigned to.
        is_free: Whether another may be chosen.
    """

    sha256: str
    split: str
    is_free: bool = True


@dataclass(frozen=True)
class Bounds:
    """How many images of a class a split should have.

    Attributes:
        wanted: The number nearest to its share.
        low, high: The fewest and the most that are as good.
    """

    wanted: int
    low: int
    high: int

    @classmethod
    def of(cls, num_images: int, share: float) -> Bounds:
        """The bounds of a split.

        Args:
            num_images: Of the class.
            share: Of the split, 0 to 1.
        """
        expected, least = num_images * share, int(num_images >= MIN_CLASS_SIZE)
        tolerance = max(MIN_TOLERANCE, TOLERANCE * expected)
        return cls(
            wanted=max(least, math.floor(expected + 0.5)),
            low=max(least, math.ceil(expected - tolerance)),
            high=math.floor(expected + tolerance),
        )


def is_fair(members: Collection[Member], plan: SplitPlan) -> bool:
    """Whether the splits of a class are as the plan asks, within the tolerance, and there is an image to train on.

    Args:
        members: The images of the class.
        plan: The shares.
    """
    counts = Counter(member.split for member in members)
    bounds = {split: Bounds.of(len(members), share) for split, share in plan.drawn_shares}
    return counts["train"] > 0 and all(each.low <= counts[split] <= each.high for split, each in bounds.items())


def stratify(members: Collection[Member], plan: SplitPlan) -> dict[str, str]:
    """The splits of a class's images that change, by SHA-256; none where the class is fair already.

    The order of `members` does not matter.

    Args:
        members: The images of one class that the source itself assigns to no split, each content once.
        plan: The shares and the seed.
    """
    if is_fair(members, plan):
        return {}
    free = sorted((draw(each.sha256, plan.rules.seed), each.sha256) for each in members if each.is_free)
    taken = Counter(each.split for each in members if not each.is_free)
    left = len(free) - (0 if taken["train"] else 1)  # one is for training
    found: dict[str, str] = {}
    for split, share in plan.drawn_shares:
        missing = Bounds.of(len(members), share).wanted - taken[split]
        for _, sha256 in free[len(found) : len(found) + max(0, min(missing, left - len(found)))]:
            found[sha256] = split
    return {
        each.sha256: found.get(each.sha256, "train")
        for each in members
        if each.is_free and found.get(each.sha256, "train") != each.split
    }
