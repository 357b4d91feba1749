"""Shards to batches: the training input against `tf.data.TFRecordDataset` by hand, and Parquet against TFRecord.

    python benchmarks/reading.py [--images ../shared/data/cats_dogs/train] [--files 2000] [--epochs 3] [--rounds 5]
        [--json reading.json]

All sides read the same shards (PNG of 160 x 160) in their order and give batches of 32 `uint8` images with labels. By
hand: `TFRecordDataset`, parse and `decode_png` in one `map` with `AUTOTUNE`, batch, prefetch, as TensorFlow's guide on
performance has it. Shuffled: the same with its `shuffle`, over all images as ours is, since a smaller buffer begins
earlier and mixes less. The bytes of the shards are in the system's cache, and were checked against their hashes, in the
warm-up.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from benchmarks.ingest import SHARED, SIDE, write_source
from benchmarks.side_by_side import compare_rates, show, write
from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.dataset.input import Shuffle, batches
from darkroom.data.ingest.parts import write_part
from darkroom.data.ingest.plan import plan_ingest
from darkroom.data.ingest.publication import publish
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.sources.resolve import resolve
from darkroom.data.stores.workspace import Workspace

BATCH = 32
BY_HAND, PARQUET = 1.0, 0.8
_BUFFER = 16_384  # more than there are


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=SHARED)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3, help="Times that a round reads all of it.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = write_source(Path(folder) / "source", arguments.images, arguments.files)
        tfrecord, parquet = (ingest(source, Path(folder) / "workspace", kind) for kind in ("tfrecord", "parquet"))
        amount = arguments.epochs * sum(shard.num_rows for shard in tfrecord.card.shards if shard.split == "train")

        def reads(side: Callable[[int], Any]) -> Callable[[], None]:
            return partial(read, side, arguments.epochs)

        ordered = ("darkroom, TFRecord", reads(lambda _: batches(tfrecord, "train", BATCH)))
        ratios = [
            compare_rates(name, target, amount, ours, theirs, arguments.rounds)
            for name, target, ours, theirs in (
                ("reading in order", BY_HAND, ordered, ("plain tf.data", reads(lambda _: by_hand(tfrecord)))),
                (
                    "reading shuffled",
                    BY_HAND,
                    ("darkroom", reads(lambda epoch: batches(tfrecord, "train", BATCH, Shuffle(0, epoch)))),
                    ("plain tf.data", reads(lambda epoch: by_hand(tfrecord, epoch))),
                ),
                (
                    "reading Parquet",
                    PARQUET,
                    ("darkroom, Parquet", reads(lambda _: batches(parquet, "train", BATCH))),
                    ordered,
                ),
            )
        ]
    show(ratios)
    if arguments.json:
        write(ratios, arguments.json, {"files": arguments.files, "batch": BATCH, "epochs": arguments.epochs})
    return int(not all(each.reached for each in ratios))


def ingest(source: Path, root: Path, shard_format: str) -> Dataset:
    """The images as a data set; most of it is the training split."""
    workspace = Workspace(root)
    settings = IngestSettings.model_validate(
        {
            "name": shard_format,
            "policy": {"image_size": (SIDE, SIDE)},
            "splits": {"validation": 0.05, "test": 0.05},
            "shards": {"format": shard_format, "rows_per_shard": 500},
        }
    )
    planned = plan_ingest(IngestRequest(resolve(str(source), workspace), settings, workspace))
    for index in range(planned.num_parts):
        write_part(planned.staging, index)
    return open_dataset(publish(planned.staging, workspace))


def read(side: Callable[[int], Any], epochs: int) -> None:
    """All batches of some epochs."""
    for epoch in range(epochs):
        for _ in side(epoch):
            pass


def by_hand(dataset: Dataset, epoch: int | None = None) -> Any:
    """The same shards, read as TensorFlow's guides do."""
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(raw: Any) -> tuple[Any, Any]:
        found = tf.io.parse_single_example(raw, features)
        image = tf.io.decode_png(found["image/encoded"], channels=3)
        return tf.ensure_shape(image, (SIDE, SIDE, 3)), tf.cast(found["image/class/label"], tf.int32)

    stored = tf.data.TFRecordDataset([str(path) for path in dataset.shard_paths("train")])
    if epoch is not None:
        stored = stored.shuffle(_BUFFER, seed=epoch)
    return stored.map(parse, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)


if __name__ == "__main__":
    sys.exit(main())
