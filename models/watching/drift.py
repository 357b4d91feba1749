"""Whether the images of a run differ from others: from those that the model was trained on, or those of the last runs.

Each quantity is tested by itself: labels and formats by Fisher's exact test of each label (Bonferroni over them),
numbers by Kolmogorov and Smirnov's test of two samples, embeddings by a classifier (Lopez-Paz and Oquab 2017). All hold
their level at any number of images. Within a run, Holm's procedure makes one family of all tests (Holm 1979). Over the
runs, the level of a run is that of a year divided by 365: a union bound, which needs no independence, and the runs are
not independent, since all are compared with the same training images. So a year of nights in which nothing changes
raises any alarm with a probability of 5 % at most, and one in twenty years. An alarm does not use up any of the next
night's level, as it would in a sequential test.

What is significant may be tiny where images are many. So each finding has a distance, 0 (alike) to 1 (nothing in
common), and one below `LEAST_DISTANCE` is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from darkroom.models.measures.intervals import Frozen
from darkroom.models.watching.observed import Observed

Reference = Literal["training", "last runs"]
Quantity = Literal["labels", "confidence", "unfamiliarity", "image size", "image shape", "formats", "brightness",
                   "embeddings"]  # fmt: skip

# The chance that a run in which nothing has changed raises an alarm: 5 % in a year of nights.
RUN_LEVEL = 0.05 / 365
LEAST_DISTANCE = 0.1
# Of a quantity: with more, tests find differences that nobody would call one, and take longer.
MAX_VALUES = 1000
# In each half on either side: a classifier that learns from fewer tells nothing.
_LEAST_EMBEDDINGS = 10
_SEED = 0


class Difference(Frozen):
    """How a quantity of a run differs from other images.

    Attributes:
        quantity: What was compared.
        against: With what.
        distance: 0 (alike) to 1. Of labels and formats the total variation, the share of images that would have to be
            others; of numbers Kolmogorov and Smirnov's D; of embeddings twice the AUC, less 1.
        p_value: Of the test, not corrected for the others.
        is_drift: Whether chance does not explain it, and it is large enough to be one.
        found: The largest part of it in words.
    """

    quantity: Quantity
    against: Reference
    distance: float
    p_value: float
    is_drift: bool
    found: str


class Drift(Frozen):
    """All that was compared.

    Attributes:
        differences: By quantity and reference.
        auc: How well a classifier tells the images of the run from those that the model was trained on, by their
            embeddings: 0.5 not at all, 1 always. None where it was not tried.
    """

    differences: tuple[Difference, ...]
    auc: float | None = None

    @property
    def found(self) -> tuple[Difference, ...]:
        """Those that are drift, the largest first."""
        return tuple(sorted((each for each in self.differences if each.is_drift), key=lambda each: -each.distance))

    @property
    def size(self) -> float:
        """The largest distance of those that are drift; 0 where none is."""
        return max((each.distance for each in self.found), default=0.0)


@dataclass(frozen=True)
class _Test:
    quantity: Quantity
    against: Reference
    distance: float
    p_value: float
    found: str


def drift(run: Observed, references: Mapping[Reference, Observed], level: float = RUN_LEVEL) -> Drift:
    """Compare the images of a run with others.

    Args:
        run: Of the run.
        references: What it is compared with; what is not known on both sides is not compared.
        level: The chance that a run in which nothing has changed has drift.
    """
    tests: list[_Test] = []
    auc = None
    for against, other in references.items():
        for quantity, values, others in _numbers(run, other):
            if len(values) and len(others):
                tests.append(_of_numbers(quantity, against, _some(values), _some(others)))
        for quantity, counts, other_counts in (
            ("labels", run.labels, other.labels),
            ("formats", run.formats, other.formats),
        ):
            if counts and other_counts:
                tests.append(_of_counts(quantity, against, counts, other_counts))  # type: ignore[arg-type]
        told = _told_apart(run.embeddings, other.embeddings)
        if told is not None:
            area, p_value = told
            if against == "training":
                auc = area
            name = "training's" if against == "training" else "those of the last runs"
            found = f"a classifier tells these images from {name} with AUC {area:.2f}"
            tests.append(_Test("embeddings", against, max(0.0, 2 * area - 1), p_value, found))
    is_significant = holm([test.p_value for test in tests], level)
    differences = (
        Difference(
            quantity=test.quantity,
            against=test.against,
            distance=test.distance,
            p_value=test.p_value,
            is_drift=bool(significant and test.distance >= LEAST_DISTANCE),
            found=test.found,
        )
        for test, significant in zip(tests, is_significant, strict=True)
    )
    return Drift(differences=tuple(differences), auc=auc)


def holm(p_values: Sequence[float], level: float) -> NDArray[np.bool_]:
    """Which of some hypotheses are rejected, where the chance to reject any true one is `level` at most: `bool[N]`.

    Args:
        p_values: One a hypothesis.
        level: That chance.
    """
    order = np.argsort(p_values, kind="stable")
    rejected = np.zeros(len(p_values), np.bool_)
    for place, index in enumerate(order):
        if p_values[index] > level / (len(p_values) - place):
            break
        rejected[index] = True
    return rejected


def _numbers(run: Observed, other: Observed) -> list[tuple[Quantity, NDArray[np.floating], NDArray[np.floating]]]:
    return [
        ("confidence", run.confidences, other.confidences),
        ("unfamiliarity", run.unfamiliarity, other.unfamiliarity),
        ("image size", np.sqrt(run.widths * run.heights), np.sqrt(other.widths * other.heights)),
        ("image shape", run.widths / run.heights, other.widths / other.heights),
        ("brightness", run.brightness, other.brightness),
    ]


def _some(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """As many as are compared, drawn at random where there are more."""
    if len(values) <= MAX_VALUES:
        return values
    return values[np.random.default_rng(_SEED).permutation(len(values))[:MAX_VALUES]]


_DECIMALS = 3
_WRITTEN = {"confidence": "{:.3f}", "unfamiliarity": "{:.2f}", "image shape": "{:.2f}"}


def _of_numbers(
    quantity: Quantity, against: Reference, values: NDArray[np.floating], others: NDArray[np.floating]
) -> _Test:
    from scipy.stats import ks_2samp

    # The same number may have other last digits on the two sides: of fp32 and of int8, as computed and as stored.
    result = ks_2samp(np.round(values, _DECIMALS), np.round(others, _DECIMALS))
    # Most confidences are near 1, where medians are alike.
    typical, called = (np.mean, "mean") if quantity == "confidence" else (np.median, "median")
    now, before = (_WRITTEN.get(quantity, "{:.0f}").format(float(typical(each))) for each in (values, others))
    unit = {"image size": " pixels", "brightness": " of 255"}.get(quantity, "")
    name = {"image size": "image side", "image shape": "width by height"}.get(quantity, quantity)
    found = f"{name}: {called} {now}{unit}, {_before(against)} {before}"
    return _Test(quantity, against, float(result.statistic), float(result.pvalue), found)


def _of_counts(quantity: Quantity, against: Reference, counts: Mapping[str, int], others: Mapping[str, int]) -> _Test:
    """Fisher's exact test of each name against all others, Bonferroni over the names."""
    from scipy.stats import hypergeom

    names = sorted({*counts, *others})
    now = np.array([counts.get(name, 0) for name in names])
    before = np.array([others.get(name, 0) for name in names])
    drawn, total = now.sum(), now.sum() + before.sum()
    both = now + before
    fewer, more = hypergeom.cdf(now, total, both, drawn), hypergeom.sf(now - 1, total, both, drawn)
    p_value = float(min(1.0, 2 * len(names) * np.minimum(fewer, more).min()))
    shares, other_shares = now / drawn, before / before.sum()
    most = int(np.abs(shares - other_shares).argmax())
    found = f"{quantity}: {shares[most]:.0%} are {names[most]}, {_before(against)} {other_shares[most]:.0%}"
    return _Test(quantity, against, float(np.abs(shares - other_shares).sum() / 2), p_value, found)


