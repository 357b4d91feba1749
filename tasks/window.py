"""Bounded submission: a run of a million images never holds more than a few tasks."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from data.parallel import STOP

_WINDOW = 4


def submit_all(task: Any, arguments: Iterable[tuple[Any, ...]], total: int, what: str) -> Iterator[Any]:
    """Submit `task(*arguments)` for each, at most four at a time, and give the results in order.

    Every future is resolved, so a failed task fails the flow; and none still runs when this ends, however it ends, so
    that a lock that is let go of then protects nothing that is still being written: after a failure or a signal they
    are told to stop, and do so within an image or a batch.
    """
    waiting: deque[Any] = deque()
    stop = threading.Event()
    with _bar(total, what) as advance:
        try:
            for each in arguments:
                before = STOP.set(stop)  # Prefect's threads take the variables of whoever submits
                try:
                    waiting.append(task.submit(*each))
                finally:
                    STOP.reset(before)
                if len(waiting) >= _WINDOW:
                    yield _first(waiting)
                    advance()
            while waiting:
                yield _first(waiting)
                advance()
        finally:
            stop.set()
            for future in waiting:
                future.wait()


def _first(waiting: deque[Any]) -> Any:
    """The first one's result; it leaves the queue only when it is there, so that a signal finds it still waited for."""
    result = waiting[0].result()
    waiting.popleft()
    return result


@contextmanager
def _bar(total: int, what: str) -> Iterator[Any]:
    """A progress bar where somebody watches a terminal, silence elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
