"""The history of a model: every version, its figures, and which one was in use when."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from darkroom.data.errors import InputError
from darkroom.data.stores.workspace import Workspace, check_name
from darkroom.models.bundle.blessed import BlessingEvent, read_blessed
from darkroom.models.inventory.entries import ModelEntry, model_entries


class Period(BaseModel):
    """A time in which a version of a model was the blessed one.

    Attributes:
        version: Which.
        start: UTC, ISO 8601.
        end: The same; None where it still is.
        event: What made it the blessed version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    start: str
    end: str | None
    event: BlessingEvent


def history(place: Workspace, name: str) -> tuple[tuple[ModelEntry, ...], tuple[Period, ...]]:
    """The versions of a model that are still there, the newest first; and which one was in use when, oldest first.

    A version that was in use may have been removed since.

    Args:
        place: The workspace.
        name: The model's name, without a version.

    Raises:
        SettingError: where the name cannot be one.
        InputError: where there is no such model; the message names those that there are.
        FormatError: where the record of its blessings is damaged.
    """
    card, entries = read_blessed(place, check_name(name)), model_entries(place, name)
    if not entries and card is None:
        known = place.model_names()
        have = f" There are: {', '.join(known)}." if known else " There is none yet: darkroom train DATASET"
        raise InputError(f"There is no model {name!r} in {place.models}.{have}")
    events = card.history if card else ()
    ends = (*(event.at for event in events[1:]), None)
    return entries, tuple(
        Period(version=event.version, start=event.at, end=end, event=event)
        for event, end in zip(events, ends, strict=False)
    )
