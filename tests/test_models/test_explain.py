"""Grad-CAM, on networks whose answer is known by construction, and pictures of images that can be read."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from data.errors import InputError, SettingError
from models.bundle import open_bundle
from models.evaluate import evaluate_bundle
from models.explain import choose_examples, explain_images, grad_cam


def planted(nested: bool) -> keras.Model:
    """Class 0 is the mean of red, class 1 the mean of blue, over a map of 8 x 8 cells of 4 x 4 pixels."""
    image = keras.Input((32, 32, 3), dtype="uint8")
    conv = keras.layers.Conv2D(2, 4, strides=4, use_bias=False, name="conv")
    features = keras.layers.ReLU()(conv(keras.layers.Rescaling(1 / 255)(image)))
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    kernel = np.zeros((4, 4, 3, 2), np.float32)
    kernel[..., 0, 0] = kernel[..., 2, 1] = 1 / 16
    conv.set_weights([kernel])
    logits = keras.layers.Dense(2, use_bias=False, name="logits")
    if not nested:
        model = keras.Model(image, logits(pooled))
    else:
        outer = keras.Input((32, 32, 3), dtype="uint8")
        model = keras.Model(outer, logits(keras.Model(image, pooled, name="backbone")(outer)))
    logits.set_weights([np.eye(2, dtype=np.float32)])
    return model


@pytest.mark.parametrize("nested", [False, True])
def test_the_heat_lies_where_the_class_does_and_nowhere_else(nested):
    model = planted(nested)
    image = np.zeros((32, 32, 3), np.uint8)
    image[:8, :12, 0] = 255  # red, top left: rows 0-1, columns 0-2 of the map
    image[24:, 24:, 2] = 102  # blue, bottom right
    image[16:20, 24:28, 2] = 204  # and twice as blue in one cell above it
    red, blue = np.zeros((8, 8)), np.zeros((8, 8))
    red[:2, :3] = 1
    blue[6:, 6:], blue[4, 6] = 0.5, 1
    for place, expected in enumerate((red, blue)):
        heat = grad_cam(model, image, place)
        assert heat.dtype == np.float32
        np.testing.assert_allclose(heat, expected, atol=1e-6)


def test_what_speaks_against_a_class_is_not_hot_and_an_image_without_evidence_is_cold():
    model = planted(nested=False)
    model.get_layer("logits").set_weights([np.array([[1, -1], [-1, 1]], np.float32)])
    image = np.zeros((32, 32, 3), np.uint8)
    assert grad_cam(model, image, 0).max() == 0
    image[:4, :4, 2] = 255
    assert grad_cam(model, image, 0).max() == 0
    assert grad_cam(model, image, 1).max() == 1


def test_the_network_is_left_as_it_was_even_after_a_failure():
    model = planted(nested=True)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    before = np.asarray(model(image[None]))
    grad_cam(model, image, 0)
    with pytest.raises(Exception, match=r".+"):
        grad_cam(model, image[:16], 0)
    layers = [layer for layer in model._flatten_layers() if "call" in vars(layer)]
    assert layers == []
    np.testing.assert_array_equal(model(image[None]), before)


def test_a_network_without_convolutions_is_refused_with_a_sentence():
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)], name="flat")
    with pytest.raises(SettingError, match="flat has no convolutional layer"):
        grad_cam(model, np.zeros((4, 4, 3), np.uint8), 0)


def test_a_trained_network_gives_heat_from_0_to_1(bundle, images):
    model = bundle.keras_model()
    pixels = np.asarray(Image.open(images / "test" / "blue" / sorted((images / "test/blue").glob("*.png"))[0].name))
    for place in range(3):
        heat = grad_cam(model, np.ascontiguousarray(pixels[:32, :32]), place)
        assert heat.ndim == 2
        assert heat.min() >= 0
        assert heat.max() in (0, 1)


def test_unreadable_images_become_reasons_and_the_others_pictures_with_the_same_bytes_each_time(
    bundle, images, tmp_path
):
    folder = tmp_path / "new"
    folder.mkdir()
    good = folder / "..$(touch x) é.png"
    Image.open(next((images / "test" / "green").glob("*.png"))).save(good)
    paths = [images / "test/blue/cut.jpg", good, folder / "missing.png"]
    done = explain_images(bundle, paths, tmp_path / "one")
    assert [(item.image, item.reason) for item in done] == [
        (str(paths[0]), "truncated"), (str(good), None), (str(paths[2]), "unreadable"),
    ]  # fmt: skip
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["001-.._touch_x_.png"]
    assert done[1].picture == tmp_path / "one" / "001-.._touch_x_.png"
    assert done[1].picture is not None
    with Image.open(done[1].picture) as picture:
        picture.load()
        assert picture.format == "PNG"
    again = explain_images(bundle, paths, tmp_path / "two")
    assert again[1].picture is not None
    assert again[1].picture.read_bytes() == done[1].picture.read_bytes()


def test_where_no_image_can_be_read_the_reasons_are_said(bundle, images, tmp_path):
    with pytest.raises(InputError, match=r"None of the images can be read: .*cut\.jpg \(truncated\)"):
        explain_images(bundle, [images / "test/blue/cut.jpg"], tmp_path / "out")


def test_the_examples_are_the_worst_mistakes_and_then_the_surest_hits_of_every_class(bundle, dataset, tmp_path):
    copied = open_bundle(shutil.copytree(bundle.folder, tmp_path / "bundle"))
    report = evaluate_bundle(copied, dataset, "test", "pytest")
    chosen = choose_examples(copied, num_wrong=2, num_right=3)
    wrong = [mistake.path for mistake in report.worst_mistakes[:2]]
    assert chosen[: len(wrong)] == wrong
    assert sorted(Path(path).parent.name for path in chosen[len(wrong) :]) == ["amber", "blue", "green"]
