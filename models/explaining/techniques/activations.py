"""What a network's layers hold: the filters of its first convolutions, and its activations for an image.

Filters as in Krizhevsky, Sutskever, Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks",
figure 3; activations layer by layer as in Zeiler and Fergus 2013 (arXiv:1311.2901) and Yosinski et al. 2015,
"Understanding Neural Networks Through Deep Visualization" (arXiv:1506.06579).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.models.networks.layers import Probe, convolutions, feature_maps

MAX_FILTERS = 32
MAX_LAYERS = 6
MAX_CHANNELS = 8


@dataclass(frozen=True)
class Filters:
    """Filters of a convolution.

    Attributes:
        layer: The layer's name.
        kernels: `float32[N, h, w, 3]` for a layer that sees the colours, otherwise `float32[N, h, w, 1]`: of each
            filter the slice with the largest weights.
        num_filters: Filters of the layer; at most 32 are in `kernels`, those with the largest weights, in the layer's
            order.
    """

    layer: str
    kernels: NDArray[np.float32]
    num_filters: int


@dataclass(frozen=True)
class Activations:
    """The strongest channels of a layer for one image.

    Attributes:
        layer: The layer's name.
        channels: Their indices, largest mean first.
        maps: `float32[h, w, N]`.
        num_channels: Channels of the layer.
    """

    layer: str
    channels: tuple[int, ...]
    maps: NDArray[np.float32]
    num_channels: int


def first_filters(model: Any, num_layers: int = 2) -> list[Filters]:
    """The filters of the first convolutions that span more than one pixel.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to logits.
        num_layers: The most convolutions.

    Raises:
        SettingError: where the network has no convolutional layer.
    """
    spatial = [layer for layer in convolutions(model) if max(layer.kernel_size) > 1]
    return [_filters(layer) for layer in spatial[:num_layers]]


def strongest_activations(model: Any, image: NDArray[np.uint8]) -> list[Activations]:
    """The strongest channels for an image, of one layer per size of feature map, from the first to the last.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to logits.
        image: `uint8[H, W, 3]`.

    Raises:
        SettingError: where the network has no convolutional layer.
    """
    layers = feature_maps(model)
    if len(layers) > MAX_LAYERS:
        layers = [layers[place] for place in np.linspace(0, len(layers) - 1, MAX_LAYERS).round().astype(int)]
    _, outputs = Probe(model, layers)(image[None])
    return [_strongest(layer.name, output.numpy()[0]) for layer, output in zip(layers, outputs, strict=True)]


def _strongest(layer: str, output: NDArray[np.float32]) -> Activations:
    order = np.argsort(-output.mean(axis=(0, 1)), kind="stable")[:MAX_CHANNELS]
    return Activations(layer, tuple(order.tolist()), output[..., order], output.shape[-1])


def _filters(layer: Any) -> Filters:
    weights = np.asarray(layer.get_weights()[0])  # [h, w, inputs, filters]; of a depthwise one [h, w, filters, 1]
    if "Depthwise" in type(layer).__name__:
        kernels = weights.reshape(*weights.shape[:2], 1, -1)
    elif weights.shape[2] == 3:
        kernels = weights
    else:
        slices = np.linalg.norm(weights, axis=(0, 1)).argmax(axis=0)
        kernels = np.take_along_axis(weights, slices[None, None, None], axis=2)
    norms = np.sqrt(np.square(kernels).sum(axis=(0, 1, 2)))
    shown = np.sort(np.argsort(-norms, kind="stable")[:MAX_FILTERS])
    return Filters(layer.name, kernels[..., shown].transpose(3, 0, 1, 2), kernels.shape[-1])
