"""Architectures by name. Each takes `uint8[N, H, W, 3]`, normalises it, and returns `logits float32[N, C]`.

A network with a backbone is nested: `Sequential`-like, input, backbone (`float32[N, F]` features), dropout, dense.
Scaling is a layer of the model, so that no caller can forget it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.data.errors import InputError, SettingError
from darkroom.models.networks import efficientnet_lite
from darkroom.models.networks.efficientnet_lite import FAMILY, LITE0, LITE1, LITE2
from darkroom.models.networks.layers import unmirrored

LOGITS_LAYER = "logits"
WHITENING_LAYER = "whitening"


@dataclass(frozen=True)
class NetworkFacts:
    """Facts of an architecture, known before it is built.

    Attributes:
        name: As given by the user.
        image_size: (height, width) in pixels that suits it, where the data set is made for it.
        pretrained: Whether it has a backbone with pretrained weights, used frozen at first.
    """

    name: str
    image_size: tuple[int, int]
    pretrained: bool


_SCRATCH_SIZES = {
    "starter": (96, 96),
    "cifar4": (32, 32),
    "cifar6": (32, 32),
    "residual32": (32, 32),
    "residual96": (96, 96),
    "airbench32": (32, 32),
}
# Lite0 at less than the size that its weights were trained at: half the cost for nearly the same accuracy.
_LITE_SIZES = {LITE0: (160, 160), LITE1: FAMILY[LITE1].image_size, LITE2: FAMILY[LITE2].image_size}


def known_networks() -> list[str]:
    """Every name that `describe` accepts, ours first."""
    return [*_SCRATCH_SIZES, *_LITE_SIZES, *sorted(_application_names())]


def describe(name: str, weights: str = "imagenet") -> NetworkFacts:
    """Facts of an architecture.

    Args:
        name: One of `known_networks`.
        weights: `imagenet` or `none`.

    Raises:
        SettingError: where there is no such architecture; the message lists them.
    """
    if name in _SCRATCH_SIZES:
        return NetworkFacts(name, _SCRATCH_SIZES[name], pretrained=False)
    if name in _LITE_SIZES:
        return NetworkFacts(name, _LITE_SIZES[name], pretrained=weights == "imagenet")
    if name.lower() in _application_names():
        return NetworkFacts(name, (224, 224), pretrained=weights == "imagenet")
    raise SettingError(
        f"There is no network {name!r}. Use {', '.join([*_SCRATCH_SIZES, *_LITE_SIZES])}, or one of "
        f"keras.applications: {', '.join(sorted(_application_names()))}."
    )


def build_backbone(name: str, image_size: tuple[int, int], weights: str) -> Any:
    """A backbone, `uint8[N, H, W, 3]` to `float32[N, F]`.

    Args:
        name: `efficientnet-lite0` to `efficientnet-lite2`, or a network of keras.applications.
        image_size: (height, width) in pixels.
        weights: `imagenet` for pretrained weights, `none` for fresh ones.

    Raises:
        SettingError: where the network does not take images of this size.
        InputError: where the weights are neither installed nor to be downloaded.
    """
    if name in _LITE_SIZES:
        backbone = efficientnet_lite.build_backbone(image_size, name)
        if weights == "imagenet":
            efficientnet_lite.load_pretrained(backbone)
    else:
        backbone = _application_backbone(name.lower(), image_size, weights)
    return backbone


def with_head(backbone: Any, num_classes: int, dropout: float) -> Any:
    """A classifier, `uint8[N, H, W, 3]` to `logits float32[N, C]`: backbone, dropout and one dense layer.

    Args:
        backbone: From `build_backbone`; it stays a network of its own inside the classifier.
        num_classes: C.
        dropout: Share of the features dropped in training.
    """
    import keras

    image = keras.Input(backbone.input_shape[1:], dtype="uint8", name="image")
    features = backbone(image)
    features = keras.layers.Dropout(dropout, name="dropout")(features)
    logits = keras.layers.Dense(num_classes, dtype="float32", name=LOGITS_LAYER)(features)
    return keras.Model(image, logits, name=f"{backbone.name}_classifier")


def flip_averaged(model: Any) -> Any:
    """The network that averages the outputs of `model` for an image and its mirror image.

    Exactly symmetric, at twice the cost: `uint8[N, H, W, 3]` to `logits float32[N, C]` as before.
    """
    import keras

    image = keras.Input(model.input_shape[1:], dtype="uint8", name="image")
    both = [model(image), model(image[:, :, ::-1, :])]
    return keras.Model(image, keras.layers.Average(name="flip_average")(both), name=f"{model.name}_flip_averaged")


def with_embeddings(model: Any) -> Any:
    """The network with a second output: `uint8[N, H, W, 3]` to logits `float32[N, C]` and embeddings `float32[N, D]`.

    An embedding is the input of the last dense layer. For a flip-averaged network it is the mean of both; that layer is
    linear, so the logits are still its output for this mean. A network without such a layer, or with more than one
    vector before it, is returned as it is.
    """
    import keras

    inner = unmirrored(model)
    last = next((layer for layer in inner.layers if layer.name == LOGITS_LAYER), None)
    if not isinstance(last, keras.layers.Dense) or len(last.input.shape) != 2:
        return model
    both = keras.Model(inner.inputs[0], [inner.outputs[0], last.input], name=model.name)
    if inner is model:
        return both
    image = keras.Input(model.input_shape[1:], dtype="uint8", name="image")
    sides = zip(both(image), both(image[:, :, ::-1, :]), strict=True)
    return keras.Model(image, [keras.layers.Average()(pair) for pair in sides], name=model.name)


def build_scratch(name: str, image_size: tuple[int, int], num_classes: int, dropout: float) -> Any:
    """A network without pretrained weights, `uint8[N, H, W, 3]` to `logits float32[N, C]`.

    Args:
        name: One that `describe` accepts.
        image_size: (height, width) in pixels.
        num_classes: C.
        dropout: Dropout rate before the last layer.

    Raises:
        SettingError: where the images are too small for it.
    """
    if name in _SCRATCH_SIZES:
        builders: list[Callable[..., Any]] = [_starter, _cifar4, _cifar6, _residual32, _residual96, _airbench32]
        builder = {each.__name__[1:]: each for each in builders}[name]
        try:
            return builder(image_size, num_classes, dropout)
        except ValueError:
            height, width = image_size
            raise SettingError(
                f"Images of {height} x {width} pixels are too small for {name}, which halves them several times. "
                f"Ingest them at {' x '.join(map(str, _SCRATCH_SIZES[name]))}."
            ) from None
    return with_head(build_backbone(name, image_size, "none"), num_classes, dropout)


def _sequential(name: str, image_size: tuple[int, int], layers: list[Any]) -> Any:
    import keras

    model = keras.Sequential(name=name)
    model.add(keras.Input((*image_size, 3), dtype="uint8", name="image"))
    model.add(keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling"))
    for layer in layers:
        model.add(layer)
    return model


def _starter(image_size: tuple[int, int], num_classes: int, dropout: float) -> Any:
    """The CNN of the cats-and-dogs guides (Chollet 2016, "Building powerful image classification models")."""
    import keras

    layers: list[Any] = []
    for number, filters in enumerate((32, 32, 64), start=1):
        layers += [
            keras.layers.Conv2D(filters, 3, activation="relu", name=f"conv{number}"),
            keras.layers.MaxPooling2D(name=f"pool{number}"),
        ]
    return _sequential("starter", image_size, layers + _flat_head(64, num_classes, dropout))


def _flat_head(units: int, num_classes: int, dropout: float) -> list[Any]:
    """A dense layer on the flattened feature map, dropout, and the logits."""
    import keras

    return [
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(units, activation="relu", name="dense"),
        keras.layers.Dropout(dropout, name="dropout"),
        keras.layers.Dense(num_classes, name=LOGITS_LAYER),
    ]


def _cifar_blocks(widths: tuple[int, ...], second_padding: str, dropout: float) -> list[Any]:
    """For each width two convolutions, pooling and dropout."""
    import keras

    layers: list[Any] = []
    for number, filters in enumerate(widths, start=1):
        conv = partial(keras.layers.Conv2D, filters, 3, activation="relu")
        layers += [
            conv(padding="same", name=f"conv{number}a"),
            conv(padding=second_padding, name=f"conv{number}b"),
            keras.layers.MaxPooling2D(name=f"pool{number}"),
            keras.layers.Dropout(dropout / 2, name=f"dropout{number}"),
        ]
    return layers


def _cifar4(image_size: tuple[int, int], num_classes: int, dropout: float) -> Any:
    """The network of Keras's `cifar10_cnn.py`: two blocks, the second convolution of each without padding."""
    blocks = _cifar_blocks((32, 64), "valid", dropout)
    return _sequential("cifar4", image_size, blocks + _flat_head(512, num_classes, dropout))


