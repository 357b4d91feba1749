"""Grad-CAM, on networks whose answer is known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from darkroom.models.explaining.techniques.gradcam import find_evidence, grad_cam
from darkroom.models.networks.layers import unmirrored
from tests.planted import FORMS, planted


@pytest.mark.parametrize("form", FORMS)
def test_the_heat_lies_where_the_class_does_and_nowhere_else(form):
    model = unmirrored(planted(form))
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
    model = planted(head=[[1, -1], [-1, 1]])
    image = np.zeros((32, 32, 3), np.uint8)
    assert grad_cam(model, image, 0).max() == 0
    image[:4, :4, 2] = 255
    assert grad_cam(model, image, 0).max() == 0
    assert grad_cam(model, image, 1).max() == 1


def test_the_contributions_of_a_linear_head_are_its_weights_times_the_channels_means():
    head = np.array([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]])
    model = planted("nested", head)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = find_evidence(model, image, [2, 0]).contributions()
    means = image[..., [0, 2]].mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(found, (means[:, None] * head).T[[2, 0]], rtol=1e-4)
    logits = np.asarray(model(image[None]))[0]
    np.testing.assert_allclose(found.sum(axis=1), logits[[2, 0]], rtol=1e-4)


def test_a_trained_network_gives_heat_from_0_to_1(bundle, images):
    model = bundle.keras_model()
    pixels = np.asarray(Image.open(sorted((images / "test/blue").glob("*.png"))[0]))
    for place in range(3):
        heat = grad_cam(model, np.ascontiguousarray(pixels[:32, :32]), place)
        assert heat.shape == (13, 13)
        assert heat.min() >= 0
        assert heat.max() in (0, 1)
