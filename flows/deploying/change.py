"""What `darkroom deploy` did about one thing on the server."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Done = Literal["created", "changed", "unchanged"]


class Change(BaseModel):
    """One thing on the server.

    Attributes:
        kind: `work pool`, `deployment`, `schedule`, `automation` or `notification`.
        name: Its name.
        done: What was done about it.
        what: What it is, or what of it was changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    name: str
    done: Done
    what: str = ""
