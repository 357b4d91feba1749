"""Windows: which values of images of more than 8 bits become black and white."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.errors import ImageError
from darkroom.data.images.decode import decode, decode_opened
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from tests.corpus import HEIGHT, WIDTH, chunk, encoded, filtered, grey, picture, png, tiff

RNG = np.random.default_rng(0)
TWELVE = RNG.integers(0, 4096, (HEIGHT, WIDTH), dtype=np.uint16)
TWELVE_COLOUR = RNG.integers(0, 4096, (HEIGHT, WIDTH, 3), dtype=np.uint16)


def at(window: Any) -> DecodePolicy:
    return DecodePolicy(image_size=(HEIGHT, WIDTH), window=window)


def scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    return np.rint((values.astype(float).clip(low, high) - low) * 255 / (high - low)).astype(np.uint8)


def grey_png(values: NDArray[Any], extra: bytes = b"") -> bytes:
    return png(WIDTH, HEIGHT, 16, 0, filtered(values.astype(">u2")), extra)


def deep_tiff(values: NDArray[Any], **tags: tuple[str, int]) -> bytes:
    num_channels = 3 if values.ndim == 3 else 1
    base = {
        256: ("I", WIDTH),
        257: ("I", HEIGHT),
        258: ("H", 16),
        259: ("H", 1),
        262: ("H", num_channels - num_channels // 2),
    }
    base |= {273: ("I", 0), 277: ("H", num_channels), 278: ("I", HEIGHT), 279: ("I", values.nbytes)}
    return tiff(base | {int(name[1:]): value for name, value in tags.items()}, values.tobytes())


def test_a_window_of_two_values_makes_one_black_and_the_other_white() -> None:
    for low, high in ((0, 4095), (100, 3000), (-500, 70_000)):
        np.testing.assert_array_equal(decode(grey_png(TWELVE), at((low, high))), grey(scaled(TWELVE, low, high)))


def test_signed_values_are_windowed_from_below_zero() -> None:
    signed = (TWELVE.astype(int) - 1000).astype(np.int16)
    content = deep_tiff(signed, t339=("H", 2))
    np.testing.assert_array_equal(decode(content, at((-1000, 3095))), grey(scaled(TWELVE, 0, 4095)))
    np.testing.assert_array_equal(decode(content, at("file")), grey(scaled(signed, -32768, 32767)))


@pytest.mark.parametrize("kind", ["png", "tiff", "deflated tiff"])
def test_colours_of_16_bits_are_windowed_with_all_their_bits(kind: str) -> None:
    packed = zlib.compress(TWELVE_COLOUR.tobytes())
    content = {
        "png": png(WIDTH, HEIGHT, 16, 2, filtered(TWELVE_COLOUR.astype(">u2"))),
        "tiff": deep_tiff(TWELVE_COLOUR),
        "deflated tiff": deep_tiff(TWELVE_COLOUR, t259=("H", 8), t279=("I", len(packed))).replace(
            TWELVE_COLOUR.tobytes(), packed
        ),
    }[kind]
    np.testing.assert_array_equal(decode(content, at((0, 4095))), scaled(TWELVE_COLOUR, 0, 4095))
    assert decode(content, at("auto")).max() == 15


def test_a_tiff_states_its_range_by_its_largest_value_or_its_bits() -> None:
    np.testing.assert_array_equal(
        decode(deep_tiff(TWELVE, t280=("H", 50), t281=("H", 4000)), at("file")), grey(scaled(TWELVE, 50, 4000))
    )
    later = deep_tiff(TWELVE, t280=("H", 0), t281=("H", 9), t340=("H", 7), t341=("H", 4095))
    np.testing.assert_array_equal(decode(later, at("file")), grey(scaled(TWELVE, 7, 4095)))
    # Twelve bits a value: two values in three bytes, the first bits first.
    pairs = TWELVE.reshape(-1, 2).astype(int)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
    twelve = deep_tiff(packed.astype(np.uint8).reshape(HEIGHT, -1), t258=("H", 12))
    np.testing.assert_array_equal(decode(twelve, at("file")), grey(scaled(TWELVE, 0, 4095)))


def test_a_png_states_its_bits_and_is_not_windowed_where_it_is_scaled_as_the_standard_asks() -> None:
    bits = chunk(b"sBIT", b"\x0c")
    np.testing.assert_array_equal(decode(grey_png(TWELVE, bits), at("file")), grey(scaled(TWELVE, 0, 4095)))
    dark = TWELVE >> 4  # nothing above 4095, even when scaled
    wide = dark.astype(float)
    for made in (dark << 4, dark << 4 | dark >> 8, np.rint(wide * 65535 / 4095)):
        content = grey_png(np.asarray(made, np.uint16), bits)
        np.testing.assert_array_equal(decode(content, at("file")), decode(content, at("full")))


def test_a_file_that_states_nothing_is_read_over_the_full_range() -> None:
    for content in (grey_png(TWELVE), deep_tiff(TWELVE), deep_tiff(TWELVE_COLOUR)):
        pixels = decode(content, at("full"))
        np.testing.assert_array_equal(decode(content, at("file")), pixels)
        np.testing.assert_array_equal(decode(content, at("auto")), pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP"])
def test_a_window_leaves_images_of_8_bits_alone(kind: str) -> None:
    content = encoded(picture(kind), kind)
    np.testing.assert_array_equal(decode(content, at((0, 4095))), decode(content, at("auto")))


def test_grey_with_transparency_is_not_windowed_by_its_high_byte_alone() -> None:
    both = RNG.integers(0, 4096, (HEIGHT, WIDTH, 2), dtype=np.uint16)
    content = png(WIDTH, HEIGHT, 16, 4, filtered(both.astype(">u2")))
    decode(content, at("auto"))
    with pytest.raises(ImageError, match="unsupported"):
        decode(content, at((0, 4095)))


def test_an_opened_image_is_windowed_as_its_file_is(tmp_path: Any) -> None:
    for number, content in enumerate((grey_png(TWELVE, chunk(b"sBIT", b"\x0c")), deep_tiff(TWELVE_COLOUR))):
        path = tmp_path / str(number)
        path.write_bytes(content)
        for window in ("file", (0, 4095)):
            with Image.open(path) as image:
                np.testing.assert_array_equal(decode_opened(image, at(window)).pixels, decode(content, at(window)))


@pytest.mark.parametrize("wrong", ["wide", "5,5", "9,1", (1,), (0.5, 2), "1,2,3", (0, 2**33)])
def test_a_window_is_a_word_or_two_values_in_order(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"window|below"):
        at(wrong)


def test_a_window_survives_its_way_through_json_and_the_default_leaves_no_trace() -> None:
    assert at("0,4095").window == (0, 4095)
    assert DecodePolicy.model_validate_json(at("-5,9").model_dump_json()) == at((-5, 9))
    assert "window" not in at("auto").model_dump()
