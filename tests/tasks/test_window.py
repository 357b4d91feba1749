"""Bounded submission, with Prefect's own threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from darkroom.data.errors import CountError
from darkroom.data.files.lease import Lease, grant
from darkroom.data.parallel import STOP
from darkroom.tasks.window import Workers, submit_all


@task(cache_policy=NO_CACHE)
def part(number: int, lease: Lease | None = None) -> int:
    """What the runners of these tests are asked to do, and do not."""
    raise NotImplementedError


class Watched:
    """A task runner that counts what is submitted and not yet resolved by whoever submitted it."""

    def __init__(self) -> None:
        self.unresolved = 0
        self.most = 0
        self.waited: list[int] = []

    def submit(self, task: Any, parameters: dict[str, Any]) -> Watched.Future:
        self.unresolved += 1
        self.most = max(self.most, self.unresolved)
        return Watched.Future(self, parameters["number"])

    class Future:
        def __init__(self, owner: Watched, number: int) -> None:
            self.owner, self.number = owner, number

        def result(self) -> int:
            self.owner.unresolved -= 1
            if self.number == 50:
                raise CountError("Part 50 is short.")
            return self.number

        def wait(self, timeout: float | None = None) -> None:
            self.owner.waited.append(self.number)


def two_slots(runner: Any) -> Workers:
    return Workers(runner, lambda: 2)


def numbers(total: int) -> Iterator[tuple[int]]:
    return ((number,) for number in range(total))


@pytest.mark.parametrize("total", [0, 1, 3, 4, 5, 40])
@pytest.mark.parametrize(("num_slots", "most"), [(0, 4), (1, 4), (2, 4), (5, 10)])
def test_never_more_than_two_a_slot_are_unresolved_and_the_order_is_kept(total: int, num_slots: int, most: int) -> None:
    watched = Watched()
    workers = Workers(watched, lambda: num_slots)
    assert list(submit_all(workers, part, numbers(total), total, "test")) == list(range(total))
    assert watched.most == min(total, most)
    assert watched.unresolved == 0


def test_a_cluster_that_grows_and_shrinks_gets_as_much_as_it_can_do() -> None:
    watched, num_slots = Watched(), 1
    results = submit_all(Workers(watched, lambda: num_slots), part, numbers(50), 50, "test")
    left = []  # unresolved after each result, which is resolved itself
    for number in range(50):
        num_slots = 1 if number < 10 else 8 if number < 20 else 0
        assert next(results) == number
        left.append(watched.unresolved)
    assert left[:10] == [3] * 10
    assert left[10:20] == [15] * 10
    assert left[20:32] == [14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3]
    assert left[32:47] == [3] * 15


def test_the_arguments_are_taken_one_by_one_as_room_comes_free() -> None:
    taken: list[int] = []

    def arguments() -> Iterator[tuple[int]]:
        for number in range(1_000_000):
            taken.append(number)
            yield (number,)

    results = submit_all(two_slots(Watched()), part, arguments(), 1_000_000, "test")
    assert [next(results) for _ in range(10)] == list(range(10))
    assert len(taken) == 13  # ten given and three under way


def test_a_failure_comes_through_only_when_nothing_is_left_running() -> None:
    watched = Watched()
    results = submit_all(two_slots(watched), part, numbers(100), 100, "test")
    with pytest.raises(CountError, match="Part 50 is short"):
        list(results)
    assert watched.waited == [50, 51, 52, 53]


def test_a_reader_that_stops_early_leaves_nothing_running() -> None:
    watched = Watched()
    results = submit_all(two_slots(watched), part, numbers(100), 100, "test")
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

    @flow
    def parts() -> None:
        threads: Any = ThreadPoolTaskRunner(max_workers=4)
        with threads:
            try:
                for _ in submit_all(two_slots(threads), work, numbers(50), 50, "test"):
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
        def submit(self, task: Any, parameters: dict[str, Any]) -> Watched.Future:
            stop = STOP.get()
            assert stop is not None
            assert not stop.is_set()
            future = super().submit(task, parameters)
            future.wait = lambda timeout=None: stopped.append(stop.is_set())  # type: ignore[method-assign]
            return future

    with pytest.raises(CountError):
        list(submit_all(two_slots(Told()), part, numbers(100), 100, "test"))
    assert stopped == [True] * 4
    assert STOP.get() is None


def test_other_processes_are_told_to_stop_by_the_end_of_their_lease_and_not_waited_for_for_ever(tmp_path: Path) -> None:
    """A future that a cluster never resolves says so after the time that it is given."""
    given: list[Lease] = []
    seen: list[bool] = []

    class Elsewhere(Watched):
        def submit(self, task: Any, parameters: dict[str, Any]) -> Watched.Future:
            given.append(parameters["lease"])
            future = super().submit(task, parameters)

            def wait(timeout: float | None = None) -> None:
                assert timeout is not None
                assert timeout <= 60
                seen.append(given[0].file.exists())
                if parameters["number"] == 51:
                    raise RuntimeError("its process died")

            future.wait = wait  # type: ignore[method-assign]
            return future

    with grant(tmp_path, 3) as lease:
        workers = Workers(Elsewhere(), lambda: 2, lease)
        with pytest.raises(CountError):
            list(submit_all(workers, part, numbers(100), 100, "test"))
    assert set(given) == {lease}
    assert seen == [False] * 4
