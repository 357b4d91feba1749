"""Calibration: probabilities that mean what they say, by temperature or by isotonic regression.

It is fitted on validation images, never on those that figures are reported for. `Calibration.apply` is the only way
from logits to probabilities.
"""

from __future__ import annotations

import logging
import math
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.special import log_softmax, softmax

from darkroom.data.errors import WorkError
from darkroom.data.files.cards import FIRST_ERROR
from darkroom.models.measures.intervals import Frozen
from darkroom.models.measures.metrics import check_scores
from darkroom.models.settings import CalibrationMethod

logger = logging.getLogger(__name__)

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
# Below this many images isotonic regression fits their noise (Niculescu-Mizil and Caruana 2005, "Predicting good
# probabilities with supervised learning", section 5).
_ENOUGH_FOR_ISOTONIC = 1000
# Where a curve is level, this share of the softmax keeps classes and images in the network's own order.
TIE_BREAK = 1e-6


class Curve(Frozen):
    """A monotonic, piecewise linear function, constant outside its points.

    Attributes:
        x, y: The points, `x` ascending.
    """

    x: Annotated[tuple[float, ...], FIRST_ERROR] = Field(min_length=1)
    y: Annotated[tuple[float, ...], FIRST_ERROR] = Field(min_length=1)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        for values in (self.x, self.y):
            if list(values) != sorted(values) or not 0 <= values[0] <= values[-1] <= 1:
                raise ValueError("the points of a curve rise, from 0 to 1")
        if len(self.x) != len(self.y):
            raise ValueError("a curve has as many x as y")
        return self


class Calibration(Frozen):
    """From logits to probabilities.

    Attributes:
        method: `temperature`: softmax of logits / `temperature` (Guo et al. 2017, "On Calibration of Modern Neural
            Networks", arXiv:1706.04599). `isotonic`: each class's softmax through a rising curve of its own, then
            scaled to sum to 1 (Zadrozny and Elkan 2002, "Transforming classifier scores into accurate multiclass
            probability estimates").
        temperature: 1 for `isotonic`.
        curves: For `isotonic`, one per class, in the order of the label map.
    """

    method: CalibrationMethod = "temperature"
    temperature: float = Field(default=1.0, gt=0)
    curves: Annotated[tuple[Curve, ...], FIRST_ERROR] = ()

    @model_validator(mode="after")
    def _has_what_its_method_needs(self) -> Self:
        if (self.method == "isotonic") != bool(self.curves):
            raise ValueError("curves belong to isotonic calibration, and it needs them")
        return self

    def apply(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities `float64[N, C]` of logits `float[N, C]`; rows sum to 1, whatever the size of the logits.

        Raises:
            WorkError: where there is not one curve per class.
        """
        chances = probabilities(logits, self.temperature)
        if self.method == "temperature":
            return chances
        if len(self.curves) != chances.shape[1]:
            raise WorkError(f"There are {len(self.curves)} calibration curves for {chances.shape[1]} classes.")
        mapped = np.stack(
            [np.interp(column, curve.x, curve.y) for column, curve in zip(chances.T, self.curves, strict=True)], axis=1
        )
        mapped = (1 - TIE_BREAK) * mapped + TIE_BREAK * chances
        result: NDArray[np.float64] = mapped / mapped.sum(axis=1, keepdims=True)
        return result


UNCALIBRATED = Calibration()


def fit_calibration(
    logits: NDArray[np.floating], truth: NDArray[np.integer], method: CalibrationMethod = "temperature"
) -> Calibration:
    """Fit a calibration to the validation images.

    Args:
        logits: `float[N, C]`.
        truth: `int[N]`.
        method: `temperature` or `isotonic`.

    Raises:
        WorkError: where shapes do not match or a logit is not finite.
    """
    if method == "temperature":
        return Calibration(temperature=fit_temperature(logits, truth))
    return Calibration(method="isotonic", curves=fit_curves(logits, truth))


def fit_curves(logits: NDArray[np.floating], truth: NDArray[np.integer]) -> tuple[Curve, ...]:
    """Isotonic regression of each class against the rest on its softmax.

    No curve reaches 0 or 1: what did not happen among n images is given 1 / (n + 2) (Laplace), so that no truth is
    impossible.

    Args:
        logits: `float[N, C]` of the validation images.
        truth: `int[N]`.

    Raises:
        WorkError: where shapes do not match or a logit is not finite.
    """
    from sklearn.isotonic import IsotonicRegression

    chances = probabilities(check_scores(logits, truth), 1.0)
    if len(truth) < _ENOUGH_FOR_ISOTONIC:
        logger.warning(
            "Isotonic calibration on %d validation images fits their noise: temperature is safer below %d.",
            len(truth),
            _ENOUGH_FOR_ISOTONIC,
        )
    least = 1 / (len(truth) + 2)
    curves = []
    for index in range(chances.shape[1]):
        fitted = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
        fitted.fit(chances[:, index], truth == index)
        curves.append(Curve(x=tuple(fitted.X_thresholds_.tolist()), y=tuple(fitted.y_thresholds_.tolist())))
    return tuple(curves)


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.integer]) -> float:
    """The temperature that makes the truth most likely (Guo et al. 2017, section 4.2).

    Where every image is right the likelihood only asks for ever more confidence and says nothing about mistakes to
    come; the temperature is then left at 1.

    Args:
        logits: `float[N, C]` of the validation images.
        truth: `int[N]`.

    Returns:
        A number from 0.05 to 20; above 1 where the network was too sure of itself.

    Raises:
        WorkError: where shapes do not match or a logit is not finite.
    """
    from scipy.optimize import minimize_scalar

    logits = check_scores(logits, truth)
    rows = np.arange(len(truth))
    if (logits.argmax(axis=1) == truth).all():
        logger.info("Temperature stays at 1: all %d validation images are right.", len(truth))
        return 1.0

    def negative_log_likelihood(log_temperature: float) -> float:
        return -float(log_softmax(logits / math.exp(log_temperature), axis=1)[rows, truth].mean())

    bounds = (math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
    found = minimize_scalar(negative_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    temperature = math.exp(float(found.x))
    logger.info("Temperature %.3f fitted on %d validation images.", temperature, len(truth))
    return temperature


def probabilities(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Softmax of logits divided by a temperature, without overflow: `float64[N, C]`, rows sum to 1.

    Args:
        logits: `float[N, C]`.
        temperature: Above 0.

    Raises:
        WorkError: where the temperature is not a positive number.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise WorkError(f"A temperature is a positive number; received {temperature}.")
    result: NDArray[np.float64] = softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return result
