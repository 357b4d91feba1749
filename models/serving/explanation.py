"""Why a model says what it says of one image: where it looked, and the training images most like it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.images.crash_recovery import Decode
from darkroom.data.images.pixels.encode import encode_png
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.explaining.techniques.occlusion import occlusion
from darkroom.models.onnx.runtime import Runner
from darkroom.models.pages.panels import heat_over
from darkroom.models.serving.neighbours import Neighbour, Neighbours

logger = logging.getLogger(__name__)

_NUM_NEIGHBOURS = 5
# How long an answer waits for the training images to be looked at, once.
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Explained:
    """An explained image.

    Attributes:
        label: The most likely label, whose evidence is shown.
        image: What the network sees, as PNG.
        heat_map: The same, brighter where covering it lowers the probability of that label, as PNG.
        neighbours: The most similar training images; () where `remark` says why there are none.
        remark: Why something is missing; empty where nothing is.
    """

    label: str
    image: bytes
    heat_map: bytes
    neighbours: tuple[Neighbour, ...]
    remark: str


class Explainer:
    """Explains one image after another; what it needs of the training images is computed once. Thread-safe.

    Args:
        bundle: The model.
        runner: Its network.
        decode: From bytes to pixels.
        find_dataset: Opens the data set that the model was trained on; None where it is not in the workspace.
    """

    def __init__(
        self, bundle: Bundle, runner: Runner, decode: Decode, find_dataset: Callable[[Bundle], Dataset | None]
    ) -> None:
        self._bundle, self._runner, self._decode, self._find_dataset = bundle, runner, decode, find_dataset
        self._making = threading.Lock()
        self._neighbours: Neighbours | None = None
        self._prepared: threading.Thread | None = None
        self._remark = ""

    def explain(self, data: bytes) -> Explained:
        """Explain an image.

        Args:
            data: The file's bytes.

        Raises:
            ImageError: where it cannot be decoded.
        """
        pixels = self._decode(None, data, self._bundle.card.policy).pixels

        def probabilities(images: NDArray[np.uint8]) -> NDArray[np.float64]:
            return self._bundle.probabilities(self._runner(images), "the image")

        chances = probabilities(pixels[None])
        index = self._bundle.answers.looked_at(chances, None)[0]
        fall = np.maximum(occlusion(probabilities, pixels, index), 0)
        heat = fall / fall.max() if fall.max() > 0 else fall
        found, remark = self._similar(pixels)
        return Explained(
            self._bundle.card.labels[index], encode_png(pixels), encode_png(heat_over(pixels, heat)), found, remark
        )

    def _similar(self, pixels: NDArray[np.uint8]) -> tuple[tuple[Neighbour, ...], str]:
        with self._making:
            if self._prepared is None:
                self._prepared = threading.Thread(target=self._prepare, daemon=True)
                self._prepared.start()
        self._prepared.join(_PATIENCE_SECONDS)
        if self._neighbours is None:
            return (), self._remark or "The training images are still being looked at: ask again in a moment."
        vector = self._runner.with_embeddings(pixels[None])[1][0]
        return self._neighbours.nearest(vector, _NUM_NEIGHBOURS), ""

    def _prepare(self) -> None:
        try:
            self._remark = self._looked_at()
        except Exception:
            logger.exception("The training images of %s cannot be looked at", self._bundle.reference)
            self._remark = "The training images cannot be looked at: the service's log says why."

    def _looked_at(self) -> str:
        """Look at the training images; why that cannot be done, or nothing."""
        if self._runner.embedding_size is None:
            return "The model gives no embeddings, by which training images could be compared. Train it again."
        dataset = self._find_dataset(self._bundle)
        if dataset is None:
            return f"The training images are not in this workspace: {self._bundle.card.dataset}."
        if dataset.card.policy != self._bundle.card.policy:
            return f"{dataset.reference} was decoded by another policy than the model's."
        logger.info("Computing embeddings of training images of %s", dataset.reference)
        self._neighbours = Neighbours(dataset, self._runner)
        return ""
