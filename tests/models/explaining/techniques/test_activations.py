"""Filters and activations, against weights that were planted and against plain NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from darkroom.models.explaining.techniques.activations import (
    MAX_CHANNELS,
    MAX_LAYERS,
    first_filters,
    strongest_activations,
)
from darkroom.models.networks.architectures import build_backbone, build_scratch, with_head
from tests.planted import planted


@pytest.mark.parametrize("form", ["plain", "nested", "preprocessed"])
def test_the_strongest_channel_comes_first_with_the_map_that_was_planted(form):
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 2] = np.random.default_rng(0).integers(100, 256, (32, 32))
    image[:16, :, 0] = 50
    (found,) = strongest_activations(planted(form), image)
    assert (found.layer, found.channels, found.num_channels) == ("conv", (1, 0), 2)
    cells = image.reshape(8, 4, 8, 4, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(found.maps, cells[..., [2, 0]], atol=1e-6)


def test_the_layers_go_from_the_largest_map_to_the_smallest_and_are_few():
    model = with_head(build_backbone("efficientnet-lite0", (96, 96), "none"), 2, 0.0)
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    found = strongest_activations(model, image)
    sizes = [item.maps.shape[0] for item in found]
    assert sizes == [48, 24, 12, 6, 3]
    assert len(found) <= MAX_LAYERS
    for item in found:
        assert item.maps.shape[2] == len(item.channels) == MAX_CHANNELS
        means = item.maps.mean(axis=(0, 1))
        assert np.all(np.diff(means) <= 0)


def test_filters_of_the_first_layer_keep_their_colours_and_order():
    (found,) = first_filters(planted())
    assert (found.layer, found.num_filters) == ("conv", 2)
    expected = np.zeros((2, 4, 4, 3))
    expected[0, ..., 0] = expected[1, ..., 2] = 1 / 16
    np.testing.assert_array_equal(found.kernels, expected.astype(np.float32))


def test_filters_of_a_later_layer_are_their_strongest_slices():
    model = build_scratch("cifar4", (32, 32), 3, 0.0)
    conv = model.get_layer("conv1b")
    weights = np.random.default_rng(0).normal(0, 0.01, (3, 3, 32, 32)).astype(np.float32)
    for number in range(32):
        weights[:, :, (5 * number) % 32, number] = number + 1
    conv.set_weights([weights, np.zeros(32)])
    first, second = first_filters(model)
    assert (first.layer, first.kernels.shape) == ("conv1a", (32, 3, 3, 3))
    np.testing.assert_array_equal(second.kernels, np.arange(1, 33)[:, None, None, None] * np.ones((1, 3, 3, 1)))


def test_of_many_filters_those_with_the_largest_weights_are_shown_and_depthwise_ones_too():
    image = keras.Input((16, 16, 3), dtype="uint8")
    x = keras.layers.Conv2D(40, 1, name="pointwise")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(x)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    model.get_layer("depthwise").set_weights([np.arange(40)[:, None] * np.ones((3, 3, 40, 1))])
    (found,) = first_filters(model)
    assert (found.layer, found.num_filters) == ("depthwise", 40)
    np.testing.assert_array_equal(found.kernels[:, 0, 0, 0], np.arange(8, 40))
