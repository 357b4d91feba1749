"""What is stored can be read by any reader of images, and is what was given."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.images.pixels.encode import encode_png


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """`uint8[height, width, 3]`: a slope under little noise, as photographs have it."""
    slope = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 100, width))[:, :, None] + [0, 10, 20]
    return (slope + np.random.default_rng(0).normal(0, 3, slope.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (8, 8), (33, 57), (160, 160)])
@pytest.mark.parametrize("kind", ["noise", "smooth", "flat"])
def test_a_png_holds_the_very_pixels(shape: tuple[int, int], kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pixels = {"noise": noise, "smooth": smooth(*shape), "flat": np.full((*shape, 3), 7, np.uint8)}[kind]
    encoded = encode_png(pixels)
    with Image.open(io.BytesIO(encoded)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", shape[::-1])
        image.verify()
    with Image.open(io.BytesIO(encoded)) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    np.testing.assert_array_equal(tf.io.decode_png(encoded), pixels)
    assert encode_png(pixels[::-1, ::-1][::-1, ::-1]) == encoded


def test_a_png_is_about_as_small_as_pillows_at_the_same_level() -> None:
    pixels = smooth(160, 160)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    assert len(encode_png(pixels)) < 1.1 * len(stream.getvalue())
