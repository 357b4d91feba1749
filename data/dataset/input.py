"""Shards to `tf.data`: batches of images and labels for training, deterministic for a seed and an epoch.

Images are `uint8[N, H, W, 3]`; labels are `int32[N]`, or where an image may have several, `float32[N, K]` of 0 and 1.

What is shuffled is the stored bytes, before they are decoded, so the buffer is small; what is drawn for an image
depends on its content hash, the seed and the epoch alone, so a killed run resumes as if it had not been. Where
all decoded images take little memory they may be kept there from epoch to epoch, which changes nothing but the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from darkroom.data.dataset.dataset import Dataset, ShardFact
from darkroom.data.errors import FormatError
from darkroom.data.files.hashing import file_sha256
from darkroom.data.images.pixels.augment import AugmentPolicy, augment
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.parallel import num_cpus
from darkroom.data.shards import parquet_shards, tar_shards
from darkroom.data.shards.shard_names import format_of
from darkroom.data.shards.stored_labels import FEATURE, stored_labels

_MAX_SHUFFLED = 16_384
_SHUFFLED_BYTES = 512 * 2**20
_KEPT_BYTES = 256 * 2**20  # as much again lies in the buffer of the shuffle
_MAX_UNEVEN = 1.25
_PREFETCHED = 2


@dataclass(frozen=True)
class Shuffle:
    """Order and augmentation of one epoch: the same shuffle gives the same batches.

    Attributes:
        seed, epoch: What order and augmentation are drawn from.
        augmentation: Changes to each image, drawn from its hash, the seed and the epoch.
    """

    seed: int
    epoch: int
    augmentation: AugmentPolicy | None = None


@dataclass(frozen=True)
class Share:
    """What one of several readers of a split reads; together they read every image once.

    Each takes every `num_readers`-th shard, so that a file is opened by one reader only. Where shards are so few that
    one reader would read over 1.25 times as many images as another, each opens all shards and takes every
    `num_readers`-th image.

    Attributes:
        reader: From 0.
        num_readers: How many there are.
        kept: The decoded elements by shard, where `keep` holds them in memory.
    """

    reader: int = 0
    num_readers: int = 1
    kept: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def shards(self, dataset: Dataset, split: str) -> list[ShardFact]:
        """The shards that this reader opens.

        Args:
            dataset: Where the shards are.
            split: `train`, `validation` or `test`.

        Raises:
            InputError: where the split is empty.
        """
        dataset.shard_paths(split)
        shards = [shard for shard in dataset.card.shards if shard.split == split]
        return shards[self.reader :: self.num_readers] if self.takes_shards(dataset, split) else shards

    def takes_shards(self, dataset: Dataset, split: str) -> bool:
        """Whether this reader takes whole shards rather than single images of every shard.

        Args:
            dataset: Where the shards are.
            split: `train`, `validation` or `test`.
        """
        counts = [shard.num_rows for shard in dataset.card.shards if shard.split == split]
        rows = [sum(counts[reader :: self.num_readers]) for reader in range(self.num_readers)]
        return max(rows) <= _MAX_UNEVEN * min(rows)

    def num_rows(self, dataset: Dataset, split: str) -> int:
        """The number of images that this reader reads, copies included.

        Args:
            dataset: Where the shards are.
            split: `train`, `validation` or `test`.
        """
        total = sum(shard.num_rows for shard in self.shards(dataset, split))
        return total if self.takes_shards(dataset, split) else len(range(self.reader, total, self.num_readers))


WHOLE = Share()


def batches(dataset: Dataset, split: str, batch_size: int, shuffle: Shuffle | None = None, share: Share = WHOLE) -> Any:
    """A `tf.data.Dataset` of `(uint8[N, H, W, 3], int32[N])`, every image once; the last batch may be smaller.

    Where an image may have several labels, it is of `(uint8[N, H, W, 3], float32[N, K])`.

    Args:
        dataset: Where the shards are.
        split: `train`, `validation` or `test`.
        batch_size: Images in a batch.
        shuffle: None keeps the order of the shards, and the images as they are stored.
        share: The part of the split that is read; one that `keep` gave decodes no image.

    Raises:
        InputError: where the split is empty.
        FormatError: where a shard is not what the card says.
    """
    import tensorflow as tf

    shards = share.shards(dataset, split)
    order = np.random.default_rng(_mix(shuffle)).permutation(len(shards)) if shuffle else range(len(shards))
    ordered = [shards[place] for place in order]
    kept = share.kept
    if kept is None:
        elements, decoded = _stored(dataset, ordered)
    else:
        elements, decoded = reduce(lambda x, y: x.concatenate(y), (kept[shard.file] for shard in ordered)), _as_it_is
    if not share.takes_shards(dataset, split):
        elements = elements.shard(share.num_readers, share.reader)
    if shuffle:
        mean_bytes = sum(shard.bytes for shard in shards) / sum(shard.num_rows for shard in shards)
        buffer = max(1, min(_MAX_SHUFFLED, int(_SHUFFLED_BYTES / mean_bytes)))
        elements = elements.shuffle(buffer, seed=_mix(shuffle), reshuffle_each_iteration=False)
    stored = stored_labels(dataset.labels)
    wanted = shuffle.augmentation if shuffle else None
    if wanted and wanted.changes_nothing:
        wanted = None

    def ready(*element: Any) -> tuple[Any, Any]:
        image, label, sha256, copy = decoded(*element)
        if wanted is not None and shuffle is not None:
            words = tf.strings.join([sha256, tf.strings.as_string(copy), str(shuffle.seed), str(shuffle.epoch)], "/")
            seed = tf.stack([tf.strings.to_hash_bucket_strong(words, 2**31 - 1, key) for key in ([1, 2], [3, 4])])
            image = augment(image, tf.cast(seed, tf.int32), wanted)
        return image, stored.tf_batch(label)

    counted = elements.apply(tf.data.experimental.assert_cardinality(share.num_rows(dataset, split)))
    if kept is not None and wanted is None:  # all that is left to do is the same for a batch
        return untuned(_mapped(counted.batch(batch_size), ready).prefetch(_PREFETCHED))
    return untuned(_mapped(counted, ready).batch(batch_size).prefetch(_PREFETCHED))


def keep(dataset: Dataset, split: str, share: Share = WHOLE) -> Share:
    """The same share with its images decoded and held in memory, or as it is where they would take over 256 MiB.

    For training in many epochs: `batches` of the same split then decodes no image.

    Args:
        dataset, split, share: As for `batches`.

    Raises:
        InputError: where the split is empty.
        FormatError: where a shard is not what the card says.
    """
    import tensorflow as tf

    shards = share.shards(dataset, split)
    height, width = dataset.card.policy.image_size
    if sum(shard.num_rows for shard in shards) * height * width * 3 > _KEPT_BYTES:
        return share

    def in_memory(shard: ShardFact) -> Any:
        whole = _mapped(*_stored(dataset, [shard])).batch(shard.num_rows)
        return tf.data.Dataset.from_tensor_slices(next(iter(untuned(whole))))

    return replace(share, kept={shard.file: in_memory(shard) for shard in shards})


def untuned(feed: Any) -> Any:
    """The same elements, read without TensorFlow's autotuning of buffers and without its graph rewriting.

    The tuner sleeps for 10 ms, 20 ms, 40 ms and so on, and now and then the end of an epoch waits for it to wake, which
    makes an epoch of 10.3 s one of 20.5 s (TensorFlow 2.21). The rewriting finds nothing to do here, and copies all
    images that are kept in memory, in each epoch.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return feed.with_options(options)


