"""The forms in which a model leaves: how each is written, and how it is run to check it.

All take `image`, pixels `uint8[N, H, W, 3]`, and give `probabilities float32[N, C]`, calibrated as the bundle's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import InputError
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.bundle.calibrated import with_probabilities
from darkroom.models.bundle.keras_loading import load_within_bounds
from darkroom.models.exporting.saved_model import open_files, open_saved_model, write_saved_model
from darkroom.models.onnx.metadata import PROBABILITIES
from darkroom.models.onnx.runtime import export_onnx

FormName = Literal["savedmodel", "tflite", "openvino", "onnx", "keras"]
# Pixels `uint8[N, H, W, 3]` to probabilities `float32[N, C]`.
Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
# The bytes of files to probabilities `float32[N, C]`.
FileNetwork = Callable[[Sequence[bytes]], NDArray[np.float32]]

IMAGE = "image"
_TFLITE, _OPENVINO, _ONNX, _KERAS = "model.tflite", "model.xml", "model.onnx", "model.keras"


@dataclass(frozen=True)
class Form:
    """One of them.

    Attributes:
        title: What it is called.
        write: Writes the model of a bundle into a folder.
        opened: Loads what was written there.
        opened_for_files: Loads what takes the bytes of files in place of pixels; None where the form cannot decode.
        package: That it needs and that is not always installed, and the extra which has it; None where it needs none.
    """

    title: str
    write: Callable[[Bundle, Path], None]
    opened: Callable[[Path], Network]
    opened_for_files: Callable[[Path], FileNetwork] | None = None
    package: tuple[str, str] | None = None

    def check_installed(self) -> None:
        """Check that its package is installed.

        Raises:
            InputError: where it is not.
        """
        if self.package and find_spec(self.package[0]) is None:
            package, extra = self.package
            raise InputError(
                f"{self.title} needs the package {package}, which is not installed. Install it with: "
                f"python -m pip install 'darkroom-flows[{extra}]'"
            )


def _calibrated(bundle: Bundle, dtype: str = "float64") -> Any:
    """The bundle's Keras network with its calibration inside."""
    return with_probabilities(bundle.keras_model(), bundle.card.calibration, dtype)


def _write_savedmodel(bundle: Bundle, folder: Path) -> None:
    write_saved_model(_calibrated(bundle), bundle.card.policy, folder)


def _write_keras(bundle: Bundle, folder: Path) -> None:
    _calibrated(bundle).save(folder / _KERAS)


def _open_keras(folder: Path) -> Network:
    model = load_within_bounds(folder / _KERAS)
    return lambda images: np.asarray(model(images, training=False))


def _write_tflite(bundle: Bundle, folder: Path) -> None:
    """Its weights are made constants first: of Keras's variables the converter writes only the names."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = _calibrated(bundle, "float32")  # TFLite has no operators for float64
    pixels = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name=IMAGE)
    traced = tf.function(lambda image: model(image, training=False), input_signature=[pixels])
    constant = convert_variables_to_constants_v2(traced.get_concrete_function())
    named = tf.function(lambda image: {PROBABILITIES: constant(image)[0]}, input_signature=[pixels])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([named.get_concrete_function()], tf.Module())
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        (folder / _TFLITE).write_bytes(converter.convert())


def _open_tflite(folder: Path) -> Network:
    content = (folder / _TFLITE).read_bytes()
    if find_spec("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter
    else:
        from tensorflow.lite import Interpreter  # the same, under its former name
    interpreter = Interpreter(model_content=content)  # which has to outlive what runs it
    run = interpreter.get_signature_runner()

    def network(images: NDArray[np.uint8], _alive: Any = interpreter) -> NDArray[np.float32]:
        return np.array(run(**{IMAGE: images})[PROBABILITIES])

    return network


def _write_onnx(bundle: Bundle, folder: Path) -> None:
    """The bundle's own file, where it gives probabilities: those of a calibration by curves are put in here."""
    import onnx

    ours = onnx.load(bundle.onnx_path)
    if PROBABILITIES in [output.name for output in ours.graph.output]:
        shutil.copyfile(bundle.onnx_path, folder / _ONNX)
        return
    export_onnx(_calibrated(bundle), folder / _ONNX)
    made = onnx.load(folder / _ONNX)
    (output,) = made.graph.output
    for node in made.graph.node:
        node.output[:] = [PROBABILITIES if name == output.name else name for name in node.output]
    output.name = PROBABILITIES
    made.metadata_props.extend(ours.metadata_props)
    onnx.save(made, folder / _ONNX)


def _open_onnx(folder: Path) -> Network:
    import onnxruntime as ort

    session = ort.InferenceSession(str(folder / _ONNX), providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    return lambda images: np.asarray(session.run([PROBABILITIES], {image.name: images})[0])


def _write_openvino(bundle: Bundle, folder: Path) -> None:
    import openvino

    _write_onnx(bundle, folder)
    model = openvino.Core().read_model(folder / _ONNX)  # `convert_model` would also report its use
    openvino.save_model(model, str(folder / _OPENVINO), compress_to_fp16=False)
    (folder / _ONNX).unlink()


def _open_openvino(folder: Path) -> Network:
    """In fp32: by itself OpenVINO computes in bfloat16 where the processor can, and changes some answers."""
    import openvino

    compiled = openvino.compile_model(str(folder / _OPENVINO), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: np.asarray(compiled(images)[PROBABILITIES])


FORMS: Mapping[FormName, Form] = {
    "savedmodel": Form("A SavedModel", _write_savedmodel, open_saved_model, open_files),
    "tflite": Form("A TFLite model", _write_tflite, _open_tflite),
    "openvino": Form("An OpenVINO model", _write_openvino, _open_openvino, package=("openvino", "openvino")),
    "onnx": Form("An ONNX model", _write_onnx, _open_onnx),
    "keras": Form("A Keras model", _write_keras, _open_keras),
}
