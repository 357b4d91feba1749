"""The automations of a server, by name: made where they are missing, changed where Darkroom has changed them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from darkroom.flows.deploying.change import Change


def apply_automation(client: Any, declared: Mapping[str, Any]) -> Change:
    """Make an automation, or change what it waits for and what it does; one that was switched off stays off.

    Args:
        client: A synchronous client of the server.
        declared: The automation, as Prefect takes it.
    """
    from prefect.events.schemas.automations import AutomationCore

    wanted = AutomationCore.model_validate(declared)
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return Change(kind="automation", name=wanted.name, done="created", what=wanted.description)
    known, *_ = found
    said = wanted.description if known.enabled else f"{wanted.description} Switched off."
    if _compared(known) == _compared(wanted):
        return Change(kind="automation", name=wanted.name, done="unchanged", what=said)
    client.update_automation(known.id, wanted.model_copy(update={"enabled": known.enabled}))
    return Change(kind="automation", name=wanted.name, done="changed", what=said)


def _compared(automation: Any) -> dict[str, Any]:
    whole: dict[str, Any] = automation.model_dump(
        include={"description", "trigger", "actions"}, exclude={"trigger": {"id"}}
    )
    return whole
