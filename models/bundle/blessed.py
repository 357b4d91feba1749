"""`models/<name>/blessed.json`: the blessed version of a model, and its history.

It is replaced whole, and no bundle is ever deleted for it. `NAME@blessed` means that version wherever a bundle is asked
for. What decides on a blessing is `models/evaluation/blessing.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from darkroom.data.errors import FormatError, InputError
from darkroom.data.files.atomic import write_json
from darkroom.data.files.cards import read_card
from darkroom.data.files.locks import exclusive
from darkroom.data.stores.workspace import BUNDLE_CARD, Workspace
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.measures.comparison import Decision
from darkroom.models.measures.intervals import Frozen

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1

Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class BlessingEvent(Frozen):
    """How a version became the blessed one.

    Attributes:
        action: `bless` after a comparison, `promote` or `rollback` by hand.
        version: The version that is blessed from then on.
        replaced: The version that was blessed until then, or None.
        at: UTC, ISO 8601.
        run_id: Prefect's ID of the flow run; None outside Prefect.
        why: The reason, one sentence.
        decision: For `bless`.
    """

    action: Literal["bless", "promote", "rollback"]
    version: Version
    replaced: Version | None
    at: str
    run_id: str | None
    why: str
    decision: Decision | None = None


class BlessedCard(Frozen):
    """`blessed.json`: which version of a model scores, and how that came about.

    Attributes:
        name: The model's.
        current: The blessed version.
        history: Oldest first.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    current: Version
    history: tuple[BlessingEvent, ...]

    def line(self) -> tuple[str, ...]:
        """The versions that a rollback can lead to, oldest first; the current one comes last."""
        line: list[str] = []
        for event in self.history:
            if event.action == "rollback":
                line = line[: line.index(event.version)] if event.version in line else []
            line.append(event.version)
        return tuple(line)


def is_in_workspace(bundle: Path, place: Workspace) -> bool:
    """Whether a bundle is a version in the workspace; only such can be blessed.

    Args:
        bundle: Its folder.
        place: The workspace.
    """
    return bundle.resolve().parent.parent == place.models.resolve()


def read_blessed(place: Workspace, name: str) -> BlessedCard | None:
    """Which version is blessed; None where none is.

    Args:
        place: The workspace.
        name: The model's.

    Raises:
        FormatError: where the card is damaged.
    """
    path = place.blessed_card(name)
    place.fetch_file(path)
    return read_card(path, BlessedCard, SCHEMA_VERSION) if path.exists() else None


def blessed_reference(place: Workspace, name: str) -> str | None:
    """`name@version` of the blessed version; None where none is.

    Args:
        place: The workspace.
        name: The model's.

    Raises:
        FormatError: where the card is damaged.
    """
    card = read_blessed(place, name)
    return f"{name}@{card.current}" if card else None


@contextmanager
def held(name: str, place: Workspace) -> Iterator[None]:
    """Hold a lock on the blessing of a model within the block; training under the same name is not blocked.

    Args:
        name: The model's.
        place: The workspace.
    """
    if not (place.models / name).is_dir():
        yield
        return
    with exclusive(place.models / name / ".blessing"):
        yield


def bless(bundle: Path, decision: Decision, place: Workspace, run_id: str | None) -> None:
    """Bless a bundle that passed; nothing changes where it is already blessed, or did not pass.

    Args:
        bundle: Its folder, `models/<name>/<version>`.
        decision: What the comparison came to.
        place: The workspace.
        run_id: Prefect's ID of the flow run; None outside Prefect.
    """
    card = read_blessed(place, bundle.parent.name)
    if decision.blessed and not (card and card.current == bundle.name):
        _move(card, place, bundle.parent.name, _event("bless", bundle.name, decision.why, run_id, decision))


def promote(bundle: Path, place: Workspace, why: str, run_id: str | None) -> BlessedCard:
    """Bless a bundle by hand, whatever the comparison said; nothing changes if it is already blessed.

    Args:
        bundle: Its folder, `models/<name>/<version>`.
        place: The workspace.
        why: The reason, for the history.
        run_id: Prefect's ID of the flow run; None outside Prefect.

    Raises:
        InputError: where it is outside the workspace.
        FormatError: where it is damaged.
    """
    if not is_in_workspace(bundle, place):
        raise InputError(f"{bundle} is outside {place.models}: only a version of a name there can be blessed.")
    open_bundle(bundle)
    card = read_blessed(place, bundle.parent.name)
    if card and card.current == bundle.name:
        return card
    return _move(card, place, bundle.parent.name, _event("promote", bundle.name, why, run_id))


def roll_back(name: str, place: Workspace, why: str, run_id: str | None) -> BlessedCard:
    """Bless the version that was blessed before the current one, skipping versions that no longer exist.

    Args:
        name: The model's.
        place, why, run_id: As for `promote`.

    Raises:
        InputError: where no version is blessed, or none was before.
    """
    card = read_blessed(place, name)
    if card is None:
        raise InputError(f"No version of {name!r} is blessed, so there is nothing to roll back.")
    earlier = [
        version for version in card.line()[:-1] if version != card.current and is_whole_version(place, name, version)
    ]
    if not earlier:
        raise InputError(
            f"No version of {name} that was blessed before {card.current} still exists. Choose one with: "
            f"darkroom promote {name}@VERSION"
        )
    return _move(card, place, name, _event("rollback", earlier[-1], why, run_id))


def is_whole_version(place: Workspace, name: str, version: str) -> bool:
    """Whether a version exists with every file that its card lists.

    Args:
        place: The workspace.
        name: The model's.
        version: Its content hash.
    """
    try:
        open_bundle(place.fetch(place.model(name, version), BUNDLE_CARD))
    except FormatError:
        return False
    return True


def _event(
    action: Literal["bless", "promote", "rollback"],
    version: str,
    why: str,
    run_id: str | None,
    decision: Decision | None = None,
) -> BlessingEvent:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return BlessingEvent(
        action=action, version=version, replaced=None, at=at, run_id=run_id, why=why, decision=decision
    )


def _move(before: BlessedCard | None, place: Workspace, name: str, event: BlessingEvent) -> BlessedCard:
    """Write `blessed.json` with one more event; `before` is what it holds."""
    event = event.model_copy(update={"replaced": before.current if before else None})
    card = BlessedCard(name=name, current=event.version, history=(*(before.history if before else ()), event))
    write_json(place.blessed_card(name), card.model_dump(mode="json"))
    place.share_file(place.blessed_card(name))
    how = {"bless": "is blessed", "promote": "is blessed by hand", "rollback": "is blessed again"}[event.action]
    logger.info("%s@%s %s: %s.", name, event.version, how, event.why)
    return card
