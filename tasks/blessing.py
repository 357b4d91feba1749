"""Tasks of the promote and rollback flows."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle import blessed
from darkroom.models.bundle.blessed import BlessedCard
from darkroom.models.measures.comparison import Decision
from darkroom.tasks.artifacts import blessing_artifact
from darkroom.tasks.decorators import run_id, task


@task()
def promote(bundle: Path, place: Workspace, why: str) -> BlessedCard:
    """Bless a bundle by hand, and show it on the run."""
    return _shown(blessed.promote(bundle, place, why, run_id()))


@task()
def roll_back(name: str, place: Workspace, why: str) -> BlessedCard:
    """Bless the version that was blessed before, and show it on the run."""
    return _shown(blessed.roll_back(name, place, why, run_id()))


def _shown(card: BlessedCard) -> BlessedCard:
    event = card.history[-1]
    decision = Decision(blessed=True, why=f"{event.action} by hand: {event.why}", current=event.replaced)
    blessing_artifact(f"{card.name}@{card.current}", decision)
    return card
