"""Networks by name. Each takes `uint8[N, H, W, 3]`, scales inside itself, and gives `logits float32[N, C]`.

A network with a backbone is nested: `Sequential`-like, input, backbone (`float32[N, F]` features), dropout, dense.
Scaling is a layer of the model, so that no caller can forget it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import Any

from data.errors import InputError, SettingError

FEATURES_LAYER = "backbone"
LOGITS_LAYER = "logits"


@dataclass(frozen=True)
class NetworkFacts:
    """What is known of a network before it is built.

    Attributes:
        name: As given by the user.
        image_size: (height, width) in pixels that suits it where the data set is made for it.
        pretrained: It has a backbone with pretrained weights, to be used frozen first.
    """

    name: str
    image_size: tuple[int, int]
    pretrained: bool


_SCRATCH_SIZES = {"starter": (96, 96), "cifar4": (32, 32), "cifar6": (32, 32)}
_LITE0 = "efficientnet-lite0"


def known_networks() -> list[str]:
    """Every name that `describe` takes, ours first."""
    return [*_SCRATCH_SIZES, _LITE0, *sorted(_applications())]


def describe(name: str, weights: str = "imagenet") -> NetworkFacts:
    """Facts of a network by name; raises SettingError that lists the names."""
    if name in _SCRATCH_SIZES:
        return NetworkFacts(name, _SCRATCH_SIZES[name], pretrained=False)
    if name == _LITE0:
        return NetworkFacts(name, (160, 160), pretrained=weights == "imagenet")
    if name.lower() in _applications():
        return NetworkFacts(name, (224, 224), pretrained=weights == "imagenet")
    raise SettingError(
        f"There is no network {name!r}. Use {', '.join([*_SCRATCH_SIZES, _LITE0])}, or one of keras.applications: "
        f"{', '.join(sorted(_applications()))}."
    )


def build_backbone(name: str, image_size: tuple[int, int], weights: str) -> Any:
    """A backbone, `uint8[N, H, W, 3]` to `float32[N, F]`, with ImageNet weights or fresh ones.

    Raises:
        InputError: where the weights are neither at hand nor to be had.
    """
    if name == _LITE0:
        from models import efficientnet_lite

        backbone = efficientnet_lite.build_backbone(image_size)
        if weights == "imagenet":
            efficientnet_lite.load_pretrained(backbone)
    else:
        backbone = _application_backbone(name.lower(), image_size, weights)
    return backbone


def with_head(backbone: Any, num_classes: int, dropout: float) -> Any:
    """Backbone, dropout and one dense layer: `uint8[N, H, W, 3]` to `logits float32[N, C]`."""
    import keras

    image = keras.Input(backbone.input_shape[1:], dtype="uint8", name="image")
    features = backbone(image)
    features = keras.layers.Dropout(dropout, name="dropout")(features)
    logits = keras.layers.Dense(num_classes, dtype="float32", name=LOGITS_LAYER)(features)
    return keras.Model(image, logits, name=f"{backbone.name}_classifier")


def build_scratch(name: str, image_size: tuple[int, int], num_classes: int, dropout: float) -> Any:
    """A network without pretrained weights; raises SettingError where the images are too small for it."""
    if name in _SCRATCH_SIZES:
        builder: Callable[..., Any] = {"starter": _starter, "cifar4": _cifar4, "cifar6": _cifar6}[name]
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
    """The CNN of the cats-and-dogs guides (Chollet 2016, "Building powerful image classification models"): three
    conv-pool blocks, a dense layer, dropout."""
    import keras

    layers: list[Any] = []
    for number, filters in enumerate((32, 32, 64), start=1):
        layers += [
            keras.layers.Conv2D(filters, 3, activation="relu", name=f"conv{number}"),
            keras.layers.MaxPooling2D(name=f"pool{number}"),
        ]
    layers += [
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(64, activation="relu", name="dense"),
        keras.layers.Dropout(dropout, name="dropout"),
        keras.layers.Dense(num_classes, name=LOGITS_LAYER),
    ]
    return _sequential("starter", image_size, layers)


def _cifar(
    name: str, blocks: tuple[int, ...], second_padding: str, image_size: Any, num_classes: int, dropout: float
) -> Any:
    import keras

    layers: list[Any] = []
    for number, filters in enumerate(blocks, start=1):
        conv = partial(keras.layers.Conv2D, filters, 3, activation="relu")
        layers += [
            conv(padding="same", name=f"conv{number}a"),
            conv(padding=second_padding, name=f"conv{number}b"),
            keras.layers.MaxPooling2D(name=f"pool{number}"),
            keras.layers.Dropout(dropout / 2, name=f"dropout{number}"),
        ]
    layers += [
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(512, activation="relu", name="dense"),
        keras.layers.Dropout(dropout, name="dropout"),
        keras.layers.Dense(num_classes, name=LOGITS_LAYER),
    ]
    return _sequential(name, image_size, layers)


def _cifar4(image_size: tuple[int, int], num_classes: int, dropout: float) -> Any:
    """The network of Keras's `cifar10_cnn.py`: two blocks, the second convolution of each without padding."""
    return _cifar("cifar4", (32, 64), "valid", image_size, num_classes, dropout)


def _cifar6(image_size: tuple[int, int], num_classes: int, dropout: float) -> Any:
    """Three blocks of the same, padded throughout, as the guides do that go on from there."""
    return _cifar("cifar6", (32, 64, 128), "same", image_size, num_classes, dropout)


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
        with redirect_stdout(sys.stderr):  # Keras tells of a download there, where results are printed
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
            f"{_LITE0}, whose weights are installed."
        ) from None
    image = keras.Input((*image_size, 3), dtype="uint8", name="image")
    scaled = module.preprocess_input(keras.ops.cast(image, "float32"))
    return keras.Model(image, network(scaled), name=name)
