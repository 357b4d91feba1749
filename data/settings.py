"""What settings have in common: they cannot change, and know no other fields.

What a field is for is said once, in its `Field(description=...)`: the help of the command line and Prefect's forms are
made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

# What happens where pixels of two decoders meet that are known to differ: see `darkroom.data.images.decoder`.
DecoderMismatch = Literal["warn", "strict"]


class SettingsModel(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def what_is_wrong(subject: str, error: Mapping[str, Any]) -> str:
    """One of pydantic's errors as a sentence, without its full stop.

    Args:
        subject: What the sentence is about: an option, or a setting's name.
        error: An entry of `ValidationError.errors()`.
    """
    said = str(error["msg"]).rstrip(".")
    if error["type"] == "extra_forbidden":
        return f"{subject} is not a setting"
    if error["type"] == "missing":
        return f"{subject} is missing"
    if error["type"] == "model_type":
        return f"{subject} must be a group of settings"
    if said.startswith("Input should be "):
        return f"{subject} must be {said.removeprefix('Input should be ').partition(', unable to ')[0]}"
    return f"{subject}: {said.removeprefix('Value error, ')}"
