"""A whitening first convolution: over the training images, its outputs are uncorrelated with unit variance.

A network learns faster from such an input (Page 2018, "How to train your ResNet", part 8; Jordan 2024,
arXiv:2404.00498, section 3.1). Each direction has a filter for either sign, so that nothing is lost in the ReLU that
follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.models.networks.architectures import WHITENING_LAYER

_MIN_VARIANCE = 1e-4  # of pixels from -1 to 1: directions that hardly vary are noise, and are not blown up


def whitens(model: Any) -> bool:
    """Whether the network has a whitening convolution."""
    return any(layer.name == WHITENING_LAYER for layer in model.layers)


def set_whitening(model: Any, images: Iterable[NDArray[np.uint8]]) -> None:
    """Set the filters of the whitening convolution from training images.

    Args:
        model: A network for which `whitens` is true; changed in place.
        images: Batches `uint8[N, H, W, 3]`, enough to estimate how neighbouring pixels vary together.
    """
    import keras

    layer = model.get_layer(WHITENING_LAYER)
    scaled = keras.Model(model.inputs[0], layer.input)
    height, width, channels, filters = layer.kernel.shape
    moment, count = np.zeros((height * width * channels,) * 2), 0
    for batch in images:
        pixels = np.asarray(scaled(batch), np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (height, width), axis=(1, 2))
        patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, len(moment))
        moment, count = moment + patches.T @ patches, count + len(patches)
    variances, directions = np.linalg.eigh(moment / count)
    whitening = directions / np.sqrt(variances + _MIN_VARIANCE)
    kernel = np.concatenate([whitening, -whitening], axis=1)
    layer.set_weights([kernel.reshape(height, width, channels, filters).astype(np.float32)])
