"""Run a network over the stored images of a data set, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.images.decode import decode_stored
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.parallel import num_cpus, ordered_map
from darkroom.data.shards.records import Record
from darkroom.data.task import Truth
from darkroom.models.onnx.runtime import Runner


def stored_batches(
    records: Iterator[Record], batch_size: int, labels: LabelMap
) -> Iterator[tuple[NDArray[np.uint8], Truth]]:
    """Stored images and what they show in batches, decoded by threads, in order.

    They are `(uint8[N, H, W, 3], int32[N])`, or where an image may have several labels, the second `float32[N, K]`.

    Args:
        records: From a data set's shards; all of one size.
        batch_size: N; the last batch may be smaller.
        labels: Of the data set.
    """

    def ready(record: Record) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        return decode_stored(record.encoded), record.indices

    pairs = ordered_map(ready, records, num_cpus(), window=2 * batch_size)
    while chunk := list(islice(pairs, batch_size)):
        yield np.stack([pixels for pixels, _ in chunk]), labels.truth(indices for _, indices in chunk)


def split_logits(
    dataset: Dataset, split: str, runner: Runner, seen: Callable[[NDArray[np.float32]], None] | None = None
) -> tuple[NDArray[np.float32], Any]:
    """Run a network on the images of a split.

    Args:
        dataset: The images.
        split: `train`, `validation` or `test`.
        runner: The network.
        seen: Is given the embeddings `float32[N, D]` of each batch; None for none.

    Returns:
        `logits float32[N, C]` and the truth, in the order of the split's shards: `int32[N]`, or `float32[N, C]` of 0
        and 1 where an image may have several labels.

    Raises:
        InputError: where the split is empty.
        FormatError: where a shard is damaged.
    """
    logits, truth = [], []
    for images, labels in stored_batches(dataset.records(split), 32, dataset.labels):
        if seen is None:
            logits.append(runner(images))
        else:
            found, embeddings = runner.with_embeddings(images)
            logits.append(found)
            seen(embeddings)
        truth.append(labels)
    return np.concatenate(logits), np.concatenate(truth)
