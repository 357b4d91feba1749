"""Failures of the machine are tried again, those of the input are not."""

from __future__ import annotations

import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from darkroom.data.errors import CountError, DarkroomError, ImageError, SourceError
from darkroom.tasks import evaluate, explain, ingest, score, train
from darkroom.tasks.decorators import LazyTask
from darkroom.tasks.retries import machine_failed


@pytest.mark.parametrize(
    ("failure", "num_calls"),
    [
        (OSError(5, "Input/output error"), 3),
        (ConnectionError("reset by peer"), 3),
        (TimeoutError(), 3),
        (SourceError("There is no folder x."), 1),
        (CountError("3 and 4"), 1),
        (ImageError("truncated"), 1),
        (DarkroomError("no"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_failures_of_the_machine_are_tried_again(prefect_server: str, failure: Exception, num_calls: int) -> None:
    calls: list[None] = []

    @task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=0, retry_condition_fn=machine_failed)
    def work() -> None:
        calls.append(None)
        raise failure

    @flow
    def once() -> None:
        work()

    with pytest.raises(type(failure)):
        once()
    assert len(calls) == num_calls


def test_a_failure_that_passes_leaves_no_trace_in_the_result(prefect_server: str) -> None:
    calls: list[None] = []

    @task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=0, retry_condition_fn=machine_failed)
    def work() -> str:
        calls.append(None)
        if len(calls) < 3:
            raise OSError(5, "Input/output error")
        return "done"

    @flow
    def once() -> str:
        return work()

    assert once() == "done"


def test_every_task_that_reads_or_writes_many_files_is_tried_again_and_none_is_cached() -> None:
    tried_again = {each.prefect for each in (ingest.fetch_source, ingest.write_part, score.score_part)}
    for module in (ingest, train, evaluate, explain, score):
        ours = [each.prefect for each in vars(module).values() if isinstance(each, LazyTask)]
        assert ours
        for task_of_ours in ours:
            assert type(task_of_ours.cache_policy).__name__ == "_None", task_of_ours.name
            if task_of_ours in tried_again:
                assert task_of_ours.retry_condition_fn is machine_failed, task_of_ours.name
                assert task_of_ours.retries == 2, task_of_ours.name
            else:
                assert task_of_ours.retries == 0, task_of_ours.name
