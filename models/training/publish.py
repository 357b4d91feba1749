"""From a trained network to a bundle: calibrate on validation, export, compare the exports, write the card last."""

from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import WorkError
from darkroom.data.files.atomic import atomic_folder, remove_folder
from darkroom.data.files.cards import FileFact
from darkroom.data.files.provenance import library_versions
from darkroom.data.progress import Progress, unseen
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import BUNDLE_FILES, INT8_FILE, Bundle, BundleCard, write_card
from darkroom.models.multi_label.answers import answers_of
from darkroom.models.networks.architectures import with_embeddings
from darkroom.models.onnx.inference import split_logits, stored_batches
from darkroom.models.onnx.metadata import NetworkDescription, describe_network
from darkroom.models.onnx.parity import check_parity
from darkroom.models.onnx.quantize import Int8Facts, calibration_images, judge, quantize
from darkroom.models.onnx.runtime import OnnxRunner, export_onnx
from darkroom.models.profile.made import Seen, ValidationFacts, familiarity_of, make_profile, seen_by
from darkroom.models.profile.profile import has_profile
from darkroom.models.settings import TrainSettings
from darkroom.models.training.calibrate import Decided, decide
from darkroom.models.training.model_version import bundle_name, bundle_version, staging_folder
from darkroom.models.training.train import Trained

logger = logging.getLogger(__name__)

# Images a batch, and batches: enough for a wrong operator to show.
_PARITY_BATCH, _PARITY_BATCHES = 8, 8
_EXPORT = "export"


def publish_bundle(
    dataset: Dataset, settings: TrainSettings, trained: Trained, workspace: Workspace, progress: Progress = unseen
) -> Path:
    """Calibrate on validation, export, quantize, and write the bundle, whole or not at all; remove its staging folder.

    Args:
        dataset: What it was trained on.
        settings: Of the training.
        trained: The network and its history.
        workspace: Where the bundle goes.
        progress: Told what is done: the export, the quantization, and how far each is.

    Returns:
        The bundle's folder, `models/<name>/<version>`.

    Raises:
        WorkError: where `model.onnx` does not compute what `model.keras` computes, or gives NaN or infinity.
        SettingError: where the threshold's precision cannot be reached on validation.
    """
    final = workspace.model(bundle_name(dataset, settings), bundle_version(dataset, settings))
    with atomic_folder(final) as temporary:
        progress(_EXPORT, 0, 3)
        _without_optimizer(trained.model).save(temporary / "model.keras")
        network = with_embeddings(trained.model)
        logger.info("Exporting %s to ONNX, and comparing both networks on validation images", final.parent.name)
        export_onnx(network, temporary / "model.onnx")
        progress(_EXPORT, 1, 3)
        runner = OnnxRunner(temporary / "model.onnx")
        seen = seen_by(runner, familiarity_of(dataset, runner))
        logits, truth = split_logits(dataset, "validation", runner, seen)
        _check_finite(logits, final.parent.name)
        progress(_EXPORT, 2, 3)
        first = islice(stored_batches(dataset.records("validation"), _PARITY_BATCH, dataset.labels), _PARITY_BATCHES)
        difference = check_parity(network, runner, (images for images, _ in first))
        progress(_EXPORT, 3, 3)
        decision = decide(dataset, settings, logits, truth)
        int8, int8_seen = _make_int8(dataset, temporary, decision, progress, seen)
        validation = ValidationFacts(decision.chances, truth, answers_of(decision.thresholds), seen, int8_seen)
        make_profile(temporary, dataset, validation)
        name, labels, policy = bundle_name(dataset, settings), dataset.card.labels, dataset.card.policy
        description = NetworkDescription(
            f"{name}@{final.name}", labels, policy, decision.calibration, decision.threshold, decision.thresholds
        )
        for network_file in ("model.onnx", *([INT8_FILE] if int8.gate else [])):
            describe_network(temporary / network_file, description)
        card = BundleCard(
            name=name,
            version=final.name,
            dataset=dataset.reference,
            task=dataset.card.task,
            labels=labels,
            policy=policy,
            decoder=dataset.card.decoder,
            settings=settings,
            network_stages=tuple(dict.fromkeys(log.stage for log in trained.history)),
            history=trained.history,
            best_epoch=trained.best_epoch,
            num_parameters=int(trained.model.count_params()),
            train_seconds=round(sum(log.seconds for log in trained.history), 3),
            calibration=decision.calibration,
            thresholds=decision.thresholds,
            threshold=decision.threshold,
            validation_accuracy=decision.accuracy,
            onnx_max_difference=difference,
            embedding_size=runner.embedding_size,
            int8=int8,
            libraries=library_versions(),
            files=tuple(FileFact.of(temporary, name) for name in (*BUNDLE_FILES, *([INT8_FILE] if int8.gate else []))),
        )
        write_card(temporary, card)
    remove_folder(staging_folder(dataset, settings, workspace))
    logger.info("%s@%s: validation accuracy %.4f", card.name, card.version, card.validation_accuracy)
    return final


