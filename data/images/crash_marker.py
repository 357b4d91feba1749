"""The crash marker: which items of a part are being decoded by C code that may crash, and so are suspects afterwards.

A part keeps a marker beside its work, `in-flight-00007`, with a byte for each of its items, mapped into memory: 1 while
the item is worked on. A part that ends removes it; what a process that died leaves in it are suspects.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.data.files.atomic import naming_a_full_disk

# Shared with the process that watches over this one: a byte for each thread, set while an item is in its hands.
_BOARD = mmap.mmap(-1, mmap.PAGESIZE)


def died_in_flight() -> bool:
    """Whether a process that was forked off this one has died with an item in its hands; asked once for each."""
    died = any(_BOARD[:])
    _BOARD[:] = bytes(len(_BOARD))
    return died


@contextmanager
def in_hands() -> Iterator[None]:
    """Within the block this thread has something in its hands that may take the process down."""
    thread = threading.get_ident() // 64 % len(_BOARD)  # addresses of threads, far apart
    _BOARD[thread] = 1
    try:
        yield
    finally:
        _BOARD[thread] = 0


class InFlight:
    """The items of a part: which are suspects, and which are in flight."""

    def __init__(self, suspects: frozenset[int], flying: mmap.mmap) -> None:
        """Take over a marker.

        Args:
            suspects: Indices of the items that a process had in its hands when it died.
            flying: The marker's bytes, one per item, mapped into memory.
        """
        self.suspects = suspects
        self._flying = flying

    @contextmanager
    def flying(self, index: int) -> Iterator[None]:
        """Within the block the item is one that may take the process down."""
        self._flying[index] = 1
        try:
            with in_hands():
                yield
        finally:
            self._flying[index] = 0


@contextmanager
def marked(folder: Path, part: int, num_items: int) -> Iterator[InFlight]:
    """The marker of a part; suspects stay in it until the part is done.

    Args:
        folder: Of the work in progress.
        part: The part's number.
        num_items: How many items it has.

    Raises:
        WorkError: where the disk is full.
    """
    marker = folder / f"in-flight-{part:05d}"
    left = marker.read_bytes() if marker.is_file() else b""
    suspects = frozenset(index for index, byte in enumerate(left[:num_items]) if byte)
    try:
        with naming_a_full_disk(marker):
            marker.write_bytes(bytes(index in suspects for index in range(num_items)) or b"\0")
        with marker.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as flying:
            yield InFlight(suspects, flying)
    except BaseException:
        if not suspects:
            marker.unlink(missing_ok=True)
        raise
    marker.unlink(missing_ok=True)
