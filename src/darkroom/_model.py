"""Trained models in Python: `load_model`, and the class that it returns."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darkroom._images import ImageInput, check_images, read_image
from darkroom.data.errors import InputError
from darkroom.data.figures import count
from darkroom.data.images.decoder_fingerprint import decoder
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.stores.model_choice import ModelChoice
from darkroom.data.stores.workspace import Workspace
from darkroom.data.task import TaskName
from darkroom.flows.settings import decoder_rule, open_workspace
from darkroom.models.bundle.bundle import Bundle, check_decoder, open_bundle
from darkroom.models.bundle.calibrated import with_probabilities
from darkroom.models.bundle.imagenet import find_bundle
from darkroom.models.onnx.runtime import Engine, Runner
from darkroom.models.prediction_table.schema import EMBEDDING, TOP_K, TopK, as_table, check_top_k, kept_classes
from darkroom.models.scoring.rows import Scorer, score_contents
from darkroom.models.settings import Precision

if TYPE_CHECKING:
    import pandas as pd


def load_model(reference: str | Path, workspace: str | Path | None = None) -> Model:
    """A trained model, ready to predict.

    Args:
        reference: A name (the blessed version, else the newest), `name@newest`, `name@blessed`, `name@version`, or a
            path; `imagenet`, `imagenet-lite1` and `imagenet-lite2` are ready-made.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.

    Raises:
        InputError: where there is no such model, or a file differs from what its card lists.
    """
    place: Workspace = open_workspace(str(workspace) if workspace else None)
    found = find_bundle(str(reference), place)
    return Model(open_bundle(found.folder), found.choice)


class Model:
    """A trained model, from `load_model`; several threads may use it at once."""

    def __init__(self, bundle: Bundle, chosen: ModelChoice) -> None:
        """Wrap a bundle.

        Args:
            bundle: Opened.
            chosen: Why it is this version.
        """
        self._bundle = bundle
        self._chosen = chosen
        self._runners: dict[Engine, Runner] = {}

    def __repr__(self) -> str:
        classes = count(len(self.labels), "class", "classes")
        return f"<Model {self._bundle.reference} ({self._chosen.reason}): {classes}>"

    @property
    def name(self) -> str:
        """The model's name."""
        return self._bundle.card.name

    @property
    def version(self) -> str:
        """The version, a hash of the data set and all settings."""
        return self._bundle.card.version

    @property
    def chosen(self) -> ModelChoice:
        """Why it is this version: `chosen.by` is `blessed`, `newest`, `version`, `path` or `ready-made`."""
        return self._chosen

    @property
    def folder(self) -> Path:
        """The folder with `bundle.json`, `model.keras`, `model.onnx` and the report."""
        return self._bundle.folder

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the network's outputs."""
        return self._bundle.card.labels

    @property
    def task(self) -> TaskName:
        """`single-label`, or `multi-label`: an image has any number of labels."""
        return self._bundle.card.task

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Of a multi-label model, the probability from which each label is given; () where an image has one."""
        return self._bundle.card.thresholds

    @property
    def decode_policy(self) -> DecodePolicy:
        """How a file becomes the pixels that the network takes: see `darkroom.decode`."""
        return self._bundle.card.policy

    def predict(
        self,
        images: Iterable[ImageInput],
        precision: Precision = "auto",
        embeddings: bool = False,
        top_k: TopK = TOP_K,
    ) -> pd.DataFrame:
        """One row for each image, in the order given, with the columns of the prediction table (docs/scoring.md).

        A path or bytes get the row that `darkroom score` writes for that file, to the bit. An image that cannot be read
        gets a row too, whose `status` is `quarantined` and whose `reason` says why.

        Args:
            images: Each a path or URL, the bytes of a file, an image of Pillow, or an array `uint8[H, W]`,
                `uint8[H, W, 3]` in RGB or `uint8[H, W, 4]` in RGBA, of any size. `path` is null for all but paths, and
                `sha256` for what comes as pixels.
            precision: `fp32`, `int8`, or `auto`: int8 where it gave the same answers as fp32 on validation images.
            embeddings: Add the column `embedding`.
            top_k: Classes that a row keeps, the most likely first: a number, or `all`.

        Raises:
            InputError: where an item is no image, such as an array of floats; where a precision or embeddings are asked
                for that the model has not. Where the decoder gives other pixels than the one it was trained with, that
                is a warning in the log; with `DARKROOM_DECODER_MISMATCH=strict` it is an error.
        """
        rows = self._rows(images, precision, embeddings, top_k)
        size = self._bundle.card.embedding_size if embeddings else None
        table = as_table(rows, size, self._bundle.several_labels, self._bundle.profile is not None)
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def embed(self, images: Iterable[ImageInput], precision: Precision = "auto") -> NDArray[np.float32]:
        """Embeddings `float32[N, D]`: the input of the last dense layer. Similar images have similar embeddings.

        Args:
            images: As `predict` takes them.
            precision: As `predict` takes it.

        Raises:
            InputError: where an image cannot be read, or the model gives no embeddings.
        """
        rows = self._rows(images, precision, embeddings=True)
        for number, row in enumerate(rows):
            if row["reason"]:
                name = f"Image {number}" + (f" ({row['path']})" if row["path"] else "")
                raise InputError(f"{name} has no embedding: it is {row['reason']}. Leave it out.")
        vectors = [row[EMBEDDING] for row in rows]
        return np.stack(vectors) if vectors else np.empty((0, self._bundle.card.embedding_size or 0), np.float32)

    def keras(self) -> Any:
        """The network as a plain `keras.Model` that gives probabilities `float32[N, C]`, in the order of `labels`.

        Where an image may have several labels, each probability stands for itself: compare it with `thresholds`.

        Its calibration is inside, and so is all scaling: it takes `uint8[N, H, W, 3]` in RGB, from 0 to 255, of the
        size `decode_policy.image_size`. Do not divide by 255: fractions would be cut to 0 and 1. Pixels that another
        decoder or another resize gives differ a little, and cost accuracy; `darkroom.decode(file, decode_policy)` gives
        those that the network was trained on.
        """
        return with_probabilities(self._bundle.keras_model(), self._bundle.card.calibration)

    def _rows(
        self, images: Iterable[ImageInput], precision: Precision, embeddings: bool, top_k: TopK = TOP_K
    ) -> list[dict[str, Any]]:
        policy = self.decode_policy
        if embeddings:
            self._bundle.check_embeddings()
        engine = self._bundle.engine(precision)
        runner = self._runner(engine)
        checked = check_images(images)
        check_top_k(top_k)
        scorer = Scorer(
            runner,
            self._bundle,
            embeddings=embeddings,
            top_k=kept_classes(top_k, len(self.labels)),
            profile=self._bundle.profile,
            engine=engine,
        )
        return list(score_contents(checked, lambda image: read_image(image, policy), scorer))

    def _runner(self, engine: Engine) -> Runner:
        if engine not in self._runners:
            check_decoder(self._bundle, decoder(), decoder_rule())
            self._runners[engine] = self._bundle.runner(engine, num_threads=1)
        return self._runners[engine]
