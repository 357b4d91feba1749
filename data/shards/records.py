"""A stored image, and how shards of any format are written and refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from darkroom.data.errors import FormatError

T = TypeVar("T")
# What is there already is not made again.
AGAIN = "Delete the folder of the data set and ingest it again."


@dataclass(frozen=True)
class Record:
    """One stored image.

    Attributes:
        encoded: PNG or JPEG, as bytes.
        format: `png` or `jpeg`.
        height, width: In pixels.
        label: The text of its labels, see `darkroom.data.task`.
        indices: Their places in the label map, ascending.
        path: Of the source file, in the source.
        sha256: Of the source file, hex.
        copy: 0 for the image itself, from 1 for augmented copies.
    """

    encoded: bytes
    format: str
    height: int
    width: int
    label: str
    indices: tuple[int, ...]
    path: str
    sha256: str
    copy: int = 0

    @property
    def label_index(self) -> int:
        """The place of its label, where an image has one; raises ValueError where it has several."""
        (index,) = self.indices
        return index


class ShardWriter(Protocol):
    """Writes records one by one."""

    def write(self, record: Record) -> None:
        """Append a record."""


@contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """Turn whatever is raised within the block into FormatError, which names the shard.

    Args:
        path: The shard that is read.

    Raises:
        FormatError: for any error within.
    """
    try:
        yield
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(f"The shard {path} is damaged ({type(error).__name__}). {AGAIN}") from None


def guarded(path: Path, items: Iterator[T]) -> Iterator[T]:
    """Turn failures of reading a shard into FormatError; failures of the consumer pass through.

    Args:
        path: The shard.
        items: What is read from it.

    Raises:
        FormatError: where reading fails.
    """
    with refusing_damage(path):
        yield from items
