"""The perceptual hash: SciPy's DCT, near for what looks alike, far for what does not."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy.fft import dctn

from darkroom.data.quality.perceptual import perceptual_hash, similarity, thumbnail


def photograph(number: int, height: int = 120, width: int = 160) -> Image.Image:
    small = np.random.default_rng(number).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def distance(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.mark.parametrize("number", range(5))
def test_the_bits_are_those_of_scipy_s_dct_above_its_median(number: int) -> None:
    image = photograph(number)
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    low = dctn(grey, type=2)[:8, :8]
    expected = "".join("1" if value > np.median(low) else "0" for value in low.ravel())
    assert perceptual_hash(thumbnail(image.convert("RGB"))) == f"{int(expected, 2):016x}"


def test_what_looks_alike_is_near_and_what_does_not_is_far() -> None:
    originals = [photograph(number) for number in range(12)]
    hashes = [perceptual_hash(thumbnail(image.convert("RGB"))) for image in originals]
    for image, original in zip(originals, hashes, strict=True):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=40)
        with Image.open(stream) as compressed:
            assert distance(perceptual_hash(thumbnail(compressed.convert("RGB"))), original) <= 4
        for changed in (image.resize((90, 70)), ImageEnhance.Brightness(image).enhance(0.9), image.convert("L")):
            assert distance(perceptual_hash(thumbnail(changed.convert("RGB"))), original) <= 6
    assert min(distance(a, b) for a, b in itertools.combinations(hashes, 2)) > 10


@pytest.mark.parametrize("level", [1, 77, 255])
def test_a_flat_image_has_the_hash_of_its_one_frequency_and_not_of_rounding_errors(level: int) -> None:
    assert perceptual_hash(thumbnail(Image.new("RGB", (70, 50), (level, level, level)))) == "8000000000000000"


def test_flat_images_have_nothing_to_compare() -> None:
    flat = np.full((3, 32, 32), 90, np.uint8)
    assert similarity(flat, flat).tolist() == [0, 0, 0]


def test_an_image_is_like_itself_and_none_are_like_none() -> None:
    noise = thumbnail(Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)))[None]
    assert similarity(noise, noise)[0] == pytest.approx(1, abs=1e-5)
    assert similarity(noise[:0], noise[:0]).shape == (0,)
