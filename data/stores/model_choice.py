"""What a reference to a model was taken to mean, in words: the choice itself is `choose_model` in workspace.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Choice = Literal["blessed", "newest", "version", "path", "ready-made"]

_SAID: dict[Choice, str] = {
    "blessed": "the blessed version",
    "newest": "the newest version",
    "version": "the version given",
    "path": "the folder given",
    "ready-made": "ready-made",
}


@dataclass(frozen=True)
class ModelChoice:
    """Why a version of a model was taken.

    Attributes:
        by: `blessed` or `newest` of its name; the `version` or the folder (`path`) given; or `ready-made`.
        blessed: The version that was blessed then; None where none was, or where it did not matter.
        newest: The newest version then; None where it did not matter.
    """

    by: Choice
    blessed: str | None = None
    newest: str | None = None

    @property
    def reason(self) -> str:
        """Why this version, in a few words."""
        if self.by == "blessed" and self.newest != self.blessed:
            return f"{_SAID[self.by]}; the newest is {self.newest}"
        if self.by == "newest" and self.blessed != self.newest:
            return f"{_SAID[self.by]}; {f'{self.blessed} is' if self.blessed else 'none is'} blessed"
        return _SAID[self.by]


@dataclass(frozen=True)
class FoundModel:
    """A model that was asked for.

    Attributes:
        folder: The bundle's folder.
        choice: The version, and why it is this one.
    """

    folder: Path
    choice: ModelChoice
