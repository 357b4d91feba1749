"""The task: whether an image has one label, or any number of them.

Wherever an image has one text for its label (the manifest, shards, pages), that of several labels is their names in
sorted order, joined by `|`; `""` is an image to which no label applies. Only the two classes here know this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import LabelError

TaskName = Literal["single-label", "multi-label"]
SEPARATOR = "|"

Truth = NDArray[np.int32] | NDArray[np.float32]


class Task(Protocol):
    """How the labels of an image are written, and what a network is told of them."""

    @property
    def name(self) -> TaskName:
        """As settings and cards call it."""

    def names(self, text: str) -> tuple[str, ...]:
        """The labels of an image whose text is `text`."""

    def text(self, names: Iterable[str]) -> str:
        """The text of an image with these labels.

        Raises:
            LabelError: where there is none for them.
        """

    def shown(self, text: str) -> str:
        """The labels of a text, for a person."""

    def truth(self, indices: Iterable[Sequence[int]], num_labels: int) -> Truth:
        """What a network is trained on: class indices `int32[N]`, or 0 and 1 for each label, `float32[N, K]`.

        Args:
            indices: The places of each image's labels in the label map.
            num_labels: K.
        """


@dataclass(frozen=True)
class SingleLabel:
    """Every image has one label."""

    @property
    def name(self) -> TaskName:
        """As settings and cards call it."""
        return "single-label"

    def names(self, text: str) -> tuple[str, ...]:
        """The one label, which is the text itself."""
        return (text,)

    def text(self, names: Iterable[str]) -> str:
        """The one label itself; raises ValueError where there are several."""
        (name,) = names
        return name

    def shown(self, text: str) -> str:
        """The label itself."""
        return text

    def truth(self, indices: Iterable[Sequence[int]], num_labels: int) -> NDArray[np.int32]:
        # Class indices `int32[N]`.
        return np.array([index for (index,) in indices], np.int32)


@dataclass(frozen=True)
class MultiLabel:
    """An image has any number of labels, or none."""

    @property
    def name(self) -> TaskName:
        """As settings and cards call it."""
        return "multi-label"

    def names(self, text: str) -> tuple[str, ...]:
        """The labels, sorted; () where none applies."""
        return tuple(text.split(SEPARATOR)) if text else ()

    def text(self, names: Iterable[str]) -> str:
        # The names, sorted, each once, joined by `|`; raises LabelError where a name has a `|` in it.
        found = sorted(set(names))
        wrong = next((name for name in found if SEPARATOR in name or not name), None)
        if wrong is not None:
            raise LabelError(f"A label of a multi-label data set is not empty and has no {SEPARATOR!r}: {wrong!r}.")
        return SEPARATOR.join(found)

    def shown(self, text: str) -> str:
        """The labels with commas, or `no label`."""
        return ", ".join(self.names(text)) or "no label"

    def truth(self, indices: Iterable[Sequence[int]], num_labels: int) -> NDArray[np.float32]:
        # 1 where an image has a label and 0 elsewhere, `float32[N, K]`.
        rows = [list(each) for each in indices]
        found = np.zeros((len(rows), num_labels), np.float32)
        for row, places in enumerate(rows):
            found[row, places] = 1.0
        return found


SINGLE_LABEL, MULTI_LABEL = SingleLabel(), MultiLabel()
TASKS: Mapping[TaskName, Task] = {task.name: task for task in (SINGLE_LABEL, MULTI_LABEL)}
