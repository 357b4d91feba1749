"""Leaks between splits: what to do about them, and the summary of what was found and done."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Leaks = Literal["drop", "fail", "keep"]

# Beside each part of an ingest: a small grey picture of every image, by which near copies are told from chance.
THUMBNAILS = "thumbnails.npy"


class DuplicateSummary(BaseModel):
    """What was found and done.

    Attributes:
        leaks: The setting.
        num_exact, num_near: Rows of `duplicates.parquet` by kind.
        num_leaked: Training and validation images that copy a test image, and training images that copy a validation
            image; quarantined with `drop`, used with `keep`.
        num_conflicting: Images that have a copy with another label.
        num_set_aside: Images that the gate kept out.
        max_distance: Bits in which the hashes of compared images differed at most; below 10 where too many images
            look alike to compare them all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    leaks: Leaks
    num_exact: int
    num_near: int
    num_leaked: int
    num_conflicting: int
    num_set_aside: int
    max_distance: int
