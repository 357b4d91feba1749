"""Tasks of the clean-runs flow."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from darkroom.tasks.decorators import task
from darkroom.tasks.retries import PART_DELAY_SECONDS, RETRIES

# As many as Prefect gives at once.
BATCH = 200


@task(
    task_run_name="remove runs that ended before {before:%Y-%m-%d}",
    retries=RETRIES,
    retry_delay_seconds=PART_DELAY_SECONDS,
)
def remove_runs(before: datetime) -> int:
    """Remove some runs with their logs and artifacts.

    Args:
        before: When they ended, at the latest.

    Returns:
        How many were removed; 0 where none is left.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.exceptions import ObjectNotFound

    ended = filters.FlowRunFilter(
        end_time=filters.FlowRunFilterEndTime(before_=before),
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=_ended_states())),
    )
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=ended, limit=BATCH)
        for run in runs:
            made_by = filters.ArtifactFilter(flow_run_id=filters.ArtifactFilterFlowRunId(any_=[run.id]))
            while artifacts := client.read_artifacts(artifact_filter=made_by, limit=BATCH):
                for artifact in artifacts:
                    client.delete_artifact(artifact.id)
            try:
                client.delete_flow_run(run.id)
            except ObjectNotFound:  # it went with the run that it was part of
                continue
    return len(runs)


def _ended_states() -> list[Any]:
    from prefect.client.schemas.objects import TERMINAL_STATES

    return sorted(TERMINAL_STATES)
