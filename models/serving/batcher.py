"""Images of many requests, gathered into batches for the threads that decode and run the network.

A batch takes what is waiting when a thread is free, and, where that is little, what comes within a few milliseconds. No
image waits while a thread is idle for longer than that, and no more than so many wait at all: what does not fit is
refused at once, so that callers hear of an overload in time to do something about it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from darkroom.data.parallel import num_cpus
from darkroom.models.scoring.rows import Contents

logger = logging.getLogger(__name__)

# As in scoring: few, so that no caller waits for many others, and enough for the network.
MAX_BATCH = 24

# The path that a row names, if any, and what is to be scored.
Item = tuple[str | None, Contents]
Row = dict[str, Any]


class OverloadError(Exception):
    """There is no room for more images now."""


class Batcher:
    """Threads that turn images into rows.

    Args:
        score: Turns a batch into as many rows, called by several threads at once.
        max_waiting: Images that may wait.
        gather_seconds: How long a batch that is not full waits for more.
        num_threads: None takes one per processor.
        observe: Told the size of each batch and the seconds that it took.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Item]], list[Row]],
        max_waiting: int,
        gather_seconds: float,
        num_threads: int | None = None,
        observe: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._score, self._observe = score, observe
        self._max_waiting, self._gather_seconds = max_waiting, gather_seconds
        self._waiting: deque[tuple[Item, Future[Row]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._num_idle = 0
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(num_threads or num_cpus())]
        for thread in self._threads:
            thread.start()

    @property
    def num_waiting(self) -> int:
        """Images that no thread has taken yet."""
        return len(self._waiting)

    def submit(self, items: Sequence[Item]) -> list[Future[Row]]:
        """Take on some images, all of them or none; their rows come in the order in which threads are done.

        Args:
            items: Of one request.

        Raises:
            OverloadError: where so many do not fit beside those that wait, or it is closed.
        """
        futures: list[Future[Row]] = [Future() for _ in items]
        with self._changed:
            if self._closed or len(self._waiting) + len(items) > self._max_waiting:
                raise OverloadError
            self._waiting.extend(zip(items, futures, strict=True))
            self._changed.notify(len(items))
        return futures

    def close(self) -> None:
        """Take on nothing more, and return when all that was taken on is done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._gathered():
            began = time.perf_counter()
            try:
                rows = self._score([item for item, _ in batch])
            except BaseException as error:  # a caller waits for each
                logger.exception("A batch of %d images failed", len(batch))
                for _, future in batch:
                    future.set_exception(error)
                continue
            self._observe(len(batch), time.perf_counter() - began)
            for (_, future), row in zip(batch, rows, strict=True):
                future.set_result(row)

    def _gathered(self) -> list[tuple[Item, Future[Row]]]:
        """The next batch; empty where it is closed and nothing waits. Images whose caller has gone are left out."""
        with self._changed:
            self._num_idle += 1
            try:
                while self._has_more():
                    share = -(-len(self._waiting) // self._num_idle)  # the other idle threads take as many
                    taken = [self._waiting.popleft() for _ in range(min(MAX_BATCH, share))]
                    if batch := [each for each in taken if each[1].set_running_or_notify_cancel()]:
                        return batch
                return []
            finally:
                self._num_idle -= 1

    def _has_more(self) -> bool:
        """Wait for images, and then a little for more of them; False where it is closed and nothing waits."""
        while True:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            until = time.monotonic() + self._gather_seconds
            while len(self._waiting) < MAX_BATCH and not self._closed and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._waiting or self._closed:  # another thread may have taken them
                return bool(self._waiting)