def lacks_profile(bundle: Bundle, dataset: Dataset) -> bool:
    """Whether a bundle has no training profile, since an earlier Darkroom published it, and this data set can give one.

    Args:
        bundle: The bundle.
        dataset: Any data set.
    """
    return bundle.card.dataset == dataset.reference and not has_profile(bundle.folder)


def add_profile(bundle: Bundle, dataset: Dataset) -> None:
    """Write a training profile beside a bundle that has none: the one that its training would write today.

    Args:
        bundle: The bundle.
        dataset: The one that it was trained on.

    Raises:
        FormatError: where its network gives NaN or infinity.
    """
    runner = bundle.runner()
    seen = seen_by(runner, familiarity_of(dataset, runner))
    logits, truth = split_logits(dataset, "validation", runner, seen)
    int8_seen = None
    if bundle.card.int8.gate:
        int8_seen = seen_by(runner, seen.familiarity if seen else None)
        split_logits(dataset, "validation", bundle.runner("int8"), int8_seen)
    chances = bundle.probabilities(logits, "validation images")
    make_profile(bundle.folder, dataset, ValidationFacts(chances, truth, bundle.answers, seen, int8_seen))
    logger.info("%s has a training profile now.", bundle.reference)


def _check_finite(logits: NDArray[np.float32], name: str) -> None:
    num_bad = len(logits) - int(np.isfinite(logits).all(axis=1).sum())
    if num_bad:
        raise WorkError(
            f"The trained network of {name} gives NaN or infinity for {num_bad:,} of {len(logits):,} validation "
            "images: nothing was published. Train again with a lower learning rate."
        )


def _without_optimizer(model: Any) -> Any:
    """A copy without the state of the training, which is twice as large as the weights themselves."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def _make_int8(
    dataset: Dataset, folder: Path, decision: Decided, progress: Progress, fp32: Seen | None
) -> tuple[Int8Facts, Seen | None]:
    """Quantize `model.onnx` beside itself, compare it with what that one gives on validation, and how far it sees."""
    images = calibration_images(dataset)
    logger.info("Quantizing to int8, with the ranges of activations that %d training images give", len(images))
    refused = quantize(folder / "model.onnx", folder / INT8_FILE, images, progress)
    if refused:
        return Int8Facts(refused=refused), None
    runner = OnnxRunner(folder / INT8_FILE)
    seen = seen_by(runner, fp32.familiarity if fp32 else None)
    logits, truth = split_logits(dataset, "validation", runner, seen)
    if not np.isfinite(logits).all():
        (folder / INT8_FILE).unlink()
        return Int8Facts(refused="its int8 network gives NaN or infinity"), None
    chances = decision.calibration.apply(logits)
    return judge(decision.chances, chances, truth, decision.threshold, answers_of(decision.thresholds)), seen
