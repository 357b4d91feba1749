"""Shards to `tf.data`: batches of `(uint8[N, H, W, 3], int32[N])` for training, deterministic for a seed and an epoch.

What is shuffled is the stored bytes, before they are decoded, so the buffer is small; what is drawn for an image
depends on its content hash, the seed and the epoch alone, so a run that is killed goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from data.augment import AugmentPolicy, augment
from data.dataset import Dataset

_SHUFFLE_BUFFER = 16_384


@dataclass(frozen=True)
class Shuffle:
    """Order and augmentation of one epoch: the same pair gives the same batches."""

    seed: int
    epoch: int


def batches(
    dataset: Dataset,
    split: str,
    batch_size: int,
    shuffle: Shuffle | None = None,
    augmentation: AugmentPolicy | None = None,
) -> Any:
    """A `tf.data.Dataset` of `(uint8[N, H, W, 3], int32[N])`, every image once; the last batch may be smaller.

    Args:
        dataset: Where the shards are.
        split: `train`, `validation` or `test`.
        batch_size: Images in a batch.
        shuffle: None keeps the order of the shards.
        augmentation: Changes to each image, drawn from its hash, the seed and the epoch; needs `shuffle`.
    """
    import tensorflow as tf

    height, width = dataset.card.policy.image_size
    stored = _stored(dataset, split, shuffle)
    if shuffle:
        stored = stored.shuffle(_SHUFFLE_BUFFER, seed=_mix(shuffle), reshuffle_each_iteration=False)
    wanted = None if augmentation is None or augmentation.changes_nothing else augmentation

    def ready(encoded: Any, label: Any, sha256: Any, copy: Any) -> tuple[Any, Any]:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        image = tf.ensure_shape(image, (height, width, 3))
        if wanted is not None and shuffle is not None:
            words = tf.strings.join([sha256, tf.strings.as_string(copy), str(shuffle.seed), str(shuffle.epoch)], "/")
            seed = tf.stack([tf.strings.to_hash_bucket_strong(words, 2**31 - 1, key) for key in ([1, 2], [3, 4])])
            image = augment(image, tf.cast(seed, tf.int32), wanted)
        return image, tf.cast(label, tf.int32)

    options = tf.data.Options()
    options.deterministic = True
    # AutoGraph has nothing to convert here, and cannot read modules with postponed annotations.
    plain = tf.autograph.experimental.do_not_convert(ready)
    decoded = stored.map(plain, num_parallel_calls=tf.data.AUTOTUNE)
    num_rows = sum(shard.num_rows for shard in dataset.card.shards if shard.split == split)
    counted = decoded.apply(tf.data.experimental.assert_cardinality(num_rows))
    return counted.batch(batch_size).prefetch(tf.data.AUTOTUNE).with_options(options)


def _stored(dataset: Dataset, split: str, shuffle: Shuffle | None) -> Any:
    """Elements `(encoded, label, sha256, copy)`; with `shuffle`, the shards in an order of their own each epoch."""
    import tensorflow as tf

    paths = dataset.shard_paths(split)
    if shuffle:
        order = np.random.default_rng(_mix(shuffle)).permutation(len(paths))
        paths = [paths[place] for place in order]
    names = [str(path) for path in paths]
    if dataset.card.shard_format == "tfrecord":
        features = {
            "image/encoded": tf.io.FixedLenFeature([], tf.string),
            "image/class/label": tf.io.FixedLenFeature([], tf.int64),
            "image/sha256": tf.io.FixedLenFeature([], tf.string),
            "image/copy": tf.io.FixedLenFeature([], tf.int64),
        }

        def parsed(raw: Any) -> tuple[Any, Any, Any, Any]:
            found = tf.io.parse_single_example(raw, features)
            return tuple(found[key] for key in features)

        return tf.data.TFRecordDataset(names).map(
            tf.autograph.experimental.do_not_convert(parsed), num_parallel_calls=tf.data.AUTOTUNE
        )

    def rows() -> Iterator[tuple[Any, ...]]:
        for name in names:
            with pq.ParquetFile(name) as file:
                for batch in file.iter_batches(batch_size=256):
                    image = batch.column("image").field("bytes").to_pylist()
                    columns = [batch.column(key).to_pylist() for key in ("label", "sha256", "copy")]
                    yield (np.array(image, dtype=object), *(np.array(column) for column in columns))

    signature = tuple(tf.TensorSpec([None], kind) for kind in (tf.string, tf.int64, tf.string, tf.int64))
    return tf.data.Dataset.from_generator(rows, output_signature=signature).unbatch()


def _mix(shuffle: Shuffle) -> int:
    return int(np.random.SeedSequence([shuffle.seed, shuffle.epoch]).generate_state(1)[0] >> 1)
