"""The task that watches a finished run of scoring."""

from __future__ import annotations

import logging
from dataclasses import replace

from darkroom.models.watching import watch as watching
from darkroom.models.watching.request import WatchRequest
from darkroom.models.watching.watch import Watched
from darkroom.tasks.decorators import is_plain, run_id, task

logger = logging.getLogger(__name__)

BEYOND_LIMITS = "darkroom.beyond-limits"


@task()
def watch(request: WatchRequest) -> Watched:
    """Compare a run with training and the last runs, and write its line and the page."""
    return watching.watch(replace(request, run_id=run_id()))


def watched_before(request: WatchRequest, num_files: int) -> Watched | None:
    """What came of the run that left the table as it is; no task, since it reads one file."""
    return watching.watched_before(request, num_files)


def report(watched: Watched, out: str) -> None:
    """Log the limits that a run exceeds, and emit the event `darkroom.beyond-limits`; no event in a plain run.

    Its resource is the table, as that of `darkroom.scored`; the payload holds `limits`, `model`, `rows` and `page`.

    Args:
        watched: What came of watching it.
        out: The table, a path or a URL.
    """
    line = watched.line
    for breach in line.breaches:
        logger.warning("%s: %s.", out, breach.sentence)
    if is_plain() or not line.breaches:
        return
    from prefect.events import emit_event

    emit_event(
        event=BEYOND_LIMITS,
        resource={
            "prefect.resource.id": f"darkroom.table.{out}",
            "prefect.resource.name": out,
            "darkroom.model": line.model,
        },
        payload={
            "limits": [breach.model_dump(mode="json") for breach in line.breaches],
            "model": line.model,
            "rows": line.num_new,
            "page": watched.page,
        },
    )
