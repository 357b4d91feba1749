"""Running a trained network: images in, logits out. One way for features, evaluation and scoring."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import FormatError
from data.parallel import num_cpus
from models.onnx_names import use_stable_names


class OnnxRunner:
    """An ONNX network on the CPU with ONNX Runtime.

    Args:
        path: The `.onnx` file; one input `uint8[N, H, W, 3]`, one output `float32[N, K]`.
        num_threads: Threads for one call; None takes all processors of this process.

    Raises:
        FormatError: where the file is no ONNX network of that form.
    """

    def __init__(self, path: Path, num_threads: int | None = None) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = num_threads or num_cpus()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise FormatError(f"{path} is not a network that ONNX Runtime can run ({type(error).__name__}).") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if [(end.type, len(end.shape)) for end in inputs] != [("tensor(uint8)", 4)]:
            raise FormatError(f"{path} takes {_describe(inputs)}, not uint8 images alone. Export the network again.")
        if [(end.type, len(end.shape)) for end in outputs] != [("tensor(float)", 2)]:
            raise FormatError(f"{path} gives {_describe(outputs)}, not rows of float32. Export the network again.")
        (self._input,), (self._output,) = inputs, outputs

    @property
    def image_size(self) -> tuple[Any, Any]:
        """(height, width) of the images that it takes, in pixels."""
        return self._input.shape[1], self._input.shape[2]

    @property
    def num_outputs(self) -> Any:
        """`K`, the numbers that it gives for an image."""
        return self._output.shape[1]

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """`uint8[N, H, W, 3]` to `float32[N, K]`."""
        (result,) = self._session.run([self._output.name], {self._input.name: images})
        return np.asarray(result, dtype=np.float32)


def _describe(ends: Sequence[Any]) -> str:
    return ", ".join(f"{end.type} of {end.shape}" for end in ends) or "nothing"


def export_onnx(model: Any, path: Path) -> None:
    """Write a Keras model of `uint8[N, H, W, 3]` as ONNX with a free batch size; the same model, the same bytes."""
    import onnx

    model(np.zeros((1, *model.input_shape[1:]), np.uint8))  # Keras exports only what was called once
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model.export(str(path), format="onnx", verbose=False)
    exported = onnx.load(path)
    use_stable_names(exported)
    onnx.save(exported, path)
