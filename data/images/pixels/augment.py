"""Augmentation: one policy and one function, used when shards are written and during training.

Every random number comes from the image's own content hash, the seed and a counter (the copy or the epoch), never
from global state, so that a run can be repeated and a killed one continued.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from darkroom.data.errors import SettingError
from darkroom.data.settings import SettingsModel

Share = Annotated[float, Field(ge=0, lt=1)]


class AugmentPolicy(SettingsModel):
    """How far an image may be changed; all zeros change nothing. The name of a preset stands for its policy."""

    flip_horizontal: bool = Field(default=False, description="Mirror left to right half of the time")
    flip_vertical: bool = Field(default=False, description="Mirror top to bottom half of the time")
    rotation_degrees: float = Field(
        default=0.0, ge=0, le=180, description="Rotate by up to this many degrees either way"
    )
    zoom: Share = Field(default=0.0, description="Enlarge or shrink by up to this share, each axis on its own")
    crop: Share = Field(
        default=0.0,
        description="Cut off up to this share of the height and of the width, each on its own, anywhere, and stretch "
        "the rest",
    )
    shift: Share = Field(
        default=0.0,
        description="Move by up to this share of the side, each axis on its own; by whole pixels unless the image is "
        "also rotated, zoomed or cropped, to keep it sharp",
    )
    brightness: Share = Field(default=0.0, description="Add up to this share of the full range, either way")
    contrast: Share = Field(default=0.0, description="Spread around the image's mean by up to this share, either way")
    colour: Share = Field(
        default=0.0,
        description="Add up to this share of the full range to red, green and blue, each on its own, either way",
    )
    fill: Literal["reflect", "nearest", "constant"] = Field(
        default="reflect", description="What fills the uncovered border: reflect, nearest or constant (black)"
    )

    @property
    def changes_nothing(self) -> bool:
        """Whether every image comes out as it went in."""
        return not (self.moves_pixels or self.brightness or self.contrast or self.colour)

    @property
    def moves_pixels(self) -> bool:
        """Whether pixels change their places, not only their values."""
        return bool(
            self.flip_horizontal or self.flip_vertical or self.rotation_degrees or self.zoom or self.crop or self.shift
        )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: object) -> object:
        try:
            return augmentation_by_name(value).model_dump() if isinstance(value, str) else value
        except SettingError as error:
            raise ValueError(str(error)) from None  # so that pydantic says which setting it is


PRESETS: dict[str, AugmentPolicy] = {
    "none": AugmentPolicy(),
    "light": AugmentPolicy(flip_horizontal=True, shift=0.06),
    "standard": AugmentPolicy(
        flip_horizontal=True, rotation_degrees=10, zoom=0.12, shift=0.08, brightness=0.1, contrast=0.15
    ),
    "strong": AugmentPolicy(
        flip_horizontal=True, rotation_degrees=20, zoom=0.25, shift=0.15, brightness=0.2, contrast=0.3
    ),
    "scans": AugmentPolicy(rotation_degrees=8, zoom=0.08, shift=0.08, fill="nearest"),
}


def augmentation_by_name(name: str) -> AugmentPolicy:
    """The policy of a preset.

    Raises:
        SettingError: where there is no such preset; the message lists them.
    """
    if name not in PRESETS:
        raise SettingError(f"There is no augmentation {name!r}. Use one of {', '.join(PRESETS)}, or give a policy.")
    return PRESETS[name]


def augment(image: Any, seed: Any, policy: AugmentPolicy) -> Any:
    """Change one image at random within the policy's limits; the same eagerly and inside `tf.data`.

    Args:
        image: uint8[H, W, 3] tensor.
        seed: int32[2] tensor; the same seed gives the same result.
        policy: The limits.

    Returns:
        uint8[H, W, 3] tensor.
    """
    import tensorflow as tf

    if policy.changes_nothing:
        return image
    draws = tf.random.stateless_uniform([8], seed, -1.0, 1.0)
    more = tf.random.stateless_uniform([8], tf.bitwise.invert(seed), -1.0, 1.0)  # for crop and colour
    pixels = tf.cast(image, tf.float32)
    shape = tf.shape(pixels)
    if policy.moves_pixels:
        pixels = tf.raw_ops.ImageProjectiveTransformV3(
            images=pixels[None],
            transforms=_transform(draws, more, shape, policy)[None],
            output_shape=shape[:2],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode=policy.fill.upper(),
        )[0]
    if policy.contrast:
        mean = tf.reduce_mean(pixels)
        pixels = (pixels - mean) * (1.0 + policy.contrast * draws[6]) + mean
    if policy.brightness:
        pixels += 255.0 * policy.brightness * draws[7]
    if policy.colour:
        pixels += 255.0 * policy.colour * more[4:7]
    changed = tf.cast(tf.clip_by_value(tf.round(pixels), 0.0, 255.0), tf.uint8)
    changed.set_shape(image.shape)
    return changed


def _transform(draws: Any, more: Any, shape: Any, policy: AugmentPolicy) -> Any:
    """The eight numbers of a projective map from output to input coordinates, about the image's centre."""
    import tensorflow as tf

    height, width = tf.cast(shape[0], tf.float32), tf.cast(shape[1], tf.float32)
    angle = draws[0] * (policy.rotation_degrees * math.pi / 180)
    cut_x, cut_y = policy.crop * (1.0 + more[0]) / 2, policy.crop * (1.0 + more[1]) / 2
    scale_x, scale_y = (1.0 + policy.zoom * draws[1]) * (1.0 - cut_x), (1.0 + policy.zoom * draws[2]) * (1.0 - cut_y)
    # The sign of a draw decides a flip (not tf.sign, which is 0 for a draw of 0); the size of one, being independent of
    # its sign, serves a shift as well.
    mirror_x = tf.where(draws[4] < 0.0, -1.0, 1.0) if policy.flip_horizontal else 1.0
    mirror_y = tf.where(draws[5] < 0.0, -1.0, 1.0) if policy.flip_vertical else 1.0
    a, b = tf.cos(angle) * scale_x * mirror_x, -tf.sin(angle) * scale_y * mirror_y
    d, e = tf.sin(angle) * scale_x * mirror_x, tf.cos(angle) * scale_y * mirror_y
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    shift_x = policy.shift * width * draws[3] + cut_x / 2 * width * more[2]
    shift_y = policy.shift * height * (tf.abs(draws[4]) * 2.0 - 1.0) + cut_y / 2 * height * more[3]
    if not (policy.rotation_degrees or policy.zoom or policy.crop):
        shift_x, shift_y = tf.round(shift_x), tf.round(shift_y)
    c = centre_x - a * centre_x - b * centre_y + shift_x
    f = centre_y - d * centre_x - e * centre_y + shift_y
    return tf.stack([a, b, c, d, e, f, 0.0, 0.0])


