"""The reading of a source: what its files, folders and tables were taken for, shown before the first image is decoded.

Where a source can be read in two ways, it is not read at all: `ambiguous` makes the error that names each reading and
the option that chooses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from darkroom.data.errors import LabelError
from darkroom.data.task import TaskName

_NUM_EXAMPLES = 3
_MAX_CLASSES = 8


class LeftOut(BaseModel):
    """Files, rows or labels that are not used.

    Attributes:
        what: In words, such as "masks of other images".
        number: How many.
        examples: The first three.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    number: int
    examples: tuple[str, ...]

    @classmethod
    def of(cls, what: str, found: Sequence[str]) -> LeftOut:
        """Count what was left out for one reason.

        Args:
            what: In words.
            found: All of it, in order.
        """
        return cls(what=what, number=len(found), examples=tuple(found[:_NUM_EXAMPLES]))

    def __str__(self) -> str:
        more = ", …" if self.number > len(self.examples) else ""
        shown = f" ({', '.join(self.examples)}{more})" if self.examples else ""
        return f"{self.what}: {self.number}{shown}"


class ClassSize(BaseModel):
    """A class and its size.

    Attributes:
        label: Its name.
        num_images: Images with this label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    num_images: int


class Reading(BaseModel):
    """What a source was taken for.

    Attributes:
        num_images: Files that are images by their name.
        num_labelled: Those of them that have a label.
        labels_from: Where the labels come from.
        classes: Sorted by name.
        splits_from: Where the splits come from.
        left_out: All that is not used.
        corrections: What corrections changed, in words; "" without them.
        task: One label an image, or any number.
        num_negative: Images to which, of several labels, none applies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: TaskName = "single-label"
    num_negative: int = 0
    num_images: int
    num_labelled: int
    labels_from: str
    classes: tuple[ClassSize, ...]
    splits_from: str
    left_out: tuple[LeftOut, ...]
    corrections: str = ""

    def with_splits(self, decision: str) -> Reading:
        """The same reading, with the splits as `SplitPlan.decision` says them."""
        return self.model_copy(update={"splits_from": decision.removeprefix("splits: ")})

    def lines(self) -> list[tuple[str, str]]:
        """About ten lines for the terminal, as (heading, text)."""
        shown = [f"{each.label} {each.num_images}" for each in self.classes[:_MAX_CLASSES]]
        more = f" and {len(self.classes) - _MAX_CLASSES} more" if len(self.classes) > _MAX_CLASSES else ""
        several = f"any number an image, none for {self.num_negative} images"
        return [
            ("images", f"{self.num_images}, {self.num_labelled} of them labelled"),
            *([("task", f"multi-label: {several}")] if self.task == "multi-label" else []),
            ("labels", self.labels_from),
            *([("corrected", self.corrections)] if self.corrections else []),
            ("classes", f"{len(self.classes)}: {', '.join(shown)}{more}"),
            ("splits", self.splits_from),
            *(("not used", str(each)) for each in self.left_out),
        ]


def ambiguous(source: str, readings: Iterable[tuple[str, str]]) -> LabelError:
    """The error for a source that can be read in more than one way; returned, not raised.

    Args:
        source: As the message names it.
        readings: For each, when it is right, in words, and the option that selects it.
    """
    ways = ", or ".join(f"{option} if {words}" for words, option in readings)
    return LabelError(f"{source} can be read in more than one way: use {ways}.")