def _before(against: Reference) -> str:
    return "in training" if against == "training" else "in the last runs"


def _told_apart(run: NDArray[np.floating], other: NDArray[np.floating]) -> tuple[float, float] | None:
    """How well a classifier tells two sets of embeddings apart: the AUC on images that it was not fitted on, and a p
    value; None where there are too few.

    Fitted on one half of the images and tried on the other, and then the other way round. In each the scores of images
    that it has not seen are compared by Mann and Whitney's test; the smaller p value counts twice.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(run), len(other)) < 2 * _LEAST_EMBEDDINGS or run.shape[1] != other.shape[1]:
        return None
    rng = np.random.default_rng(_SEED)
    halves = []
    for each in (run, other):
        taken = each[rng.permutation(len(each))[:MAX_VALUES]].astype(np.float64)
        halves.append((taken[::2], taken[1::2]))
    (run_a, run_b), (other_a, other_b) = halves
    results = []
    for fitted, tried in (((run_a, other_a), (run_b, other_b)), ((run_b, other_b), (run_a, other_a))):
        truth = np.repeat([1, 0], [len(fitted[0]), len(fitted[1])])
        ridge = RidgeClassifier(alpha=run.shape[1], class_weight="balanced")
        classifier = make_pipeline(StandardScaler(), ridge).fit(np.concatenate(fitted), truth)
        results.append(_compared(*(classifier.decision_function(each) for each in tried)))
    return float(np.mean([area for area, _ in results])), min(1.0, 2 * min(p_value for _, p_value in results))


def _compared(run: NDArray[np.floating], other: NDArray[np.floating]) -> tuple[float, float]:
    from scipy.stats import mannwhitneyu

    result = mannwhitneyu(run, other, alternative="greater")
    return float(result.statistic) / (len(run) * len(other)), float(result.pvalue)
