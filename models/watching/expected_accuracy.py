"""How many of a run's labels are expected to be right, though nobody has said which are: from calibrated confidences.

It starts from the validation images, of which both confidence and truth are known, weighted so that the model gives
them the labels in the shares in which it gives them to the run: a night with more dogs than usual is no other camera.
Two estimates follow. The difference of confidences (Guillory et al. 2021): their accuracy, and the mean confidence of
the run less theirs. The average thresholded confidence (Garg et al. 2022): the share of the run above the confidence
that the right share of them exceeds. The figure is the mean of the two. Its interval holds the bootstrap intervals of
both, the chance of the run's own images, and the accuracy of the validation images: where confidences have changed, the
images may be harder, or only look so.

All rests on one assumption: an image of a confidence is as often right as one of validation. It fails for images unlike
all that the model has seen, about which it may be confident and wrong. So where the run's images lie farther from the
training images than validation's do, or the interval would say little, there is no figure but the reason
(`benchmarks/expected_accuracy.py` says how often either is right).
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from darkroom.data.figures import count, percent
from darkroom.models.measures.intervals import Frozen, wilson_interval
from darkroom.models.watching.observed import Observed

# With fewer the interval would be most of the scale.
LEAST_IMAGES = 20
LEAST_VALIDATION = 50
# Of the validation images 1 % are unfamiliar.
MAX_UNFAMILIAR = 0.1
# Kolmogorov and Smirnov's D between the unfamiliarity of the run and of validation, beyond what chance explains.
MAX_DISTANCE = 0.1
MAX_WIDTH = 0.3
# Of chance: what a D exceeds in 1 run of 100, times the root of the number of images.
_CHANCE = 1.63
_NUM_RESAMPLES = 400
_SEED = 0


class ExpectedAccuracy(Frozen):
    """What share of a run's images has the right label, as far as can be told.

    Attributes:
        value: 0 to 1; None where it is not to be trusted.
        low, high: Its 95 % interval; None likewise.
        withheld: Why there is none; None where there is one.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    withheld: str | None = None

    @property
    def text(self) -> str:
        """In words: `0.94 (0.91 to 0.96)`, or why not."""
        if self.value is None or self.low is None or self.high is None:
            return f"withheld: {self.withheld}"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def expected_accuracy(run: Observed, validation: Observed, right: NDArray[np.bool_]) -> ExpectedAccuracy:
    """The accuracy to expect on the images of a run.

    Args:
        run: Of the run: its confidences, and where known, labels and unfamiliarity.
        validation: Of the validation images, in one order.
        right: `bool[M]`, whether the label of each validation image is right.
    """
    why = _too_few(run, right) or _too_strange(run, validation)
    if why:
        return ExpectedAccuracy(withheld=why)
    confidences, known = run.confidences.astype(np.float64), validation.confidences.astype(np.float64)
    weights = _weights(run, validation)
    value = float(np.mean(_estimates(confidences, known, right, weights)[:2]))
    rng = np.random.default_rng(_SEED)
    drawn = np.empty((_NUM_RESAMPLES, 3))
    for resample in range(_NUM_RESAMPLES):
        mine = confidences[rng.integers(0, len(confidences), len(confidences))]
        theirs = rng.integers(0, len(known), len(known))
        shares = _estimates(mine, known[theirs], right[theirs], weights[theirs])
        drawn[resample] = rng.binomial(len(mine), np.clip(shares, 0, 1)) / len(mine)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    # Where all validation images are right, every resample says so too.
    accuracy, known_interval = float(right.mean()), wilson_interval(int(right.sum()), len(right))
    lowest = max(0.0, min(*low, value - (accuracy - known_interval.low)))
    highest = min(1.0, max(*high, value + (known_interval.high - accuracy)))
    if highest - lowest > MAX_WIDTH:
        return ExpectedAccuracy(withheld=f"it could be anything from {lowest:.2f} to {highest:.2f}")
    return ExpectedAccuracy(value=value, low=lowest, high=highest)


def _too_few(run: Observed, right: NDArray[np.bool_]) -> str | None:
    if len(right) < LEAST_VALIDATION:
        return f"the model has only {count(len(right), 'validation image')} to compare with"
    if len(run.confidences) < LEAST_IMAGES:
        return f"it takes {LEAST_IMAGES} images, and there are {len(run.confidences)}"
    return None


def _too_strange(run: Observed, validation: Observed) -> str | None:
    if not len(run.unfamiliarity) or not len(validation.unfamiliarity):
        return "how familiar the images are is not known"
    unfamiliar = float((run.unfamiliarity > 1).mean())
    if unfamiliar > MAX_UNFAMILIAR:
        return f"{percent(unfamiliar)} of the images are unlike those of training"
    weights = _weights(run, validation)
    effective = weights.sum() ** 2 / (weights**2).sum()
    chance = _CHANCE * np.sqrt(1 / len(run.unfamiliarity) + 1 / effective)
    if _distance(run.unfamiliarity, validation.unfamiliarity, weights) > MAX_DISTANCE + chance:
        return "the images as a whole are less like those of training than validation's are"
    return None


def _weights(run: Observed, validation: Observed) -> NDArray[np.float64]:
    """Of the validation images, so that the labels given to them have the run's shares; 1 where labels are not known.

    A label that validation has never got is not made up for.
    """
    ones = np.ones(len(validation.confidences))
    if not run.predicted or not validation.predicted:
        return ones
    there = Counter(validation.predicted)
    wanted = Counter(label for label in run.predicted if label in there)
    if not wanted:
        return ones
    weight = {label: wanted[label] / number for label, number in there.items()}
    weights = np.array([weight[label] for label in validation.predicted])
    scaled: NDArray[np.float64] = weights * len(weights) / weights.sum()
    return scaled


def _distance(values: NDArray[np.floating], others: NDArray[np.floating], weights: NDArray[np.float64]) -> float:
    """Kolmogorov and Smirnov's D of two samples, the second weighted."""
    order = np.argsort(others, kind="stable")
    at = np.concatenate([values, others])
    share = np.searchsorted(np.sort(values), at, side="right") / len(values)
    sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    other_share = sums[np.searchsorted(others[order], at, side="right")] / sums[-1]
    return float(np.abs(share - other_share).max())


def _estimates(
    confidences: NDArray[np.float64],
    known: NDArray[np.float64],
    right: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> tuple[float, float, float]:
    """By the difference of confidences, by the average thresholded confidence, and the accuracy of validation."""
    total = max(weights.sum(), 1e-9)
    accuracy = float(weights @ right / total)
    by_difference = float(np.clip(accuracy + confidences.mean() - weights @ known / total, 0, 1))
    order = np.argsort(known, kind="stable")
    wrong = np.searchsorted(np.cumsum(weights[order]), (1 - accuracy) * total, side="right")
    threshold = known[order[wrong]] if wrong < len(order) else np.inf
    return by_difference, float((confidences >= threshold).mean()), accuracy
