"""Whether a Prefect server does what a schedule needs: its scheduler has made the next run, and a worker takes it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

# Prefect's scheduler looks once a minute, five seconds after a change.
_SCHEDULER_GRACE = timedelta(minutes=2)
_PAGE = 100


class ServerHealth(BaseModel):
    """What a server's schedules have come to.

    Attributes:
        num_schedules: Active schedules of deployments that are not paused.
        unscheduled: `flow/deployment` of those whose next run the scheduler has not made.
        num_late: Runs that were due and that no worker has taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_schedules: int
    unscheduled: tuple[str, ...]
    num_late: int


def server_health(api_url: str, grace: timedelta = _SCHEDULER_GRACE) -> ServerHealth:
    """Look at every deployment's active schedules on the server at `api_url`.

    Args:
        api_url: Of a Prefect API, such as http://127.0.0.1:4200/api.
        grace: A schedule that was changed within this time is taken to be waiting for the scheduler.

    Raises:
        httpx.HTTPError: where the server does not answer.
    """
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.settings import get_current_settings

    now = datetime.now(UTC)
    num_schedules, unscheduled = 0, set()
    secret = get_current_settings().api.auth_string
    with SyncPrefectClient(api_url, auth_string=secret.get_secret_value() if secret else None) as client:
        for deployment in _deployments(client):
            active = [] if deployment.paused else [each for each in deployment.schedules if each.active]
            num_schedules += len(active)
            waited_for = [each for each in active if each.updated is None or now - each.updated > grace]
            if any(_is_due_again(each.schedule, now) and not _has_run(client, each, now) for each in waited_for):
                unscheduled.add(f"{client.read_flow(deployment.flow_id).name}/{deployment.name}")
        num_late = len(client.read_flow_runs(flow_run_filter=_late(), limit=_PAGE))
    return ServerHealth(num_schedules=num_schedules, unscheduled=tuple(sorted(unscheduled)), num_late=num_late)


def _deployments(client: Any) -> list[Any]:
    found: list[Any] = []
    while page := client.read_deployments(limit=_PAGE, offset=len(found)):
        found += page
    return found


def _is_due_again(schedule: Any, now: datetime) -> bool:
    """Whether a schedule has a date after now; a rule with an end, or a fixed number of times, may have none."""
    from prefect.server.schemas.schedules import SCHEDULE_TYPES
    from pydantic import TypeAdapter

    served = TypeAdapter(SCHEDULE_TYPES).validate_python(schedule.model_dump())
    return bool(asyncio.run(served.get_dates(1, start=now)))


def _has_run(client: Any, schedule: Any, now: datetime) -> bool:
    """Whether the scheduler has made a run of a schedule that is still to come."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterCreatedBy,
        FlowRunFilterDeploymentId,
        FlowRunFilterExpectedStartTime,
    )

    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[schedule.deployment_id]),
        created_by=FlowRunFilterCreatedBy(id_=[schedule.id]),
        expected_start_time=FlowRunFilterExpectedStartTime(after_=now),
    )
    return bool(client.read_flow_runs(flow_run_filter=wanted, limit=1))


def _late() -> Any:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateName

    return FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Late"])))
