"""Suspected label errors where an image may have several labels: each label is judged by itself, has it or has it not.

As in `label_errors.py`, a regression judges each image out of fold, and confident learning says what is suspect
(Thyagarajan et al. 2022, arXiv:2211.13895, treat several labels in the same way).
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from darkroom.data.labels.label_map import LabelMap
from darkroom.models.inspecting.label_errors import NUM_FOLDS, Judged, LabelError, LabelErrors, out_of_fold, suspect

logger = logging.getLogger(__name__)


def find_multi_label_errors(judged: Judged, labels: LabelMap, max_listed: int = 1000) -> LabelErrors:
    """Judge every label of every image by regressions that were fitted without it, and list the implausible ones.

    An image is listed once, with all of its suspect labels changed in the suggestion; its score is that of the most
    suspect one. `accuracy` is the share of decisions, of images x labels, on which the regressions agree.

    Args:
        judged: N images with labels `float32[N, K]`; copies of one file are never on both sides of a fold.
        labels: K names.
        max_listed: Suspects kept; all are counted.
    """
    flags, contents = judged.labels.astype(np.bool_), judged.contents
    judgeable = [index for index in range(len(labels)) if _is_judgeable(flags[:, index], contents)]
    if not judgeable:
        return LabelErrors(num_images=0, accuracy=None, num_suspected=0, suspected=())
    chances = np.full(flags.shape, np.nan)  # of each label as it is given
    suspected = np.zeros_like(flags)
    for index in judgeable:
        truth = flags[:, index].astype(np.int64)
        probabilities = out_of_fold(judged.features, truth, contents)
        chances[:, index] = probabilities[np.arange(len(truth)), truth]
        suspected[:, index] = suspect(truth, probabilities)
    scores = np.where(suspected, chances, np.inf)
    rows = np.flatnonzero(suspected.any(axis=1)).tolist()
    order = sorted(rows, key=lambda row: (scores[row].min(), judged.paths[row]))
    logger.info(
        "Checked %d labels of %d images out of fold: %d images may have wrong ones.",
        len(judgeable), len(flags), len(order),
    )  # fmt: skip
    return LabelErrors(
        num_images=len(flags),
        accuracy=float((chances[:, judgeable] > 0.5).mean()),
        num_suspected=len(order),
        suspected=tuple(
            _error(judged.paths[row], flags[row], suspected[row], scores[row], labels) for row in order[:max_listed]
        ),
    )


def _error(
    path: str, flags: NDArray[np.bool_], suspected: NDArray[np.bool_], scores: NDArray[np.float64], labels: LabelMap
) -> LabelError:
    given, suggested = (labels.text(np.flatnonzero(each).tolist()) for each in (flags, flags ^ suspected))
    score = round(float(scores.min()), 4)
    # `scores` are the probabilities of the decisions as given: of a missing label, that it is not there.
    doubted = [
        (labels.names[place], round(float(scores[place] if flags[place] else 1 - scores[place]), 4))
        for place in np.flatnonzero(suspected).tolist()
    ]
    return LabelError(
        path=path,
        label=labels.task.shown(given),
        suggested=labels.task.shown(suggested),
        score=score,
        suggested_probability=round(1 - score, 4),
        labels=labels.task.names(given),
        doubted=tuple(doubted),
    )


def _is_judgeable(positive: NDArray[np.bool_], contents: NDArray[np.int64]) -> bool:
    """Whether there is a different image for every fold among those that have a label, and among the others."""
    return all(len(np.unique(contents[kind])) >= NUM_FOLDS for kind in (positive, ~positive))
