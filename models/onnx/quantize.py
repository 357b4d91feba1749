"""int8: quantization with training images, and the gate that decides whether int8 may replace fp32.

Static quantization per channel, QDQ (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference"; Krishnamoorthi 2018, arXiv:1806.08342), by ONNX Runtime's own tool: activations in
uint8 over the range that the calibration images have, weights in int8. The last dense layer and the mean over places
stay in fp32, which costs no time: logits and embeddings are not rounded to 256 values.

Measured on EfficientNet-Lite0 at 160 x 160, one thread with VNNI: 1.10 ms an image against 2.6 with fp32. 7-bit weights
take as long and double the error, int8 activations take twice as long, uint8 weights fifteen times.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.images.decode import decode_stored
from darkroom.data.progress import Progress, counted, unseen
from darkroom.models.measures.intervals import Frozen
from darkroom.models.measures.metrics import expected_calibration_error, reliability_of
from darkroom.models.measures.outcome import Outcome
from darkroom.models.measures.threshold import coverage_of
from darkroom.models.multi_label.answers import Answers, SingleLabelAnswers
from darkroom.models.onnx.bias_correction import correct_biases

logger = logging.getLogger(__name__)

NUM_CALIBRATION_IMAGES = 200
SINGLE = SingleLabelAnswers()
_BATCH = 8
_STEP = "quantize"

# The gate's limits. One image is never too many for the figures below the first, however few there are.
_MIN_IMAGES = 100
_MIN_SAME_LABEL = 0.995
_MAX_ACCURACY_LOSS = 0.003
_MAX_CALIBRATION_LOSS = 0.02
_MAX_COVERAGE_CHANGE = 0.02


class PrecisionFigures(Frozen):
    """Validation metrics of one precision, under the bundle's calibration and threshold.

    Attributes:
        accuracy: Share of right labels.
        calibration_error: Expected calibration error.
        coverage: Share of images that it does not abstain on.
        accuracy_answered: Accuracy on those; None where it abstains on all.
    """

    accuracy: float = Field(ge=0, le=1)
    calibration_error: float = Field(ge=0, le=1)
    coverage: float = Field(ge=0, le=1)
    accuracy_answered: float | None = Field(ge=0, le=1)


class Int8Gate(Frozen):
    """int8 compared with fp32 on the validation images.

    Attributes:
        num_images: Validation images.
        same_label: Share of them that get the same label.
        fp32: Figures of `model.onnx`.
        int8: Figures of `model.int8.onnx`.
    """

    num_images: int = Field(ge=1)
    same_label: float = Field(ge=0, le=1)
    fp32: PrecisionFigures
    int8: PrecisionFigures


class Int8Facts(Frozen):
    """The int8 section of a bundle's card.

    Attributes:
        gate: None where there is no `model.int8.onnx`.
        refused: Why scoring does not use it unless asked to; None where it does.
    """

    gate: Int8Gate | None = None
    refused: str | None = None

    @model_validator(mode="after")
    def _taken_only_with_figures(self) -> Self:
        if self.gate is None and self.refused is None:
            raise ValueError("a network of int8 that passed has figures")
        return self


def calibration_images(dataset: Dataset) -> NDArray[np.uint8]:
    """The first 200 training images, `uint8[N, H, W, 3]`, augmented copies left out.

    The shards are in the order of a hash of the paths: the first images are a fair sample.
    """
    originals = (record for record in dataset.records("train") if record.copy == 0)
    return np.stack([decode_stored(record.encoded) for record in islice(originals, NUM_CALIBRATION_IMAGES)])


def quantize(source: Path, target: Path, images: NDArray[np.uint8], progress: Progress = unseen) -> str | None:
    """Write the int8 network of `source` to `target`; the same source and images give the same bytes.

    Args:
        source: An `.onnx` network from `darkroom.models.onnx.runtime.export_onnx`.
        target: The file to write.
        images: `uint8[N, H, W, 3]`; they give the ranges of the activations.
        progress: Told how many batches have been run: all of them twice, to calibrate and to correct the biases.

    Returns:
        Why there is none, where ONNX Runtime's tool cannot quantize this network; None where it did.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    num_batches = -(-len(images) // _BATCH)
    progress(_STEP, 0, 2 * num_batches)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        prepared = Path(folder) / "prepared.onnx"
        try:
            # Without this the batch normalisations are not part of the convolutions yet: five times the error.
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                target,
                _Reader(prepared, counted(_batches(images), progress, _STEP, 0, 2 * num_batches)),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_kept_in_fp32(prepared),
            )
            batches = counted(_batches(images), progress, _STEP, num_batches, 2 * num_batches)
            correct_biases(prepared, target, batches)
        except Exception as error:  # the tool raises whatever its parts raise
            logger.warning("%s cannot be quantized, so there is no int8: %s", source.name, type(error).__name__)
            logger.debug("quantization failed", exc_info=True)
            target.unlink(missing_ok=True)
            progress(_STEP, 2 * num_batches, 2 * num_batches)
            return f"ONNX Runtime cannot quantize this network ({type(error).__name__})"
    return None


