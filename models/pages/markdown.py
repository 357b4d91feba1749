"""Markdown that holds names from outside: what they say is text, whatever it looks like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape


def text(name: str) -> str:
    """A name as plain text on one line: no markup, no HTML."""
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", " ".join(escape(name).splitlines()))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table.

    Args:
        header: Markdown.
        rows: Text, whatever it looks like; as many cells as the header has.
    """
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return lines + ["| " + " | ".join(text(cell) for cell in row) + " |" for row in rows]
