"""The request to watch a finished run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from darkroom.data.stores.folders import ImageFolder
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.watching.limits import Limits


@dataclass(frozen=True)
class WatchRequest:
    """A run that is to be watched.

    Attributes:
        table: The table that it wrote.
        parts: The parts that it wrote.
        images: Where its images lie.
        bundle: The model that scored them.
        started_at: When it began, ISO 8601.
        images_per_second: None where nothing was scored.
        run_id: Prefect's ID of the flow run; None outside Prefect.
        limits: What the run may be like.
    """

    table: TableOutput
    parts: tuple[Path, ...]
    images: ImageFolder
    bundle: Bundle
    started_at: str
    images_per_second: float | None = None
    run_id: str | None = None
    limits: Limits = field(default_factory=Limits)
