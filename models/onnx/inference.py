"""Run a network over the stored images of a data set, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.dataset.shards import Record
from darkroom.data.files.parallel import num_cpus, ordered_map
from darkroom.data.images.decode import decode_stored
from darkroom.models.onnx.runtime import Runner


def stored_batches(records: Iterator[Record], batch_size: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int32]]]:
    """Stored images and their class indices in batches `(uint8[N, H, W, 3], int32[N])`, decoded by threads, in order.

    Args:
        records: From a data set's shards; all of one size.
        batch_size: N; the last batch may be smaller.
    """

    def ready(record: Record) -> tuple[NDArray[np.uint8], int]:
        return decode_stored(record.encoded), record.label_index

    pairs = ordered_map(ready, records, num_cpus(), window=2 * batch_size)
    while chunk := list(islice(pairs, batch_size)):
        yield np.stack([pixels for pixels, _ in chunk]), np.array([label for _, label in chunk], np.int32)


def split_logits(dataset: Dataset, split: str, runner: Runner) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Run a network on the images of a split.

    Args:
        dataset: The images.
        split: `train`, `validation` or `test`.
        runner: The network.

    Returns:
        `logits float32[N, C]` and `truth int32[N]`, in the order of the split's shards.

    Raises:
        InputError: where the split is empty.
        FormatError: where a shard is damaged.
    """
    logits, truth = [], []
    for images, labels in stored_batches(dataset.records(split), 32):
        logits.append(runner(images))
        truth.append(labels)
    return np.concatenate(logits), np.concatenate(truth)
