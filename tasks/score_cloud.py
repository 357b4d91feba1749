"""Tasks of the score-cloud flow."""

from __future__ import annotations

from dataclasses import dataclass, field

from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.cloud import scoring
from darkroom.models.cloud.scoring import Asked, Caller
from darkroom.models.scoring.parts import PartDone
from darkroom.models.scoring.plan import ScorePlan
from darkroom.models.scoring.request import ScoreRequest
from darkroom.tasks.decorators import task
from darkroom.tasks.retries import PART_DELAY_SECONDS, RETRIES, machine_failed


@dataclass(frozen=True)
class Held:
    """What asks, as a parameter of a task: it holds a connection and credentials, which nothing may show or store."""

    caller: Caller = field(repr=False)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a caller of a recognition service stays in its process")


@task()
def plan_asking(request: ScoreRequest, asked: Asked) -> ScorePlan:
    """List the files to ask about."""
    return scoring.plan_asking(request, asked)


@task(
    task_run_name="ask about part {index}",
    retries=RETRIES,
    retry_delay_seconds=PART_DELAY_SECONDS,
    retry_condition_fn=machine_failed,
)
def ask_part(out: TablePaths, index: int, held: Held) -> PartDone:
    """Ask about the files of one part and write it."""
    return scoring.ask_part(out, index, held.caller)
