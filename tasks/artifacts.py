"""What a run shows in the Prefect UI: its result in words and tables, and how far it is."""

from __future__ import annotations

import re

from darkroom.models.pages.description import Description
from darkroom.tasks.decorators import is_plain


def key_of(*parts: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def show_result(description: Description, *key: str) -> None:
    """Show a description on the run, as the artifact of this key; nothing in a plain run."""
    if not is_plain():
        from prefect.artifacts import create_markdown_artifact

        create_markdown_artifact(description.as_markdown(), key=key_of(*key), description=description.title)


def show_progress(percent: float, description: str, *key: str) -> None:
    """Show how much is done on the run; nothing in a plain one."""
    if not is_plain():
        from prefect.artifacts import create_progress_artifact

        create_progress_artifact(percent, key=key_of(*key), description=description)
