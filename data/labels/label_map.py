"""The label map: class names in sorted order, index to name and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from darkroom.data.errors import LabelError
from darkroom.data.task import SINGLE_LABEL, Task, Truth


@dataclass(frozen=True)
class LabelMap:
    """Class names; the index of a class is its position in sorted order.

    Attributes:
        names: Sorted, at least two, all different.
        task: How an image's labels are written: one, or several in one text.

    Raises:
        LabelError: where names repeat or fewer than two are given.
    """

    names: tuple[str, ...]
    task: Task = SINGLE_LABEL

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise LabelError(f"A label map names each class once; received {list(self.names)}.")
        if len(self.names) < 2:
            found = f"only {self.names[0]!r}" if self.names else "none"
            raise LabelError(
                f"Classification needs two classes or more, found {found}. Put the images into one folder per class, "
                "or give the labels in a CSV with --labels-csv."
            )

    @classmethod
    def of(cls, labels: Iterable[str], task: Task = SINGLE_LABEL) -> LabelMap:
        """The map of the distinct labels in the texts `labels`, sorted, so that listing order never matters.

        Args:
            labels: The text of the labels of each image.
            task: How an image's labels are written.
        """
        return cls(tuple(sorted({name for text in set(labels) for name in task.names(text)})), task)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The index of a class name.

        Raises:
            LabelError: where there is no such class; the message lists them.
        """
        try:
            return self._index[name]
        except KeyError:
            raise LabelError(f"Label {name!r} is not one of {', '.join(self.names)}.") from None

    def indices(self, text: str) -> tuple[int, ...]:
        """The indices of the labels of an image, by its text, ascending; raises LabelError as `index` does."""
        return tuple(self.index(name) for name in self.task.names(text))

    def text(self, indices: Iterable[int]) -> str:
        """The text of an image whose labels have these indices."""
        return self.task.text(self.names[index] for index in indices)

    def truth(self, indices: Iterable[Sequence[int]]) -> Truth:
        """What a network is trained on, `int32[N]` or `float32[N, K]`, by the label indices of each image."""
        return self.task.truth(indices, len(self))
