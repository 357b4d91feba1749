"""A bundle's network with its calibration inside: pixels in, probabilities out."""

from __future__ import annotations

from typing import Any

import numpy as np

from darkroom.models.measures.calibration import TIE_BREAK, Calibration, Curve
from darkroom.models.multi_label.calibration import LabelCalibration


def with_probabilities(model: Any, calibration: Calibration | LabelCalibration, dtype: str = "float64") -> Any:
    """The same network with its calibration inside, `uint8[N, H, W, 3]` to probabilities `float32[N, C]`.

    It consists of Keras's own layers only.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to logits `float32[N, C]`.
        calibration: Of its logits.
        dtype: Of the calibration: float64, as `Calibration.apply` has it, or `float32`, which is too coarse where a
            curve is steep.
    """
    import keras

    logits = keras.ops.cast(model.outputs[0], dtype)
    if isinstance(calibration, LabelCalibration):
        chances = keras.ops.sigmoid(logits * np.array(calibration.scales, dtype) + np.array(calibration.offsets, dtype))
    else:
        chances = keras.ops.softmax(logits / calibration.temperature)
    if calibration.curves:
        chances = (1 - TIE_BREAK) * _mapped(chances, calibration.curves, dtype) + TIE_BREAK * chances
        if isinstance(calibration, Calibration):
            chances = chances / keras.ops.sum(chances, axis=1, keepdims=True)
    return keras.Model(model.inputs[0], keras.ops.cast(chances, "float32"), name=model.name)


def _mapped(chances: Any, curves: tuple[Curve, ...], dtype: str) -> Any:
    """Each class's probability through its curve: a sum of ramps, one for each straight line of it.

    The height at which a curve begins is a ramp too, which has ended before 0: OpenVINO loses a number that is added to
    the sum.
    """
    import keras

    num_lines = max(len(curve.x) for curve in curves) - 1
    start, width, rise = np.zeros((3, len(curves), num_lines + 1), dtype)
    width += 1  # lines that a curve has not rise by 0
    for place, curve in enumerate(curves):
        x, y = np.array(curve.x), np.array(curve.y)
        lines = slice(len(x) - 1)
        # A step has no width; a ramp over the least one there is comes to the same.
        start[place, lines], rise[place, lines] = x[:-1], np.diff(y)
        width[place, lines] = np.maximum(np.diff(x), np.finfo(dtype).tiny)
        start[place, -1], rise[place, -1] = -2, y[0]
    ramps = keras.ops.clip((keras.ops.expand_dims(chances, 2) - start) / width, 0.0, 1.0)
    return keras.ops.sum(ramps * rise, axis=2)
