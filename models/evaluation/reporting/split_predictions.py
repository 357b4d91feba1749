"""A bundle's predictions for the images of one split, with the facts of those images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import InputError
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.measures.outcome import Outcome
from darkroom.models.onnx.inference import split_logits

PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions in the order of the split's shards.

    Attributes:
        bundle: What predicted.
        dataset: The images' data set.
        split: `train`, `validation` or `test`.
        paths: N paths, as in the manifest.
        sha256: N hashes of the source files, hex.
        logits: `float32[N, C]`.
        probabilities: `float64[N, C]`, calibrated.
        truth: `int32[N]`, or `float32[N, C]` of 0 and 1 where an image may have several labels.
    """

    bundle: Bundle
    dataset: Dataset
    split: str
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    truth: NDArray[Any]

    @cached_property
    def outcome(self) -> Outcome:
        """Which answers are right, and how confident they are."""
        return self.bundle.answers.outcome(self.probabilities, self.truth)

    @property
    def true_texts(self) -> list[str]:
        """The text of each image's labels."""
        return [self.bundle.labels.text(indices) for indices in self.bundle.answers.true(self.truth)]

    def predictions(self) -> pa.Table:
        """One row per image, sorted by path: `path`, `sha256`, `truth`, `predicted`, `confidence`, `logits`.

        Where an image may have several labels, `truth` and `predicted` are lists.
        """
        answers = self.bundle.answers
        return pa.table(
            {
                "path": list(self.paths),
                "sha256": list(self.sha256),
                "truth": self._column(answers.true(self.truth)),
                "predicted": self._column(answers.given(self.probabilities)),
                "confidence": pa.array(self.outcome.stored_confidence),
                "logits": pa.FixedSizeListArray.from_arrays(pa.array(self.logits.ravel()), self.logits.shape[1]),
            }
        ).sort_by("path")

    def _column(self, rows: Sequence[tuple[int, ...]]) -> pa.Array:
        names = [tuple(self.bundle.card.labels[index] for index in row) for row in rows]
        if self.bundle.card.task == "single-label":
            return pa.array([name for (name,) in names], pa.string())
        return pa.array([list(each) for each in names], pa.list_(pa.string()))


def predict_split(bundle: Bundle, dataset: Dataset, split: str) -> SplitPredictions:
    """Run a bundle on the stored images of a split.

    Args:
        bundle: What predicts.
        dataset: Images of the same classes, decoded by the same policy: see `check_fits`.
        split: `train`, `validation` or `test`.

    Raises:
        FormatError: where a logit is NaN or infinity.
    """
    logits, truth = split_logits(dataset, split, bundle.runner())
    records = [(record.path, record.sha256) for record in dataset.records(split)]
    return SplitPredictions(
        bundle=bundle,
        dataset=dataset,
        split=split,
        paths=tuple(path for path, _ in records),
        sha256=tuple(sha256 for _, sha256 in records),
        logits=logits,
        probabilities=bundle.probabilities(logits, f"{split} images of {dataset.reference}"),
        truth=truth,
    )


def check_fits(bundle: Bundle, dataset: Dataset, split: str) -> None:
    """Refuse a split that says nothing about a bundle.

    Args:
        bundle: What is to predict.
        dataset: Where the split is.
        split: `train`, `validation` or `test`.

    Raises:
        InputError: where the data set has other labels or another decode policy, or the split is one that the bundle
            was trained or calibrated on.
    """
    if dataset.card.labels != bundle.card.labels:
        raise InputError(
            f"{dataset.reference} has the labels {', '.join(dataset.card.labels)}, the model {bundle.reference} has "
            f"{', '.join(bundle.card.labels)}. Evaluate on a data set of the same classes."
        )
    if dataset.card.task != bundle.card.task:
        raise InputError(
            f"{dataset.reference} is a {dataset.card.task} data set, {bundle.reference} a {bundle.card.task} model. "
            "Evaluate on a data set that was ingested for the same task."
        )
    if dataset.card.policy != bundle.card.policy:
        raise InputError(
            f"{dataset.reference} was decoded with a different policy than {bundle.reference}. Ingest it with the "
            "model's image size and settings."
        )
    if split != "test" and dataset.reference == bundle.card.dataset:
        raise InputError(
            f"{bundle.reference} was built with the {split} split of {dataset.reference}: use the test split."
        )
