"""Requests gathered into batches: what is taken on is answered, and what does not fit is refused at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from darkroom.models.serving.batcher import MAX_BATCH, Batcher, Item, OverloadError


def named(*names: str) -> list[Item]:
    return [(name, name.encode()) for name in names]


def said(batch: Sequence[Item]) -> list[dict[str, Any]]:
    return [{"path": name} for name, _ in batch]


def test_every_image_gets_its_own_row_whatever_batch_it_is_in() -> None:
    batcher = Batcher(said, max_waiting=1000, gather_seconds=0.001, num_threads=3)
    requests = [named(*(f"{request}-{number}" for number in range(request % 5 + 1))) for request in range(60)]
    futures = [batcher.submit(items) for items in requests]
    for items, found in zip(requests, futures, strict=True):
        assert [future.result(30)["path"] for future in found] == [name for name, _ in items]
    batcher.close()


def test_what_comes_within_the_gathering_time_is_one_batch() -> None:
    sizes: list[int] = []
    batcher = Batcher(said, 100, gather_seconds=60, num_threads=1, observe=lambda size, seconds: sizes.append(size))
    futures = [future for number in range(MAX_BATCH) for future in batcher.submit(named(str(number)))]
    assert [future.result(30)["path"] for future in futures] == [str(number) for number in range(MAX_BATCH)]
    batcher.close()
    assert sizes == [MAX_BATCH]


def test_one_request_is_shared_among_idle_threads() -> None:
    together = threading.Barrier(2)

    def meet(batch: Sequence[Item]) -> list[dict[str, Any]]:
        together.wait(30)  # breaks unless two threads have a batch at the same time
        return said(batch)

    batcher = Batcher(meet, 100, gather_seconds=0.2, num_threads=2)
    futures = batcher.submit(named("a", "b"))
    assert [future.result(30)["path"] for future in futures] == ["a", "b"]
    batcher.close()


def test_a_request_that_does_not_fit_is_refused_as_a_whole_and_room_comes_back() -> None:
    held, begun = threading.Event(), threading.Event()

    def hold(batch: Sequence[Item]) -> list[dict[str, Any]]:
        begun.set()
        held.wait(30)
        return said(batch)

    batcher = Batcher(hold, max_waiting=3, gather_seconds=0, num_threads=1)
    first = batcher.submit(named("first"))
    begun.wait(30)
    waiting = batcher.submit(named("a", "b"))
    with pytest.raises(OverloadError):
        batcher.submit(named("c", "d"))
    assert batcher.num_waiting == 2
    more = batcher.submit(named("e"))
    held.set()
    assert [future.result(30)["path"] for future in (*first, *waiting, *more)] == ["first", "a", "b", "e"]
    assert len(batcher.submit(named("c", "d"))) == 2
    batcher.close()


def test_closing_answers_what_was_taken_on_and_takes_on_nothing_more() -> None:
    batcher = Batcher(said, 100, gather_seconds=0.01, num_threads=2)
    futures = batcher.submit(named(*map(str, range(50))))
    batcher.close()
    assert all(future.done() for future in futures)
    with pytest.raises(OverloadError):
        batcher.submit(named("late"))


def test_a_batch_that_fails_is_told_to_its_callers_and_the_thread_goes_on() -> None:
    def fail(batch: Sequence[Item]) -> list[dict[str, Any]]:
        if batch[0][0] == "bad":
            raise ValueError("the network is gone")
        return said(batch)

    batcher = Batcher(fail, 100, gather_seconds=0, num_threads=1)
    (bad,) = batcher.submit(named("bad"))
    with pytest.raises(ValueError, match="the network is gone"):
        bad.result(30)
    assert batcher.submit(named("good"))[0].result(30) == {"path": "good"}
    batcher.close()


def test_an_image_whose_caller_has_gone_is_left_out() -> None:
    held, begun = threading.Event(), threading.Event()
    seen: list[str | None] = []

    def hold(batch: Sequence[Item]) -> list[dict[str, Any]]:
        begun.set()
        held.wait(30)
        seen.extend(name for name, _ in batch)
        return said(batch)

    batcher = Batcher(hold, 100, gather_seconds=0, num_threads=1)
    batcher.submit(named("first"))
    begun.wait(30)
    (gone,), (stays,) = batcher.submit(named("gone")), batcher.submit(named("stays"))
    assert gone.cancel()
    held.set()
    stays.result(30)
    batcher.close()
    assert seen == ["first", "stays"]
