"""An ordered, bounded parallel map over threads; how it is stopped, and its share of the processors."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from itertools import islice
from typing import Protocol, TypeVar

from darkroom.data.errors import WorkError


class Stop(Protocol):
    """Says whether to stop: an event of this process, or a lease granted by another (lease.py)."""

    def is_set(self) -> bool:
        """Whether to stop."""


# Set by the one who waits for work in other threads: they cannot be interrupted, so they ask, after every item.
STOP: ContextVar[Stop | None] = ContextVar("stop", default=None)
# Processors for the work of this context, where other processes work on the same machine; None for all.
CPU_SHARE: ContextVar[int | None] = ContextVar("cpu_share", default=None)

T = TypeVar("T")
R = TypeVar("R")


def num_cpus() -> int:
    """The number of processors that the work of this context may use."""
    share = CPU_SHARE.get()
    if share is not None:
        return share
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in order, in lists of `size`; the last list may be shorter.

    Args:
        items: Read lazily.
        size: Items per list, at least 1.
    """
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def ordered_map(work: Callable[[T], R], items: Iterable[T], num_threads: int, window: int) -> Iterator[R]:
    """Apply a function to each item on threads, and yield the results in the order of the items.

    Args:
        work: Called with one item; what it raises is raised here.
        items: Read lazily, no further ahead than `window`.
        num_threads: How many items are worked on at once.
        window: The most results that are begun or waiting, which bounds memory.

    `work` sees the context variables of the caller; if it takes long, it is to call `raise_if_stopped` on its way.

    Raises:
        WorkError: where `STOP` was set meanwhile.
    """
    with ThreadPoolExecutor(num_threads, thread_name_prefix="decode") as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                raise_if_stopped()
                waiting.append(pool.submit(copy_context().run, work, item))
                if len(waiting) >= window:
                    yield waiting.popleft().result()
            while waiting:
                raise_if_stopped()
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def raise_if_stopped() -> None:
    """To be called between two images: a batch of them may take longer than a signal is to wait.

    Raises:
        WorkError: where `STOP` says that the run is ending.
    """
    stop = STOP.get()
    if stop and stop.is_set():
        raise WorkError("Stopped before completion: the run is ending.")
