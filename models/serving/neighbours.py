"""The training images that a network finds most like another one: by the cosine of their embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.images.decode import decode_stored
from darkroom.data.shards.shards import read_shard
from darkroom.models.labelling.training_images import sampled
from darkroom.models.onnx.runtime import Runner

# Searched: at 1,280 numbers each, 5 MB.
MAX_SEARCHED = 1000
_BATCH = 32


@dataclass(frozen=True)
class Neighbour:
    """A training image.

    Attributes:
        path: In the data set's source.
        label: Its label, or its labels joined by `|`.
        similarity: Cosine of the embeddings, -1 to 1.
        image: JPEG or PNG bytes, as the network sees it.
    """

    path: str
    label: str
    similarity: float
    image: bytes


class Neighbours:
    """Some training images of a model, with their embeddings; the images themselves stay in their shards.

    Args:
        dataset: That the model was trained on.
        runner: Its network, which gives embeddings.
    """

    def __init__(self, dataset: Dataset, runner: Runner) -> None:
        self._labels = dataset.labels
        self._where: list[tuple[Path, str]] = []
        records = sampled(dataset, MAX_SEARCHED)
        found = []
        while batch := list(islice(records, _BATCH)):
            found.append(runner.with_embeddings(np.stack([decode_stored(record.encoded) for _, record in batch]))[1])
            self._where += [(shard, record.sha256) for shard, record in batch]
        self._vectors = _unit(np.concatenate(found))

    def nearest(self, vector: NDArray[np.float32], number: int) -> tuple[Neighbour, ...]:
        """The most similar training images, the most similar first.

        Args:
            vector: An embedding, `float32[D]`.
            number: How many at most.
        """
        similarity = self._vectors @ _unit(vector[None])[0]
        order = [int(place) for place in np.argsort(-similarity, kind="stable")[:number]]
        wanted = {self._where[place]: float(similarity[place]) for place in order}
        found = {}
        for shard in {shard for shard, _ in wanted}:
            for record in read_shard(shard, self._labels):
                if record.copy == 0 and (shard, record.sha256) in wanted:
                    similar = wanted[shard, record.sha256]
                    found[shard, record.sha256] = Neighbour(record.path, record.label, similar, record.encoded)
        return tuple(found[each] for each in wanted if each in found)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; a row of zeros stays one, and NaN counts as 0."""
    vectors = np.nan_to_num(vectors)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)
