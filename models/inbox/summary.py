"""`<table>.inbox.json`: what the last run of an inbox found, and what it wrote."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from darkroom.data.figures import count
from darkroom.data.files.atomic import write_json
from darkroom.data.files.cards import read_card
from darkroom.data.files.provenance import run_record
from darkroom.data.stores.folders import folder_at
from darkroom.data.stores.model_choice import ModelChoice
from darkroom.models.inbox.arrivals import NightPlan, remove_night_plan
from darkroom.models.inbox.known import open_known
from darkroom.models.inbox.parts import PublishedPart
from darkroom.models.prediction_table.inbox_table import NightTable, models_of
from darkroom.models.prediction_table.schema import SCHEMA_VERSION
from darkroom.models.scoring.parts import images_per_second
from darkroom.models.scoring.summary import NamedCount

logger = logging.getLogger(__name__)


class InboxSummary(BaseModel):
    """What a run of an inbox found, and what it wrote.

    Attributes:
        folder: The inbox, a path or a URL.
        bundle: `name@version` of the model.
        chosen: Why it is that version.
        precision: Of the network.
        night: The partition of the new rows, a date.
        started_at: When the run began, ISO 8601, in the time zone of the night.
        num_files: Files in the inbox.
        num_new: Rows that the run added.
        num_known: Files that have a row of an earlier run, or the content of one.
        num_waiting: Files that may still be written.
        num_left_out: Files that are hidden, have a name of unfinished files, or were excluded.
        num_gone: Files that were moved on while the run went.
        num_rows: Rows of the table.
        models: Those that made them, `name@version`.
        statuses, labels, reasons: New rows by each; a row counts for each of its labels.
        num_abstained: New rows with a confidence below the model's threshold.
        num_unfamiliar: New rows of unfamiliar images; None where the model does not tell, or there are no new rows.
        parts: The new files of the table.
        seconds: How long the run took.
        images_per_second: Of the new rows; None where there were none.
        run_id: Prefect's ID of the flow run; None outside Prefect.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    folder: str
    bundle: str
    chosen: ModelChoice | None
    precision: Literal["fp32", "int8"]
    night: str
    started_at: str
    num_files: int
    num_new: int
    num_known: int
    num_waiting: int
    num_left_out: int
    num_gone: int
    num_rows: int
    models: tuple[str, ...]
    statuses: tuple[NamedCount, ...]
    labels: tuple[NamedCount, ...]
    reasons: tuple[NamedCount, ...]
    num_abstained: int
    num_unfamiliar: int | None = None
    parts: tuple[str, ...]
    seconds: float
    images_per_second: float | None
    run_id: str | None


def summarize_night(
    table: NightTable, plan: NightPlan, published: Sequence[PublishedPart], seconds: float, run_id: str | None
) -> InboxSummary:
    """Count what a run did, write the summary beside the table, and remove the plan.

    Args:
        table: The table.
        plan: The run's.
        published: Its parts.
        seconds: How long the run took.
        run_id: Prefect's ID of the flow run; None outside Prefect.

    Raises:
        SourceError: where the inbox was there when the run began, and is no longer.
    """
    folder_at(plan.score.folder).check()
    num_new = sum(part.done.num_rows - part.done.num_reused for part in published)
    files = plan.files
    unfamiliar = [part.num_unfamiliar for part in published if part.num_unfamiliar is not None]
    with open_known(table) as known:
        num_rows = known.num_rows()
    summary = InboxSummary(
        folder=plan.score.folder,
        bundle=plan.score.bundle,
        chosen=plan.score.chosen,
        precision=plan.score.precision,
        night=plan.night,
        started_at=plan.started.isoformat(timespec="seconds"),
        num_files=files.num_files,
        num_new=num_new,
        num_known=files.num_known + sum(part.num_known for part in published),
        num_waiting=files.num_waiting + sum(part.num_waiting for part in published),
        num_left_out=files.num_left_out,
        num_gone=sum(part.num_gone for part in published),
        num_rows=num_rows,
        models=tuple(sorted(models_of(table.out.folder))),
        statuses=_named(published, "status"),
        labels=_named(published, "label"),
        reasons=_named(published, "reason"),
        num_abstained=sum(part.num_abstained for part in published),
        num_unfamiliar=sum(unfamiliar) if unfamiliar else None,
        parts=tuple(part.name for part in published if part.name),
        seconds=round(seconds, 3),
        images_per_second=images_per_second([part.done for part in published]),
        run_id=run_id,
    )
    record = run_record("score-inbox", run_id, plan.model_dump(mode="json"))
    write_json(table.paths.run_record, record.model_dump(mode="json"), table.paths.work)
    write_json(table.summary, summary.model_dump(mode="json"), table.paths.work)
    table.share_summary()
    remove_night_plan(table)
    logger.info(
        "%s: %s new, %s known, %s waiting, %s left out.",
        summary.folder, count(num_new, "file"), f"{summary.num_known:,}", f"{summary.num_waiting:,}",
        f"{summary.num_left_out:,}",
    )  # fmt: skip
    return summary


def read_inbox_summary(table: NightTable) -> InboxSummary:
    """The summary of the last run of an inbox.

    Raises:
        FormatError: where it is missing or damaged.
    """
    return read_card(table.summary, InboxSummary, SCHEMA_VERSION)


def _named(published: Sequence[PublishedPart], column: str) -> tuple[NamedCount, ...]:
    total: Counter[str] = Counter()
    for part in published:
        total.update(part.counts.get(column, {}))
    return tuple(NamedCount(name=name, num_rows=total[name]) for name in sorted(total))
