"""What a result says."""

from __future__ import annotations

from darkroom.flows.descriptions import describe
from darkroom.flows.results import Result


def told(result: Result) -> dict[str, str]:
    """The rows of its description: label and text."""
    return {row.label: row.text for row in describe(result).rows}
