"""Splits that never move a file: each is drawn from the image's own content hash.

A file's place is `sha256(seed, sha256 of the file)` read as a number in [0, 1), cut at the fractions. It depends on
nothing but the image and the seed, so adding files never moves an old one, copies of one image land together, and the
expected share of every class is the same. Where chance is unfair to a class, `stratification.py` corrects it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from pydantic import BaseModel, ConfigDict, Field, model_validator

from darkroom.data.settings import SettingsModel

SPLITS = ("train", "validation", "test")


class SplitRules(SettingsModel):
    """Split fractions, for sources without split folders."""

    validation: float = Field(
        default=0.15, gt=0, lt=1, description="Share of the images held out for early stopping and calibration"
    )
    test: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="Share of the images held out for evaluation; ignored where the source has a held-out split",
    )
    seed: int = Field(default=0, description="Seed of the splits")
    keep: bool = Field(default=True, description="Keep the split folders of the source")

    @model_validator(mode="after")
    def _leaves_some_for_training(self) -> SplitRules:
        if self.validation + self.test >= 0.9:
            raise ValueError(
                f"`validation` of {self.validation:g} and `test` of {self.test:g} leave under a tenth for training"
            )
        return self


def draw(sha256: str, seed: int) -> float:
    """A number in [0, 1), uniformly distributed over images.

    Args:
        sha256: Of the source file, hex.
        seed: Another seed gives another number.
    """
    digest = hashlib.sha256(f"{seed}:{sha256}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits are what a float holds: never rounded up to 1


class SplitPlan(BaseModel):
    """How the source's splits map to train, validation and test; decided once for the whole source.

    Attributes:
        rules: The fractions and the seed.
        held_out: The source's splits other than train; () where it has none or they are not kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: SplitRules
    held_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, source_splits: Collection[str | None], rules: SplitRules) -> SplitPlan:
        """The plan for a source.

        Args:
            source_splits: The splits of its labelled files; None is for files in no split folder.
            rules: The fractions and the seed.
        """
        kept = rules.keep and ("train" in source_splits or None in source_splits)
        held_out = tuple(s for s in ("validation", "test") if s in source_splits) if kept else ()
        return cls(rules=rules, held_out=held_out)

    def split(self, sha256: str, source_split: str | None) -> str:
        """`train`, `validation` or `test` for one image.

        A source with a single held-out split, whatever its name, has it as `test`; validation is then drawn from
        training, so that the images that stop training are never those that metrics are reported on.

        Args:
            sha256: Of the source file, hex.
            source_split: The split folder that the source has it in; None for none.
        """
        if self.held_out:
            if source_split in self.held_out:
                return str(source_split) if len(self.held_out) == 2 else "test"
            if len(self.held_out) == 2:
                return "train"
            return "validation" if draw(sha256, self.rules.seed) < self.rules.validation else "train"
        place = draw(sha256, self.rules.seed)
        if place < self.rules.test:
            return "test"
        return "validation" if place < self.rules.test + self.rules.validation else "train"

    @property
    def drawn_shares(self) -> tuple[tuple[str, float], ...]:
        """The splits that are drawn, in the order in which they are cut, with their shares of the images drawn."""
        if len(self.held_out) == 2:
            return ()
        carved = (("validation", self.rules.validation),)
        return carved if self.held_out else (("test", self.rules.test), *carved)

    def is_drawn(self, source_split: str | None) -> bool:
        """Whether the split of such an image is drawn, and not the source's."""
        return bool(self.drawn_shares) and source_split not in self.held_out

    @property
    def decision(self) -> str:
        """One sentence for the log."""
        if len(self.held_out) == 2:
            return "splits: train, validation and test as the source has them"
        if self.held_out:
            return (
                f"splits: the source's {self.held_out[0]} part is the judge (test); "
                f"{self.rules.validation:.0%} of the rest is carved off as validation"
            )
        return f"splits: drawn by content hash, {self.rules.validation:.0%} validation, {self.rules.test:.0%} test"
