"""What a new model decides by, fitted on validation logits: calibration, thresholds of labels, abstain threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import SettingError
from darkroom.data.task import TaskName
from darkroom.models.measures.calibration import Calibration, fit_calibration
from darkroom.models.measures.metrics import most_likely
from darkroom.models.measures.outcome import Outcome
from darkroom.models.measures.threshold import threshold_of_coverage, threshold_of_precision
from darkroom.models.multi_label.answers import MultiLabelAnswers
from darkroom.models.multi_label.calibration import LabelCalibration, fit_label_calibration
from darkroom.models.multi_label.thresholds import choose_thresholds
from darkroom.models.settings import TrainSettings
from darkroom.models.training_loop.techniques.class_weights import positive_weights_of

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Decided:
    """What a bundle decides by.

    Attributes:
        calibration: From logits to probabilities.
        thresholds: Of several labels, the probability from which each is given; () where an image has one.
        threshold: The confidence below which it abstains; 0 where it never does.
        chances: `float64[N, K]`, the probabilities of the validation images.
        accuracy: The share of validation images that are right.
    """

    calibration: Calibration | LabelCalibration
    thresholds: tuple[float, ...]
    threshold: float
    chances: NDArray[np.float64]
    accuracy: float


def decide(dataset: Dataset, settings: TrainSettings, logits: Logits, truth: NDArray[Any]) -> Decided:
    """Calibrate on validation, and choose all thresholds there.

    Args:
        dataset: The one that the network was trained on.
        settings: Of the training.
        logits: `float32[N, K]` of the validation images.
        truth: `int32[N]`, or where an image may have several labels, `float32[N, K]`.

    Raises:
        SettingError: where the threshold's precision cannot be reached on validation.
        WorkError: where a logit is not finite.
    """
    return _DECIDE[dataset.card.task](dataset, settings, logits, truth)


def _single(dataset: Dataset, settings: TrainSettings, logits: Logits, truth: NDArray[Any]) -> Decided:
    calibration = fit_calibration(logits, truth, settings.calibration)
    chances = calibration.apply(logits)
    threshold = _abstain_threshold(most_likely(chances, truth), settings)
    return Decided(calibration, (), threshold, chances, float(np.mean(logits.argmax(axis=1) == truth)))


def _multi(dataset: Dataset, settings: TrainSettings, logits: Logits, truth: NDArray[Any]) -> Decided:
    offsets = [-float(np.log(weight)) for weight in positive_weights_of(dataset, settings)]
    calibration = fit_label_calibration(logits, truth, settings.calibration, offsets)
    chances = calibration.apply(logits)
    thresholds = choose_thresholds(chances, truth)
    outcome = MultiLabelAnswers(thresholds).outcome(chances, truth)
    return Decided(calibration, thresholds, _abstain_threshold(outcome, settings), chances, outcome.accuracy)


_DECIDE: Mapping[TaskName, Callable[[Dataset, TrainSettings, Logits, NDArray[Any]], Decided]] = {
    "single-label": _single,
    "multi-label": _multi,
}


def _abstain_threshold(outcome: Outcome, settings: TrainSettings) -> float:
    """The confidence below which the bundle abstains; 0 where it is asked for neither precision nor coverage."""
    if settings.min_coverage:
        return threshold_of_coverage(outcome, settings.min_coverage)
    if not settings.min_precision:
        return 0.0
    threshold = threshold_of_precision(outcome, settings.min_precision)
    if threshold is None:
        raise SettingError(f"No threshold gives a precision of {settings.min_precision} on validation: lower it.")
    return threshold
