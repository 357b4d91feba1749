"""Flow `clean-runs`: Prefect's own record of old runs is removed; what the runs have made stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field

from darkroom.data.figures import count
from darkroom.flows.results import SelfDescribed
from darkroom.models.pages.description import Description, Row
from darkroom.tasks import clean_runs as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow

KEEP_DAYS = 30


class CleanRunsResult(SelfDescribed):
    """What went from Prefect's record."""

    num_runs: int
    before: str

    def description(self) -> Description:
        """How many runs went, and since when they are kept."""
        rows = (Row(label="removed", text=count(self.num_runs, "run")), Row(label="kept", text=f"since {self.before}"))
        return Description(title="Old runs removed from Prefect's record", rows=rows)


@flow(name="clean-runs", flow_run_name="keep {keep_days} days {date}")
def clean_runs(keep_days: Annotated[int, Field(ge=1)] = KEEP_DAYS) -> CleanRunsResult:
    """Remove runs that ended long ago from Prefect's record, with their task runs, logs and artifacts.

    Args:
        keep_days: How many days a run is kept after its end. Data sets, models and tables are not touched.
    """
    before = datetime.now(UTC) - timedelta(days=keep_days)
    num_runs = 0
    while removed := tasks.remove_runs(before):
        num_runs += removed
    result = CleanRunsResult(num_runs=num_runs, before=f"{before:%Y-%m-%d}")
    show_result(result.description(), "clean-runs")
    return result
