"""A thread pool's map that keeps order and holds a bounded number of results; and how it is told to stop."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import TypeVar

from data.errors import WorkError

# Set by the one who waits for work in other threads: they cannot be interrupted, so they ask, after every item.
STOP: ContextVar[threading.Event | None] = ContextVar("stop", default=None)

T = TypeVar("T")
R = TypeVar("R")


def num_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(work: Callable[[T], R], items: Iterable[T], num_threads: int, window: int) -> Iterator[R]:
    """`work(item)` for each item, in the items' order, with at most `window` results begun or waiting.

    Raises:
        WorkError: where the event in `STOP` was set meanwhile.
    """
    stop = STOP.get()
    with ThreadPoolExecutor(num_threads, thread_name_prefix="decode") as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                if stop and stop.is_set():
                    raise WorkError("Stopped before it was whole, because the run ends.")
                waiting.append(pool.submit(work, item))
                if len(waiting) >= window:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
