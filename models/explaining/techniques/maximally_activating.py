"""The images of a data set that activate a channel most (Zeiler and Fergus 2013, arXiv:1311.2901, figure 2).

The shards are read once, a batch at a time; of each channel only its best images are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.images.decode import decode_stored
from darkroom.data.progress import Progress, unseen
from darkroom.data.shards.records import Record
from darkroom.models.networks.layers import Probe

MAX_SEARCHED = 1000
NUM_IMAGES = 4
_STEP = "search"
_BATCH = 8  # the outputs of all layers are held at once, 80 MB an image of 224 x 224


@dataclass(frozen=True)
class ActiveImage:
    """An image that activates a channel.

    Attributes:
        path: As in the manifest.
        label: Its class.
        strength: The mean of the channel over all positions.
        pixels: `uint8[H, W, 3]`.
    """

    path: str
    label: str
    strength: float
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class ImageSearch:
    """The training images of a data set that are looked at, copies left out.

    Attributes:
        dataset: The data set.
        max_images: About how many of them, chosen by their hashes where there are more.
        num_kept: The best of them that are kept for each channel.
    """

    dataset: Dataset
    max_images: int = MAX_SEARCHED
    num_kept: int = NUM_IMAGES

    @property
    def num_expected(self) -> int:
        """About how many images that is."""
        return min(self.max_images, self.dataset.card.num_images("train"))

    def records(self) -> Iterator[Record]:
        """Those images."""
        share = self.max_images / max(self.dataset.card.num_images("train"), 1)
        for record in self.dataset.records("train"):
            if record.copy == 0 and int(record.sha256[:13], 16) < share * 16**13:
                yield record


def most_activating(
    model: Any, layer: Any, channels: Sequence[int], search: ImageSearch, progress: Progress = unseen
) -> tuple[list[list[ActiveImage]], int]:
    """The training images that activate each channel most, strongest first, and how many were searched.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to logits.
        layer: Of the model, at any depth; its output is `[N, h, w, K]`.
        channels: Some of the K.
        search: The images that are looked at.
        progress: Told how many images have been looked at.
    """
    import tensorflow as tf

    probe = Probe(model, [layer])

    def strengths(images: Any) -> Any:
        _, (output,) = probe(images)
        return tf.gather(tf.reduce_mean(output, axis=(1, 2)), list(channels), axis=1)

    images = tf.TensorSpec((None, *search.dataset.card.policy.image_size, 3), tf.uint8)
    compiled = tf.function(tf.autograph.experimental.do_not_convert(strengths), input_signature=[images])
    records, expected = search.records(), search.num_expected
    best: list[list[tuple[float, str, Record]]] = [[] for _ in channels]
    num_searched = 0
    while batch := list(islice(records, _BATCH)):
        progress(_STEP, min(num_searched, expected - 1), expected)
        num_searched += len(batch)
        found = compiled(np.stack([decode_stored(record.encoded) for record in batch])).numpy()
        for place, column in enumerate(found.T):
            pairs = [(-float(value), record.path, record) for value, record in zip(column, batch, strict=True)]
            best[place] = sorted(best[place] + pairs, key=lambda pair: pair[:2])[: search.num_kept]
    progress(_STEP, expected, expected)
    return [
        [ActiveImage(path, record.label, -value, decode_stored(record.encoded)) for value, path, record in rows]
        for rows in best
    ], num_searched
