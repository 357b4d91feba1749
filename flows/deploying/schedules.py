"""The schedule of a deployment, made once: from then on it is the operator's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time
from typing import Any

from darkroom.data.errors import SettingError
from darkroom.flows.deploying.change import Change


@dataclass(frozen=True)
class Daily:
    """Every day at a time.

    Attributes:
        at: The time of day.
        timezone: Its time zone, such as `Europe/Berlin`.
    """

    at: time
    timezone: str

    @property
    def cron(self) -> str:
        """As cron writes it."""
        return f"{self.at.minute} {self.at.hour} * * *"

    def __str__(self) -> str:
        return f"every day at {self.at:%H:%M} {self.timezone}"


def daily(at: str, timezone: str) -> Daily:
    """Parse a time of day and a time zone.

    Args:
        at: Such as `02:00`.
        timezone: Such as `Europe/Berlin`.

    Raises:
        SettingError: where either cannot be parsed.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        parsed = time.fromisoformat(at)
    except ValueError:
        parsed = None
    if parsed is None or parsed.second or parsed.tzinfo:
        raise SettingError(f"--at takes a time of day such as 02:00, not '{at}'.")
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingError(f"There is no time zone '{timezone}'. Write one such as Europe/Berlin, or UTC.") from None
    return Daily(parsed, timezone)


def apply_schedule(client: Any, full_name: str, wanted: Daily) -> Change:
    """Give a deployment its schedule, switched on; where it has one already, that stays as it is.

    Args:
        client: A synchronous client of the server.
        full_name: `flow/deployment`.
        wanted: When it runs.
    """
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule

    found = client.read_deployment_by_name(full_name)
    if found.schedules:
        said = "; ".join(_said(each) for each in found.schedules)
        if not any(_rule(each.schedule) == str(wanted) for each in found.schedules):
            said += f", as set on the server; not {wanted}"
        return Change(kind="schedule", name=full_name, done="unchanged", what=said)
    rule = CronSchedule(cron=wanted.cron, timezone=wanted.timezone)
    client.create_deployment_schedules(
        found.id, [DeploymentScheduleCreate(schedule=rule, active=True, slug="darkroom-deploy")]
    )
    return Change(kind="schedule", name=full_name, done="created", what=f"{wanted}, on")


def _said(schedule: Any) -> str:
    """A schedule on the server, in words."""
    return f"{_rule(schedule.schedule)}, {'on' if schedule.active else 'off'}"


def _rule(rule: Any) -> str:
    """When a schedule of the server starts runs, in words."""
    text = str(getattr(rule, "cron", None) or getattr(rule, "rrule", None) or f"every {rule.interval}")
    zone = rule.timezone or "UTC"
    minute, _, rest = text.partition(" ")
    hour, _, rest = rest.partition(" ")
    if rest == "* * *" and minute.isdigit() and hour.isdigit():
        return str(Daily(time(int(hour), int(minute)), zone))
    return f"{text} {zone}"
