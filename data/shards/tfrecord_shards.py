"""TFRecord shards: a `tf.train.Example` per image, with the field's usual feature names (those of TF-Slim's data sets).

`image/encoded`, `image/format`, `image/height`, `image/width`, `image/channels`, `image/colorspace`, `image/filename`,
`image/class/label` (int64 from 0), `image/class/text`, and two of ours, `image/sha256` (of the source file) and
`image/copy` (0: the image itself; from 1: its augmented copies). Of several labels an image, the two features of its
class hold as many values.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from darkroom.data.errors import FormatError
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.shards.records import AGAIN, Record, guarded
from darkroom.data.shards.stored_labels import FEATURE

# A TFRecord: length (8 bytes), checksum of the length (4), the record, checksum of the record (4); all little-endian.
_LENGTH = struct.Struct("<Q")
_RECORD_OVERHEAD = 16


def num_records(path: Path) -> int:
    """The number of records in a shard, counted without reading them.

    Raises:
        FormatError: where the file is damaged.
    """
    number = place = 0
    size = path.stat().st_size
    with path.open("rb") as stream:
        while place < size:
            stream.seek(place)
            head = stream.read(_LENGTH.size)
            place += _RECORD_OVERHEAD + (_LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else size)
            number += 1
    if place != size:
        raise FormatError(f"The shard {path} ends within a record. {AGAIN}")
    return number


class _TFRecordShard:
    def __init__(self, writer: Any, labels: LabelMap) -> None:
        self._writer, self._labels = writer, labels

    def write(self, record: Record) -> None:
        import tensorflow as tf

        def text(*values: bytes) -> Any:
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

        def number(*values: int) -> Any:
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

        feature = {
            "image/encoded": text(record.encoded),
            "image/format": text(record.format.encode()),
            "image/height": number(record.height),
            "image/width": number(record.width),
            "image/channels": number(3),
            "image/colorspace": text(b"RGB"),
            "image/filename": text(record.path.encode()),
            FEATURE: number(*record.indices),
            "image/class/text": text(*(name.encode() for name in self._labels.task.names(record.label))),
            "image/sha256": text(record.sha256.encode()),
            "image/copy": number(record.copy),
        }
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        self._writer.write(example.SerializeToString(deterministic=True))


@contextmanager
def writer(path: Path, labels: LabelMap) -> Iterator[_TFRecordShard]:
    """A writer of one shard.

    Args:
        path, labels: As for `darkroom.data.shards.shards.open_writer`.
    """
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as opened:
        yield _TFRecordShard(opened, labels)


def read(path: Path, labels: LabelMap) -> Iterator[Record]:
    """The records of a shard.

    Args:
        path, labels: As for `darkroom.data.shards.shards.read_shard`.

    Raises:
        Exception: of any kind, where the file is damaged.
    """
    import tensorflow as tf

    for raw in _raw_records(path):
        feature = tf.train.Example.FromString(raw).features.feature
        yield Record(
            encoded=feature["image/encoded"].bytes_list.value[0],
            format=feature["image/format"].bytes_list.value[0].decode(),
            height=feature["image/height"].int64_list.value[0],
            width=feature["image/width"].int64_list.value[0],
            label=labels.task.text(name.decode() for name in feature["image/class/text"].bytes_list.value),
            indices=tuple(feature[FEATURE].int64_list.value),
            path=feature["image/filename"].bytes_list.value[0].decode(),
            sha256=feature["image/sha256"].bytes_list.value[0].decode(),
            copy=feature["image/copy"].int64_list.value[0],
        )


def _raw_records(path: Path) -> Iterator[bytes]:
    import tensorflow as tf

    num_records(path)  # TensorFlow takes a file that is cut within a record's length for one that ends before it
    yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()


def copy_without(source: Path, target: Path, labels: LabelMap, dropped: Container[tuple[str, str]]) -> None:
    """Copy a shard without some of its records, the others as they are.

    Args:
        source, target, labels, dropped: As for `darkroom.data.shards.shards.copy_without`.

    Raises:
        FormatError: where the shard is damaged.
    """
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(target)) as opened:
        for raw in guarded(source, _raw_records(source)):
            feature = tf.train.Example.FromString(raw).features.feature
            path, sha256 = (feature[name].bytes_list.value[0].decode() for name in ("image/filename", "image/sha256"))
            if (path, sha256) not in dropped:
                opened.write(raw)
