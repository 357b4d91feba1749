"""Classification metrics from probabilities and the truth: intervals, confusion matrix, calibration error.

scikit-learn and SciPy are imported where they are used: scoring needs this module's types, and starts without them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import WorkError
from darkroom.data.labels.label_map import LabelMap
from darkroom.models.measures.intervals import Frozen, Interval, wilson_interval
from darkroom.models.measures.outcome import Outcome

NUM_BINS = 15
_TOP_K = (1, 3, 5)
# float32 softmax over 1,000 classes stays within 1e-5; what is further off is not a distribution.
_SUM_TOLERANCE = 1e-3


class TopK(Frozen):
    """How often the true class is among the most likely ones.

    Attributes:
        k: How many are looked at.
        accuracy: Share of images whose truth is among them.
        interval: 95 % Wilson score interval of `accuracy`.
    """

    k: int
    accuracy: float
    interval: Interval


class ClassMetrics(Frozen):
    """One class against the rest.

    Attributes:
        label: The class.
        support: Images whose truth is this class.
        precision: None where the class was never predicted.
        recall: None where the class is absent from the truth.
        f1: None where both are.
        roc_auc: None where the class is absent, or the only one.
        average_precision: Area under the precision-recall curve; None where the class is absent.
        top_3: Share of its images for which it is among the three most likely classes; None where the class is absent,
            or there are no more than three.
    """

    label: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    roc_auc: float | None
    average_precision: float | None
    top_3: float | None = None


class ReliabilityBin(Frozen):
    """The images whose confidence is in (low, high].

    Attributes:
        low, high: The bin's ends.
        num_images: Images in it.
        confidence, accuracy: Their means; None where there are no images.
    """

    low: float
    high: float
    num_images: int
    confidence: float | None
    accuracy: float | None


class Metrics(Frozen):
    """All metrics of one evaluation.

    Attributes:
        num_images: Images evaluated.
        num_correct: Those that are right.
        accuracy: Their share.
        accuracy_interval: 95 % Wilson score interval, see `wilson_interval`.
        balanced_accuracy: Mean recall over the classes that are present in the truth.
        macro_f1: Mean F1 over the classes that are present in the truth or were predicted.
        weighted_f1: Mean F1 weighted by the images of each class.
        log_loss: Mean negative log-likelihood, nats.
        top_k: k = 1, and 3 and 5 where there are more classes than that.
        per_class: In the order of the label map.
        macro_roc_auc: One class against the rest, mean over the classes that have one; None where none has.
        macro_pr_auc: Mean average precision over the classes that have one; None where none has.
        confusion_matrix: Counts; rows are truth, columns prediction, both in the order of the label map.
        expected_calibration_error: Over 15 bins of equal width, see `reliability`.
        reliability: The bins, by confidence.
    """

    num_images: int
    num_correct: int
    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float
    macro_f1: float
    weighted_f1: float
    log_loss: float
    top_k: tuple[TopK, ...]
    per_class: tuple[ClassMetrics, ...]
    macro_roc_auc: float | None
    macro_pr_auc: float | None
    confusion_matrix: tuple[tuple[int, ...], ...]
    expected_calibration_error: float
    reliability: tuple[ReliabilityBin, ...]


def measure(probabilities: NDArray[np.floating], truth: NDArray[np.integer], labels: LabelMap) -> Metrics:
    """Measure predictions against the truth; the predicted class is the first of the most likely ones.

    Args:
        probabilities: `float[N, C]`, rows sum to 1.
        truth: `int[N]`, class indices below C. Classes may be missing.
        labels: C names.

    Raises:
        WorkError: where shapes do not match, there are no images, or a row is no distribution.
    """
    from sklearn.metrics import confusion_matrix, f1_score, recall_score

    probabilities = check_probabilities(probabilities, truth)
    num_images, num_classes = probabilities.shape
    if num_classes != len(labels):
        raise WorkError(f"There are {num_classes} probabilities an image for {len(labels)} labels.")
    predicted = probabilities.argmax(axis=1)
    num_correct = int((predicted == truth).sum())
    per_class = _per_class(probabilities, truth, predicted, labels)
    reliability = reliability_bins(probabilities, truth)
    matrix = confusion_matrix(truth, predicted, labels=range(num_classes))
    return Metrics(
        num_images=num_images,
        num_correct=num_correct,
        accuracy=num_correct / num_images,
        accuracy_interval=wilson_interval(num_correct, num_images),
        # Over the classes present; balanced_accuracy_score is the same, but warns of every class that is not.
        balanced_accuracy=float(recall_score(truth, predicted, labels=np.unique(truth), average="macro")),
        macro_f1=float(f1_score(truth, predicted, average="macro", zero_division=0.0)),
        weighted_f1=float(f1_score(truth, predicted, average="weighted", zero_division=0.0)),
        log_loss=_log_loss(probabilities, truth),
        top_k=_top_k(probabilities, truth),
        per_class=per_class,
        macro_roc_auc=_mean([row.roc_auc for row in per_class]),
        macro_pr_auc=_mean([row.average_precision for row in per_class]),
        confusion_matrix=tuple(tuple(row) for row in matrix.tolist()),
        expected_calibration_error=expected_calibration_error(reliability),
        reliability=reliability,
    )


def reliability_bins(
    probabilities: NDArray[np.floating], truth: NDArray[np.integer], num_bins: int = NUM_BINS
) -> tuple[ReliabilityBin, ...]:
    """Mean confidence and accuracy of the images in each of `num_bins` equal bins of confidence over (0, 1].

    Args:
        probabilities: `float[N, C]`, rows sum to 1.
        truth: `int[N]`.
        num_bins: Number of bins.
    """
    return reliability_of(Outcome(probabilities.argmax(axis=1) == truth, probabilities.max(axis=1)), num_bins)


def reliability_of(outcome: Outcome, num_bins: int = NUM_BINS) -> tuple[ReliabilityBin, ...]:
    """The same for answers of any kind.

    Args:
        outcome: Of the images.
        num_bins: Number of bins.
    """
    confidence, right = outcome.confidence, outcome.right
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    place = bin_places(confidence, num_bins)
    bins = []
    for index in range(num_bins):
        inside = place == index
        bins.append(
            ReliabilityBin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                num_images=int(inside.sum()),
                confidence=float(confidence[inside].mean()) if inside.any() else None,
                accuracy=float(right[inside].mean()) if inside.any() else None,
            )
        )
    return tuple(bins)


def bin_places(confidence: NDArray[np.floating], num_bins: int = NUM_BINS) -> NDArray[np.intp]:
    """The bin of each confidence, from 0: `int[N]`.

    Args:
        confidence: `float[N]`, 0 to 1.
        num_bins: Number of bins.
    """
    places: NDArray[np.intp] = np.digitize(confidence, np.linspace(0.0, 1.0, num_bins + 1)[1:-1], right=True)
    return places


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """The mean distance between confidence and accuracy over the bins, weighted by images.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, eq. 5.
    """
    total = sum(row.num_images for row in bins)
    return sum(
        row.num_images / total * abs(row.accuracy - row.confidence)
        for row in bins
        if row.accuracy is not None and row.confidence is not None
    )


def check_scores(scores: NDArray[np.floating], truth: NDArray[np.integer]) -> NDArray[np.float64]:
    """Check that scores fit the truth.

    Args:
        scores: Probabilities or logits, `float[N, C]`.
        truth: `int[N]`.

    Returns:
        The scores, `float64[N, C]`.

    Raises:
        WorkError: where shapes do not match, there are no images, a score is not finite or a class index is out of
            range.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise WorkError(f"Scores have the shape (images, classes) with two classes or more; received {scores.shape}.")
    if truth.shape != (len(scores),):
        raise WorkError(f"There are scores for {len(scores)} images and true labels of shape {truth.shape}.")
    if not len(scores):
        raise WorkError("There is no image to measure: the split is empty.")
    if not np.issubdtype(truth.dtype, np.integer) or truth.min() < 0 or truth.max() >= scores.shape[1]:
        raise WorkError(
            f"True labels are class indices from 0 to {scores.shape[1] - 1}; "
            f"received {truth.dtype} from {truth.min()} to {truth.max()}."
        )
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        raise WorkError(
            f"The network gave NaN or infinity for {len(bad)} of {len(scores)} images (first: row {bad[0]})."
        )
    return scores.astype(np.float64)


