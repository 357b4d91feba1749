"""Bounded submission: a run of a million images never holds more than a few tasks for each that works on them."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from darkroom.data.files.lease import Lease
from darkroom.data.parallel import STOP
from darkroom.tasks.decorators import LazyTask
from darkroom.tasks.progress import watcher

logger = logging.getLogger(__name__)

_MIN_WINDOW = 4
_ENDED_WITHIN_SECONDS = 60


@dataclass(frozen=True)
class Workers:
    """The workers that execute the parts of a flow.

    Attributes:
        runner: Prefect's task runner, started.
        num_slots: How many parts they can work on at once; called for every part, since a cluster grows and shrinks.
        lease: Passed to tasks in other processes as `lease`; None where they are threads of this one.
    """

    runner: Any
    num_slots: Callable[[], int]
    lease: Lease | None = None

    def submit(self, task: Any, arguments: tuple[Any, ...]) -> Any:
        """The future of `task(*arguments)`.

        Args:
            task: The task.
            arguments: Positional.
        """
        from prefect.utilities.callables import get_call_parameters

        made = task.prefect if isinstance(task, LazyTask) else task
        terms = {"lease": self.lease} if self.lease else {}
        return self.runner.submit(made, get_call_parameters(made.fn, arguments, terms))

    def wait(self, futures: Iterable[Any]) -> None:
        """Wait until none of the futures is at work; on a cluster, which may have no worker left, a minute at most."""
        if self.lease is None:
            for future in futures:
                future.wait()
            return
        until = time.monotonic() + _ENDED_WITHIN_SECONDS
        for future in futures:
            with suppress(Exception):  # its process died
                future.wait(max(0.0, until - time.monotonic()))
        if time.monotonic() > until:
            logger.warning("Not all workers stopped within a minute; they stop when they next check.")


@dataclass(frozen=True)
class PlainWorkers:
    """Threads of this process that execute the parts of a plain run (decorators.py), without Prefect.

    Attributes:
        pool: The threads.
        num_threads: How many there are.
        lease: None: no other process takes part.
    """

    pool: ThreadPoolExecutor
    num_threads: int
    lease: None = None

    def num_slots(self) -> int:
        """How many parts they can work on at once."""
        return self.num_threads

    def submit(self, task: LazyTask[..., Any], arguments: tuple[Any, ...]) -> Future[Any]:
        """The future of `task(*arguments)`, which sees the caller's context variables.

        Args:
            task: The task.
            arguments: Positional.
        """
        return self.pool.submit(copy_context().run, task.fn, *arguments)

    def wait(self, futures: Iterable[Future[Any]]) -> None:
        """Wait until none of the futures is at work; those that were not begun never are."""
        waiting = [future for future in futures if not future.cancel()]
        wait_for(waiting)


def submit_all(
    workers: Workers | PlainWorkers, task: Any, arguments: Iterable[tuple[Any, ...]], total: int, what: str
) -> Generator[Any, None, None]:
    """Submit `task(*arguments)` for each tuple, two per slot at a time, and yield the results in order.

    Every future is resolved, so a failed task fails the flow. None is still running when this ends, however it ends, so
    that a lock released then protects nothing that is still being written: after a failure or a signal they are told to
    stop, and do so within an image or a batch.

    Args:
        workers: Execute the tasks.
        task: The task.
        arguments: Read lazily.
        total: How many there are, for the progress bar.
        what: What they are, for the progress bar.
    """
    waiting: deque[Any] = deque()
    stop = threading.Event()
    progress, done = watcher(), 0
    progress(what, done, total)
    try:
        for each in arguments:
            before = STOP.set(stop)  # Prefect's threads take the variables of whoever submits
            try:
                waiting.append(workers.submit(task, each))
            finally:
                STOP.reset(before)
            while len(waiting) >= max(_MIN_WINDOW, 2 * workers.num_slots()):
                yield _first(waiting)
                done += 1
                progress(what, done, total)
        while waiting:
            yield _first(waiting)
            done += 1
            progress(what, done, total)
    finally:
        stop.set()
        if waiting and workers.lease:
            workers.lease.end()
        workers.wait(waiting)


def _first(waiting: deque[Any]) -> Any:
    """The first one's result; it leaves the queue only when it is there, so that a signal finds it still waited for."""
    result = waiting[0].result()
    waiting.popleft()
    return result
