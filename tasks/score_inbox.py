"""Tasks of the score-inbox flow, and the event that it ends with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from darkroom.data.files.lease import Lease, Shared, working_under
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.inbox import arrivals, parts, summary
from darkroom.models.inbox.arrivals import NightPlan
from darkroom.models.inbox.parts import PublishedPart, StagedPart
from darkroom.models.inbox.request import InboxRequest
from darkroom.models.inbox.summary import InboxSummary
from darkroom.models.onnx.runtime import Runner
from darkroom.models.scoring.parts import open_runner
from darkroom.tasks.decorators import is_plain, run_id, task
from darkroom.tasks.names import numbered
from darkroom.tasks.retries import PART_DELAY_SECONDS, RETRIES, machine_failed

SCORED = "darkroom.scored"


def share_network(bundle: Path, plan: NightPlan) -> Shared[tuple[Runner, Bundle]]:
    """The network for all parts of a run, loaded by the first one in each process."""
    return Shared(partial(open_runner, bundle, plan.score.engine))


@task()
def plan_night(request: InboxRequest) -> NightPlan:
    """List what is new."""
    return arrivals.plan_night(request, open_bundle(request.score.bundle))


@task(
    task_run_name=numbered("score new part"),
    retries=RETRIES,
    retry_delay_seconds=PART_DELAY_SECONDS,
    retry_condition_fn=machine_failed,
)
def stage_part(
    out: Path, index: int, total: int, network: Shared[tuple[Runner, Bundle]], lease: Lease | None = None
) -> StagedPart:
    """Read the files of a part and score those of new content; `total` is for its name."""
    with working_under(lease):
        return parts.stage_part(out, index, *network.get(lease))


def publish_part(request: InboxRequest, plan: NightPlan, part: StagedPart) -> PublishedPart:
    """Put the rows of a part into the table; no task, since it takes milliseconds."""
    return parts.publish_part(request.table, plan, open_bundle(request.score.bundle), part)


@task()
def summarize_night(
    request: InboxRequest, plan: NightPlan, published: Sequence[PublishedPart], seconds: float
) -> InboxSummary:
    """Count what was done and write the summary."""
    return summary.summarize_night(request.table, plan, published, seconds, run_id())


def run_name() -> str | None:
    """The name of Prefect's flow run; None outside one."""
    if is_plain():
        return None
    from prefect.runtime import flow_run

    found: str | None = flow_run.get_name()
    return found


def emit_scored(made: InboxSummary, out: str) -> None:
    """Emit the event `darkroom.scored` where a run added rows; nothing in a plain run.

    Its resource is the table, `darkroom.table.<out>`; the payload holds `folder`, `out`, `night`, `parts`, `model`,
    `rows`, and `counts` by status, reason and label.

    Args:
        made: The run's summary.
        out: The table, a path or a URL.
    """
    if is_plain() or not made.num_new:
        return
    from prefect.events import emit_event

    counts: dict[str, Any] = {
        name: {each.name: each.num_rows for each in getattr(made, name)} for name in ("statuses", "reasons", "labels")
    }
    emit_event(
        event=SCORED,
        resource={
            "prefect.resource.id": f"darkroom.table.{out}",
            "prefect.resource.name": out,
            "darkroom.folder": made.folder,
            "darkroom.model": made.bundle,
        },
        payload={
            "folder": made.folder,
            "out": out,
            "night": made.night,
            "parts": list(made.parts),
            "model": made.bundle,
            "rows": made.num_new,
            "counts": counts,
        },
    )
