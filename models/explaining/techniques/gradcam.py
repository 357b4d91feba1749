"""Grad-CAM: where in an image a network found its evidence (Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from
Deep Networks via Gradient-based Localization", arXiv:1610.02391).

The gradient of a class's logit with respect to the last feature map of a convolution gives each channel a weight; the
weighted sum of the channels, its negative part cut off, is the heat map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.models.networks.layers import Probe, feature_maps


@dataclass(frozen=True)
class Evidence:
    """What the last feature map of one image says for some classes.

    Attributes:
        channels: `float32[h, w, K]`, the feature map.
        weights: `float32[C, K]`, for each class the mean gradient of its logit with respect to each channel.
    """

    channels: NDArray[np.float32]
    weights: NDArray[np.float32]

    def heat(self, place: int) -> NDArray[np.float32]:
        """Heat map `float32[h, w]`, 0 to 1, of one of the classes that were asked for, by its position among them."""
        heat = np.maximum(self.channels @ self.weights[place], 0)
        return np.asarray(heat / heat.max() if heat.max() > 0 else heat, dtype=np.float32)

    def contributions(self) -> NDArray[np.float32]:
        """`float32[C, K]`: how much each channel adds to each logit, to first order.

        That is its mean activation times the summed gradient.
        """
        height, width, _ = self.channels.shape
        return np.asarray(self.channels.mean(axis=(0, 1)) * self.weights * (height * width), dtype=np.float32)


def find_evidence(model: Any, image: NDArray[np.uint8], classes: Sequence[int]) -> Evidence:
    """The last feature map and the weights of its channels for some classes, from one run of the network.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to logits.
        image: `uint8[H, W, 3]`.
        classes: In label map order.

    Raises:
        SettingError: where the network has no convolutional layer.
    """
    import tensorflow as tf

    layer = feature_maps(model)[-1]
    probe, pixels = Probe(model, [layer]), tf.constant(image[None], tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(pixels)  # or nothing is recorded where no weight is trainable
        logits, (channels,) = probe(pixels)
        scores = [logits[0, index] for index in classes]
    weights = [tf.reduce_mean(tape.gradient(score, channels), axis=(0, 1, 2)).numpy() for score in scores]
    return Evidence(channels.numpy()[0], np.asarray(weights, dtype=np.float32))


def grad_cam(model: Any, image: NDArray[np.uint8], class_index: int) -> NDArray[np.float32]:
    """Heat map `float32[h, w]`, 0 to 1, of a class, at the size of the last feature map of a convolution.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to logits.
        image: `uint8[H, W, 3]`.
        class_index: In label map order.

    Raises:
        SettingError: where the network has no convolutional layer.
    """
    return find_evidence(model, image, [class_index]).heat(0)