def _cifar6(image_size: tuple[int, int], num_classes: int, dropout: float) -> Any:
    """Three blocks of the same, padded throughout, as the guides do that go on from there."""
    blocks = _cifar_blocks((32, 64, 128), "same", dropout)
    return _sequential("cifar6", image_size, blocks + _flat_head(512, num_classes, dropout))


def _conv(x: Any, name: str, filters: int, stride: int = 1, zero: bool = False) -> Any:
    """Convolution 3 x 3 and batch normalisation; with `zero` its scale begins at zero."""
    return _batch_norm(_conv_alone(x, name, filters, stride), name, zero)


def _conv_alone(x: Any, name: str, filters: int, stride: int = 1) -> Any:
    import keras

    return keras.layers.Conv2D(filters, 3, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)


def _batch_norm(x: Any, name: str, zero: bool = False) -> Any:
    import keras

    gamma = "zeros" if zero else "ones"
    return keras.layers.BatchNormalization(momentum=0.9, gamma_initializer=gamma, name=f"{name}_bn")(x)


def _conv_relu(x: Any, name: str, filters: int, stride: int = 1, pool: bool = False) -> Any:
    import keras

    x = keras.layers.ReLU(name=f"{name}_relu")(_conv(x, name, filters, stride))
    return keras.layers.MaxPooling2D(name=f"{name}_pool")(x) if pool else x


