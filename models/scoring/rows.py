"""From files to rows of the prediction table: read, hash, decode, run the network, record what it predicts.

Each thread takes a batch of files through all of it and runs the network by itself, so that no core waits for another
and there is nothing to hand over; only rows come back, in the files' order. A row depends on its file and the bundle
alone: neither the batch nor the number of threads can be seen in it.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.dataset.manifest import OK, QUARANTINED
from darkroom.data.errors import ImageError
from darkroom.data.images.crash_recovery import Decode, decode_unwatched
from darkroom.data.images.decode import decode_opened, read_header
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.parallel import in_batches, num_cpus, ordered_map, raise_if_stopped
from darkroom.data.reason_codes import ReasonCode
from darkroom.data.stores.folders import ImageFolder
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.onnx.runtime import Engine, Runner
from darkroom.models.prediction_table.schema import EMBEDDING, TOP_K, UNFAMILIAR, UNFAMILIARITY
from darkroom.models.profile.profile import Profile

logger = logging.getLogger(__name__)

# Few, so that the threads end together, and enough that they seldom hand over; the network takes them in its own runs.
_BATCH = 24
_NOT_FINITE: ReasonCode = "not_finite"

# A file of the plan.
_File = dict[str, Any]
# A file's bytes, an image that the caller has opened, or why there is neither.
Contents = bytes | Image.Image | ImageError
T = TypeVar("T")


@dataclass(frozen=True)
class _Ready:
    """One file before inference: pixels, or a reason."""

    path: str | None
    sha256: str | None
    reason: str | None
    width: int | None
    height: int | None
    pixels: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Scorer:
    """What makes rows of images.

    Attributes:
        runner: The network; called by several threads at once.
        bundle: Its decode policy, calibration, threshold and labels.
        num_threads: None takes all processors; whatever it is, the rows are the same.
        embeddings: Give each row that was scored an `embedding`, `float32[D]`.
        decode: Of a part of a run, which watches over its decoder.
        top_k: Classes that a row keeps, the most likely first.
        profile: Gives each row that was scored `unfamiliarity` and `unfamiliar`; None for rows without.
        engine: What runs the network.
    """

    runner: Runner
    bundle: Bundle
    num_threads: int | None = None
    embeddings: bool = False
    decode: Decode = decode_unwatched
    top_k: int = TOP_K
    profile: Profile | None = None
    engine: Engine = "fp32"


def score_rows(files: list[_File], folder: ImageFolder, scorer: Scorer) -> Iterator[dict[str, Any]]:
    """Rows of the prediction table in the files' order, a few batches at a time.

    Args:
        files: Of the plan, with `path`, `os_path` and `reason`.
        folder: Where they lie.
        scorer: What makes the rows.
    """
    policy = scorer.bundle.card.policy

    def read(file: _File) -> tuple[str | None, Contents]:
        return file["path"], read_contents(folder, file, policy)

    if not folder.num_readers:
        return score_contents(files, read, scorer)
    # From far away: many at once, ahead of those that decode.
    fetched = ordered_map(read, files, folder.num_readers, ((scorer.num_threads or num_cpus()) + 2) * _BATCH)
    return score_contents(fetched, lambda named: named, scorer)


def read_contents(folder: ImageFolder, file: _File, policy: DecodePolicy) -> Contents:
    """A file's bytes, or why it has none.

    Args:
        folder: Where it lies.
        file: Of the plan, with `os_path` and `reason`.
        policy: Says how large it may be.
    """
    if file["reason"]:
        return ImageError(file["reason"])
    try:
        return folder.read_file(os.fsdecode(file["os_path"]), policy.max_bytes)
    except ImageError as error:
        return error


def score_contents(
    items: Iterable[T], read: Callable[[T], tuple[str | None, Contents]], scorer: Scorer
) -> Iterator[dict[str, Any]]:
    """Rows of the prediction table in the order of the items, a few batches at a time.

    Args:
        items: Whatever `read` takes.
        read: Gives the path that the row names, if any, and what is to be scored; called by the scoring threads.
        scorer: What makes the rows.
    """
    num_threads = scorer.num_threads or num_cpus()
    batches = in_batches(items, _BATCH)

    def score(batch: Sequence[T]) -> list[dict[str, Any]]:
        return score_batch([read(item) for item in batch], scorer)

    for rows in ordered_map(score, batches, num_threads, 2 * num_threads):
        yield from rows


def score_batch(batch: Sequence[tuple[str | None, Contents]], scorer: Scorer) -> list[dict[str, Any]]:
    """The rows of a batch, computed by the thread that calls.

    Args:
        batch: The path that a row names, if any, and what is to be scored.
        scorer: What makes the rows.
    """
    runner, bundle = scorer.runner, scorer.bundle
    ready = [_decoded(path, contents, bundle.card.policy, scorer.decode) for path, contents in batch]
    usable = [place for place, item in enumerate(ready) if item.pixels is not None]
    if not usable:
        return [_row(item, None) for item in ready]
    pixels = np.stack([item.pixels for item in ready if item.pixels is not None])
    looks_at_them = scorer.embeddings or scorer.profile is not None
    logits, vectors = runner.with_embeddings(pixels) if looks_at_them else (runner(pixels), None)
    finite = np.asarray(np.isfinite(logits).all(axis=1))
    if vectors is not None and scorer.embeddings:
        finite = finite & np.isfinite(vectors).all(axis=1)
    for place in (place for place, is_finite in zip(usable, finite, strict=True) if not is_finite):
        logger.debug("%s is quarantined: the network gives NaN or infinity", ready[place].path or "an image")
        ready[place] = replace(ready[place], reason=_NOT_FINITE, pixels=None)
    predictions = _predictions(bundle.card.calibration.apply(logits[finite]), bundle, scorer.top_k)
    if vectors is not None and scorer.profile is not None:
        far = scorer.profile.unfamiliarity(vectors[finite], scorer.engine)
        pairs = zip(predictions, far.tolist(), (far > 1).tolist(), strict=True)
        predictions = [each | {UNFAMILIARITY: value, UNFAMILIAR: is_far} for each, value, is_far in pairs]
    if vectors is not None and scorer.embeddings:
        predictions = [each | {EMBEDDING: vector} for each, vector in zip(predictions, vectors[finite], strict=True)]
    said = iter(predictions)
    return [_row(item, next(said) if item.pixels is not None else None) for item in ready]


def _decoded(path: str | None, contents: Contents, policy: DecodePolicy, decode: Decode) -> _Ready:
    raise_if_stopped()
    data = contents if isinstance(contents, bytes) else None
    try:
        if isinstance(contents, ImageError):
            raise contents
        decoded = decode(path, contents, policy) if isinstance(contents, bytes) else decode_opened(contents, policy)
    except ImageError as error:
        logger.debug("%s is quarantined: %s", path or "an image", error)
        header = read_header(data) if data and error.reason != "decoder_crashed" else None
        width, height = (header.width, header.height) if header else (None, None)
        return _Ready(path, _sha256(data), error.reason, width, height, None)
    return _Ready(path, _sha256(data), None, decoded.width, decoded.height, decoded.pixels)


def _predictions(chances: NDArray[np.float64], bundle: Bundle, top_k: int) -> list[dict[str, Any]]:
    """What the table says of each row of probabilities `float64[N, K]`, with the `top_k` most likely classes."""
    names, threshold, answers = bundle.card.labels, bundle.card.threshold, bundle.answers
    places = np.argsort(-chances, axis=1, kind="stable")[:, :top_k]
    best = np.take_along_axis(chances, places, axis=1)
    confidence = answers.confidence(chances)
    abstained = confidence.astype(np.float32) < np.float64(threshold)  # as the table stores it
    labels = [[names[place] for place in given] for given in answers.given(chances)]
    rows = [
        {
            "confidence": sure,
            "abstained": abstains,
            "top_k": [
                {"label": names[place], "probability": value} for place, value in zip(order, values, strict=True)
            ],
        }
        for sure, abstains, order, values in zip(
            confidence.tolist(), abstained.tolist(), places.tolist(), best.tolist(), strict=True
        )
    ]
    if bundle.card.task == "single-label":
        return [row | {"label": label} for row, (label,) in zip(rows, labels, strict=True)]
    said = zip(rows, labels, chances.tolist(), strict=True)
    return [row | {"labels": given, "probabilities": each} for row, given, each in said]


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