def _mapped(elements: Any, change: Callable[..., Any]) -> Any:
    import tensorflow as tf

    # AutoGraph has nothing to convert here, and cannot read modules with postponed annotations.
    plain = tf.autograph.experimental.do_not_convert(change)
    return elements.map(plain, num_parallel_calls=num_cpus(), deterministic=True)


def _as_it_is(*element: Any) -> tuple[Any, ...]:
    return element


def _stored(dataset: Dataset, shards: Sequence[ShardFact]) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
    """Stored elements, and the function that decodes one to `(image, label, sha256, copy)`.

    Elements are parsed in the step that decodes them: a step of its own costs a tenth of the decoding. The shards are
    hashed once a process (again where one was written since), because damage that TensorFlow finds within an epoch
    would end the run without saying what to do.
    """
    import tensorflow as tf

    for shard in shards:
        path = dataset.folder / shard.file
        _check_hash(path, shard.sha256, path.stat().st_mtime_ns)
    names = [str(dataset.folder / shard.file) for shard in shards]
    read = _examples if dataset.card.shard_format == "tfrecord" else _rows
    elements, parsed = read(names, dataset.labels)
    height, width = dataset.card.policy.image_size

    def decoded(*element: Any) -> tuple[Any, ...]:
        encoded, *others = parsed(*element)
        # Reads PNG too, and unlike decode_image computes JPEG as Pillow does.
        image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(image, (height, width, 3)), *others

    return elements, decoded


def _examples(names: list[str], labels: LabelMap) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
    import tensorflow as tf

    stored = stored_labels(labels)
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        FEATURE: stored.tf_feature(),
        "image/sha256": tf.io.FixedLenFeature([], tf.string),
        "image/copy": tf.io.FixedLenFeature([], tf.int64),
    }

    def parsed(raw: Any) -> tuple[Any, ...]:
        found = tf.io.parse_single_example(raw, features)
        found[FEATURE] = stored.tf_truth(found[FEATURE])
        return tuple(found[key] for key in features)

    return tf.data.TFRecordDataset(names), parsed


def _rows(names: list[str], labels: LabelMap) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
    import tensorflow as tf

    stored = stored_labels(labels)

    def groups(path: Path) -> Iterator[pa.Table]:
        is_tar = format_of(path) == "webdataset"
        return tar_shards.row_groups(path, labels) if is_tar else parquet_shards.row_groups(path)

    def rows() -> Iterator[tuple[Any, ...]]:
        for name in names:
            for group in groups(Path(name)):
                encoded, sha256 = pc.struct_field(group["image"], "bytes"), group["sha256"]
                truth = stored.column_truth(group[stored.field().name])
                yield encoded.to_numpy(), truth, sha256.to_numpy(), group["copy"].to_numpy()

    kinds = (tf.TensorSpec([None], kind) for kind in (tf.string, tf.string, tf.int64))
    signature = (next(kinds), stored.tf_spec(), *kinds)
    # One row group is read ahead: those who decode never wait for the file.
    return tf.data.Dataset.from_generator(rows, output_signature=signature).prefetch(1).unbatch(), _as_it_is


@cache
def _check_hash(path: Path, sha256: str, mtime_ns: int) -> None:
    if file_sha256(path) != sha256:
        raise FormatError(
            f"The shard {path} is damaged: its SHA-256 is not the one in the card. Delete the folder of the data set "
            "and ingest it again."
        )


def _mix(shuffle: Shuffle) -> int:
    return int(np.random.SeedSequence([shuffle.seed, shuffle.epoch]).generate_state(1)[0] >> 1)
