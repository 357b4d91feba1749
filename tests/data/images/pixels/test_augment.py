"""Augmentation: each change is what NumPy and SciPy compute, drawn the same everywhere."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage

from darkroom.data.images.pixels.augment import PRESETS, AugmentPolicy, augment, augment_copy, contact_sheet

Pixels = NDArray[np.uint8]
# What the places of the eight draws, each in [-1, 1), are for.
ROTATION, ZOOM_X, ZOOM_Y, SHIFT_X, FLIP_X_SHIFT_Y, FLIP_Y, CONTRAST, BRIGHTNESS = range(8)
# The names that SciPy has for what comes in from outside.
SCIPY_MODE = {"reflect": "reflect", "nearest": "nearest", "constant": "grid-constant"}


def noise(number: int, height: int = 13, width: int = 17) -> Pixels:
    """Not square and not symmetric, so that no two ways of turning it give the same."""
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def changed(image: Pixels, policy: AugmentPolicy, **draws: float) -> Pixels:
    """`image` augmented with these draws, by the name of the place; by default none shifts, flips or turns."""
    values = [0.0] * 8
    values[FLIP_X_SHIFT_Y] = 0.5  # the middle: no shift, no flip
    for name, value in draws.items():
        values[globals()[name.upper()]] = value
    return with_draws(image, policy, values)


def with_draws(image: Pixels, policy: AugmentPolicy, values: Sequence[float]) -> Pixels:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.random, "stateless_uniform", lambda *_: tf.constant(values, tf.float32))
        found: Pixels = augment(tf.constant(image), tf.constant([0, 0]), policy).numpy()
    assert (found.dtype, found.shape) == (np.uint8, image.shape)
    return found


def with_more_draws(image: Pixels, policy: AugmentPolicy, values: Sequence[float]) -> Pixels:
    """As `with_draws`, for the second eight: two for the size of a crop, two for its place, three for the colour."""
    first = [0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0]
    with pytest.MonkeyPatch.context() as patch:
        drawn = iter([first, values])
        patch.setattr(tf.random, "stateless_uniform", lambda *_: tf.constant(next(drawn), tf.float32))
        found: Pixels = augment(tf.constant(image), tf.constant([0, 0]), policy).numpy()
    return found


def by_seed(image: Pixels, policy: AugmentPolicy, seed: int) -> Pixels:
    found: Pixels = augment(tf.constant(image), tf.constant([seed, 7]), policy).numpy()
    return found


def test_a_policy_of_zeros_changes_nothing() -> None:
    image = noise(0)
    assert AugmentPolicy().changes_nothing
    np.testing.assert_array_equal(by_seed(image, AugmentPolicy(), 3), image)
    numbers = ("rotation_degrees", "zoom", "crop", "shift", "brightness", "contrast", "colour")
    for field in ("flip_horizontal", "flip_vertical", *numbers):
        value = True if field.startswith("flip") else 0.5
        assert not AugmentPolicy.model_validate({field: value}).changes_nothing


@pytest.mark.parametrize(
    ("policy", "ways"),
    [
        (AugmentPolicy(flip_horizontal=True), [lambda a: a, lambda a: a[:, ::-1]]),
        (AugmentPolicy(flip_vertical=True), [lambda a: a, lambda a: a[::-1]]),
        (
            AugmentPolicy(flip_horizontal=True, flip_vertical=True),
            [lambda a: a, lambda a: a[:, ::-1], lambda a: a[::-1], lambda a: a[::-1, ::-1]],
        ),
    ],
)
def test_flips_mirror_exactly_and_each_way_comes_as_often(policy: AugmentPolicy, ways: list[Any]) -> None:
    image = noise(1)
    expected = [way(image).tobytes() for way in ways]
    counts = Counter(by_seed(image, policy, seed).tobytes() for seed in range(400))
    assert set(counts) == set(expected)
    share = 1 / len(ways)
    assert all(abs(n - 400 * share) < 4.5 * np.sqrt(400 * share * (1 - share)) for n in counts.values())


def test_a_draw_of_zero_flips_or_not_but_never_smears() -> None:
    image = noise(2)
    policy = AugmentPolicy(flip_horizontal=True, flip_vertical=True)
    np.testing.assert_array_equal(with_draws(image, policy, [0.0] * 8), image)


@pytest.mark.parametrize(("fill", "padding"), [("reflect", "symmetric"), ("nearest", "edge"), ("constant", "constant")])
@pytest.mark.parametrize(("x", "y"), [(3, 0), (-4, 0), (0, 5), (2, -3)])
def test_a_shift_by_whole_pixels_is_the_padded_image_cut_elsewhere(fill: Any, padding: Any, x: int, y: int) -> None:
    image = noise(3, 20, 20)
    policy = AugmentPolicy(shift=0.5, fill=fill)
    # A draw of 1 is half the side, 10 pixels; that of y is 2 |draw| - 1.
    found = changed(image, policy, shift_x=x / 10, flip_x_shift_y=(y / 10 + 1) / 2)
    padded = np.pad(image, ((10, 10), (10, 10), (0, 0)), mode=padding)
    np.testing.assert_allclose(found.astype(int), padded[10 + y : 30 + y, 10 + x : 30 + x], atol=1)


def test_a_quarter_and_a_half_turn_are_numpy_s() -> None:
    image = noise(4, 15, 15)
    quarter = changed(image, AugmentPolicy(rotation_degrees=90), rotation=1.0)
    np.testing.assert_allclose(quarter.astype(int), np.rot90(image), atol=1)
    half = changed(image, AugmentPolicy(rotation_degrees=180), rotation=1.0)
    np.testing.assert_allclose(half.astype(int), image[::-1, ::-1], atol=1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-1000, 999).map(lambda n: n / 1000), min_size=8, max_size=8),
    st.builds(
        AugmentPolicy,
        flip_horizontal=st.booleans(),
        flip_vertical=st.booleans(),
        rotation_degrees=st.floats(0.5, 180),
        zoom=st.floats(0, 0.9),
        shift=st.floats(0, 0.9),
        fill=st.sampled_from(["reflect", "nearest", "constant"]),
    ),
)
def test_all_that_moves_pixels_is_one_affine_map_about_the_centre(draws: list[float], policy: AugmentPolicy) -> None:
    image = ndimage.gaussian_filter(noise(5, 24, 18).astype(float), (2, 2, 0)).astype(np.uint8)
    found = with_draws(image, policy, draws)

    angle = np.deg2rad(draws[ROTATION] * policy.rotation_degrees)
    # In (row, column) order: a step right in the result is a step of cos, sin in the image.
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    scale = np.diag([1 + policy.zoom * draws[ZOOM_Y], 1 + policy.zoom * draws[ZOOM_X]])
    mirror = np.diag(
        [
            -1.0 if policy.flip_vertical and draws[FLIP_Y] < 0 else 1.0,
            -1.0 if policy.flip_horizontal and draws[FLIP_X_SHIFT_Y] < 0 else 1.0,
        ]
    )
    matrix = turn @ scale @ mirror
    centre = (np.array(image.shape[:2]) - 1) / 2
    shift = policy.shift * np.array([24 * (2 * abs(draws[FLIP_X_SHIFT_Y]) - 1), 18 * draws[SHIFT_X]])
    if not (policy.rotation_degrees or policy.zoom):
        shift = np.rint(shift)
    expected = np.stack(
        [
            ndimage.affine_transform(
                image[..., channel].astype(np.float64),
                matrix,
                centre - matrix @ centre + shift,
                order=1,
                mode=SCIPY_MODE[policy.fill],
            )
            for channel in range(3)
        ],
        axis=-1,
    )
    # A coordinate within float32's error of an edge may fall on either side of it: a handful of pixels may differ.
    wrong = np.abs(found - expected) > 1
    assert wrong.mean() < 0.01


@given(st.integers(-1000, 999).map(lambda n: n / 1000), st.floats(0.01, 0.99))
@settings(max_examples=30, deadline=None)
def test_brightness_adds_its_share_of_the_range_and_clips(value: float, limit: float) -> None:
    image = noise(6)
    found = changed(image, AugmentPolicy(brightness=limit), brightness=value)
    expected = np.clip(image + 255.0 * limit * value, 0, 255)
    assert np.abs(found - expected).max() <= 0.501


@given(st.integers(-1000, 999).map(lambda n: n / 1000), st.floats(0.01, 0.99))
@settings(max_examples=30, deadline=None)
def test_contrast_spreads_around_the_mean_of_the_image_and_clips(value: float, limit: float) -> None:
    image = noise(7)
    found = changed(image, AugmentPolicy(contrast=limit), contrast=value)
    expected = np.clip((image - image.mean()) * (1 + limit * value) + image.mean(), 0, 255)
    assert np.abs(found - expected).max() <= 0.501


@pytest.mark.parametrize(("x", "y"), [(-1.0, -1.0), (1.0, 1.0), (-1.0, 1.0), (0.5, 0.0)])
def test_a_crop_is_a_part_of_the_image_stretched_over_all_of_it(x: float, y: float) -> None:
    """A ramp shows which places are seen: a crop of half the width spans half its values, whatever its place."""
    height, width = 40, 60
    columns = np.broadcast_to(np.arange(width) * 4.0, (height, width))
    rows = np.broadcast_to(np.arange(height)[:, None] * 4.0, (height, width))
    image = np.stack([columns, rows, np.zeros((height, width))], axis=-1).astype(np.uint8)
    # The greatest cut, of half of each side (a draw of 1), at a place from the left and top (-1) to the right (1).
    found = with_more_draws(image, AugmentPolicy(crop=0.5, fill="nearest"), [1.0, 1.0, x, y, 0, 0, 0, 0]).astype(float)
    for channel, side, place in ((0, width, x), (1, height, y)):
        line = found[height // 2, :, 0] if channel == 0 else found[:, width // 2, 1]
        start = (side / 2) * (1 + place) / 2  # pixels cut off before it
        places = np.clip(start + (np.arange(side) + 0.5) / 2 - 0.5, 0, side - 1)
        np.testing.assert_allclose(line, places * 4, atol=1.01)


def test_crops_never_show_what_is_outside_the_image() -> None:
    image = np.full((16, 16, 3), 200, np.uint8)
    for seed in range(60):
        inside = by_seed(image, AugmentPolicy(crop=0.6, fill="constant"), seed)[1:-1, 1:-1]
        np.testing.assert_array_equal(inside, 200)


def test_colour_adds_its_share_of_the_range_to_each_channel_on_its_own() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    found = with_more_draws(image, AugmentPolicy(colour=0.2), [0, 0, 0, 0, 1.0, -1.0, 0.5, 0])
    np.testing.assert_array_equal(found[0, 0], [151, 49, 126])
    added = np.array([by_seed(image, AugmentPolicy(colour=0.2), seed)[0, 0].astype(int) - 100 for seed in range(400)])
    assert np.abs(added).max() <= 51
    assert np.abs(np.corrcoef(added.T) - np.eye(3)).max() < 0.25


def test_the_draws_fill_their_range_evenly() -> None:
    image = np.full((8, 8, 3), 128, np.uint8)
    policy = AugmentPolicy(brightness=0.4)
    added = np.array([int(by_seed(image, policy, seed)[0, 0, 0]) - 128 for seed in range(500)])
    assert -102 <= added.min() < -95
    assert 95 < added.max() <= 102
    # Uniform on [-102, 102): mean 0, standard deviation 59.
    assert abs(added.mean()) < 4.5 * 59 / np.sqrt(500)
    assert abs(added.std() - 59) < 8


@pytest.mark.parametrize("preset", PRESETS)
def test_eager_and_inside_tf_data_give_the_same(preset: str) -> None:
    policy = PRESETS[preset]
    images = np.stack([noise(number, 24, 20) for number in range(12)])
    seeds = np.stack([[number, 99] for number in range(12)]).astype(np.int32)
    stream = tf.data.Dataset.from_tensor_slices((images, seeds)).map(
        lambda image, seed: augment(image, seed, policy), num_parallel_calls=4
    )
    for found, image, seed in zip(stream.as_numpy_iterator(), images, seeds, strict=True):
        np.testing.assert_array_equal(found, augment(tf.constant(image), tf.constant(seed), policy).numpy())


def test_every_preset_but_none_changes_images() -> None:
    image = noise(8, 32, 32)
    for name, policy in PRESETS.items():
        differ = sum(not np.array_equal(by_seed(image, policy, seed), image) for seed in range(5))
        assert (differ > 0) == (name != "none")


def test_a_copy_depends_on_image_copy_and_seed_alone() -> None:
    image, policy = noise(9), PRESETS["standard"]
    sha256 = hashlib.sha256(image.tobytes()).hexdigest()
    first = augment_copy(image, sha256, 1, 0, policy)
    tf.random.set_seed(123)
    np.random.seed(5)
    np.testing.assert_array_equal(augment_copy(image, sha256, 1, 0, policy), first)
    for other in ((sha256, 2, 0), (sha256, 1, 1), ("0" * 64, 1, 0)):
        assert not np.array_equal(augment_copy(image, *other, policy), first)


def test_a_contact_sheet_shows_each_image_and_then_its_copies() -> None:
    images = [noise(number, 10, 12) for number in range(3)]
    policy = AugmentPolicy(flip_horizontal=True, brightness=0.3)
    data = contact_sheet(images, policy, columns=4, seed=5)
    with Image.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.mode, opened.size) == ("PNG", "RGB", (4 * 14, 3 * 12))
        sheet = np.asarray(opened)
    for row, image in enumerate(images):
        cells = [sheet[row * 12 + 1 : row * 12 + 11, c * 14 + 1 : c * 14 + 13] for c in range(4)]
        np.testing.assert_array_equal(cells[0], image)
        sha256 = hashlib.sha256(image.tobytes()).hexdigest()
        for column in (1, 2, 3):
            np.testing.assert_array_equal(cells[column], augment_copy(image, sha256, column, 5, policy))
    assert contact_sheet(images, policy, columns=4, seed=5) == data


@pytest.mark.parametrize(
    "wrong", [{"zoom": 1}, {"shift": -0.1}, {"rotation_degrees": 181}, {"fill": "wrap"}, {"flip": True}]
)
def test_limits_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AugmentPolicy.model_validate(wrong)
