"""Bounded submission, with Prefect's own threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from data.errors import CountError
from data.parallel import STOP
from tasks.window import submit_all


class Watched:
    """Counts what is submitted and not yet resolved by whoever submitted it, as `task.submit` and `future.result`."""

    def __init__(self) -> None:
        self.unresolved = 0
        self.most = 0
        self.waited: list[int] = []

    def submit(self, number: int) -> Watched.Future:
        self.unresolved += 1
        self.most = max(self.most, self.unresolved)
        return Watched.Future(self, number)

    class Future:
        def __init__(self, owner: Watched, number: int) -> None:
            self.owner, self.number = owner, number

        def result(self) -> int:
            self.owner.unresolved -= 1
            if self.number == 50:
                raise CountError("Part 50 is short.")
            return self.number

        def wait(self) -> None:
            self.owner.waited.append(self.number)


@pytest.mark.parametrize("total", [0, 1, 3, 4, 5, 40])
def test_never_more_than_four_are_unresolved_and_the_order_is_kept(total: int) -> None:
    watched = Watched()
    assert list(submit_all(watched, ((number,) for number in range(total)), total, "test")) == list(range(total))
    assert watched.most == min(total, 4)
    assert watched.unresolved == 0


def test_the_arguments_are_taken_one_by_one_as_room_comes_free() -> None:
    taken: list[int] = []

    def arguments() -> Iterator[tuple[int]]:
        for number in range(1_000_000):
            taken.append(number)
            yield (number,)

    results = submit_all(Watched(), arguments(), 1_000_000, "test")
    assert [next(results) for _ in range(10)] == list(range(10))
    assert len(taken) == 13  # ten given and three under way


def test_a_failure_comes_through_only_when_nothing_is_left_running() -> None:
    watched = Watched()
    results = submit_all(watched, ((number,) for number in range(100)), 100, "test")
    with pytest.raises(CountError, match="Part 50 is short"):
        list(results)
    assert watched.waited == [50, 51, 52, 53]


def test_a_reader_that_stops_early_leaves_nothing_running() -> None:
    watched = Watched()
    results = submit_all(watched, ((number,) for number in range(100)), 100, "test")
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert watched.waited == [1, 2, 3]


def test_in_a_flow_a_failed_task_fails_the_run_after_the_others_have_ended(prefect_server: str) -> None:
    running: set[int] = set()
    begun: list[int] = []
    lock = threading.Lock()

    @task(cache_policy=NO_CACHE)
    def work(number: int) -> int:
        with lock:
            begun.append(number)
            running.add(number)
        time.sleep(0.05 if number == 2 else 0.5)
        with lock:
            running.discard(number)
        if number == 2:
            raise CountError("Part 2 is short.")
        return number

    left_running: list[set[int]] = []

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=4))  # type: ignore[arg-type]
    def parts() -> None:
        try:
            for _ in submit_all(work, ((number,) for number in range(50)), 50, "test"):
                pass
        finally:
            left_running.append(set(running))

    with pytest.raises(CountError, match=r"^Part 2 is short\.$"):
        parts()
    assert left_running == [set()]
    assert max(begun) <= 5


def test_who_still_runs_is_told_to_stop_as_soon_as_one_has_failed() -> None:
    stopped: list[bool] = []

    class Told(Watched):
        def submit(self, number: int) -> Watched.Future:
            stop = STOP.get()
            assert stop is not None
            assert not stop.is_set()
            future = super().submit(number)
            future.wait = lambda: stopped.append(stop.is_set())  # type: ignore[method-assign]
            return future

    with pytest.raises(CountError):
        list(submit_all(Told(), ((number,) for number in range(100)), 100, "test"))
    assert stopped == [True] * 4
    assert STOP.get() is None