def _residual(x: Any, name: str) -> Any:
    """Two convolutions beside the identity (He et al. 2015); the block begins as the identity, which trains faster."""
    import keras

    filters = x.shape[-1]
    inner = _conv(_conv_relu(x, f"{name}_first", filters), f"{name}_second", filters, zero=True)
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([x, inner]))


def _classifier(name: str, image_size: tuple[int, int], num_classes: int, dropout: float, body: Any) -> Any:
    """Scaling, `body` from pixels to a feature map, its mean over places, dropout, a dense layer."""
    import keras

    image = keras.Input((*image_size, 3), dtype="uint8", name="image")
    x = body(keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(image))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(image, keras.layers.Dense(num_classes, name=LOGITS_LAYER)(x), name=name)


def _residual96(image_size: tuple[int, int], num_classes: int, dropout: float) -> Any:
    """For photographs and few of them, on a CPU: 0.9 million parameters, feature maps from 48 x 48 to 6 x 6."""

    def body(x: Any) -> Any:
        x = _conv_relu(x, "conv1", 24, stride=2)
        x = _conv_relu(x, "conv2", 32, pool=True)
        x = _residual(_conv_relu(x, "conv3", 64), "block3")
        x = _residual(_conv_relu(_pool(x, "block3"), "conv4", 96), "block4")
        return _residual(_conv_relu(_pool(x, "block4"), "conv5", 160), "block5")

    return _classifier("residual96", image_size, num_classes, dropout, body)


