"""The layers of a network, plain or nested, in order, and their outputs for an image.

Keras cuts sub-models out of a network's graph between any two tensors. A network with a backbone inside is cut where
the backbone begins and ends, so that a layer in it is no different from one of a network of one piece; and the first
cut is after the first operation, which casts pixels: a float image can then be put in where the network expects
`uint8`, so that there is a gradient with respect to its pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darkroom.data.errors import SettingError


def unmirrored(model: Any) -> Any:
    """The network inside one that averages over an image and its mirror image: it sees the image as it is.

    See `darkroom.models.networks.architectures.flip_averaged`; any other network is returned as it is.
    """
    import keras

    if not any(layer.name == "flip_average" for layer in model.layers):
        return model
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def has_feature_maps(model: Any) -> bool:
    """Whether the network has a convolutional layer."""
    return any(map(_is_convolution, _leaves(model)))


def convolutions(model: Any) -> list[Any]:
    """The convolutional layers, in order.

    Raises:
        SettingError: where there are none.
    """
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


class Probe:
    """A network that also returns what some of its layers compute, in inference mode.

    It shares layers and weights with the model and does not change what that computes. Build it once and outside
    `tf.function`; it may be called inside.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to logits; networks inside it are called one after another, each once.
        layers: Of the model, at any depth; their outputs are returned in this order.
        linear: Return the outputs before the layers' activations; the network itself goes on with the usual ones.
    """

    def __init__(self, model: Any, layers: Sequence[Any], linear: bool = False) -> None:
        self._first = next(_operations(model))
        self._layers = tuple(layers)
        self._twins = {layer: twin for layer in layers if linear and (twin := _without_activation(layer))}
        self._steps = tuple(self._cut(model))

    def __call__(self, images: Any) -> tuple[Any, list[Any]]:
        """Logits `[N, C]` and the outputs of the layers.

        Args:
            images: `uint8[N, H, W, 3]`; or `float32` of the same range, for gradients with respect to pixels.
        """
        import keras

        output = self._first(images)
        found = {self._first: output}
        for step in self._steps:
            found |= dict.fromkeys(step.at_start, output)
            values = keras.tree.flatten(step.run(output, training=False))
            found |= {layer: values[place] for layer, place in step.places.items()}
            output = values[0]
        found |= {layer: twin(found[layer]) for layer, twin in self._twins.items()}
        return output, [found[layer] for layer in self._layers]

    def _cut(self, model: Any) -> Iterator[_Step]:
        """The steps of a network after its first operation."""
        import keras

        if isinstance(model, keras.Sequential):  # which may have called its layers before, in another graph
            for layer in model.layers:
                if isinstance(layer, keras.Model):
                    yield from self._cut(layer)
                elif layer is not self._first:
                    is_wanted, before = layer in self._layers, layer in self._twins
                    yield _Step(layer, (layer,) if before else (), {layer: 0} if is_wanted and not before else {})
            return
        operations = [each for each in model.operations if not isinstance(each, keras.layers.InputLayer)]
        start, piece = model.inputs[0], list[Any]()
        for following, operation in zip([*operations[1:], None], operations, strict=True):
            if operation is self._first:
                start = operation.output
            elif isinstance(operation, keras.Model):
                if piece:
                    yield self._step(start, piece[-1].output, piece)
                yield from self._cut(operation)
                start, piece = following.input if following else None, []
            else:
                piece.append(operation)
        if piece:
            yield self._step(start, model.outputs[0], piece)

    def _step(self, start: Any, end: Any, piece: Sequence[Any]) -> _Step:
        """A sub-model from one tensor of a graph to another, with the wanted layers among its operations."""
        import keras

        layers = [layer for layer in self._layers if layer in piece]
        wanted = {layer: layer.input if layer in self._twins else layer.output for layer in layers}
        at_start = tuple(layer for layer in layers if wanted[layer] is start)
        wanted = {layer: tensor for layer, tensor in wanted.items() if layer not in at_start}
        ends = {id(tensor): tensor for tensor in (end, *wanted.values())}  # Keras takes no tensor twice
        places = {layer: list(ends).index(id(tensor)) for layer, tensor in wanted.items()}
        return _Step(keras.Model(start, list(ends.values())), at_start, places)


@dataclass(frozen=True)
class _Step:
    """A piece of a network.

    Attributes:
        run: Returns the piece's output, then the other requested values.
        at_start: Layers for which the piece's input is requested.
        places: Which of the values belongs to a layer.
    """

    run: Any
    at_start: tuple[Any, ...]
    places: Mapping[Any, int]


def _without_activation(layer: Any) -> Callable[[Any], Any] | None:
    """The function from the layer's input to its output before the activation; None where it has no activation."""
    import keras

    if isinstance(layer, keras.layers.ReLU):
        return lambda value: value
    if getattr(layer, "activation", keras.activations.linear) is keras.activations.linear:
        return None
    twin: Any = type(layer).from_config(layer.get_config() | {"activation": "linear"})
    twin.build(layer.input.shape)
    twin.set_weights(layer.get_weights())
    return lambda value: twin(value)


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
