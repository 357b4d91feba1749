"""Where a table goes that was given no folder: each source has one of its own, also those of the same last name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from darkroom.data.files.hashing import content_version
from darkroom.data.stores.table_paths import SUMMARY_CARD, TablePaths
from darkroom.data.stores.workspace import Workspace, name_from
from darkroom.models.prediction_table.inbox_table import NightTable, night_parts
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.prediction_table.part_file import read_facts


def default_table(place: Workspace, source: str, model: str) -> Path:
    """The folder of a source's table: `scores/<source>-<model>`; `scores/<source>-<hash>-<model>` if that is another's.

    Args:
        place: The workspace.
        source: The scored folder, an absolute path or a URL.
        model: The rest of the name.
    """
    own = place.scores / f"{name_from(source)}-{content_version(source)[:6]}-{model}"
    first = place.scores / f"{name_from(source)}-{model}"
    if any(True for _ in _sources(own, place)):
        return own
    return first if all(each == source for each in _sources(first, place)) else own


def _sources(folder: Path, place: Workspace) -> Iterator[str]:
    """What the table in a folder says that it was made from; nothing where there is none."""
    parts = [*TablePaths(folder).parts()[:1], *list(night_parts(folder).values())[:1]]
    yield from (facts.folder for facts in map(read_facts, parts) if facts is not None)
    for card in (TablePaths(folder).summary, NightTable(TableOutput(folder)).summary, folder / SUMMARY_CARD):
        place.fetch_file(card)
        try:
            yield str(json.loads(card.read_text(encoding="utf-8"))["folder"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