def check_probabilities(probabilities: NDArray[np.floating], truth: NDArray[np.integer]) -> NDArray[np.float64]:
    """Check that probabilities fit the truth, as `check_scores` does, and that each row is a distribution.

    Args:
        probabilities: `float[N, C]`.
        truth: `int[N]`.

    Returns:
        The probabilities, `float64[N, C]`.

    Raises:
        WorkError: where a row has a negative entry or does not sum to 1 within 0.001, or `check_scores` finds a fault.
    """
    checked = check_scores(probabilities, truth)
    sums = checked.sum(axis=1)
    bad = np.flatnonzero((np.abs(sums - 1.0) > _SUM_TOLERANCE) | (checked < 0).any(axis=1))
    if len(bad):
        raise WorkError(
            f"Probabilities are not negative and sum to 1 for each image; {len(bad)} of {len(sums)} rows do not "
            f"(row {bad[0]} sums to {sums[bad[0]]:.4g}). Were logits given?"
        )
    return checked


def most_likely(probabilities: NDArray[np.floating], truth: NDArray[np.integer]) -> Outcome:
    """The outcome of answering with the first of the most likely classes.

    Args:
        probabilities: float[N, C], rows sum to 1.
        truth: int[N].

    Raises:
        WorkError: where shapes do not fit or a row is no distribution.
    """
    checked = check_probabilities(probabilities, truth)
    return Outcome(checked.argmax(axis=1) == truth, checked.max(axis=1))


