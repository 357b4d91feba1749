"""Occlusion, on functions of which it is known what decides."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.models.explaining.techniques.occlusion import occlusion


def corner_decides(images):
    """Class 1 has the mean brightness of the top left 16 x 16 pixels as its probability."""
    share = images[:, :16, :16].mean(axis=(1, 2, 3)) / 255
    return np.stack([1 - share, share], axis=1)


def bright_corner() -> NDArray[np.uint8]:
    image = np.zeros((80, 80, 3), np.uint8)
    image[:16, :16] = 200
    return image


def test_where_only_one_corner_decides_only_covering_it_changes_anything():
    image = bright_corner()
    fall = occlusion(corner_decides, image, 1)
    assert fall.shape == (10, 10)
    # Cells have 8 x 8 pixels, and the neighbours are covered too: the corner is touched from rows and columns 0 to 2.
    assert np.all(fall[:3, :3] > 0)
    assert np.count_nonzero(fall) == 9
    mean = round(200 * 16 * 16 / 80**2)
    # Around cell (0, 0) the whole corner is covered, around cell (2, 2) a quarter of it.
    assert fall[0, 0] == pytest.approx((200 - mean) / 255)
    assert fall[2, 2] == pytest.approx((200 - mean) / 255 / 4)


def test_covering_what_speaks_against_a_class_raises_it():
    image = bright_corner()
    np.testing.assert_allclose(occlusion(corner_decides, image, 0), -occlusion(corner_decides, image, 1))


@pytest.mark.parametrize(("shape", "grid", "expected"), [((80, 120), 10, 10), ((7, 32), 10, 7), ((33, 47), 4, 4)])
def test_every_pixel_is_covered_and_the_given_image_is_left_alone(shape, grid, expected):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    before = image.copy()
    covered = np.zeros(shape, bool)
    num_seen = 0

    def watch(images):
        nonlocal num_seen
        num_seen += len(images)
        covered[...] |= (images != image).any(axis=(0, 3))
        return np.full((len(images), 2), 0.5)

    fall = occlusion(watch, image, 0, grid)
    assert fall.shape == (expected, expected)
    assert not fall.any()
    assert covered.mean() > 0.99  # a pixel may have the mean colour
    assert num_seen == expected**2 + 1
    np.testing.assert_array_equal(image, before)
