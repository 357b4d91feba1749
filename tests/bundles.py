"""A model bundle without training, for tests of what is done with one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from darkroom.data.files.cards import FileFact
from darkroom.data.files.provenance import library_versions
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.models.bundle.bundle import BundleCard, write_card
from darkroom.models.measures.calibration import UNCALIBRATED
from darkroom.models.networks.architectures import LOGITS_LAYER, with_embeddings
from darkroom.models.onnx.runtime import OnnxRunner, export_onnx
from darkroom.models.settings import TrainSettings


def tiny_bundle(
    folder: Path, labels: Sequence[str], image_size: tuple[int, int], policy: DecodePolicy | None = None
) -> Path:
    """Write a bundle of a linear network with random weights into `folder`, which is made; returns `folder`.

    The logits depend on every pixel's colour and place, so that another input gives other confidences.

    Args:
        folder: Where the bundle goes; must not exist.
        labels: Class names, sorted.
        image_size: (height, width) that the network takes.
        policy: The decode policy of the card, of the same `image_size`; None takes the default for that size.
    """
    import keras

    policy = policy or DecodePolicy(image_size=image_size)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((*image_size, 3), dtype="uint8", name="image"),
            keras.layers.Rescaling(1 / 127.5, offset=-1.0),
            keras.layers.Flatten(),
            keras.layers.Dense(len(labels), name=LOGITS_LAYER),
        ],
        name="tiny",
    )
    folder.mkdir(parents=True)
    model.save(folder / "model.keras")
    export_onnx(with_embeddings(model), folder / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (4, *image_size, 3), dtype=np.uint8)
    difference = np.abs(np.asarray(model(images)) - OnnxRunner(folder / "model.onnx")(images)).max()
    card = BundleCard(
        name="tiny",
        version="0" * 16,
        dataset="made@" + "0" * 16,
        labels=tuple(labels),
        policy=policy,
        settings=TrainSettings(model="starter", weights="none"),
        network_stages=("scratch",),
        history=(),
        best_epoch=1,
        num_parameters=int(model.count_params()),
        train_seconds=0.0,
        calibration=UNCALIBRATED,
        threshold=0.0,
        validation_accuracy=1 / len(labels),
        onnx_max_difference=float(difference),
        embedding_size=image_size[0] * image_size[1] * 3,
        libraries=library_versions(),
        files=tuple(FileFact.of(folder, name) for name in ("model.keras", "model.onnx")),
    )
    write_card(folder, card)
    return folder
