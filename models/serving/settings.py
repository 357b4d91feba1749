"""What a service may take on at once, and how it follows its model."""

from __future__ import annotations

from pydantic import Field

from darkroom.data.settings import SettingsModel
from darkroom.models.settings import Precision


class ServeSettings(SettingsModel):
    """Limits of a service. What goes past one is refused with a status that says so; nothing waits without an end."""

    max_images: int = Field(default=64, ge=1, description="Images in one request; more are refused (413)")
    max_request_bytes: int = Field(
        default=32 * 2**20, ge=1024, description="Bytes of one request; a larger one is refused (413)"
    )
    max_held_bytes: int = Field(
        default=256 * 2**20, ge=1024, description="Bytes of all requests at once; beyond that, 429 is answered"
    )
    max_waiting: int = Field(
        default=256, ge=1, description="Images that may wait for the network; beyond that, 429 is answered"
    )
    gather_ms: float = Field(
        default=2.0, ge=0, le=1000, description="How long a batch waits for further images, in milliseconds"
    )
    follow_seconds: float = Field(
        default=10.0, gt=0, description="How often it is looked up which version of the model is blessed, in seconds"
    )
    precision: Precision = Field(default="auto", description="The precision of the network: auto, fp32 or int8")
