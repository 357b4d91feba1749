"""Tasks of the promote and rollback flows."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle import blessed
from darkroom.models.bundle.blessed import BlessedCard
from darkroom.tasks.decorators import run_id, task


@task()
def promote(bundle: Path, place: Workspace, why: str) -> BlessedCard:
    """Bless a bundle by hand."""
    return blessed.promote(bundle, place, why, run_id())


@task()
def roll_back(name: str, place: Workspace, why: str) -> BlessedCard:
    """Bless the version again that was blessed before."""
    return blessed.roll_back(name, place, why, run_id())
