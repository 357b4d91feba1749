"""A decode policy in TensorFlow's operators gives the pixels of Darkroom's decoder, but for rounding."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.models.exporting.tensor_decoding import tensor_decoder

SMOOTH = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((331, 207))
PLAIN = DecodePolicy(image_size=(96, 64), padding=(10, 200, 30))


def encoded(image: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **how)
    return stream.getvalue()


def compiled(policy: DecodePolicy) -> Callable[[bytes], Any]:
    import tensorflow as tf

    return tf.function(tensor_decoder(policy), input_signature=[tf.TensorSpec((), tf.string)])  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def plain() -> Callable[[bytes], Any]:
    return compiled(PLAIN)


def worst(decoder: Callable[[bytes], Any], policy: DecodePolicy, data: bytes) -> int:
    found, wanted = np.asarray(decoder(data)).astype(int), decode(data, policy).astype(int)
    assert found.shape == wanted.shape
    assert wanted.std() > 20
    return int(np.abs(found - wanted).max())


@pytest.mark.parametrize("resize", get_args(DecodePolicy.model_fields["resize"].annotation))
@pytest.mark.parametrize("interpolation", get_args(DecodePolicy.model_fields["interpolation"].annotation))
def test_every_way_of_resizing(resize: Any, interpolation: Any) -> None:
    policy = PLAIN.model_copy(update={"resize": resize, "interpolation": interpolation})
    limit = {"nearest": 0, "box": 4}.get(interpolation, 1)
    assert worst(compiled(policy), policy, encoded(SMOOTH)) <= limit


def test_small_images_are_enlarged(plain: Callable[[bytes], Any]) -> None:
    assert worst(plain, PLAIN, encoded(SMOOTH.resize((20, 15)))) <= 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_upright(plain: Callable[[bytes], Any], orientation: int, order: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x0112] = orientation
    data = encoded(SMOOTH, "JPEG", quality=95, exif=exif)
    assert (b"MM\0*" if order == ">" else b"II*\0") in data
    assert worst(plain, PLAIN, data) <= 1
    as_stored = PLAIN.model_copy(update={"apply_exif_rotation": False})
    if orientation == 3 and order == "<":
        assert worst(compiled(as_stored), as_stored, data) <= 1
        assert np.abs(decode(data, PLAIN).astype(int) - decode(data, as_stored)).max() > 50


@pytest.mark.parametrize("size", [(207, 331), (96, 64), (40, 30), (20, 20)], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_large_jpeg_shrinks_while_it_is_decoded(size: tuple[int, int], mode: str) -> None:
    policy = DecodePolicy(image_size=size)
    assert worst(compiled(policy), policy, encoded(SMOOTH.convert(mode), "JPEG", quality=95)) <= 1


def test_grey_transparent_and_indexed_images_and_gif(plain: Callable[[bytes], Any]) -> None:
    clear = SMOOTH.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    for image in (clear, clear.convert("LA"), SMOOTH.convert("L"), SMOOTH.convert("P")):
        assert worst(plain, PLAIN, encoded(image)) <= 1, image.mode
    assert worst(plain, PLAIN, encoded(SMOOTH, "GIF")) <= 1
    assert worst(plain, PLAIN, encoded(SMOOTH, "BMP")) <= 1
