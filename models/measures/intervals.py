"""The 95 % interval of an accuracy, or of any other share of images; those of other metrics are in `resampling.py`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base class of a report's parts: immutable, no unknown fields, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Interval(Frozen):
    """A confidence interval.

    Attributes:
        low, high: Its ends.
    """

    low: float
    high: float


def wilson_interval(num_correct: int, num_images: int, confidence: float = 0.95) -> Interval:
    """The Wilson score interval of a share, accurate also near 0 and 1 and for few images.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Args:
        num_correct: 0 to `num_images`.
        num_images: At least 1.
        confidence: The level of the interval.
    """
    from scipy.stats import binomtest

    low, high = binomtest(num_correct, num_images).proportion_ci(confidence, method="wilson")
    return Interval(low=float(low), high=float(high))
