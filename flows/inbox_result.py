"""The result of `score --new`, as `--json` prints it."""

from __future__ import annotations

from typing import Literal

from darkroom.data.stores.model_choice import ModelChoice
from darkroom.flows.results import Result
from darkroom.flows.watch_result import WatchResult
from darkroom.models.inbox.summary import InboxSummary
from darkroom.models.scoring.summary import NamedCount


class InboxResult(Result):
    """What a run of an inbox found and added to its table; `images_per_second` is None where nothing was new."""

    bundle: str
    chosen: ModelChoice | None
    precision: Literal["fp32", "int8"]
    folder: str
    out: str
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
    watched: WatchResult | None = None

    @classmethod
    def of(cls, summary: InboxSummary, out: str) -> InboxResult:
        return cls(out=out, **summary.model_dump(exclude={"schema_version", "run_id"}))
