"""The decode policy: how an image file becomes pixels. It travels in the dataset card and in the model bundle."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer
from pydantic_core import PydanticCustomError

from darkroom.data.images.pixels.window import Window, check_window
from darkroom.data.settings import SettingsModel

Byte = Annotated[int, Field(ge=0, le=255)]
Side = Annotated[int, Field(ge=8, le=4096)]


# 1: Pillow's `draft` and `resize`. 2: the same scaled JPEGs, resized by `data/images/pixels/resizing.py`.
DECODE_VERSION: Literal[2] = 2
_LATER_SETTINGS = frozenset({"max_side", "window"})


class DecodePolicy(SettingsModel):
    """How an image file becomes `uint8[H, W, 3]`."""

    version: Literal[2] = Field(
        default=DECODE_VERSION,
        description="Version of the decoding code, raised whenever the same file and settings would give other pixels",
    )
    image_size: tuple[Side, Side] = Field(
        default=(160, 160),
        description="Image size in pixels: 160, or HEIGHTxWIDTH such as 120x160 (default: what suits the architecture)",
    )
    resize: Literal["stretch", "pad", "crop"] = Field(
        default="stretch",
        description="How an image is brought to that size: stretch; pad (fit inside, fill the rest); or crop (fill, "
        "cut the centre)",
    )
    interpolation: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = Field(
        default="bilinear",
        description="Resampling filter: nearest, box, bilinear, bicubic or lanczos; all but nearest are antialiased "
        "when shrinking",
    )
    apply_exif_rotation: bool = Field(default=True, description="Rotate images upright as their EXIF orientation says")
    scaled_jpeg: bool = Field(
        default=True,
        description="Let the JPEG decoder shrink by 2, 4 or 8 while decoding, never below the size asked for",
    )
    background: tuple[Byte, Byte, Byte] = Field(
        default=(255, 255, 255), description="RGB colour under transparent pixels"
    )
    padding: tuple[Byte, Byte, Byte] = Field(default=(0, 0, 0), description="RGB colour of the bars of pad")
    max_bytes: int = Field(
        default=2**28, ge=1, le=2**32, description="Largest file in bytes; a larger one is quarantined as too_large"
    )
    max_pixels: int = Field(
        default=120_000_000,
        ge=1,
        le=170_000_000,
        description="Largest image, width x height in pixels; a larger one is quarantined as too_large before it is "
        "decoded",
    )
    max_side: int = Field(
        default=1_000_000,
        ge=1,
        le=1_000_000,
        description="Longest side in pixels; a longer one is quarantined as too_large before it is decoded",
    )
    window: Window = Field(
        default="auto",
        description="The values of 16-bit images that become black and white: full (0 to 65535), file (what each file "
        "states), or LOW,HIGH such as 0,4095; auto is full, and stops where the images seem to hold fewer bits",
    )

    @model_serializer(mode="wrap")
    def _without_later_settings(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A setting that came later stands in it only where it was set, so that older versions keep their hash."""
        fields = type(self).model_fields
        kept: dict[str, Any] = dump(self)
        return {
            name: value
            for name, value in kept.items()
            if name not in _LATER_SETTINGS or getattr(self, name) != fields[name].default
        }

    @field_validator("image_size", mode="before")
    @classmethod
    def _one_number_is_a_square(cls, value: object) -> object:
        """`160` and `120x160` (height x width) as (height, width)."""
        found = re.fullmatch(r"(\d+)(?:x(\d+))?", str(value)) if isinstance(value, int | str) else None
        if isinstance(value, str) and not found:
            raise ValueError(f"{value!r} is not a size; write 160, or 120x160 for height x width")
        return (int(found[1]), int(found[2] or found[1])) if found else value

    @field_validator("window", mode="before")
    @classmethod
    def _two_numbers_or_a_word(cls, value: object) -> object:
        return check_window(value)

    @field_validator("version", mode="before")
    @classmethod
    def _of_this_code(cls, version: object) -> object:
        if version != DECODE_VERSION:
            raise PydanticCustomError(
                "decode_version",
                "decoded by version {found} of the decoding code; this Darkroom has version {ours}, which gives other "
                "pixels. Ingest and train again, or use the Darkroom that made it",
                {"found": str(version), "ours": DECODE_VERSION},
            )
        return version
