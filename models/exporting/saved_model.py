"""A SavedModel in the layout of TensorFlow Serving: a folder for each version, here `1/`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.models.exporting.tensor_decoding import tensor_decoder
from darkroom.models.onnx.metadata import PROBABILITIES

VERSION = "1"
SIGNATURE, FILES_SIGNATURE = "serving_default", "files"


def write_saved_model(model: Any, policy: DecodePolicy, folder: Path) -> None:
    """Write a network as a SavedModel with two signatures: `serving_default` takes pixels, `files` the bytes of files.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to probabilities `float32[N, C]`.
        policy: How its images are decoded.
        folder: Where the folder of the version goes.
    """
    import tensorflow as tf

    module, decode = tf.Module(), tensor_decoder(policy)
    module.model = model
    pixels = tf.TensorSpec((*policy.image_size, 3), tf.uint8)

    def answer(image: Any) -> Any:
        return {PROBABILITIES: model(image, training=False)}

    def answer_files(image_bytes: Any) -> Any:
        return answer(tf.map_fn(decode, image_bytes, fn_output_signature=pixels))

    image = tf.TensorSpec((None, *pixels.shape), tf.uint8, name="image")
    # TensorFlow Serving takes base64 for an input whose name ends in `_bytes`.
    image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
    of_pixels = tf.function(answer, input_signature=[image])
    of_files = tf.function(answer_files, input_signature=[image_bytes])
    signatures = {SIGNATURE: of_pixels, FILES_SIGNATURE: of_files}
    tf.saved_model.save(module, str(folder / VERSION), signatures=signatures)


def open_saved_model(folder: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The network, pixels `uint8[N, H, W, 3]` to probabilities `float32[N, C]`.

    Args:
        folder: Of `write_saved_model`.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / VERSION))
    answer = loaded.signatures[SIGNATURE]

    def network(images: NDArray[np.uint8], _alive: Any = loaded) -> NDArray[np.float32]:
        return np.asarray(answer(image=tf.constant(images))[PROBABILITIES])

    return network


def open_files(folder: Path) -> Callable[[Sequence[bytes]], NDArray[np.float32]]:
    """The network, the bytes of files to probabilities `float32[N, C]`.

    Args:
        folder: Of `write_saved_model`.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / VERSION))
    answer = loaded.signatures[FILES_SIGNATURE]

    def network(files: Sequence[bytes], _alive: Any = loaded) -> NDArray[np.float32]:
        return np.asarray(answer(image_bytes=tf.constant(list(files)))[PROBABILITIES])

    return network
