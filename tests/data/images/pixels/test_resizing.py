"""Resizing: against the definition of the filter in floating point, and the same however the image is held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cykooz_resizer import CpuExtensions, FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.pixels.resizing import resize

SIDES = st.integers(1, 300)
ASKED = st.tuples(st.integers(8, 120), st.integers(8, 120))


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def triangle(stored: int, wanted: int) -> NDArray[np.float64]:
    """`float64[wanted, stored]`: what each pixel takes of each, by a triangle as wide as a pixel of the result."""
    scale = stored / wanted
    centres = (np.arange(wanted) + 0.5) * scale
    distance = (np.arange(stored) + 0.5 - centres[:, None]) / max(scale, 1.0)
    weights = np.clip(1 - np.abs(distance), 0, None)
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised


@settings(deadline=None, max_examples=100)
@given(height=SIDES, width=SIDES, asked=ASKED)
def test_bilinear_is_the_triangle_filter_to_two_levels(height: int, width: int, asked: tuple[int, int]) -> None:
    pixels = noise(height, width)
    rows, columns = triangle(height, asked[0]), triangle(width, asked[1])
    want = np.einsum("yh,hwc,xw->yxc", rows, pixels.astype(float), columns, optimize=True)
    assert np.abs(resize(pixels, DecodePolicy(image_size=asked)) - want).max() <= 2


@settings(deadline=None, max_examples=60)
@given(
    height=SIDES,
    width=SIDES,
    asked=ASKED,
    how=st.sampled_from(["stretch", "pad", "crop"]),
    interpolation=st.sampled_from(["nearest", "box", "bilinear", "bicubic", "lanczos"]),
)
def test_an_array_and_a_pillow_image_give_the_same_bytes(
    height: int, width: int, asked: tuple[int, int], how: Any, interpolation: Any
) -> None:
    policy = DecodePolicy(image_size=asked, resize=how, interpolation=interpolation)
    pixels = noise(height, width)
    found = resize(pixels, policy)
    assert (found.shape, found.dtype) == ((*asked, 3), np.uint8)
    np.testing.assert_array_equal(found, resize(Image.fromarray(pixels), policy))


@pytest.mark.parametrize("kind", [FilterType.box, FilterType.bilinear, FilterType.catmull_rom, FilterType.lanczos3])
def test_every_instruction_set_gives_the_same_bytes(kind: FilterType) -> None:
    """So that a data set that was made on one machine is the one that another makes."""
    found = set()
    for instructions in CpuExtensions:
        resizer = Resizer()
        try:
            resizer.cpu_extensions = instructions
        except ValueError:  # not of this processor
            continue
        result = ImageData(160, 160, PixelType.U8x3)
        options = ResizeOptions(ResizeAlg.convolution(kind), use_alpha=False)
        resizer.resize(ImageData(250, 187, PixelType.U8x3, noise(187, 250).tobytes()), result, options)
        found.add(bytes(result.get_buffer()))
    assert len(found) == 1


def enlarging(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights of the Catmull-Rom spline, as its authors give them (1974)."""
    x = np.abs(position)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


@pytest.mark.parametrize(("width", "height", "asked"), [(100, 1, (8, 9)), (42, 5, (8, 9)), (1393, 4, (31, 32))])
def test_a_crop_that_is_enlarged_from_the_centre_of_a_pixel_reads_nothing_else(
    width: int, height: int, asked: tuple[int, int]
) -> None:
    """The library reads outside its memory there, and the process dies or the pixels are of something else."""
    pixels = noise(height, width)
    scale = height / asked[0]
    centres = width / 2 + (np.arange(asked[1]) + 0.5 - asked[1] / 2) * scale - 0.5
    assert centres[0] == round(centres[0])
    columns = enlarging(np.arange(width) - centres[:, None])
    middles = (np.arange(asked[0]) + 0.5) * scale - 0.5
    rows = enlarging(np.arange(height) - middles[:, None])
    rows /= rows.sum(axis=1, keepdims=True)
    want = np.einsum("yh,hwc,xw->yxc", rows, pixels.astype(float), columns, optimize=True).clip(0, 255)
    policy = DecodePolicy(image_size=asked, resize="crop", interpolation="bicubic")
    for image in (pixels, Image.fromarray(pixels)):
        assert np.abs(resize(image, policy) - want).max() <= 2
