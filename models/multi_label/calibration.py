"""Calibration of each label by itself: probabilities that mean what they say, fitted on validation images.

`LabelCalibration.apply` is the only way from the logits of several labels to their probabilities.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.special import expit

from darkroom.data.errors import WorkError
from darkroom.data.files.cards import FIRST_ERROR
from darkroom.models.measures.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, TIE_BREAK, Curve
from darkroom.models.measures.intervals import Frozen
from darkroom.models.multi_label.checks import MIN_SUPPORT, Flags, Floats, check_label_scores
from darkroom.models.settings import CalibrationMethod

logger = logging.getLogger(__name__)

_WHOLE = Curve(x=(0.0, 1.0), y=(0.0, 1.0))


class LabelCalibration(Frozen):
    """From logits to the probability of each label.

    Attributes:
        method: `platt`: the sigmoid of scale * logit + offset (Platt 1999). `isotonic`: that, through a rising curve of
            each label (Zadrozny & Elkan 2002).
        scales, offsets: One a label, in label map order.
        curves: For `isotonic`, one a label.
    """

    method: Literal["platt", "isotonic"] = "platt"
    scales: Annotated[tuple[float, ...], FIRST_ERROR] = Field(min_length=2)
    offsets: Annotated[tuple[float, ...], FIRST_ERROR]
    curves: Annotated[tuple[Curve, ...], FIRST_ERROR] = ()

    @model_validator(mode="after")
    def _has_what_its_method_needs(self) -> Self:
        if len(self.offsets) != len(self.scales) or min(self.scales) <= 0:
            raise ValueError("each label has a scale above 0 and an offset")
        if (len(self.curves) if self.method == "isotonic" else len(self.scales)) != len(self.scales):
            raise ValueError("isotonic calibration has a curve for each label")
        if (self.method == "isotonic") != bool(self.curves):
            raise ValueError("curves belong to isotonic calibration, and it needs them")
        return self

    def apply(self, logits: NDArray[np.floating]) -> Floats:
        """Probabilities `float64[N, K]` of `logits`, `float[N, K]`; each label's by itself, so that rows have any sum.

        Raises:
            WorkError: where there are not as many labels as the calibration has.
        """
        if logits.ndim != 2 or logits.shape[1] != len(self.scales):
            raise WorkError(f"There are calibrations of {len(self.scales)} labels for logits of shape {logits.shape}.")
        scaled = np.asarray(logits, np.float64) * np.array(self.scales) + np.array(self.offsets)
        chances: Floats = expit(scaled)
        if not self.curves:
            return chances
        mapped = [np.interp(column, curve.x, curve.y) for column, curve in zip(chances.T, self.curves, strict=True)]
        result: Floats = (1 - TIE_BREAK) * np.stack(mapped, axis=1) + TIE_BREAK * chances
        return result


def uncalibrated(offsets: Sequence[float]) -> LabelCalibration:
    """The sigmoid of the logits, less what the weights of the loss added to them.

    Args:
        offsets: Of each label, the negative logarithm of how much more its positive images weighed.
    """
    return LabelCalibration(scales=(1.0,) * len(offsets), offsets=tuple(offsets))


def fit_label_calibration(
    logits: NDArray[np.floating], truth: NDArray[np.generic], method: CalibrationMethod, offsets: Sequence[float]
) -> LabelCalibration:
    """Fit a calibration to each label.

    A label that fewer than 10 of the images have, or all but fewer than 10, is left as `uncalibrated` gives it.

    Args:
        logits: float[N, K] of the validation images.
        truth: 0 or 1, [N, K].
        method: `temperature` fits Platt's scale and offset, which are the temperature of a single label and its prior;
            `isotonic` a curve.
        offsets: As of `uncalibrated`.

    Raises:
        WorkError: where shapes do not fit or a logit is not finite.
    """
    scores, flags = check_label_scores(logits, truth)
    plain = uncalibrated(offsets)
    support = np.minimum(flags.sum(axis=0), len(flags) - flags.sum(axis=0))
    if method == "isotonic":
        chances = plain.apply(scores)
        columns = zip(chances.T, flags.T, support, strict=True)
        curves = tuple(_curve(each, positive) if few >= MIN_SUPPORT else _WHOLE for each, positive, few in columns)
        return LabelCalibration(method="isotonic", scales=plain.scales, offsets=plain.offsets, curves=curves)
    fitted = [
        _platt(scores[:, label], flags[:, label]) if support[label] >= MIN_SUPPORT else (1.0, plain.offsets[label])
        for label in range(scores.shape[1])
    ]
    num_fitted = int((support >= MIN_SUPPORT).sum())
    logger.info("Calibrated %d of %d labels on %d validation images.", num_fitted, len(fitted), len(flags))
    return LabelCalibration(
        scales=tuple(scale for scale, _ in fitted), offsets=tuple(float(offset) for _, offset in fitted)
    )


def _platt(logit: Floats, positive: Flags) -> tuple[float, float]:
    """Scale and offset that make the truth most likely, with Platt's own targets, which are never quite 0 and 1.

    With n images of a kind they are 1 / (n + 2) and (n + 1) / (n + 2), so that a label that is told apart perfectly
    does not ask for ever more confidence. The scale has the bounds of a temperature.
    """
    from scipy.optimize import minimize

    num_positive = int(positive.sum())
    high, low = (num_positive + 1) / (num_positive + 2), 1 / (len(positive) - num_positive + 2)
    target = np.where(positive, high, low)

    def cost(parameters: Floats) -> tuple[float, Floats]:
        scaled = parameters[0] * logit + parameters[1]
        error = expit(scaled) - target
        loss = np.logaddexp(0.0, scaled) - target * scaled
        return float(loss.mean()), np.array([(error * logit).mean(), error.mean()])

    bounds = [(1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE), (None, None)]
    found = minimize(cost, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(found.x[0]), float(found.x[1])


def _curve(chance: Floats, positive: Flags) -> Curve:
    """Isotonic regression that reaches neither 0 nor 1: what n images do not show is given 1 / (n + 2)."""
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(positive) + 2)
    fitted = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(chance, positive)
    return Curve(x=tuple(fitted.X_thresholds_.tolist()), y=tuple(fitted.y_thresholds_.tolist()))
