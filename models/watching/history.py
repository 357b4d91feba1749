"""`<table>.watch.json`: what the last runs of a table were like, a line for each, and a sample of their images.

At most `MAX_LINES` for each model that scored into the table, the oldest first. The samples are what later runs are
compared with. Where the file of an inbox's table is missing or damaged, what its parts tell is made again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
from pydantic import Field

from darkroom.data.errors import FormatError
from darkroom.data.files.atomic import write_json
from darkroom.data.files.cards import read_card
from darkroom.models.measures.intervals import Frozen
from darkroom.models.watching.drift import Drift
from darkroom.models.watching.expected_accuracy import ExpectedAccuracy
from darkroom.models.watching.limits import Breach, Figures
from darkroom.models.watching.observed import Observed, pooled

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
MAX_LINES = 30
# Of a run's images, those that its line keeps.
NUM_KEPT = 200
_DIGITS = 5


class Kept(Frozen):
    """What a line keeps of a run's images: labels of all, the rest of some. See `darkroom.models.watching.observed`.

    Attributes:
        labels, formats: Images by each.
        confidences, unfamiliarity, widths, heights, brightness: Of single images.
    """

    labels: dict[str, int] = Field(default_factory=dict)
    formats: dict[str, int] = Field(default_factory=dict)
    confidences: tuple[float, ...] = ()
    unfamiliarity: tuple[float, ...] = ()
    widths: tuple[int, ...] = ()
    heights: tuple[int, ...] = ()
    brightness: tuple[float, ...] = ()

    @classmethod
    def of(cls, run: Observed) -> Kept:
        """What is kept of a run."""

        def some(name: str) -> tuple[float, ...]:
            values = getattr(run, name)[:NUM_KEPT]
            return tuple(float(f"{value:.{_DIGITS}g}") for value in values)

        return cls(
            labels=dict(run.labels),
            formats=dict(run.formats),
            confidences=some("confidences"),
            unfamiliarity=some("unfamiliarity"),
            widths=tuple(int(value) for value in run.widths[:NUM_KEPT]),
            heights=tuple(int(value) for value in run.heights[:NUM_KEPT]),
            brightness=some("brightness"),
        )

    def observed(self) -> Observed:
        """The same, to be compared with."""
        return Observed(
            labels=self.labels,
            confidences=np.array(self.confidences),
            unfamiliarity=np.array(self.unfamiliarity),
            widths=np.array(self.widths, np.float64),
            heights=np.array(self.heights, np.float64),
            formats=self.formats,
            brightness=np.array(self.brightness),
        )


class WatchLine(Frozen):
    """What a run was like.

    Attributes:
        started_at: When it began, ISO 8601.
        model: `name@version` of what scored.
        run_id: Prefect's ID of the flow run; None outside Prefect, and where the line was made again.
        num_new: Files that it scored.
        reasons: Those that were quarantined, by reason.
        num_abstained: Images on which the model abstained.
        num_unfamiliar: Images unlike those of training; None where that is not known.
        drift: What its images differ in; None where the line was made again.
        expected_accuracy: None where there are no new images, or the line was made again.
        images_per_second: None where it is not known.
        breaches: The limits that it did not keep.
        kept: Facts of its images.
    """

    started_at: str
    model: str
    run_id: str | None = None
    num_new: int
    reasons: dict[str, int] = Field(default_factory=dict)
    num_abstained: int = 0
    num_unfamiliar: int | None = None
    drift: Drift | None = None
    expected_accuracy: ExpectedAccuracy | None = None
    images_per_second: float | None = None
    breaches: tuple[Breach, ...] = ()
    kept: Kept = Kept()

    @property
    def began(self) -> datetime:
        """When it began."""
        return datetime.fromisoformat(self.started_at)

    @property
    def date(self) -> str:
        """The same for a person: `2026-11-06 02:00`."""
        return f"{self.began:%Y-%m-%d %H:%M}"

    @property
    def num_quarantined(self) -> int:
        """Files that were quarantined."""
        return sum(self.reasons.values())

    @property
    def num_images(self) -> int:
        """Files that were not."""
        return self.num_new - self.num_quarantined

    @property
    def figures(self) -> Figures:
        """What limits are compared with."""
        images = max(1, self.num_images)
        seen = self.num_images > 0
        return Figures(
            num_new=self.num_new,
            quarantined=self.num_quarantined / self.num_new if self.num_new else None,
            abstained=self.num_abstained / images if seen else None,
            unfamiliar=self.num_unfamiliar / images if seen and self.num_unfamiliar is not None else None,
            drift=self.drift.size if seen and self.drift else None,
            expected_accuracy=self.expected_accuracy.value if self.expected_accuracy else None,
        )


class WatchHistory(Frozen):
    """The lines of a table.

    Attributes:
        lines: The oldest first.
    """

    schema_version: int = SCHEMA_VERSION
    lines: tuple[WatchLine, ...] = ()

    def of_model(self, model: str) -> tuple[WatchLine, ...]:
        """The lines of the runs of one model, `name@version`."""
        return tuple(line for line in self.lines if line.model == model)

    def with_line(self, line: WatchLine) -> WatchHistory:
        """The history with one more line, without the oldest of that model where there are too many."""
        others = [each for each in self.lines if each.model != line.model]
        own = sorted([*self.of_model(line.model), line], key=lambda each: each.began)[-MAX_LINES:]
        return WatchHistory(lines=tuple(sorted([*others, *own], key=lambda each: each.began)))

    def has(self, began: datetime, model: str) -> bool:
        """Whether there is a line of a run.

        Args:
            began: When it began.
            model: `name@version`.
        """
        return any(line.began == began and line.model == model for line in self.lines)

    def usual(self, model: str) -> Observed:
        """The images of the last runs of a model, but for runs that differed: those would hide the next one.

        Args:
            model: `name@version`.
        """
        lines = [line for line in self.of_model(model) if line.num_images and not (line.drift and line.drift.found)]
        return pooled(line.kept.observed() for line in lines)


def read_history(path: Path) -> WatchHistory | None:
    """The history of a table; None where there is none, or it is damaged, which is logged.

    Args:
        path: `<table>.watch.json`.
    """
    if not path.is_file():
        return None
    try:
        return read_card(path, WatchHistory, SCHEMA_VERSION)
    except FormatError as error:
        logger.warning("%s What the table tells is made again.", error)
        return None


def write_history(path: Path, history: WatchHistory, work: Path) -> None:
    """Write the history, whole or not at all.

    Args:
        path: `<table>.watch.json`.
        history: What to write.
        work: Folder of the temporary file.
    """
    write_json(path, history.model_dump(mode="json"), work)


def line_again(run: tuple[datetime, str], reasons: Mapping[str, int], seen: Observed, num_abstained: int) -> WatchLine:
    """The line of a run, as far as its rows tell it.

    Args:
        run: When it began, and its model.
        reasons: Its quarantined files by reason.
        seen: Its images.
        num_abstained: On how many of them the model abstained.
    """
    known = len(seen.unfamiliarity) > 0
    return WatchLine(
        started_at=run[0].isoformat(timespec="seconds"),
        model=run[1],
        num_new=len(seen.widths) + sum(reasons.values()),
        reasons=dict(reasons),
        num_abstained=num_abstained,
        num_unfamiliar=int((seen.unfamiliarity > 1).sum()) if known else None,
        kept=Kept.of(seen),
    )
