"""Settings from the environment; the only module of the product that reads it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from data.workspace import Workspace


class Settings(BaseSettings):
    """`DARKROOM_…` variables.

    Attributes:
        workspace: Folder of all results.
        max_workers: Parts worked on at once.
    """

    model_config = SettingsConfigDict(env_prefix="DARKROOM_", frozen=True)

    workspace: Path = Path("workspace")
    max_workers: int = Field(default=2, ge=1, le=256)


def open_workspace(given: str | None) -> Workspace:
    """The workspace as given, or as `DARKROOM_WORKSPACE` says, or `./workspace`."""
    return Workspace(Path(given or Settings().workspace).expanduser().resolve())
