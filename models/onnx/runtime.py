"""Runtimes of a trained network: images in, logits out; the same for features, evaluation and scoring."""

from __future__ import annotations

import contextlib
import platform
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import FormatError
from darkroom.data.parallel import num_cpus
from darkroom.models.networks.architectures import with_embeddings
from darkroom.models.onnx.graph.canonical import use_stable_names
from darkroom.models.onnx.graph.run_size import images_a_run
from darkroom.models.onnx.graph.validation import check_network
from darkroom.models.onnx.metadata import EMBEDDING, LOGITS

# `fp32` and `int8`: ONNX Runtime on the CPU; `keras`: fp32 by TensorFlow, where it has a GPU; `service`: no network of
# ours, but a recognition service (`darkroom.models.cloud`).
Engine = Literal["fp32", "int8", "keras", "service"]

# For the first run, of blank images: a network that takes longer is not one to score with.
FIRST_RUN_SECONDS = 120.0

_NO_EMBEDDINGS = "The network gives no embeddings. Train again, or score without --embeddings."
# NVIDIA's, AMD's, and that of Windows' Linux.
_GPU_DEVICES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


class Runner(Protocol):
    """A network that is ready to run, whatever the runtime. Thread-safe."""

    @property
    def embedding_size(self) -> int | None:
        """`D`, the size of an embedding; None where the network gives none."""

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """`uint8[N, H, W, 3]` to logits `float32[N, K]`."""

    def with_embeddings(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits `float32[N, K]` and embeddings `float32[N, D]` of images `uint8[N, H, W, 3]`, in one pass.

        Raises:
            FormatError: where the network gives no embeddings.
        """


class OnnxRunner:
    """An ONNX network on the CPU with ONNX Runtime. Thread-safe.

    Each thread runs it on images of its own: sharing an image among threads costs a quarter more. It is looked through
    before it is loaded (`darkroom.models.onnx.graph.validation`), and then runs once on blank images within
    `FIRST_RUN_SECONDS`.

    Args:
        path: The `.onnx` file; one input `uint8[N, H, W, 3]`, and outputs as in `metadata.py`. Where none of them is
            called `logits`, as in backbones and earlier networks, the first is `float32[N, K]`, and a second one, where
            there is one, the embeddings `float32[N, D]`.
        num_threads: Threads for one call, 1 where several threads call it; None uses all processors of this process.

    Raises:
        FormatError: where the file is no ONNX network of that form, fails, or takes too long.
    """

    def __init__(self, path: Path, num_threads: int | None = None) -> None:
        import onnxruntime as ort

        check_network(path)
        self._path = path
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # an error is raised, and told once
        if not multiplies_int8_exactly():
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
            for end in (*inputs, *outputs):
                end.name, end.shape  # noqa: B018 -- fails where one is not UTF-8
        except Exception as error:
            raise FormatError(f"{path} is not a network that ONNX Runtime can run ({type(error).__name__}).") from None
        named = {end.name: end for end in outputs}
        if LOGITS in named:
            outputs = [named[name] for name in (LOGITS, EMBEDDING) if name in named]
        if len(outputs) > 2:
            names = ", ".join(end.name for end in outputs)[:200]
            raise FormatError(f"{path} gives {names}: which are its logits is not known. Export the network again.")
        if any(len(end.shape) != 2 for end in outputs):
            raise FormatError(f"{path} does not tell the sizes of its results. Export the network again.")
        (self._input,), (self._output, *rest) = inputs, outputs
        self._embedding = rest[0] if rest else None
        self._num_threads = num_threads or num_cpus()
        self._images_a_run = images_a_run(*self.image_size)
        self._run_first()

    @property
    def image_size(self) -> tuple[Any, Any]:
        """(height, width) in pixels of the images that it takes."""
        return self._input.shape[1], self._input.shape[2]

    @property
    def num_outputs(self) -> Any:
        """`K`, the numbers that it gives per image."""
        return self._output.shape[1]

    @property
    def embedding_size(self) -> Any:
        """`D`, the numbers of an embedding; None where it gives none."""
        return self._embedding.shape[1] if self._embedding else None

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """`uint8[N, H, W, 3]` to `float32[N, K]`."""
        return self._run([self._output.name], images)[0]

    def with_embeddings(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`uint8[N, H, W, 3]` to `float32[N, K]` and the embeddings `float32[N, D]`, in one pass.

        Raises:
            FormatError: where it gives none.
        """
        if self._embedding is None:
            raise FormatError(_NO_EMBEDDINGS)
        logits, embeddings = self._run([self._output.name, self._embedding.name], images)
        return logits, embeddings

    def _run_first(self) -> None:
        """Run once, and not for longer than that."""
        import onnxruntime as ort

        images = np.zeros((self._images_a_run, *self.image_size, 3), np.uint8)
        options, has_ended = ort.RunOptions(), threading.Event()

        def stop() -> None:
            if not has_ended.wait(FIRST_RUN_SECONDS):
                options.terminate = True  # heeded between two operators, whose cost was checked

        watch = threading.Thread(target=stop, daemon=True)
        watch.start()
        try:
            self._checked(self._session.run(None, {self._input.name: images}, options), len(images))
        except Exception as error:
            if options.terminate:
                raise FormatError(
                    f"{self._path} is refused: {len(images)} images take it more than {FIRST_RUN_SECONDS:g} s."
                ) from None
            raise self._failure(error) from None
        finally:
            has_ended.set()

    def _failure(self, error: Exception) -> FormatError:
        if isinstance(error, FormatError):
            return error
        said = " ".join(str(error).split())[:200]
        return FormatError(f"{self._path} cannot be run ({said}). Train again, or restore the folder.")

    def _checked(self, found: list[NDArray[np.float32]], num_images: int) -> list[NDArray[np.float32]]:
        """The results, which must be one row for each image."""
        if any(rows.ndim != 2 or len(rows) != num_images for rows in found):
            shapes = ", ".join(str(rows.shape) for rows in found)
            raise FormatError(f"{self._path} gives results of {shapes} for {num_images} images. Train again.")
        return found

    def _run(self, names: list[str], images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        def run(some: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
            try:
                return self._checked(self._session.run(names, {self._input.name: some}), len(some))
            except Exception as error:
                raise self._failure(error) from None

        size = self._images_a_run
        runs = [images[start : start + size] for start in range(0, max(len(images), 1), size)]
        if self._num_threads == 1 or len(runs) == 1:
            done = [run(some) for some in runs]
        else:
            with ThreadPoolExecutor(self._num_threads) as pool:
                done = list(pool.map(run, runs))
        return [np.concatenate(rows) if len(rows) > 1 else rows[0] for rows in zip(*done, strict=True)]


class KerasRunner:
    """A Keras network as one TensorFlow graph, on the GPU where there is one. Thread-safe.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to logits `float32[N, K]`.
    """

    def __init__(self, model: Any) -> None:
        import tensorflow as tf

        both = with_embeddings(model)
        self._size: int | None = None if both is model else both.outputs[1].shape[1]
        image = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
        self._logits = tf.function(lambda images: model(images, training=False), input_signature=[image])
        self._both = tf.function(lambda images: both(images, training=False), input_signature=[image])

    @property
    def embedding_size(self) -> int | None:
        """`D`, the numbers of an embedding; None where it gives none."""
        return self._size

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """`uint8[N, H, W, 3]` to `float32[N, K]`."""
        return np.asarray(self._logits(images), np.float32)

    def with_embeddings(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`uint8[N, H, W, 3]` to `float32[N, K]` and the embeddings `float32[N, D]`, in one pass.

        Raises:
            FormatError: where it gives none.
        """
        if self._size is None:
            raise FormatError(_NO_EMBEDDINGS)
        logits, embeddings = self._both(images)
        return np.asarray(logits, np.float32), np.asarray(embeddings, np.float32)


@cache
def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU. Asking it takes seconds, and happens only where there is such a device at all."""
    if not any(Path(device).exists() for device in _GPU_DEVICES):
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


@cache
def multiplies_int8_exactly() -> bool:
    """Whether this processor computes int8 both fast and exactly.

    x86 without VNNI adds 8-bit products in 16 bits, where they overflow; ONNX Runtime can be told not to, and is then
    slower than with fp32.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    with contextlib.suppress(OSError):
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    return False


def export_onnx(model: Any, path: Path) -> None:
    """Write a Keras model as ONNX with a free batch size; the same model gives the same bytes.

    Args:
        model: Keras, one input `uint8[N, H, W, 3]`.
        path: The file to write.
    """
    import keras
    import onnx

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):  # tf2onnx takes tensors that are no variables for inputs
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    model(np.zeros((1, *model.input_shape[1:]), np.uint8))  # Keras exports only what was called once
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model.export(str(path), format="onnx", verbose=False)
    exported = onnx.load(path)
    use_stable_names(exported)
    onnx.save(exported, path)
