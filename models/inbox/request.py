"""The request for what is new in an inbox, checked once, when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from fnmatch import fnmatchcase
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from darkroom.data.errors import SettingError
from darkroom.models.prediction_table.inbox_table import NightTable
from darkroom.models.scoring.request import ScoreRequest

# Names under which programs write what is not whole yet.
UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".download", ".filepart")


@dataclass(frozen=True)
class InboxRequest:
    """What is new in a folder is to be scored.

    Attributes:
        score: The folder, the model, and where the table goes; with `rescore`, a file is new that the model has not
            scored, whatever another one has.
        started: When the run began, in the time zone that says which night it is.
        exclude: Patterns of paths to leave out, such as `raw/*`.
        settle_seconds: A file that was changed within so many seconds may still be written, and waits for the next run.

    Raises:
        SettingError: where `settle_seconds` is below 0.
        InputError: where the output holds another kind of table.
    """

    score: ScoreRequest
    started: datetime
    exclude: tuple[str, ...] = ()
    settle_seconds: float = 60

    def __post_init__(self) -> None:
        if self.settle_seconds < 0:
            raise SettingError(f"--settle-seconds takes a number of at least 0, not {self.settle_seconds:g}.")
        self.table.check_kind()

    @property
    def table(self) -> NightTable:
        """The table."""
        return NightTable(self.score.out)

    @property
    def night(self) -> str:
        """The date of the run's beginning, ISO 8601: the partition of its rows."""
        return self.started.date().isoformat()

    @property
    def started_ns(self) -> int:
        """When the run began, nanoseconds since 1970."""
        return round(self.started.timestamp() * 1e6) * 1000

    @property
    def settle_ns(self) -> int:
        """`settle_seconds` in nanoseconds; 0 in an object store, where a file is whole as soon as it is listed."""
        return round(self.settle_seconds * 1e9) if isinstance(self.score.folder, Path) else 0

    def leaves_out(self, path: str) -> bool:
        """Whether a file is no arrival: hidden, under a name of unfinished files, or excluded.

        Args:
            path: Relative to the folder, `/`-separated.
        """
        return (
            path.startswith(".")
            or "/." in path
            or path.lower().endswith(UNFINISHED)
            or any(fnmatchcase(path, pattern) for pattern in self.exclude)
        )


def patterns(text: str | None) -> tuple[str, ...]:
    """Patterns given as one text, such as `raw/*,*/old/*`."""
    return tuple(each.strip() for each in (text or "").split(",") if each.strip())


def now_in(zone: str | None) -> datetime:
    """The time, in a time zone.

    Args:
        zone: Such as `Europe/Berlin`; None for the machine's own.

    Raises:
        SettingError: where there is no such zone.
    """
    return datetime.now(UTC).astimezone(_zone(zone))


def _zone(name: str | None) -> tzinfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingError(
            f"--time-zone takes a name of the time zone database, such as Europe/Berlin or UTC, not {name!r}."
        ) from None