def _residual32(image_size: tuple[int, int], num_classes: int, dropout: float) -> Any:
    """For many small images, on a CPU: 0.4 million parameters, most of the work at 16 x 16 and 8 x 8."""

    def body(x: Any) -> Any:
        x = _conv_relu(x, "conv1", 24, pool=True)
        x = _residual(_conv_relu(x, "conv2", 48), "block2")
        x = _residual(_conv_relu(x, "conv3", 96, pool=True), "block3")
        return _conv_relu(x, "conv4", 192, pool=True)

    return _classifier("residual32", image_size, num_classes, dropout, body)


def _airbench32(image_size: tuple[int, int], num_classes: int, dropout: float) -> Any:
    """For many small images (Jordan 2024, arXiv:2404.00498): 2 million parameters, most work at 15 x 15 and 7 x 7.

    The first convolution whitens: it is set from the training images (`models/networks/whitening.py`) and not trained.
    The other six start by passing on their input channels.
    """
    import keras

    def body(x: Any) -> Any:
        x = keras.layers.Conv2D(24, 2, use_bias=False, trainable=False, name=WHITENING_LAYER)(x)
        x = keras.layers.ReLU(name="whitening_relu")(x)
        for number, filters in enumerate((64, 256, 256), start=1):
            name = f"conv{number}a"
            x = _batch_norm(_pool(_conv_alone(x, name, filters), name), name)
            x = _conv_relu(keras.layers.ReLU(name=f"{name}_relu")(x), f"conv{number}b", filters)
        return x

    model = _classifier("airbench32", image_size, num_classes, dropout, body)
    for layer in model.layers:
        if layer.name.endswith("_conv"):
            (kernel,) = layer.get_weights()
            channels = kernel.shape[2]
            kernel[..., :channels] = 0
            kernel[1, 1, :, :channels] = np.eye(channels)
            layer.set_weights([kernel])
    return model


def _pool(x: Any, name: str) -> Any:
    import keras

    return keras.layers.MaxPooling2D(name=f"{name}_pool")(x)


def _application_names() -> set[str]:
    """The keys of `_applications`, read from Keras's source: to import Keras takes seconds."""
    found = find_spec("keras")
    if found is None or found.origin is None:
        return set()
    source = Path(found.origin).parent / "applications" / "__init__.py"
    builders = re.findall(r"\b([A-Z]\w+) as \1\b", source.read_text(encoding="utf-8"))
    return {name.lower() for name in builders if not name.startswith("ConvNeXt")}


def _applications() -> dict[str, tuple[Any, Any]]:
    """Builders of `keras.applications` by lower-case name, each with the module that holds its `preprocess_input`.

    Without ConvNeXt: tf2onnx has no operator for its GELU, so it could be trained and not exported.
    """
    import keras

    return {
        name.lower(): (builder, sys.modules[builder.__module__])
        for name, builder in vars(keras.applications).items()
        if name[0].isupper() and not name.startswith("ConvNeXt")
    }


def _application_backbone(name: str, image_size: tuple[int, int], weights: str) -> Any:
    import keras

    builder, module = _applications()[name]
    try:
        with redirect_stdout(sys.stderr):  # Keras reports a download on standard output, where results are printed
            network = builder(
                include_top=False,
                weights=None if weights == "none" else weights,
                input_shape=(*image_size, 3),
                pooling="avg",
            )
    except ValueError as error:
        raise SettingError(f"The network {name} does not take images of {image_size}: {error}") from None
    except Exception as error:
        raise InputError(
            f"The ImageNet weights of {name} are not in Keras's cache (~/.keras/models) and could not be fetched "
            f"({type(error).__name__}). Connect once, copy the file there, use --weights none, or take "
            f"{LITE0}, whose weights are installed."
        ) from None
    image = keras.Input((*image_size, 3), dtype="uint8", name="image")
    scaled = module.preprocess_input(keras.ops.cast(image, "float32"))
    return keras.Model(image, network(scaled), name=name)
