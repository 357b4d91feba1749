"""From files to rows of the prediction table: read, hash, decode, run the network, write down what it says.

Each thread takes a batch of files through all of it and runs the network by itself, so that no core waits for another
and there is nothing to hand over; only rows come back, in the files' order. A row depends on its file and the bundle
alone: neither the batch nor the number of threads can be seen in it.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.dataset.manifest import OK, QUARANTINED
from darkroom.data.errors import ImageError
from darkroom.data.files.parallel import in_batches, num_cpus, ordered_map
from darkroom.data.images.decode import DecodePolicy, decode_with_header, read_header
from darkroom.data.stores.folders import ImageFolder
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.bundle.runtime import Runner
from darkroom.models.scoring.schema import EMBEDDING

logger = logging.getLogger(__name__)

TOP_K = 5
# Few, so that the threads end together, and enough that they seldom hand over; the network takes them in its own runs.
_BATCH = 24

# A file of the plan, and its bytes or why it has none.
_File = dict[str, Any]
_Contents = bytes | ImageError


@dataclass(frozen=True)
class _Ready:
    """One file before inference: pixels, or a reason."""

    path: str
    sha256: str | None
    reason: str | None
    width: int | None
    height: int | None
    pixels: NDArray[np.uint8] | None


def score_rows(
    files: list[_File],
    folder: ImageFolder,
    runner: Runner,
    bundle: Bundle,
    num_threads: int | None = None,
    embeddings: bool = False,
) -> Iterator[dict[str, Any]]:
    """Rows of the prediction table in the files' order, a few batches at a time.

    Args:
        files: Of the plan, with `path`, `os_path` and `reason`.
        folder: Where they lie.
        runner: The network; called by several threads at once.
        bundle: Its decode policy, calibration, threshold and labels.
        num_threads: None takes all processors.
        embeddings: Give each row that was scored an `embedding`, `float32[D]`.
    """
    num_threads = num_threads or num_cpus()
    policy = bundle.card.policy
    score = partial(_score_batch, runner=runner, bundle=bundle, embeddings=embeddings)
    if folder.num_readers:  # from far away: many at once, ahead of those that decode
        window = (num_threads + 2) * _BATCH
        contents = ordered_map(lambda file: _read(folder, file, policy), files, folder.num_readers, window)
        fetched = in_batches(zip(files, contents, strict=True), _BATCH)
        done = ordered_map(score, fetched, num_threads, 2 * num_threads)
    else:
        done = ordered_map(
            lambda batch: score([(file, _read(folder, file, policy)) for file in batch]),
            in_batches(files, _BATCH),
            num_threads,
            2 * num_threads,
        )
    for rows in done:
        yield from rows


def _score_batch(
    batch: list[tuple[_File, _Contents]], runner: Runner, bundle: Bundle, embeddings: bool
) -> list[dict[str, Any]]:
    """The rows of a batch."""
    ready = [_decoded(file, contents, bundle.card.policy) for file, contents in batch]
    usable = [item.pixels for item in ready if item.pixels is not None]
    said: Iterator[dict[str, Any]] = iter(())
    if usable and embeddings:
        logits, vectors = runner.with_embeddings(np.stack(usable))
        predictions = _predictions(bundle.card.calibration.apply(logits), bundle)
        said = (each | {EMBEDDING: vector} for each, vector in zip(predictions, vectors, strict=True))
    elif usable:
        said = iter(_predictions(bundle.card.calibration.apply(runner(np.stack(usable))), bundle))
    return [_row(item, next(said) if item.pixels is not None else None) for item in ready]


def _read(folder: ImageFolder, file: _File, policy: DecodePolicy) -> _Contents:
    """A file's bytes, or why it has none."""
    try:
        if file["reason"]:
            raise ImageError(file["reason"])
        return folder.read_file(os.fsdecode(file["os_path"]), policy.max_bytes)
    except ImageError as error:
        return error


def _decoded(file: _File, contents: _Contents, policy: DecodePolicy) -> _Ready:
    data = None if isinstance(contents, ImageError) else contents
    try:
        if isinstance(contents, ImageError):
            raise contents
        decoded = decode_with_header(contents, policy)
    except ImageError as error:
        logger.debug("%s is quarantined: %s", file["path"], error)
        header = read_header(data) if data else None
        width, height = (header.width, header.height) if header else (None, None)
        return _Ready(file["path"], _sha256(data), error.reason, width, height, None)
    return _Ready(file["path"], _sha256(data), None, decoded.width, decoded.height, decoded.pixels)


def _predictions(chances: NDArray[np.float64], bundle: Bundle) -> list[dict[str, Any]]:
    """What the table says of each row of probabilities `float64[N, K]`."""
    names, threshold = bundle.card.labels, bundle.card.threshold
    places = np.argsort(-chances, axis=1, kind="stable")[:, :TOP_K]
    best = np.take_along_axis(chances, places, axis=1)
    abstained = best[:, 0].astype(np.float32) < np.float64(threshold)  # as the table stores it
    return [
        {
            "label": names[order[0]],
            "confidence": values[0],
            "abstained": abstains,
            "top_k": [
                {"label": names[place], "probability": value} for place, value in zip(order, values, strict=True)
            ],
        }
        for order, values, abstains in zip(places.tolist(), best.tolist(), abstained.tolist(), strict=True)
    ]


def _row(item: _Ready, prediction: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "path": item.path,
        "sha256": item.sha256,
        "status": QUARANTINED if prediction is None else OK,
        "reason": item.reason,
        "width": item.width,
        "height": item.height,
    } | (prediction or {})


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()
