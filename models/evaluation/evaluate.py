"""Evaluation: a bundle on a split that training never saw, as figures, pages and the predictions they came from.

The network runs through the same runtime as scoring, on the stored pixels, which are those that scoring computes from
the files. `report/predictions.parquet` holds one row an image: with it every figure can be computed again. Where all
that the report is made from is as it was, the bundle is not evaluated again (`models/pages/fingerprint.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow.compute as pc
from PIL import Image

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.dataset.manifest import write_table
from darkroom.data.images.decode import decode_stored
from darkroom.data.images.pixels.encode import encode_jpeg
from darkroom.data.settings import DecoderMismatch
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import Bundle, check_decoder
from darkroom.models.evaluation.blessing import decide, still_stands, training_dataset
from darkroom.models.evaluation.reporting.model_card import MODEL_CARD, write_model_card
from darkroom.models.evaluation.reporting.report import (
    EvaluationReport,
    LeakedImages,
    Mistake,
    Reference,
    TrainingSummary,
    correct_predictions,
    leaked_images,
    most_confident,
    read_report,
    worst_mistakes,
)
from darkroom.models.evaluation.reporting.report_page import Illustrations, write_report
from darkroom.models.evaluation.reporting.slices import slices_of
from darkroom.models.evaluation.reporting.split_predictions import (
    PREDICTIONS,
    SplitPredictions,
    check_fits,
    predict_split,
)
from darkroom.models.evaluation.validation_images import validation_images
from darkroom.models.explaining.techniques.gradcam import grad_cam
from darkroom.models.measures.calibration import UNCALIBRATED, Calibration
from darkroom.models.measures.intervals import Interval, wilson_interval
from darkroom.models.measures.metrics import expected_calibration_error, reliability_of
from darkroom.models.measures.threshold import coverage_of
from darkroom.models.multi_label.answers import answers_of
from darkroom.models.multi_label.calibration import LabelCalibration, uncalibrated
from darkroom.models.multi_label.thresholds import DEFAULT_THRESHOLD
from darkroom.models.networks.layers import has_feature_maps, unmirrored
from darkroom.models.pages.fingerprint import files_up_to_date, fingerprint_of, write_fingerprint
from darkroom.models.pages.navigation import REPORT_CARD, REPORT_PAGE
from darkroom.models.pages.panels import heat_over
from darkroom.models.settings import BlessingRules

logger = logging.getLogger(__name__)

# Raised whenever the same bundle and images would give another report.
_CODE_VERSION = 4
_MAX_HEAT_MAPS = 8
_MAX_CORRECT = 6  # of the most confident, and of the least


@dataclass(frozen=True)
class EvaluateRequest:
    """A bundle to evaluate, and on what.

    Attributes:
        bundle: What is evaluated.
        dataset: Images of the same classes, decoded by the same policy.
        split: Its split; of the bundle's own data set, only `test`.
        generated_by: See `EvaluationReport`.
        place: Where the blessed bundle is looked for; None decides nothing on the blessing.
        rules: Of the blessing.
        decoder_mismatch: What happens where the data set's images come from another decoder than those that the bundle
            was trained on: `warn` evaluates all the same, `strict` refuses.

    Raises:
        InputError: where the data set has other labels or another decode policy, or the split is one that the bundle
            was trained or calibrated on.
    """

    bundle: Bundle
    dataset: Dataset
    split: str
    generated_by: str
    place: Workspace | None = None
    rules: BlessingRules = field(default_factory=BlessingRules)
    decoder_mismatch: DecoderMismatch = "warn"

    def __post_init__(self) -> None:
        check_fits(self.bundle, self.dataset, self.split)

    @property
    def fingerprint(self) -> str:
        """A content version of all that the report is made from."""
        return fingerprint_of(
            _CODE_VERSION,
            self.bundle.card.model_dump(mode="json"),
            self.dataset.card.model_dump(mode="json"),
            self.split,
            self.rules.model_dump(mode="json"),
            self.generated_by,
        )


def evaluate_bundle(request: EvaluateRequest) -> EvaluationReport:
    """Evaluate a bundle on a split and write its report; the bundle itself is not touched.

    The report that is there stays where it was made from the same bundle, data set, rules and libraries, and the
    decision on the blessing would be the same.

    Raises:
        InputError: where, with `strict`, the decoder is another one.
        FormatError: where the network gives NaN or infinity.
    """
    bundle, dataset, split = request.bundle, request.dataset, request.split
    check_decoder(bundle, dataset.card.decoder, request.decoder_mismatch)
    if report := find_report(request):
        logger.info("%s: the evaluation on %s of %s is up to date.", bundle.reference, split, dataset.reference)
        return report
    num_images = dataset.card.num_images(split)
    logger.info("Evaluating %s on %d %s images of %s", bundle.reference, num_images, split, dataset.reference)
    judged = predict_split(bundle, dataset, split)
    trained_on = training_dataset(judged, request.place)
    chances, truth, card, answers = judged.probabilities, judged.truth, bundle.card, bundle.answers
    coverage, accuracy = coverage_of(judged.outcome, card.threshold)
    metrics = answers.measure(chances, truth, dataset.labels)
    report = EvaluationReport(
        bundle=Reference(name=card.name, version=card.version),
        dataset=Reference(name=dataset.card.name, version=dataset.card.version),
        split=split,
        metrics=metrics,
        intervals=answers.intervals(chances, truth, metrics),
        slices=slices_of(judged),
        calibration=card.calibration.method,
        temperature=card.calibration.temperature if isinstance(card.calibration, Calibration) else 1.0,
        uncalibrated_ece=_uncalibrated_error(judged),
        threshold=card.threshold,
        min_precision=card.settings.min_precision,
        min_coverage=card.settings.min_coverage,
        coverage=coverage,
        coverage_interval=_share_interval(coverage, len(truth)),
        accuracy_at_threshold=accuracy,
        accuracy_at_threshold_interval=None if accuracy is None else _share_interval(accuracy, coverage * len(truth)),
        leaks=_leaks(judged),
        unvalidated=_unvalidated(trained_on),
        corrections=trained_on.card.corrections if trained_on else None,
        blessing=decide(judged, metrics, request.rules, request.place) if request.place else None,
        training=TrainingSummary(
            model=card.settings.model,
            num_epochs=len(card.history),
            best_epoch=card.best_epoch,
            train_seconds=card.train_seconds,
        ),
        worst_mistakes=worst_mistakes(judged.paths, chances, truth, dataset.labels, answers=answers),
        library_versions={library.name: library.version for library in card.libraries},
        generated_by=request.generated_by,
    )
    folder = bundle.report_folder
    folder.mkdir(exist_ok=True)
    write_table(folder / PREDICTIONS, judged.predictions())
    write_model_card(folder, report, bundle, dataset.card)
    write_report(folder, report, _illustrations(judged, report.worst_mistakes))
    write_fingerprint(folder, request.fingerprint, (PREDICTIONS, MODEL_CARD, REPORT_PAGE, REPORT_CARD))
    return report


def find_report(request: EvaluateRequest) -> EvaluationReport | None:
    """The report that `evaluate_bundle` would leave as it is; None where it would write one."""
    folder = request.bundle.report_folder
    if files_up_to_date(folder, request.fingerprint):
        report = read_report(folder)
        if still_stands(report.blessing, request.bundle, request.split, request.place):
            return report
    return None


def _share_interval(share: float, num_images: float) -> Interval:
    return wilson_interval(round(share * num_images), round(num_images))


def _leaks(judged: SplitPredictions) -> LeakedImages | None:
    """The accuracy without leaked images; None where the bundle was trained on another data set."""
    dataset = judged.dataset
    if dataset.reference != judged.bundle.card.dataset:
        return None
    copies = dataset.duplicates()
    across = copies.filter((pc.field("other_split") == judged.split) & (pc.field("split") != judged.split))
    copies_used = dataset.card.duplicate_summary.leaks == "keep"
    return leaked_images(judged.paths, judged.outcome.right, set(across["other"].to_pylist()), copies_used)


def _unvalidated(dataset: Dataset | None) -> tuple[str, ...]:
    return tuple(label for label, number in validation_images(dataset.card).items() if not number) if dataset else ()


def _illustrations(judged: SplitPredictions, mistakes: Sequence[Mistake]) -> Illustrations:
    said, answers = (judged.probabilities, judged.truth, judged.dataset.labels), judged.bundle.answers
    correct = correct_predictions(judged.paths, *said, answers)
    surest = most_confident(correct, _MAX_CORRECT)
    least = [item for item in reversed(correct) if item not in surest][:_MAX_CORRECT]
    wanted = {mistake.path for mistake in mistakes[:_MAX_HEAT_MAPS]}
    wrong = answers.most_wrong(judged.probabilities, judged.truth).tolist()
    classes = {path: place for path, place in zip(judged.paths, wrong, strict=True) if path in wanted}
    paths = {mistake.path for mistake in mistakes} | {item.path for item in (*surest, *least)}
    return Illustrations(
        history=judged.bundle.card.history,
        roc=answers.roc(*said),
        precision_recall=answers.precision_recall(*said),
        most_confident=surest,
        least_confident=least,
        thumbnails=_thumbnails(judged.dataset, judged.split, paths),
        heat_maps=_heat_maps(judged, classes),
        heat_labels={path: judged.bundle.card.labels[place] for path, place in classes.items()},
    )


def _thumbnails(dataset: Dataset, split: str, wanted: Collection[str]) -> dict[str, bytes]:
    return {
        record.path: encode_jpeg(Image.fromarray(decode_stored(record.encoded)), 90)
        for record in dataset.records(split)
        if record.path in wanted
    }


def _heat_maps(judged: SplitPredictions, classes: Mapping[str, int]) -> dict[str, bytes]:
    """What the network looked at for a class of each image, by path; nothing of a network without feature maps."""
    model = unmirrored(judged.bundle.keras_model()) if classes else None
    if model is None or not has_feature_maps(model):
        return {}
    found = {}
    for record in judged.dataset.records(judged.split):
        if record.path in classes:
            pixels = decode_stored(record.encoded)
            heat = heat_over(pixels, grad_cam(model, pixels, classes[record.path]))
            found[record.path] = encode_jpeg(Image.fromarray(heat), 90)
    return found


def _uncalibrated_error(judged: SplitPredictions) -> float:
    """The expected calibration error that the plain softmax, or the plain sigmoid from 0.5 on, would have."""
    plain: Calibration | LabelCalibration = UNCALIBRATED
    if isinstance(judged.bundle.card.calibration, LabelCalibration):
        plain = uncalibrated([0.0] * len(judged.bundle.labels))
    answers = answers_of([DEFAULT_THRESHOLD] * len(judged.bundle.card.thresholds))
    return expected_calibration_error(reliability_of(answers.outcome(plain.apply(judged.logits), judged.truth)))
