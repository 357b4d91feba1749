"""The model that a service answers with, and its replacement by the version that is blessed meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from darkroom.data.errors import DarkroomError
from darkroom.data.images.crash_recovery import Decode
from darkroom.data.images.decoder_fingerprint import decoder
from darkroom.data.settings import DecoderMismatch
from darkroom.data.stores.model_choice import FoundModel
from darkroom.models.bundle.bundle import Bundle, check_decoder, open_bundle
from darkroom.models.onnx.runtime import Engine, Runner
from darkroom.models.prediction_table.schema import as_table, kept_classes
from darkroom.models.scoring.rows import Scorer, score_batch
from darkroom.models.serving.batcher import Batcher, Item
from darkroom.models.serving.settings import ServeSettings

logger = logging.getLogger(__name__)

# Answers hold all classes up to so many; a caller takes the most likely ones.
MAX_TOP_K = 100


@dataclass(frozen=True)
class ServeRequest:
    """What is served.

    Attributes:
        find: Looks up the model that the reference names now.
        decode: From bytes to pixels.
        settings: Limits.
        decoder_mismatch: What happens where the model was trained with another decoder's pixels.
        num_threads: None takes one per processor.
    """

    find: Callable[[], FoundModel]
    decode: Decode
    settings: ServeSettings
    decoder_mismatch: DecoderMismatch = "warn"
    num_threads: int | None = None


class ServedModel:
    """A version in use: its network is loaded, and its threads wait for images."""

    def __init__(self, found: FoundModel, request: ServeRequest, observe: Callable[[int, float], None]) -> None:
        """Load it.

        Args:
            found: The version.
            request: What is served.
            observe: Told the size of each batch and the seconds that it took.

        Raises:
            FormatError: where it is damaged.
            InputError: where its decoder is another one and `decoder_mismatch` is `strict`.
        """
        settings = request.settings
        self.choice = found.choice
        self.bundle: Bundle = open_bundle(found.folder)
        check_decoder(self.bundle, decoder(), request.decoder_mismatch)
        self.engine: Engine = self.bundle.engine(settings.precision)
        self.runner: Runner = self.bundle.runner(self.engine, num_threads=1)
        self.since = datetime.now(UTC).isoformat(timespec="seconds")
        top_k = kept_classes(MAX_TOP_K, len(self.bundle.card.labels))
        self._scorer = Scorer(
            self.runner,
            self.bundle,
            decode=request.decode,
            top_k=top_k,
            profile=self.bundle.profile,
            engine=self.engine,
        )
        self._batcher = Batcher(
            self._rows, settings.max_waiting, settings.gather_ms / 1000, request.num_threads, observe
        )

    @property
    def num_waiting(self) -> int:
        """Images that wait for a thread."""
        return self._batcher.num_waiting

    def submit(self, items: Sequence[Item]) -> list[Future[dict[str, Any]]]:
        """The rows of some images, as the prediction table has them.

        Args:
            items: The name of each, if any, and its bytes.

        Raises:
            OverloadError: where there is no room for them.
        """
        return self._batcher.submit(items)

    def close(self) -> None:
        """Return when all images that were taken on are done."""
        self._batcher.close()

    def _rows(self, batch: Sequence[Item]) -> list[dict[str, Any]]:
        scored, familiarity = score_batch(batch, self._scorer), self.bundle.profile is not None
        return list(as_table(scored, labels=self.bundle.several_labels, familiarity=familiarity).to_pylist())


class Service:
    """The version in use, and how it changes. Thread-safe."""

    def __init__(self, request: ServeRequest, observe: Callable[[int, float], None] = lambda size, seconds: None):
        """Load the version that is in use now.

        Args:
            request: What is served.
            observe: As for `ServedModel`.

        Raises:
            DarkroomError: where there is none, or it cannot be loaded.
        """
        self.request = request
        self._observe = observe
        self._changing = threading.Lock()
        self.current = ServedModel(request.find(), request, observe)
        self.num_failures = 0
        self._refused: Path | None = None

    def follow(self) -> bool:
        """Load another version if the reference names another one now; the one before finishes what it has taken on.

        Where the other one cannot be loaded, the one in use stays, and the log says why, once.

        Returns:
            Whether the version has changed.
        """
        with self._changing:
            before = self.current
            folder: Path | None = None
            try:
                found = self.request.find()
                folder = found.folder
                if folder in (before.bundle.folder, self._refused):
                    return False
                self.current = ServedModel(found, self.request, self._observe)
            except DarkroomError as error:
                if folder is None or folder != self._refused:
                    logger.error("%s stays in use: %s", before.bundle.reference, error)
                self._refused = folder
                self.num_failures += 1
                return False
            self._refused = None
        logger.info("%s is in use instead of %s", self.current.bundle.reference, before.bundle.reference)
        before.close()
        return True

    def follow_until(self, ended: threading.Event) -> None:
        """Follow at intervals until that is set.

        Args:
            ended: Set by whoever ends the service.
        """
        while not ended.wait(self.request.settings.follow_seconds):
            began = time.monotonic()
            self.follow()
            logger.debug("Looked up the model in %.3f s", time.monotonic() - began)

    def close(self) -> None:
        """Return when all images that were taken on are done."""
        with self._changing:
            self.current.close()
