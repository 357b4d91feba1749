"""Evaluation: a bundle on a split that training never saw, as figures, a page and the predictions they came from.

The network runs through the same runtime as scoring, on the stored pixels, which are those that scoring computes from
the files. `report/predictions.parquet` holds one row an image: with it every figure can be computed again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data.dataset import Dataset
from data.decode import decode_stored, encode_jpeg
from data.errors import InputError
from data.manifest import write_table
from models.bundle import Bundle
from models.calibration import coverage_and_accuracy, probabilities
from models.metrics import measure
from models.publish import split_logits
from models.report import (
    EvaluationReport,
    LeakedImages,
    Mistake,
    Reference,
    TrainingSummary,
    leaked_images,
    worst_mistakes,
    write_report,
)

PREDICTIONS = "predictions.parquet"


def evaluate_bundle(bundle: Bundle, dataset: Dataset, split: str, generated_by: str) -> EvaluationReport:
    """Judge a bundle on a split and write its report; the bundle itself is not touched.

    Raises:
        InputError: where the data set's labels or decode policy are not the bundle's, or the split is what the bundle
            was trained or calibrated on.
    """
    _check_fits(bundle, dataset, split)
    logits, truth = split_logits(dataset, split, bundle.runner())
    chances = probabilities(logits, bundle.card.temperature)
    records = [(record.path, record.sha256) for record in dataset.records(split)]
    paths = [path for path, _ in records]
    coverage, accuracy = coverage_and_accuracy(chances, truth, bundle.card.threshold)
    report = EvaluationReport(
        bundle=Reference(name=bundle.card.name, version=bundle.card.version),
        dataset=Reference(name=dataset.card.name, version=dataset.card.version),
        split=split,
        metrics=measure(chances, truth, dataset.labels),
        uncalibrated_ece=measure(probabilities(logits, 1.0), truth, dataset.labels).expected_calibration_error,
        temperature=bundle.card.temperature,
        threshold=bundle.card.threshold,
        coverage=coverage,
        accuracy_at_threshold=accuracy,
        leaks=_leaks(bundle, dataset, split, paths, chances.argmax(axis=1) == truth),
        training=TrainingSummary(
            model=bundle.card.settings.model,
            num_epochs=len(bundle.card.history),
            best_epoch=bundle.card.best_epoch,
            train_seconds=bundle.card.train_seconds,
        ),
        worst_mistakes=worst_mistakes(paths, chances, truth, dataset.labels),
        library_versions={library.name: library.version for library in bundle.card.libraries},
        generated_by=generated_by,
    )
    folder = bundle.report_folder
    folder.mkdir(exist_ok=True)
    write_table(folder / PREDICTIONS, _predictions(records, logits, chances, truth, bundle.card.labels))
    write_report(folder, report, bundle.card.history, _thumbnails(dataset, split, report.worst_mistakes))
    return report


def _check_fits(bundle: Bundle, dataset: Dataset, split: str) -> None:
    if dataset.card.labels != bundle.card.labels:
        raise InputError(
            f"{dataset.reference} has the labels {', '.join(dataset.card.labels)}, the model {bundle.reference} has "
            f"{', '.join(bundle.card.labels)}. Evaluate on a data set of the same classes."
        )
    if dataset.card.policy != bundle.card.policy:
        raise InputError(
            f"{dataset.reference} was decoded by another policy than {bundle.reference} was trained with. Ingest it "
            "with the model's image size and settings."
        )
    if split != "test" and dataset.reference == bundle.card.dataset:
        raise InputError(
            f"{bundle.reference} was made with the {split} part of {dataset.reference}: use the test part."
        )


def _leaks(
    bundle: Bundle, dataset: Dataset, split: str, paths: Sequence[str], is_right: NDArray[np.bool_]
) -> LeakedImages | None:
    """What copies in training do to the figure; None where the bundle was made with another data set."""
    if dataset.reference != bundle.card.dataset:
        return None
    copies = dataset.duplicates()
    across = copies.filter((pc.field("other_split") == split) & (pc.field("split") != split))
    copies_used = dataset.card.duplicate_summary.leaks == "keep"
    return leaked_images(paths, is_right, set(across["other"].to_pylist()), copies_used)


def _predictions(
    records: Sequence[tuple[str, str]],
    logits: NDArray[np.float32],
    chances: NDArray[np.float64],
    truth: NDArray[np.int32],
    labels: tuple[str, ...],
) -> pa.Table:
    predicted = chances.argmax(axis=1)
    return pa.table(
        {
            "path": [path for path, _ in records],
            "sha256": [sha256 for _, sha256 in records],
            "truth": [labels[index] for index in truth],
            "predicted": [labels[index] for index in predicted],
            "confidence": pa.array(chances.max(axis=1)),
            "logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), logits.shape[1]),
        }
    ).sort_by("path")


def _thumbnails(dataset: Dataset, split: str, mistakes: Sequence[Mistake]) -> dict[str, bytes]:
    wanted = {mistake.path for mistake in mistakes}
    return {
        record.path: encode_jpeg(decode_stored(record.encoded), 90)
        for record in dataset.records(split)
        if record.path in wanted
    }
