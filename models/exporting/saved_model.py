"""A SavedModel in the layout of TensorFlow Serving: a folder for each version, here `1/`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.models.onnx.metadata import PROBABILITIES

VERSION = "1"
SIGNATURE = "serving_default"


def write_saved_model(model: Any, policy: DecodePolicy, folder: Path) -> None:
    """Write a network as a SavedModel with the signature `serving_default`.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to probabilities `float32[N, C]`.
        policy: How its images are decoded.
        folder: Where the folder of the version goes.
    """
    import tensorflow as tf

    module = tf.Module()
    module.model = model
    image = tf.TensorSpec((None, *policy.image_size, 3), tf.uint8, name="image")
    answer = tf.function(lambda image: {PROBABILITIES: model(image, training=False)}, input_signature=[image])
    tf.saved_model.save(module, str(folder / VERSION), signatures={SIGNATURE: answer})


def open_saved_model(folder: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The network, pixels `uint8[N, H, W, 3]` to probabilities `float32[N, C]`.

    Args:
        folder: Of `write_saved_model`.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / VERSION))
    answer = loaded.signatures[SIGNATURE]
    return lambda images: np.asarray(answer(image=tf.constant(images))[PROBABILITIES])
