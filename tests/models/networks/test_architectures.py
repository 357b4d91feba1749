"""Networks by name: their layers, their sizes, what goes in and what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from darkroom.data.errors import InputError, SettingError
from darkroom.models.networks import architectures
from darkroom.models.networks.architectures import (
    build_backbone,
    build_scratch,
    describe,
    flip_averaged,
    known_networks,
)
from darkroom.models.onnx.runtime import OnnxRunner, export_onnx


def num_conv(kernel: int, inputs: int, filters: int) -> int:
    return kernel * kernel * inputs * filters + filters


def num_dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def layers_of(model: Any) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def noise(size: int, num_images: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_images, size, size, 3), dtype=np.uint8)


def test_starter_is_three_blocks_of_convolution_and_pooling_and_a_dense_layer():
    model = build_scratch("starter", (96, 96), 2, dropout=0.5)
    block = ["Conv2D", "MaxPooling2D"]
    assert layers_of(model) == ["Rescaling", *block * 3, "Flatten", "Dense", "Dropout", "Dense"]
    # 96 -> 94 -> 47 -> 45 -> 22 -> 20 -> 10 pixels a side.
    expected = num_conv(3, 3, 32) + num_conv(3, 32, 32) + num_conv(3, 32, 64)
    assert model.count_params() == expected + num_dense(10 * 10 * 64, 64) + num_dense(64, 2)


def test_cifar4_is_the_network_of_the_keras_guide():
    model = build_scratch("cifar4", (32, 32), 10, dropout=0.5)
    block = ["Conv2D", "Conv2D", "MaxPooling2D", "Dropout"]
    assert layers_of(model) == ["Rescaling", *block * 2, "Flatten", "Dense", "Dropout", "Dense"]
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.25, 0.25, 0.5]
    # 32 -> 30 -> 15 -> 13 -> 6 pixels a side; 1,250,858 is what the guide's own summary prints.
    expected = num_conv(3, 3, 32) + num_conv(3, 32, 32) + num_conv(3, 32, 64) + num_conv(3, 64, 64)
    assert expected + num_dense(6 * 6 * 64, 512) + num_dense(512, 10) == 1_250_858
    assert model.count_params() == 1_250_858


def test_cifar6_is_three_padded_blocks():
    model = build_scratch("cifar6", (32, 32), 10, dropout=0.5)
    block = ["Conv2D", "Conv2D", "MaxPooling2D", "Dropout"]
    assert layers_of(model) == ["Rescaling", *block * 3, "Flatten", "Dense", "Dropout", "Dense"]
    pairs = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    expected = sum(num_conv(3, inputs, filters) for inputs, filters in pairs)
    assert model.count_params() == expected + num_dense(4 * 4 * 128, 512) + num_dense(512, 10)


def num_conv_bn(inputs: int, *filters: int) -> int:
    """Parameters of 3 x 3 convolutions without bias, one after the other, each with its batch normalisation."""
    pairs = zip((inputs, *filters), filters, strict=False)
    return sum(9 * before * after + 4 * after for before, after in pairs)


@pytest.mark.parametrize(
    ("name", "size", "filters", "last_map"),
    [
        ("residual32", 32, (24, 48, 48, 48, 96, 96, 96, 192), 4),
        ("residual96", 96, (24, 32, 64, 64, 64, 96, 96, 96, 160, 160, 160), 6),
    ],
)
def test_residual_networks_have_these_layers(name, size, filters, last_map):
    model = build_scratch(name, (size, size), 7, dropout=0.3)
    assert model.count_params() == num_conv_bn(3, *filters) + num_dense(filters[-1], 7)
    pooled = next(layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
    assert pooled.input.shape == (None, last_map, last_map, filters[-1])


def test_airbench32_whitens_and_begins_by_handing_on_the_channels_that_it_is_given():
    model = build_scratch("airbench32", (32, 32), 7, dropout=0.3)
    filters = (64, 64, 256, 256, 256, 256)
    assert model.count_params() == 2 * 2 * 3 * 24 + num_conv_bn(24, *filters) + num_dense(256, 7)
    assert sum(weight.shape.num_elements() for weight in model.get_layer("whitening").trainable_weights) == 0
    maps = np.random.default_rng(0).normal(size=(2, 9, 9, 24)).astype(np.float32)
    more = np.asarray(model.get_layer("conv1a_conv")(maps))
    np.testing.assert_allclose(more[..., :24], maps, atol=1e-6)
    assert more[..., 24:].std() > 0.1
    np.testing.assert_allclose(np.asarray(model.get_layer("conv1b_conv")(more)), more, atol=1e-6)


@pytest.mark.parametrize("name", ["residual32", "residual96"])
def test_a_residual_block_begins_as_the_identity(name):
    model = build_scratch(name, (32, 32), 2, dropout=0.0)
    images = noise(32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Add):
            identity, inner = layer.input
            around = keras.Model(model.inputs[0], [identity, layer.output, inner])
            before, after, added = (np.asarray(values) for values in around(images, training=False))
            np.testing.assert_array_equal(after, before)
            assert (added == 0).all()
            assert before.std() > 0


@pytest.mark.parametrize("name", ["cifar4", "residual96"])
def test_flip_averaging_gives_the_mean_of_an_image_and_its_mirror_image_in_both_formats(name, tmp_path):
    model = build_scratch(name, (32, 32), 3, dropout=0.5)
    averaged = flip_averaged(model)
    images = noise(32, 4)
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    expected = (np.asarray(model(images, training=False)) + np.asarray(model(mirrored, training=False))) / 2
    averaged.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    export_onnx(averaged, tmp_path / "model.onnx")
    runner = OnnxRunner(tmp_path / "model.onnx")
    for run in (lambda pixels: np.asarray(again(pixels, training=False)), runner):
        np.testing.assert_allclose(run(images), expected, atol=1e-5)
        np.testing.assert_allclose(run(mirrored), expected, atol=1e-5)
    assert np.abs(expected - np.asarray(model(images, training=False))).max() > 1e-4
    assert averaged.count_params() == model.count_params()


@pytest.mark.parametrize(("name", "size"), [("starter", 96), ("cifar4", 32), ("cifar6", 32), ("mobilenetv2", 96)])
def test_a_network_takes_uint8_images_and_gives_logits(name, size):
    model = build_scratch(name, (size, size), 3, dropout=0.2)
    assert model.input_shape == (None, size, size, 3)
    assert model.inputs[0].dtype == "uint8"
    logits = np.asarray(model(noise(size), training=False))
    assert logits.shape == (2, 3)
    assert logits.dtype == np.float32
    assert model.layers[-1].activation is keras.activations.linear


def test_scaling_is_part_of_the_network_so_that_no_caller_can_forget_it():
    model = build_scratch("starter", (32, 32), 2, dropout=0.5)
    images = noise(32)
    after_scaling = keras.Model(model.inputs[0], model.get_layer("rescaling").output)(images)
    np.testing.assert_allclose(after_scaling, images.astype(np.float64) / 127.5 - 1, atol=1e-6)
    # What the tutorials' callers do, dividing by 255 themselves, is cut down to integers and can never pass unseen.
    divided = np.asarray(model((images / 255).astype(np.uint8), training=False))
    assert np.abs(divided - np.asarray(model(images, training=False))).max() > 0.01


def test_the_names_of_keras_applications_are_those_that_keras_has():
    assert architectures._application_names() == set(architectures._applications())


def test_a_network_of_keras_applications_scales_as_its_own_weights_want_it():
    """MobileNetV2's weights were trained on -1 to 1, VGG16's on BGR less the mean colour of ImageNet."""
    images = noise(32, 1)
    for name, scaled in {
        "mobilenetv2": images / 127.5 - 1,
        "vgg16": images[..., ::-1] - np.array([103.939, 116.779, 123.68]),
    }.items():
        backbone = build_backbone(name, (32, 32), "none")
        inner = next(layer for layer in backbone.layers if isinstance(layer, keras.Model))
        expected = np.asarray(inner(scaled.astype(np.float32), training=False))
        np.testing.assert_allclose(backbone(images, training=False), expected, atol=1e-4)


def test_a_network_of_keras_applications_has_a_nested_backbone_and_survives_safe_mode(tmp_path):
    model = build_scratch("MobileNetV2", (96, 96), 3, dropout=0.2)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_allclose(again(noise(96)), model(noise(96)), atol=1e-5)


def test_every_network_is_described_by_its_name_in_any_case():
    assert describe("cifar4").pretrained is False
    assert describe("efficientnet-lite0").pretrained is True
    assert describe("efficientnet-lite0", weights="none").pretrained is False
    assert describe("ResNet50").pretrained is True
    names = known_networks()
    assert names[:7] == ["starter", "cifar4", "cifar6", "residual32", "residual96", "airbench32", "efficientnet-lite0"]
    assert names[7:9] == ["efficientnet-lite1", "efficientnet-lite2"]
    assert [describe(name).image_size for name in names[6:9]] == [(160, 160), (240, 240), (260, 260)]
    assert {"resnet50", "mobilenetv2", "mobilenetv3small", "efficientnetb0", "vgg16", "xception"} < set(names)
    assert all(describe(name).name == name for name in names)


def test_an_unknown_network_is_refused_with_the_names_that_there_are():
    with pytest.raises(SettingError, match=r"no network 'resnet5O'.*starter, cifar4, cifar6.*resnet50"):
        describe("resnet5O")


def test_images_too_small_for_a_network_are_refused_with_a_sentence():
    with pytest.raises(SettingError, match="12 x 12 pixels are too small for starter"):
        build_scratch("starter", (12, 12), 2, dropout=0.5)
    with pytest.raises(SettingError, match="does not take images of"):
        build_scratch("xception", (32, 32), 2, dropout=0.5)


def test_imagenet_weights_that_cannot_be_fetched_end_in_one_sentence_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    from urllib.error import URLError

    from keras.src.utils import file_utils

    def no_network(*args: Any, **kwargs: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(file_utils, "urlretrieve", no_network)
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    with pytest.raises(
        InputError, match=r"ImageNet weights of mobilenetv2.*--weights none.*efficientnet-lite0"
    ) as caught:
        build_backbone("mobilenetv2", (96, 96), "imagenet")
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""  # standard output is for results
