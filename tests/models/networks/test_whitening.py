"""Whitening: over the images that it was set by, what the filters give is uncorrelated and of size one."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from darkroom.data.dataset.input import Shuffle, batches
from darkroom.models.networks.architectures import WHITENING_LAYER, build_scratch
from darkroom.models.networks.whitening import set_whitening, whitens
from darkroom.models.settings import TrainSettings
from darkroom.models.training.train import train_network
from darkroom.models.training_loop.stage import TrainRequest


def smooth(num_images: int) -> NDArray[np.uint8]:
    """Images whose neighbouring pixels and colours go together, as those of photographs do."""
    drawn = np.random.default_rng(0).normal(size=(num_images, 32, 32, 3)) * 60 + 110
    blurred = ndimage.gaussian_filter(drawn, (0, 0.6, 0.6, 0.4))
    pixels: NDArray[np.uint8] = blurred.clip(0, 255).astype(np.uint8)
    return pixels


def filtered(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What the whitening layer gives: `float64[places, filters]`."""
    inner = keras.Model(model.inputs[0], model.get_layer(WHITENING_LAYER).output)
    given = np.asarray(inner(images), np.float64)
    return given.reshape(-1, given.shape[-1])


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return build_scratch("airbench32", (32, 32), 2, dropout=0.0)


def test_filters_are_uncorrelated_and_of_size_one_and_each_has_its_opposite(model):
    images = smooth(60)
    set_whitening(model, [images[:25], images[25:]])
    given = filtered(model, images)
    moment = given.T @ given / len(given)
    np.testing.assert_allclose(moment[:12, :12], np.eye(12), atol=0.05)
    np.testing.assert_allclose(given[:, 12:], -given[:, :12], atol=1e-5)


def test_directions_that_do_not_vary_are_not_blown_up(model):
    grey = np.repeat(smooth(20)[..., :1], 3, axis=-1)  # 8 of the 12 directions are differences of equal colours
    set_whitening(model, [grey])
    sizes = (filtered(model, grey) ** 2).mean(axis=0)[:12]
    assert (sizes < 1e-3).sum() == 8
    assert (sizes > 0.9).sum() == 4
    assert np.abs(model.get_layer(WHITENING_LAYER).kernel.numpy()).max() <= 100  # 1 / sqrt(1e-4)


def test_training_sets_the_filters_by_its_own_images_and_leaves_them_so(dataset, tmp_path, model):
    settings = TrainSettings(model="airbench32", epochs=2, batch_size=12, seed=3)
    trained = train_network(TrainRequest(dataset, settings, tmp_path)).model
    set_whitening(model, (images for images, _ in batches(dataset, "train", 12, Shuffle(3, 0)).as_numpy_iterator()))
    found, expected = (each.get_layer(WHITENING_LAYER).kernel.numpy() for each in (trained, model))
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-3)
    assert not trained.get_layer(WHITENING_LAYER).trainable


def test_only_networks_with_that_layer_are_set(model):
    assert whitens(model)
    assert not whitens(build_scratch("residual32", (32, 32), 2, dropout=0.0))
