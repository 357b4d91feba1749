"""Panels and sheets: what is drawn where, and the same bytes each time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from darkroom.models.pages.panels import Panel, change_over, enlarged, heat_over, kernel_tile, map_tile, mosaic, sheet

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_heat_is_yellow_over_its_place_and_leaves_the_rest_dark():
    heat = np.zeros((4, 6))
    heat[0, 0] = 1
    found = heat_over(IMAGE, heat)
    assert found.shape == IMAGE.shape
    np.testing.assert_allclose(found[:3, :3] * 1.0, (IMAGE[:3, :3] + np.array([252, 255, 164])) / 2, atol=1.5)
    np.testing.assert_allclose(found[-10:, -20:] * 1.0, (IMAGE[-10:, -20:] + np.array([0, 0, 4])) / 2, atol=1.5)


def test_a_fall_is_red_a_rise_blue_and_no_change_grey():
    change = np.zeros((5, 5))
    change[0, 0], change[4, 4] = 0.4, -0.4
    red, blue, grey = (change_over(IMAGE, change, 0.4)[place] for place in ((1, 1), (-2, -2), (20, 30)))
    assert red[0] > red[2] + 40
    assert blue[2] > blue[0] + 40
    assert len(set(grey.tolist())) == 1


def test_a_map_goes_from_dark_to_yellow_and_a_level_one_is_dark():
    tile = map_tile(np.array([[-3.0, 5.0]]))
    np.testing.assert_array_equal(tile, [[[68, 1, 84], [253, 231, 37]]])
    np.testing.assert_array_equal(map_tile(np.full((2, 2), 7.0)), np.full((2, 2, 3), [68, 1, 84]))


def test_a_kernel_is_grey_or_white_where_it_is_zero():
    colours = kernel_tile(np.array([[[0.0, 0.5, -1.0]]]))
    np.testing.assert_array_equal(colours, [[[128, 191, 0]]])
    tile = kernel_tile(np.array([[[-2.0], [0.0], [2.0]]]))[0].astype(int)
    assert tile[0, 2] > tile[0, 0]
    assert tile[1].min() > 240
    assert tile[2, 0] > tile[2, 2]
    assert len(np.unique(kernel_tile(np.zeros((2, 2, 1))).reshape(-1, 3), axis=0)) == 1


def test_tiles_stand_in_rows_with_white_between_them():
    tiles = [np.full((1, 1, 3), number, np.uint8) for number in range(5)]
    found = mosaic(tiles, num_columns=3)
    assert found.shape == (2 * 64 + 4, 3 * 64 + 8, 3)
    assert [int(found[row, column, 0]) for row in (0, 68) for column in (0, 68, 136)] == [0, 1, 2, 3, 4, 255]
    assert found[0, 64].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(enlarged(IMAGE, 80)[::2, ::2], IMAGE)


@pytest.mark.parametrize("title", ["$x_{1}", "a\x00\x1b[31m\nb", "犬" * 300, ""])
def test_a_sheet_has_the_same_bytes_each_time_whatever_the_titles_say(title):
    rows = [[Panel(title, IMAGE), Panel("b", IMAGE)], [Panel("c", IMAGE)]]
    png = sheet(rows)
    assert sheet(rows) == png
    with Image.open(io.BytesIO(png)) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert 500 < picture.width < 560
