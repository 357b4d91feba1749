"""What of a model's training images is at hand: which files they were, and what they look like to the network."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.dataset.manifest import OK
from darkroom.data.images.decode import decode_stored
from darkroom.data.shards.records import Record
from darkroom.data.shards.shards import read_shard
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.onnx.runtime import Runner

logger = logging.getLogger(__name__)

_MAX_SHARDS = 50
_BATCH = 32


def labelled_hashes(dataset: Dataset) -> frozenset[str]:
    """SHA-256 of the images of a data set that have a label and are used."""
    rows = dataset.manifest("sha256", "status")
    pairs = zip(rows["sha256"].to_pylist(), rows["status"].to_pylist(), strict=True)
    return frozenset(sha256 for sha256, status in pairs if status == OK)


@dataclass(frozen=True)
class Unusable:
    """Images that people said are not usable: their corrections are `excluded`.

    An ingest does not read these files, so no hash is known of them, but where they lay and their size.

    Attributes:
        paths: Paths in the data set's source, by size in bytes.
    """

    paths: Mapping[int, tuple[str, ...]]

    @classmethod
    def of(cls, datasets: Iterable[Dataset]) -> Unusable:
        """Those of some data sets."""
        found: dict[int, set[str]] = {}
        for dataset in datasets:
            if not (dataset.card.corrections and dataset.card.corrections.num_excluded):
                continue
            rows = dataset.corrections().filter(pc.equal(pc.field("effect"), "excluded"))
            paths = frozenset(rows["path"].to_pylist())
            files = dataset.manifest("path", "bytes")
            for path, size in zip(files["path"].to_pylist(), files["bytes"].to_pylist(), strict=True):
                if path in paths:
                    found.setdefault(size, set()).add(path)
        return cls({size: tuple(sorted(names)) for size, names in found.items()})

    def __contains__(self, file: tuple[str, int]) -> bool:
        """Whether a file, by its path and its size in bytes, is one of them; its folder may be one above or below."""
        path, size = f"/{file[0]}", file[1]
        return any(path.endswith(f"/{name}") or f"/{name}".endswith(path) for name in self.paths.get(size, ()))


def sampled(dataset: Dataset, size: int) -> Iterator[tuple[Path, Record]]:
    """Some training images and the shards that hold them, taken evenly from at most 50 shards, the same each time.

    Args:
        dataset: The images.
        size: About how many; at least one of each of these shards.
    """
    shards = dataset.shard_paths("train")
    chosen = shards[:: -(-len(shards) // _MAX_SHARDS)]
    each = -(-size // len(chosen))
    for shard in chosen:
        # By hash, not the first: a shard holds its images by path, and so by class.
        records = (record for record in read_shard(shard, dataset.labels) if record.copy == 0)
        for record in sorted(records, key=lambda record: (record.sha256, record.encoded))[:each]:
            yield shard, record


def training_embeddings(dataset: Dataset, bundle: Bundle, runner: Runner, size: int) -> NDArray[np.float32]:
    """Embeddings of some training images, `float32[M, D]`; none where they were decoded by another policy.

    Args:
        dataset: That the model was trained on.
        bundle: The model.
        runner: Its network.
        size: Images, taken evenly from at most 50 shards, the same each time.
    """
    if dataset.card.policy != bundle.card.policy:
        logger.info("%s was trained on images of another decode policy: its folder stands for them.", bundle.reference)
        return np.zeros((0, runner.embedding_size or 1), np.float32)
    found = []
    pixels = (decode_stored(record.encoded) for _, record in sampled(dataset, size))
    while batch := list(islice(pixels, _BATCH)):
        found.append(runner.with_embeddings(np.stack(batch))[1])
    vectors = np.concatenate(found)
    return vectors[np.isfinite(vectors).all(axis=1)][:size]
