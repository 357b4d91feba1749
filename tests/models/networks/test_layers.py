"""Looking inside a network while it runs: every form of network gives the same answers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from darkroom.data.errors import SettingError
from darkroom.models.networks.architectures import build_scratch
from darkroom.models.networks.layers import Probe, convolutions, feature_maps, unmirrored
from tests.planted import FORMS, planted

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def cell_means(images: NDArray[np.uint8], channel: int) -> NDArray[np.floating]:
    """The mean of one colour of 4 x 4 pixels, 0 to 1: `[N, 8, 8]`."""
    return np.asarray(images[..., channel].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)) / 255)


@pytest.mark.parametrize("form", FORMS)
def test_the_feature_map_is_what_the_convolution_computes(form):
    model = unmirrored(planted(form))
    (layer,) = feature_maps(model)
    assert layer.name == "conv"
    logits, (output,) = Probe(model, [layer])(IMAGES)
    expected = np.stack([cell_means(IMAGES, 0), cell_means(IMAGES, 2)], axis=-1)
    np.testing.assert_allclose(output, expected, atol=1e-6)
    np.testing.assert_allclose(logits, expected.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(logits, model(IMAGES))


@pytest.mark.parametrize("form", FORMS)
def test_a_float_image_gives_the_same_logits_and_a_gradient_of_every_pixel(form):
    model = planted(form)
    inner = unmirrored(model)
    pixels = tf.Variable(IMAGES.astype(np.float32))
    probe = Probe(inner, [])
    with tf.GradientTape() as tape:
        logits, _ = probe(tf.convert_to_tensor(pixels))
        total = tf.reduce_sum(logits[:, 0])
    np.testing.assert_allclose(logits, inner(IMAGES), atol=1e-6)
    gradient = np.asarray(tape.gradient(total, pixels))
    expected = np.zeros(IMAGES.shape)
    expected[..., 0] = 1 / (255 * 32 * 32)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-12)


def test_only_a_network_that_averages_over_the_mirror_image_is_taken_apart():
    assert unmirrored(planted("mirrored")).name != planted("mirrored").name
    for form in ("plain", "nested", "preprocessed"):
        model = planted(form)
        assert unmirrored(model) is model


def test_outputs_before_the_activation_leave_the_network_as_it_was():
    model = planted("nested", bias=-0.9)
    (layer,) = feature_maps(model)
    before = np.asarray(model(IMAGES))
    logits, (linear,) = Probe(model, [layer], linear=True)(IMAGES)
    np.testing.assert_allclose(linear[..., 1], cell_means(IMAGES, 2) - 0.9, atol=1e-6)
    assert np.asarray(linear).min() < 0
    np.testing.assert_array_equal(logits, before)
    np.testing.assert_array_equal(model(IMAGES), before)
    _, (usual,) = Probe(model, [layer])(IMAGES)
    assert np.asarray(usual).min() == 0


def test_a_relu_layer_of_its_own_is_looked_at_before_it():
    image = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.Conv2D(2, 3, name="conv")(keras.layers.Rescaling(1 / 127.5, -1)(image))
    x = keras.layers.ReLU(name="relu")(x)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    layers = [model.get_layer("relu"), model.get_layer("conv")]
    _, (linear, conv) = Probe(model, layers, linear=True)(IMAGES[:, :8, :8])
    np.testing.assert_array_equal(linear, conv)
    assert feature_maps(model) == layers[:1]


def test_one_layer_is_taken_for_each_size_the_last_of_it():
    model = build_scratch("cifar4", (32, 32), 3, 0.1)
    assert [layer.name for layer in feature_maps(model)] == ["conv1a", "conv1b", "conv2a", "conv2b"]
    assert [layer.name for layer in convolutions(model)] == ["conv1a", "conv1b", "conv2a", "conv2b"]


@pytest.mark.parametrize("name", ["cifar4", "residual96", "airbench32", "efficientnet-lite0", "mobilenet"])
def test_every_kind_of_network_computes_the_same_with_its_layers_watched(name):
    """Compared with the model itself and, of its largest and its smallest map, with Keras used plainly."""
    side = 32 if name in ("cifar4", "airbench32", "mobilenet") else 64
    model = build_scratch(name, (side, side), 3, 0.1)
    images = RNG.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    nested = next((layer for layer in model.layers if isinstance(layer, keras.Model)), model)
    owner = next((layer for layer in nested.layers if isinstance(layer, keras.Model)), nested)
    layers = [feature_maps(model)[0], feature_maps(model)[-1]]
    before = np.asarray(model(images)), model.to_json()
    logits, outputs = Probe(model, layers)(images)
    np.testing.assert_array_equal(logits, before[0])
    np.testing.assert_array_equal(model(images), before[0])
    assert model.to_json() == before[1]
    inside = images
    if owner is not model and owner is not nested:  # scaled outside, as keras.applications do
        inside = keras.applications.mobilenet.preprocess_input(images.astype(np.float32))
    wanted = []
    if isinstance(owner, keras.Sequential):
        for layer in owner.layers:
            inside = layer(inside)
            wanted += [inside] * (layer in layers)
    else:
        wanted = keras.Model(owner.inputs[0], [layer.output for layer in layers])(inside)
    for found, expected in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_frozen_backbone_still_gives_a_gradient_of_its_last_map():
    model = planted("nested")
    for layer in model.layers:
        layer.trainable = False
    probe, pixels = Probe(model, feature_maps(model)), tf.constant(IMAGES, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        logits, (maps,) = probe(pixels)
        total = tf.reduce_sum(logits[:, 0])
    gradient = np.asarray(tape.gradient(total, maps))
    np.testing.assert_allclose(gradient[..., 0], 1 / 64)
    np.testing.assert_array_equal(gradient[..., 1], 0)


def test_a_network_without_convolutions_is_refused_with_a_sentence():
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)], name="flat")
    with pytest.raises(SettingError, match="flat has no convolutional layer"):
        feature_maps(model)
