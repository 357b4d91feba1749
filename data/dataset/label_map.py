"""The label map: class names in sorted order, index to name and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from darkroom.data.errors import LabelError


@dataclass(frozen=True)
class LabelMap:
    """Class names; the index of a class is its position in sorted order.

    Attributes:
        names: Sorted, at least two, all different.

    Raises:
        LabelError: where names repeat or fewer than two are given.
    """

    names: tuple[str, ...]

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
    def of(cls, labels: Iterable[str]) -> LabelMap:
        """The map of the distinct `labels`, sorted, so that listing order never matters."""
        return cls(tuple(sorted(set(labels))))

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