def augment_copy(pixels: NDArray[np.uint8], sha256: str, copy: int, seed: int, policy: AugmentPolicy) -> Any:
    """An augmented copy of an image for the shards, `uint8[H, W, 3]`, the same in every run.

    Args:
        pixels: `uint8[H, W, 3]`, RGB.
        sha256: Of the source file, hex.
        copy: From 1; each number gives another copy.
        seed: `IngestSettings.seed`.
        policy: The limits.
    """
    import tensorflow as tf

    digest = hashlib.sha256(f"{seed}:{sha256}:{copy}".encode()).digest()
    pair = np.frombuffer(digest[:8], dtype="<i4")
    return augment(tf.constant(pixels), tf.constant(pair), policy).numpy()


def contact_sheet(images: Sequence[NDArray[np.uint8]], policy: AugmentPolicy, columns: int = 8, seed: int = 0) -> bytes:
    """A PNG that shows what a policy does: one row per image, the original first, then augmented copies.

    Args:
        images: `uint8[H, W, 3]` each, all of one size.
        policy: The limits.
        columns: Images per row, the original included.
        seed: As in `augment_copy`.

    Returns:
        The file's bytes.
    """
    import io

    height, width = images[0].shape[:2]
    sheet = Image.new("RGB", (columns * (width + 2), len(images) * (height + 2)), (255, 255, 255))
    for row, pixels in enumerate(images):
        sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
        for column in range(columns):
            shown = pixels if column == 0 else augment_copy(pixels, sha256, column, seed, policy)
            sheet.paste(Image.fromarray(shown), (column * (width + 2) + 1, row * (height + 2) + 1))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()
