"""From a trained network to a bundle: calibrate on validation, export, check the exports agree, write the card last."""

from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import SettingError, WorkError
from darkroom.data.files.atomic import atomic_folder, content_version, remove_folder
from darkroom.data.files.cards import FileFact
from darkroom.data.files.provenance import library_versions
from darkroom.data.stores.workspace import BUNDLE_CARD, Workspace, check_name
from darkroom.models.bundle.bundle import BUNDLE_FILES, INT8_FILE, BundleCard, write_card
from darkroom.models.bundle.inference import stored_batches
from darkroom.models.bundle.quantize import Int8Facts, calibration_images, judge, quantize
from darkroom.models.bundle.runtime import OnnxRunner, Runner, export_onnx
from darkroom.models.measures.calibration import Calibration, choose_threshold, fit_calibration, threshold_for_coverage
from darkroom.models.networks.architectures import with_embeddings
from darkroom.models.settings import TrainSettings
from darkroom.models.training.train import Trained

logger = logging.getLogger(__name__)

# Raised whenever the same data set and settings would give another network.
CODE_VERSION = 3
# Logits of both exports of one network may differ by rounding; a wrong operator differs by far more.
_MAX_DIFFERENCE = 1e-2
# Keras, called eagerly, holds the outputs of all layers at once: 80 MB an image of 224 x 224 with EfficientNet-Lite0.
_PARITY_BATCH, _PARITY_BATCHES = 8, 8


def bundle_name(dataset: Dataset, settings: TrainSettings) -> str:
    """The bundle's name: as set, or the data set's and the network's."""
    return check_name(settings.name or f"{dataset.card.name}-{settings.model}")


def bundle_version(dataset: Dataset, settings: TrainSettings) -> str:
    """The version that this data set and these settings give."""
    return content_version(CODE_VERSION, dataset.reference, settings.model_dump(mode="json"))


def staging_folder(dataset: Dataset, settings: TrainSettings, workspace: Workspace) -> Path:
    """Where the state of a training lies until its bundle is whole."""
    folder = workspace.models / bundle_name(dataset, settings)
    return folder / f".staging-{bundle_version(dataset, settings)}"


def published_bundle(dataset: Dataset, settings: TrainSettings, workspace: Workspace) -> Path | None:
    """The bundle of an earlier run of the same data set and settings.

    The state of its training is removed, should the run have been killed before it could.
    """
    folder = workspace.model(bundle_name(dataset, settings), bundle_version(dataset, settings))
    if not (folder / BUNDLE_CARD).is_file():
        return None
    remove_folder(staging_folder(dataset, settings, workspace))
    return folder


def publish_bundle(dataset: Dataset, settings: TrainSettings, trained: Trained, workspace: Workspace) -> Path:
    """Write the bundle, whole or not at all; the training's staging folder goes away.

    Raises:
        WorkError: where `model.onnx` does not compute what `model.keras` computes.
        SettingError: where the threshold's precision cannot be reached on validation.
    """
    final = workspace.model(bundle_name(dataset, settings), bundle_version(dataset, settings))
    with atomic_folder(final) as temporary:
        _without_optimizer(trained.model).save(temporary / "model.keras")
        network = with_embeddings(trained.model)
        export_onnx(network, temporary / "model.onnx")
        runner = OnnxRunner(temporary / "model.onnx")
        logits, truth = split_logits(dataset, "validation", runner)
        difference = _check_parity(dataset, network, runner)
        calibration = fit_calibration(logits, truth, settings.calibration)
        chances = calibration.apply(logits)
        threshold = _abstain_threshold(chances, truth, settings)
        int8 = _make_int8(dataset, temporary, calibration, threshold, chances)
        card = BundleCard(
            name=bundle_name(dataset, settings),
            version=final.name,
            dataset=dataset.reference,
            labels=dataset.card.labels,
            policy=dataset.card.policy,
            decoder=dataset.card.decoder,
            settings=settings,
            network_stages=tuple(dict.fromkeys(log.stage for log in trained.history)),
            history=trained.history,
            best_epoch=trained.best_epoch,
            num_parameters=int(trained.model.count_params()),
            train_seconds=round(sum(log.seconds for log in trained.history), 3),
            calibration=calibration,
            threshold=threshold,
            validation_accuracy=float(np.mean(logits.argmax(axis=1) == truth)),
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


def _abstain_threshold(probabilities: NDArray[np.float64], truth: NDArray[np.int32], settings: TrainSettings) -> float:
    """The confidence below which the bundle abstains; 0 where it is asked for neither precision nor coverage."""
    if settings.min_coverage:
        return threshold_for_coverage(probabilities, truth, settings.min_coverage)
    if not settings.min_precision:
        return 0.0
    threshold = choose_threshold(probabilities, truth, settings.min_precision)
    if threshold is None:
        raise SettingError(f"No confidence gives a precision of {settings.min_precision} on validation: lower it.")
    return threshold


def _without_optimizer(model: Any) -> Any:
    """A copy without the state of the training, which is twice as large as the weights themselves."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def split_logits(dataset: Dataset, split: str, runner: Runner) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """`logits float32[N, C]` and `truth int32[N]` of a split's images, in the order of its shards."""
    logits, truth = [], []
    for images, labels in stored_batches(dataset.records(split), 32):
        logits.append(runner(images))
        truth.append(labels)
    return np.concatenate(logits), np.concatenate(truth)


def _make_int8(
    dataset: Dataset, folder: Path, calibration: Calibration, threshold: float, chances: NDArray[np.float64]
) -> Int8Facts:
    """Quantize `model.onnx` beside itself and compare it with `chances`, what that one gives on validation."""
    refused = quantize(folder / "model.onnx", folder / INT8_FILE, calibration_images(dataset))
    if refused:
        return Int8Facts(refused=refused)
    logits, truth = split_logits(dataset, "validation", OnnxRunner(folder / INT8_FILE))
    return judge(chances, calibration.apply(logits), truth, threshold)


def _check_parity(dataset: Dataset, network: Any, runner: OnnxRunner) -> float:
    """Largest difference of logits between Keras and ONNX Runtime on the first validation images.

    Embeddings are compared too, where the network gives them: they must be as near.
    """
    differences = []
    for images, _ in islice(stored_batches(dataset.records("validation"), _PARITY_BATCH), _PARITY_BATCHES):
        wanted = network(images, training=False)
        if runner.embedding_size is None:
            ends = [(wanted, runner(images))]
        else:
            ends = list(zip(wanted, runner.with_embeddings(images), strict=True))
        differences += [float(np.abs(np.asarray(keras) - onnx).max()) for keras, onnx in ends]
    difference = float(np.max(differences))  # not a number, where one is
    if not difference < _MAX_DIFFERENCE:
        raise WorkError(
            f"model.onnx differs from model.keras by {difference:.2g} in a logit, more than {_MAX_DIFFERENCE}: "
            "nothing was published. Please report this with the network's name."
        )
    return difference
