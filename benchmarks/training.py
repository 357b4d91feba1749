"""Training: a head on cached features against `fit` around a frozen backbone; training steps against tf.data by hand.

    python benchmarks/training.py [--images ../shared/data/cats_dogs] [--train 2000] [--validation 780] [--rounds 2]
        [--json training.json]

Transfer. Theirs is Keras's transfer guide: `image_dataset_from_directory` with prefetch, the frozen backbone within
the model, dropout, a dense layer, Adam, 18 epochs with validation. Ours is an ingest, the export of the backbone, the
features of all images and the head's epochs until validation gets no better; from files to a trained network, as
theirs. Both train and validate on the same images, with EfficientNet-Lite0 at 160 x 160; the other table row is the
validation accuracy of the best epoch of each, which must not be lower than theirs by more than an image in a hundred.
Ours has a few images more, held out for a test, as each data set has.

Steps. The same networks fed by `batches` and by a pipeline by hand, both with images that are decoded once and then
kept in memory (`keep`, `cache`), shuffled, batched, prefetched: images a second of `fit`, validation left out, of 800
images, from the second epoch on; now one side goes first, now the other. TensorFlow's tuner of the buffers, which is
part of such a pipeline by hand, may keep the end of an epoch waiting for up to as long as the epoch
(`darkroom.data.dataset.input.untuned`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from benchmarks.side_by_side import Ratio, show, write
from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.dataset.input import Shuffle, batches, keep
from darkroom.data.ingest.parts import write_part
from darkroom.data.ingest.plan import plan_ingest
from darkroom.data.ingest.publication import publish
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.sources.resolve import resolve
from darkroom.data.stores.workspace import Workspace
from darkroom.models.networks.architectures import build_backbone, build_scratch, with_head
from darkroom.models.settings import TrainSettings
from darkroom.models.training.features import extract_features, prepare_backbone
from darkroom.models.training.train import train_network
from darkroom.models.training_loop.stage import TrainRequest
from darkroom.models.training_loop.techniques.early_stopping import best_epoch

SHARED = Path(__file__).parents[2] / "shared/data/cats_dogs"
NETWORK = "efficientnet-lite0"
TRANSFER, ACCURACY, STEPS = 10.0, 0.99, 1.0
EPOCHS = 18
BATCH = 32
SIDE = 160
_TUNED_LAYERS = 30
_STEP_ROUNDS = 8
_TEST_IMAGES = 10  # of each class, beside those that both sides have


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=SHARED, help="With the folders train and validation.")
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--validation", type=int, default=780)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not arguments.images.is_dir():
        print(f"{arguments.images} is not there: give --images, with train/CLASS and validation/CLASS in it.")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sizes = {"train": arguments.train, "validation": arguments.validation}
        source = take(arguments.images, place / "source", sizes)
        ratios = transfer(source, place, arguments.rounds)
        few = take(arguments.images, place / "few", {"train": 800, "validation": 100})
        for name, side, build in (
            ("fine-tuning steps", SIDE, fine_tuned),
            ("training steps from scratch", 96, lambda: build_scratch("residual96", (96, 96), 2, 0.3)),
        ):
            ratios.append(steps(name, few, place, side, build, _STEP_ROUNDS))
    show(ratios)
    if arguments.json:
        write(ratios, arguments.json, {"images": sizes, "epochs": EPOCHS})
    return int(not all(each.reached for each in ratios))


def take(images: Path, folder: Path, sizes: dict[str, int]) -> Path:
    """The first images of each class of both splits, as many of one class as of the other, and the next for a test.

    Without test images an ingest would judge by the validation images and validate on some of the training images.
    """
    for split, number in sizes.items():
        classes = sorted(path for path in (images / split).iterdir() if path.is_dir())
        for each in classes:
            files = sorted(each.glob("*.jpg"))
            kept = number // len(classes)
            parts = {split: files[:kept]}
            if split == "validation":
                parts["test"] = files[kept : kept + _TEST_IMAGES]
            for part, chosen in parts.items():
                (folder / part / each.name).mkdir(parents=True)
                for file in chosen:
                    shutil.copyfile(file, folder / part / each.name / file.name)
    return folder


def transfer(source: Path, place: Path, rounds: int) -> list[Ratio]:
    """Seconds from files to a trained network, and validation accuracies, in turns."""
    mine, others = [], []
    for _ in range(rounds):
        mine.append(timed(lambda: ours(source, place / "workspace")))
        others.append(timed(lambda: theirs(source)))
    (our_seconds, our_accuracy), (their_seconds, their_accuracy) = (
        tuple(zip(*side, strict=True)) for side in (mine, others)
    )
    speed = statistics.median(their_seconds) / statistics.median(our_seconds)
    equal = statistics.median(our_accuracy) / statistics.median(their_accuracy)
    names = ("darkroom, cached features", f"fit, frozen backbone, {EPOCHS} epochs")
    return [
        Ratio("transfer training", *names, "s", our_seconds, their_seconds, speed, TRANSFER),
        Ratio("transfer training, accuracy", *names, "validation share", our_accuracy, their_accuracy, equal, ACCURACY),
    ]


def timed(work: Callable[[], float]) -> tuple[float, float]:
    """Seconds, and what the work gave."""
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


def ingest(source: Path, root: Path, side: int) -> Dataset:
    """The images as a data set, all where their folders say."""
    workspace = Workspace(root)
    settings = IngestSettings.model_validate(
        {
            "name": f"b{side}",
            "policy": {"image_size": (side, side)},
            "shards": {"rows_per_shard": 250},
            "leaks": "keep",
        }
    )
    planned = plan_ingest(IngestRequest(resolve(str(source), workspace), settings, workspace))
    for index in range(planned.num_parts):
        write_part(planned.staging, index)
    return open_dataset(publish(planned.staging, workspace))


def ours(source: Path, root: Path) -> float:
    """Ingest, features, head; the best epoch's validation accuracy."""
    dataset = ingest(source, root, SIDE)
    folder = prepare_backbone(dataset, NETWORK, "imagenet")
    for shard in dataset.card.shards:
        if shard.split != "test":
            extract_features(dataset, folder, shard.file)
    settings = TrainSettings(model=NETWORK)
    trained = train_network(TrainRequest(dataset, settings, root / "staging", folder))
    shutil.rmtree(root)
    return best_epoch(list(trained.history)).val_accuracy


