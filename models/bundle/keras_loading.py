"""Loading a `model.keras` of somebody else's: no more weights than the file holds, no run that memory has no room for.

Keras makes a network's weights, at random, before it reads those of the file: a configuration of a few kilobytes can
ask for a layer of 10^9 units. So each is measured before it is made. Then the whole network is traced, which computes
nothing and gives the size of every result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from darkroom.data.errors import FormatError

# Of all results for one image: Keras, called eagerly, holds them at once. EfficientNet-Lite0 at 224 x 224 has 80 MB.
MAX_RESULT_BYTES = 4 * 2**30
# Multiplications for one image; VGG16 at 1024 x 1024 has 3e11.
MAX_COST = 10**12

_REMEDY = "Train again, or restore the folder."


def load_within_bounds(path: Path) -> Any:
    """Load a network in Keras's safe mode: nothing in the file can run code.

    Args:
        path: Its `model.keras`, which `keras_file` has looked through.

    Raises:
        FormatError: where Keras refuses it, its weights would be more than its file has bytes, or its results for one
            image more than `MAX_RESULT_BYTES` or `MAX_COST`.
    """
    import keras
    import tensorflow as tf

    try:
        with tf.variable_creator_scope(_within(path)):
            model = keras.models.load_model(path, compile=False, safe_mode=True)
        reason = _too_costly(model)
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(
            f"{path} cannot be loaded in Keras's safe mode, so it is not loaded at all "
            f"({' '.join(str(error).split())[:300]}). Train again without layers that hold code."
        ) from None
    if reason:
        raise FormatError(f"{path} is refused: {reason}. {_REMEDY}")
    return model


def _within(path: Path) -> Callable[..., Any]:
    """Makes the variables of a network, weights as zeros, as long as they have no more bytes than its file."""
    import tensorflow as tf

    left = path.stat().st_size

    def create(make: Callable[..., Any], **asked: Any) -> Any:
        nonlocal left
        with tf.Graph().as_default():  # computes nothing
            value = asked["initial_value"]
            planned = value() if callable(value) else tf.convert_to_tensor(value)
            shape, kind = planned.shape, planned.dtype
        left -= math.prod(shape) * kind.size
        if left < 0:
            raise FormatError(f"{path} is refused: its layers ask for more weights than it holds. {_REMEDY}")
        if kind.is_floating:  # the file's weights come later: no initializer has to be slow
            asked["initial_value"] = lambda: tf.zeros(shape, kind)
        return make(**asked)

    return create


def _too_costly(model: Any) -> str | None:
    import tensorflow as tf

    image = tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8)
    graph = tf.function(lambda images: model(images, training=False)).get_concrete_function(image).graph
    num_bytes = cost = 0
    for operation in graph.get_operations():
        sizes = [each.shape for each in operation.outputs]
        if not all(size.is_fully_defined() for size in sizes):
            return f"the size of a result of its layer {operation.name[:80]!r} is not known before it runs"
        num_elements = sum(map(math.prod, sizes))
        num_bytes += num_elements * (operation.outputs[0].dtype.size if operation.outputs else 0)
        cost += num_elements * _work(operation)
        if num_bytes > MAX_RESULT_BYTES:
            return f"it takes more than {MAX_RESULT_BYTES >> 30} GiB for an image, at its layer {operation.name[:80]!r}"
        if cost > MAX_COST:
            return f"it takes more than {MAX_COST:.0e} multiplications for an image"
    return None


def _work(operation: Any) -> int:
    """Multiplications for an element of an operation's result."""
    if operation.type in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
        kernel = operation.inputs[1].shape
        return math.prod(kernel[:-1]) if operation.type != "DepthwiseConv2dNative" else math.prod(kernel[:2])
    return math.prod(operation.get_attr("ksize")) if operation.type in ("AvgPool", "MaxPool") else 1