def _log_loss(probabilities: NDArray[np.float64], truth: NDArray[np.integer]) -> float:
    from sklearn.metrics import log_loss

    # scikit-learn wants sums of 1 to within 1e-8, which float32 softmax does not give.
    scaled = probabilities / probabilities.sum(axis=1, keepdims=True)
    return float(log_loss(truth, scaled, labels=range(scaled.shape[1])))


def _top_k(probabilities: NDArray[np.float64], truth: NDArray[np.integer]) -> tuple[TopK, ...]:
    # scikit-learn's top_k_accuracy_score takes the last of equal classes, argmax the first: top 1 would differ.
    order = np.argsort(-probabilities, axis=1, kind="stable")
    hit = order == truth[:, None]
    num_classes = probabilities.shape[1]
    found = {k: int(hit[:, :k].any(axis=1).sum()) for k in _TOP_K if k < num_classes}
    return tuple(TopK(k=k, accuracy=n / len(hit), interval=wilson_interval(n, len(hit))) for k, n in found.items())


def _per_class(
    probabilities: NDArray[np.float64], truth: NDArray[np.integer], predicted: NDArray[np.integer], labels: LabelMap
) -> tuple[ClassMetrics, ...]:
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=range(len(labels)), zero_division=np.nan
    )
    rows = []
    # Of equally likely classes the first comes first, as in the prediction itself.
    three = np.argsort(-probabilities, axis=1, kind="stable")[:, :3]
    for index, label in enumerate(labels.names):
        positive = truth == index
        score = probabilities[:, index]
        mixed = positive.any() and not positive.all()
        rows.append(
            ClassMetrics(
                label=label,
                support=int(support[index]),
                precision=_or_none(precision[index]),
                recall=_or_none(recall[index]),
                f1=_or_none(f1[index]),
                roc_auc=float(roc_auc_score(positive, score)) if mixed else None,
                average_precision=float(average_precision_score(positive, score)) if positive.any() else None,
                top_3=float((three[positive] == index).any(axis=1).mean())
                if positive.any() and len(labels) > 3
                else None,
            )
        )
    return tuple(rows)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