def theirs(source: Path) -> float:
    """The guide's training; the best epoch's validation accuracy."""
    keras.utils.set_random_seed(0)
    train, validation = (
        keras.utils.image_dataset_from_directory(
            source / split, image_size=(SIDE, SIDE), batch_size=BATCH, seed=0, verbose=False
        ).prefetch(tf.data.AUTOTUNE)
        for split in ("train", "validation")
    )
    backbone = build_backbone(NETWORK, (SIDE, SIDE), "imagenet")
    backbone.trainable = False
    image = keras.Input((SIDE, SIDE, 3))
    features = keras.layers.Dropout(0.2)(backbone(keras.ops.cast(image, "uint8"), training=False))
    model = keras.Model(image, keras.layers.Dense(2)(features))
    compile_for_classes(model)
    history = model.fit(train, validation_data=validation, epochs=EPOCHS, verbose=0).history
    return float(history["val_accuracy"][history["val_loss"].index(min(history["val_loss"]))])


def compile_for_classes(model: Any) -> None:
    """Adam, and the loss of logits."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"])


def fine_tuned() -> Any:
    """The whole network with its last layers to train."""
    model = with_head(build_backbone(NETWORK, (SIDE, SIDE), "imagenet"), 2, 0.2)
    layers = [each for each in model._flatten_layers(include_self=False) if each.weights]
    plain = [each for each in layers if not isinstance(each, keras.Model)]
    tuned = set(map(id, [each for each in plain if "Norm" not in type(each).__name__][-_TUNED_LAYERS:]))
    for each in plain:
        each.trainable = id(each) in tuned
    return model


def steps(name: str, source: Path, place: Path, side: int, build: Callable[[], Any], rounds: int) -> Ratio:
    """Images a second of `fit`, the same network fed in two ways in turns; the first epoch of each is not counted."""
    dataset = ingest(source, place / f"steps{side}", side)
    by_hand = kept_in_memory(source / "train", side)
    model = build()
    compile_for_classes(model)
    amount = sum(dataset.card.class_counts("train"))
    if amount != sum(1 for _ in (source / "train").rglob("*.jpg")):
        raise SystemExit(f"{name}: the two sides would not be fed the same images.")
    kept = keep(dataset, "train")
    feeds: tuple[Callable[[int], Any], ...] = (
        lambda epoch: batches(dataset, "train", BATCH, Shuffle(0, epoch), kept),
        lambda _: by_hand,
    )
    rates: tuple[list[float], ...] = ([], [])
    sides = list(zip(rates, feeds, strict=True))
    for epoch in range(1 + rounds):
        for found, feed in sides if epoch % 2 else reversed(sides):
            start = time.perf_counter()
            model.fit(feed(epoch), epochs=1, shuffle=False, verbose=0)
            found.append(amount / (time.perf_counter() - start))
    mine, others = (tuple(found[1:]) for found in rates)
    ratio = statistics.median(mine) / statistics.median(others)
    return Ratio(name, "darkroom, shards", "tf.data, cached", "images/s", mine, others, ratio, STEPS)


def kept_in_memory(folder: Path, side: int) -> Any:
    """Files decoded once, then shuffled from memory."""
    classes = sorted(path.name for path in folder.iterdir())
    files = [(str(path), number) for number, name in enumerate(classes) for path in sorted((folder / name).iterdir())]

    def ready(path: Any, label: Any) -> tuple[Any, Any]:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.cast(tf.round(tf.image.resize(image, (side, side), antialias=True)), tf.uint8), label

    paths, labels = zip(*files, strict=True)
    stored = tf.data.Dataset.from_tensor_slices((list(paths), list(labels)))
    decoded = stored.map(ready, num_parallel_calls=tf.data.AUTOTUNE).cache()
    return decoded.shuffle(len(files)).batch(BATCH).prefetch(tf.data.AUTOTUNE)


if __name__ == "__main__":
    sys.exit(main())
