"""The parity check: an exported network must compute what the Keras network computes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import WorkError
from darkroom.models.onnx.runtime import Runner

# Outputs of both exports of one network may differ by rounding; a wrong operator differs by far more.
MAX_DIFFERENCE = 1e-2


def check_parity(network: Any, runner: Runner, batches: Iterable[NDArray[np.uint8]]) -> float:
    """The largest difference between the outputs of a Keras network and its ONNX export.

    Args:
        network: Keras, `uint8[N, H, W, 3]` to logits `float32[N, C]`, or to logits and embeddings `float32[N, D]`;
            every output that it gives is compared.
        runner: The export.
        batches: Images to compare on, `uint8[N, H, W, 3]`; one batch or more. Keras, called eagerly, holds the outputs
            of all layers at once: 80 MB per image of 224 x 224 with EfficientNet-Lite0.

    Raises:
        WorkError: where they differ by 0.01 or more, or one of them gives NaN.
    """
    differences = []
    for images in batches:
        wanted = network(images, training=False)
        pairs = (
            zip(wanted, runner.with_embeddings(images), strict=True)
            if isinstance(wanted, list | tuple)
            else [(wanted, runner(images))]
        )
        differences += [float(np.abs(np.asarray(keras) - onnx).max()) for keras, onnx in pairs]
    difference = float(np.max(differences))  # NaN where one is
    if not difference < MAX_DIFFERENCE:
        raise WorkError(
            f"model.onnx differs from model.keras by {difference:.2g}, more than {MAX_DIFFERENCE}: nothing was "
            "published. Please report this with the network's name."
        )
    return difference
