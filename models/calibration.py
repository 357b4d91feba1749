"""Confidence that means what it says: temperature scaling, and the threshold below which a prediction abstains.

Both are fitted on validation images, never on those that figures are reported for.
"""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from data.errors import SettingError, WorkError
from models.metrics import check_probabilities, check_scores

logger = logging.getLogger(__name__)

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.integer]) -> float:
    """The temperature that makes the truth most likely (Guo et al. 2017, section 4.2).

    Where every image is right the likelihood only asks for ever more confidence and says nothing about mistakes to
    come; the temperature is then left at 1.

    Args:
        logits: float[N, C] of the validation images.
        truth: int[N].

    Returns:
        A number from 0.05 to 20; above 1 where the network was too sure of itself.

    Raises:
        WorkError: where shapes do not fit or a logit is not finite.
    """
    logits = check_scores(logits, truth)
    rows = np.arange(len(truth))
    if (logits.argmax(axis=1) == truth).all():
        logger.info("temperature stays at 1: all %d validation images are right", len(truth))
        return 1.0

    def negative_log_likelihood(log_temperature: float) -> float:
        return -float(log_softmax(logits / math.exp(log_temperature), axis=1)[rows, truth].mean())

    bounds = (math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
    found = minimize_scalar(negative_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    temperature = math.exp(float(found.x))
    logger.info("temperature %.3f fitted on %d validation images", temperature, len(truth))
    return temperature


def probabilities(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Softmax of `logits` (float[N, C]) divided by `temperature`, without overflow: float64[N, C], rows sum to 1.

    Raises:
        WorkError: where the temperature is not a positive number.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise WorkError(f"A temperature is a positive number; received {temperature}.")
    result: NDArray[np.float64] = softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return result


def choose_threshold(probabilities: NDArray[np.floating], truth: NDArray[np.integer], min_precision: float) -> float:
    """The smallest confidence such that the images at or above it are right with at least `min_precision`.

    Args:
        probabilities: float[N, C] of the validation images, calibrated.
        truth: int[N].
        min_precision: From 0 to 1.

    Returns:
        0.0 where all images together are that precise, 1.0 where no threshold reaches it.

    Raises:
        SettingError: where `min_precision` is not from 0 to 1.
        WorkError: where shapes do not fit or a row is no distribution.
    """
    if not 0.0 <= min_precision <= 1.0:
        raise SettingError(f"The precision to reach is a share from 0 to 1; received {min_precision}.")
    probabilities = check_probabilities(probabilities, truth)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    order = np.argsort(-confidence, kind="stable")
    confidence = confidence[order]
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # Images of equal confidence pass together: only the last of them is a place to cut.
    is_cut = np.append(confidence[1:] < confidence[:-1], True)
    cuts = np.flatnonzero(is_cut & (precision >= min_precision))
    if not len(cuts):
        return 1.0
    return 0.0 if cuts[-1] == len(order) - 1 else float(confidence[cuts[-1]])


def coverage_and_accuracy(
    probabilities: NDArray[np.floating], truth: NDArray[np.integer], threshold: float
) -> tuple[float, float | None]:
    """The share of images with confidence of `threshold` or more, and the accuracy on those (None where none is).

    Args:
        probabilities: float[N, C], calibrated.
        truth: int[N].

    Raises:
        WorkError: where shapes do not fit or a row is no distribution.
    """
    probabilities = check_probabilities(probabilities, truth)
    kept = probabilities.max(axis=1) >= threshold
    right = probabilities.argmax(axis=1) == truth
    return float(kept.mean()), float(right[kept].mean()) if kept.any() else None
