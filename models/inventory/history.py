"""The history of a model: every version, its figures, and which one was in use when."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from darkroom.data.errors import InputError
from darkroom.data.stores.workspace import BUNDLE_CARD, Workspace, check_name
from darkroom.models.bundle.blessed import BlessingEvent, read_blessed
from darkroom.models.inventory.entries import ModelEntry, model_entries, reference, versions


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


class History(BaseModel):
    """The history of a model.

    Attributes:
        name: The model's.
        versions: All that are still there, the newest first.
        periods: Which version was in use when, oldest first; also of versions that were removed since.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    versions: tuple[ModelEntry, ...]
    periods: tuple[Period, ...]


def history(place: Workspace, name: str) -> History:
    """The history of a model.

    Args:
        place: The workspace.
        name: The model's name, without a version.

    Raises:
        SettingError: where the name cannot be one.
        InputError: where there is no such model; the message names those that there are.
        FormatError: where the record of its blessings is damaged.
    """
    card = read_blessed(place, check_name(name))
    here = {reference(folder) for folder in versions(place, place.models, BUNDLE_CARD) if folder.parent.name == name}
    if not here and card is None:
        known = place.model_names()
        have = f" There are: {', '.join(known)}." if known else " There is none yet: darkroom train DATASET"
        raise InputError(f"There is no model {name!r} in {place.models}.{have}")
    events = card.history if card else ()
    ends = (*(event.at for event in events[1:]), None)
    return History(
        name=name,
        versions=tuple(entry for entry in model_entries(place) if entry.name in here),
        periods=tuple(
            Period(version=event.version, start=event.at, end=end, event=event)
            for event, end in zip(events, ends, strict=False)
        ),
    )
