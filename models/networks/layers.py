"""The inside of a network, plain or nested: its layers in order, and what they give while an image passes through.

Layers are watched while the model runs, not cut out of its graph, so a backbone inside a classifier is no different
from a network of one piece; and a float image can be put in where the network expects `uint8`, so that there is a
gradient with respect to its pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from darkroom.data.errors import SettingError


def unmirrored(model: Any) -> Any:
    """The network that sees the image as it is, of one that averages over the image and its mirror image.

    See `darkroom.models.networks.architectures.flip_averaged`; any other network is given back as it is.
    """
    import keras

    if not any(layer.name == "flip_average" for layer in model.layers):
        return model
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def has_feature_maps(model: Any) -> bool:
    """Whether the network has a convolutional layer."""
    return any(map(_is_convolution, _leaves(model)))


def convolutions(model: Any) -> list[Any]:
    """The convolutional layers, in order; raises SettingError where there is none."""
    if not has_feature_maps(model):
        raise SettingError(f"{model.name} has no convolutional layer, so it has no feature map to show.")
    return [layer for layer in _leaves(model) if _is_convolution(layer)]


def feature_maps(model: Any) -> list[Any]:
    """For each size of the convolutions' outputs, largest first, the last layer whose output has this size.

    Raises:
        SettingError: where the network has no convolutional layer.
    """
    sizes = list(dict.fromkeys(layer.output.shape[1:3] for layer in convolutions(model)))
    maps = [layer for layer in _leaves(model) if _is_map(layer)]
    return [next(layer for layer in reversed(maps) if layer.output.shape[1:3] == size) for size in sizes]


def forward(
    model: Any, images: Any, layers: Sequence[Any] = (), tape: Any = None, linear: bool = False
) -> tuple[Any, list[Any]]:
    """`logits [N, C]` and the outputs of `layers`, in the mode of inference.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to logits.
        images: `uint8[N, H, W, 3]`, or `float32` of the same range for gradients with respect to pixels.
        layers: Of the model, at any depth.
        tape: A `tf.GradientTape` that is to watch these outputs.
        linear: Give the outputs as they are before the layer's activation; the network goes on with the usual ones.
    """
    import tensorflow as tf

    images = tf.convert_to_tensor(images)
    seen: dict[Any, Any] = {}

    def keep(layer: Any) -> Callable[..., Any]:
        original = layer.call

        def kept(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            if tape is not None:
                tape.watch(output)
            seen[layer] = _before_activation(layer, original, args, kwargs) if linear else output
            return output

        return kept

    replaced: dict[Any, Callable[..., Any]] = {layer: keep(layer) for layer in layers}
    pixels = images
    if images.dtype.is_floating:
        first = next(_operations(model))
        inner = replaced.get(first, first.call)
        replaced[first] = lambda _, *args, **kwargs: inner(images, *args, **kwargs)
        pixels = tf.zeros(images.shape, tf.uint8)
    with _calling(replaced):
        logits = model(pixels, training=False)
    return logits, [seen[layer] for layer in layers]


@contextmanager
def _calling(replaced: Mapping[Any, Callable[..., Any]]) -> Iterator[None]:
    """Let layers compute something else meanwhile. Past Keras's own attributes, which would track the functions."""
    with ExitStack() as stack:
        for layer, function in replaced.items():
            object.__setattr__(layer, "call", function)
            stack.callback(object.__delattr__, layer, "call")
        yield


def _before_activation(layer: Any, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    import keras

    if isinstance(layer, keras.layers.ReLU):
        return args[0]
    usual = getattr(layer, "activation", None)
    if usual is None:
        return call(*args, **kwargs)
    object.__setattr__(layer, "activation", keras.activations.linear)
    try:
        return call(*args, **kwargs)
    finally:
        object.__setattr__(layer, "activation", usual)


def _is_convolution(layer: Any) -> bool:
    return "Conv" in type(layer).__name__ and _is_map(layer)


def _is_map(layer: Any) -> bool:
    return len(getattr(layer.output, "shape", ())) == 4


def _leaves(model: Any) -> Iterator[Any]:
    """Layers that are no networks themselves, in order, without the inputs."""
    import keras

    return (operation for operation in _operations(model) if isinstance(operation, keras.layers.Layer))


def _operations(model: Any) -> Iterator[Any]:
    """The same, with the operations that are no layers, such as `cast`."""
    import keras

    for operation in getattr(model, "operations", model.layers):
        if isinstance(operation, keras.Model):
            yield from _operations(operation)
        elif not isinstance(operation, keras.layers.InputLayer):
            yield operation
