"""The ordered map: the items' order, a bounded window, and errors that arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.data.errors import WorkError
from darkroom.data.parallel import STOP, num_cpus, ordered_map, raise_if_stopped


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers()), st.integers(1, 5), st.integers(1, 12))
def test_it_gives_what_map_gives_in_that_order(items: list[int], num_threads: int, window: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.0005 * (item % 3))
        return item * 3 + 1

    assert list(ordered_map(work, items, num_threads, window)) == [item * 3 + 1 for item in items]


def test_no_more_than_the_window_is_begun_ahead_of_who_reads() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(1000):
            taken += 1
            yield item

    results = ordered_map(lambda item: item, items(), num_threads=4, window=6)
    for read in range(1, 50):
        assert next(results) == read - 1
        assert taken <= read + 6
    results.close()  # type: ignore[attr-defined]
    assert taken < 60


def test_the_threads_work_at_the_same_time() -> None:
    met = threading.Barrier(3, timeout=20)
    assert sum(1 for _ in ordered_map(lambda _: met.wait(), range(3), num_threads=3, window=3)) == 3


def test_an_error_arrives_at_its_place_and_what_has_not_begun_never_does() -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    results = ordered_map(work, range(100_000), num_threads=2, window=8)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert len(begun) <= 3 + 1 + 8


def test_there_is_a_processor() -> None:
    assert num_cpus() >= 1


def test_who_is_told_to_stop_begins_nothing_more_and_says_so() -> None:
    begun: list[int] = []

    def note(item: int) -> int:
        begun.append(item)
        return item

    stop = threading.Event()
    token = STOP.set(stop)
    try:
        results = ordered_map(note, range(1000), num_threads=2, window=8)
        assert next(results) == 0
        stop.set()
        with pytest.raises(WorkError, match="Stopped"):
            next(results)
    finally:
        STOP.reset(token)
    assert len(begun) <= 8


def test_who_is_in_the_midst_of_a_batch_hears_it_between_two_images() -> None:
    done: list[int] = []
    stop, began = threading.Event(), threading.Event()

    def batch(_: int) -> None:
        for image in range(1000):
            raise_if_stopped()
            done.append(image)
            began.set()
            time.sleep(0.01)

    def end_soon() -> None:
        began.wait(20)
        stop.set()

    token = STOP.set(stop)
    try:
        threading.Thread(target=end_soon).start()
        with pytest.raises(WorkError, match="Stopped"):
            list(ordered_map(batch, range(1), num_threads=1, window=1))
    finally:
        STOP.reset(token)
    assert 0 < len(done) < 100
