"""Types of a flow's parameters that Prefect's form checks before a run starts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

AtLeastOne = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Split = Literal["train", "validation", "test"]