def judge(
    fp32: NDArray[np.float64],
    int8: NDArray[np.float64],
    truth: NDArray[Any],
    threshold: float,
    answers: Answers = SINGLE,
) -> Int8Facts:
    """Whether int8 gives the same answers as fp32.

    Of 100 images or more, 99.5 % must get the same label (of fewer than 200: all), and int8 must lose no more than 0.3
    points of accuracy, of all images and of those that it answers, 0.02 of expected calibration error, and abstain on
    no more than 2 % more or fewer. Accuracy and abstentions may differ by one image in any case. Where an image may
    have several labels, the first is the share of the decisions, of images x labels, that are the same.

    Args:
        fp32: `float64[N, C]`, the calibrated probabilities of the validation images.
        int8: The same of the int8 network, under the same calibration.
        truth: `int[N]`, or 0 and 1 [N, K].
        threshold: Confidence below which the bundle abstains.
        answers: How it answers.
    """
    gate = Int8Gate(
        num_images=len(truth),
        same_label=answers.agreement(fp32, int8),
        fp32=_figures(answers.outcome(fp32, truth), threshold),
        int8=_figures(answers.outcome(int8, truth), threshold),
    )
    refused = next(_failures(gate), None)
    logger.info(
        "int8: %.2f %% of the labels as with fp32 on %d validation images, accuracy %.4f (fp32: %.4f); %s",
        100 * gate.same_label, gate.num_images, gate.int8.accuracy, gate.fp32.accuracy,
        f"not used: {refused}" if refused else "used for scoring.",
    )  # fmt: skip
    return Int8Facts(gate=gate, refused=refused)


def _figures(outcome: Outcome, threshold: float) -> PrecisionFigures:
    coverage, answered = coverage_of(outcome, threshold)
    return PrecisionFigures(
        accuracy=outcome.accuracy,
        calibration_error=expected_calibration_error(reliability_of(outcome)),
        coverage=coverage,
        accuracy_answered=answered,
    )


def _failures(gate: Int8Gate) -> Iterator[str]:
    fp32, int8, num = gate.fp32, gate.int8, gate.num_images
    if num < _MIN_IMAGES:
        yield f"{num} validation images are too few for a comparison: {_MIN_IMAGES} are needed"
    if gate.same_label < _MIN_SAME_LABEL:
        yield (
            f"{gate.same_label:.2%} of {num} validation images get the same label as with fp32: {_MIN_SAME_LABEL:.1%} "
            "are needed"
        )
    if fp32.accuracy - int8.accuracy > _at_least_one(_MAX_ACCURACY_LOSS, num):
        yield f"it loses accuracy on validation: {int8.accuracy:.4f} instead of {fp32.accuracy:.4f}"
    if int8.calibration_error - fp32.calibration_error > _MAX_CALIBRATION_LOSS:
        yield f"its calibration error on validation is {int8.calibration_error:.4f}, not {fp32.calibration_error:.4f}"
    if abs(int8.coverage - fp32.coverage) > _at_least_one(_MAX_COVERAGE_CHANGE, num):
        yield f"it answers for {int8.coverage:.2%} of the validation images instead of {fp32.coverage:.2%}"
    if fp32.accuracy_answered is not None and int8.accuracy_answered is not None:
        loss = fp32.accuracy_answered - int8.accuracy_answered
        if loss > _at_least_one(_MAX_ACCURACY_LOSS, round(fp32.coverage * num)):
            yield (
                f"where it does not abstain, its accuracy on validation is {int8.accuracy_answered:.4f} instead of "
                f"{fp32.accuracy_answered:.4f}"
            )


def _at_least_one(share: float, num_images: int) -> float:
    """The share, or that of one image where that is more; a little above, because both are rounded."""
    return max(share, 1 / num_images) + 1e-9


def _batches(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    return (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))


class _Reader:
    """The calibration images in batches, as ONNX Runtime's tool reads them."""

    def __init__(self, network: Path, batches: Iterator[NDArray[np.uint8]]) -> None:
        import onnx

        name = onnx.load(network).graph.input[0].name
        self._feeds = ({name: batch} for batch in batches)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, NDArray[np.uint8]]:
        return next(self._feeds)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._feeds, None)


def _kept_in_fp32(network: Path) -> list[str]:
    """The last dense layer (both of a flip-averaged network) and what takes the mean over places before it."""
    import onnx

    graph = onnx.load(network).graph
    makers = {output: node for node in graph.node for output in node.output}
    kept: dict[str, Any] = {}
    waiting = [graph.output[0].name]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.name in kept or node.op_type == "Conv":
            continue
        kept[node.name] = node
        if node.op_type not in ("Gemm", "MatMul"):
            waiting += node.input
    means = [node.name for node in graph.node if node.op_type in ("GlobalAveragePool", "ReduceMean")]
    return [*kept, *means]
