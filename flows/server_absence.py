"""A server that was away does not take the silence of its runs for their death.

An automation that waits for a sign of life, such as crash-silent-runs, stores until when it waits. A
server that was stopped, suspended or without its database receives no sign of life, and Prefect's first look after that
finds every wait over: runs that are alive are called Crashed before their next heartbeat can arrive. So the first look
after an absence begins each wait anew. A run that is really dead is found one wait later.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

_AWAY_SECONDS = 60.0
_LOOKS = ("evaluate_proactive_triggers", "sweep_closed_buckets")


def forgive_absence() -> None:
    """Let the triggers of the server in this process begin their waits anew after an absence."""
    from prefect.server.events import triggers
    from prefect.settings import get_current_settings

    looks_every = get_current_settings().server.events.proactive_granularity.total_seconds()
    attendance = Attendance(max(_AWAY_SECONDS, 3 * looks_every))
    for name in _LOOKS:
        setattr(triggers, name, attendance.before(getattr(triggers, name)))


class Attendance:
    """When the server last looked at its waits, by the clock of its machine, and how long a pause makes an absence."""

    def __init__(self, away_seconds: float) -> None:
        self.away_seconds = away_seconds
        self.last_look: float | None = None

    def was_away(self, now: float) -> bool:
        """Whether nobody has looked for long, or the clock was set."""
        return self.last_look is None or not 0 <= now - self.last_look <= self.away_seconds

    def before(self, look: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """The same look, which begins the waits anew where the server was away, and fails where its database is."""

        async def looked(*args: Any, **kwargs: Any) -> None:
            from prefect.server.database import provide_database_interface
            from prefect.server.events.models.automations import read_automations_for_workspace

            now = time.time()
            away = self.was_away(now)
            async with provide_database_interface().session_context(begin_transaction=away) as session:
                # Prefect's decorator hides what it gives.
                automations = await read_automations_for_workspace(session=session)  # type: ignore[attr-defined]
                if away:
                    await _begin_waits_anew(session, automations)
            self.last_look = now
            await look(*args, **kwargs)

        return looked


async def _begin_waits_anew(session: Any, automations: Sequence[Any]) -> None:
    """Every wait ends as long after now as its automation says."""
    import sqlalchemy as sa
    from prefect.server.database import provide_database_interface
    from prefect.server.events.schemas.automations import EventTrigger, Posture
    from prefect.types._datetime import now

    waits = provide_database_interface().AutomationBucket
    for automation in automations:
        for trigger in automation.triggers_of_type(EventTrigger):
            if trigger.posture == Posture.Proactive:
                await session.execute(
                    sa.update(waits)
                    .where(waits.automation_id == automation.id, waits.trigger_id == trigger.id)
                    .values(end=now("UTC") + trigger.within)
                )
