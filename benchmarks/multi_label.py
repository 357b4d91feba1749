"""Several labels an image: Darkroom's head beside scikit-learn's OneVsRest logistic regression on the same features.

    python benchmarks/multi_label.py --data ../shared/data/cifar10_train.zip

The images are made from CIFAR-10: each is a square of four cells, and up to four pictures lie in them, drawn from ten
classes of uneven frequency; a picture is used once, so that none is in two splits. Its labels are the classes that lie
in it, in ten columns of 0 and 1. Darkroom ingests the folder, draws the splits, trains and evaluates. scikit-learn gets
the frozen features that Darkroom's head was trained on, the same splits, its choice of C on validation, and its
thresholds by the same rule.
"""

from __future__ import annotations

import argparse
import csv
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import darkroom
from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.evaluation.reporting.split_predictions import predict_split
from darkroom.models.multi_label.answers import MultiLabelAnswers
from darkroom.models.multi_label.intervals import MultiLabelIntervals
from darkroom.models.multi_label.metrics import MultiLabelMetrics
from darkroom.models.multi_label.thresholds import choose_thresholds
from darkroom.models.onnx.inference import split_logits
from darkroom.models.onnx.runtime import OnnxRunner
from darkroom.models.training.features import features_folder, load_features

NETWORK = "efficientnet-lite0"
SIDE = 64  # of a mosaic, in pixels: four pictures of CIFAR-10
MOST = 4
# How often a picture is of the first, second and every later class: each is 0.75 times as frequent as the one before.
FALL = 0.75


@dataclass(frozen=True)
class Judged:
    """Figures on the test images, and their intervals."""

    metrics: MultiLabelMetrics
    intervals: MultiLabelIntervals

    @classmethod
    def of(cls, answers: Any, chances: Any, truth: Any, dataset: Dataset) -> Judged:
        """Of probabilities and truth, `[N, K]` each."""
        metrics = answers.measure(chances, truth, dataset.labels)
        return cls(metrics, answers.intervals(chances, truth, metrics))


def compose(archive: Path, out: Path, num_images: int, seed: int) -> None:
    """Write the mosaics as JPEG, and `labels.csv`: `file`, and a column of 0 and 1 for each class."""
    rng = np.random.default_rng(seed)
    (out / "images").mkdir(parents=True)
    with ZipFile(archive) as source:
        by_class: dict[str, list[str]] = {}
        for name in sorted(source.namelist()):
            if name.endswith(".jpg"):
                by_class.setdefault(name.split("/")[-2], []).append(name)
        classes = sorted(by_class)
        for names in by_class.values():
            rng.shuffle(names)
        chances = FALL ** np.arange(len(classes))
        rows = []
        for number in range(num_images):
            drawn = rng.choice(len(classes), rng.integers(0, MOST + 1), p=chances / chances.sum())
            mosaic = Image.new("RGB", (SIDE, SIDE), tuple(rng.integers(0, 256, 3).tolist()))
            for cell, index in zip(rng.permutation(MOST).tolist(), drawn.tolist(), strict=False):
                picture = Image.open(io.BytesIO(source.read(by_class[classes[index]].pop())))
                mosaic.paste(picture, (SIDE // 2 * (cell % 2), SIDE // 2 * (cell // 2)))
            mosaic.save(out / "images" / f"{number:05d}.jpg", quality=95)
            rows.append([f"images/{number:05d}.jpg", *(int(index in drawn) for index in range(len(classes)))])
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["file", *classes], *rows])


def scikit_learn(dataset: Dataset, weights: str) -> Judged:
    """OneVsRest logistic regression on the features of the head, judged on the test images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = features_folder(dataset, NETWORK, weights)
    features, truth = load_features(dataset, folder, "train")
    held_out, held_out_truth = load_features(dataset, folder, "validation")
    found: list[tuple[float, NDArray[np.float64], object]] = []
    for strength in (0.0003, 0.001, 0.003, 0.01, 0.1):
        each = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(C=strength, max_iter=2000)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            each.fit(features, truth.astype(int))
        chances = each.predict_proba(held_out)
        found.append((average_precision_score(held_out_truth, chances, average="macro"), chances, each))
    _, chances, best = max(found, key=lambda entry: entry[0])
    thresholds = choose_thresholds(chances, held_out_truth)
    test, test_truth = split_logits(dataset, "test", OnnxRunner(folder / "backbone.onnx"))
    return Judged.of(MultiLabelAnswers(thresholds), best.predict_proba(test), test_truth, dataset)  # type: ignore[attr-defined]


def darkroom_model(dataset: Dataset, place: Path, **options: Any) -> Judged:
    """A model that Darkroom trains on the data set, judged on the test images."""
    made = darkroom.train(dataset.folder, workspace=place, **options)
    bundle = open_bundle(Path(made.folder))
    judged = predict_split(bundle, dataset, "test")
    return Judged.of(bundle.answers, judged.probabilities, judged.truth, dataset)


def show(name: str, judged: Judged) -> None:
    """One row of the table in docs/multi-label.md."""
    metrics, intervals = judged.metrics, judged.intervals

    def figure(what: str) -> str:
        interval = getattr(intervals, what)
        return f"{getattr(metrics, what):.3f} ({interval.low:.3f} to {interval.high:.3f})"

    figures = (figure(what) for what in ("macro_f1", "micro_f1", "mean_average_precision"))
    print(
        f"| {name} | {' | '.join(figures)} | {metrics.accuracy:.3f} | {metrics.label_calibration_error:.3f} |",
        flush=True,
    )


def main() -> None:
    """Compose, ingest, train, evaluate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10_train.zip"))
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, help="Keep the results here (default: a temporary folder)")
    parser.add_argument("--scratch", default="", help="An architecture to train from scratch as well, such as cifar6")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        place = options.workspace or Path(temporary)
        images = place / f"mosaics-{options.images}-{options.seed}"
        if not images.is_dir():
            compose(options.data, images, options.images, options.seed)
        data = darkroom.ingest(images, name="mosaics", task="multi-label", max_judged=0, workspace=place)
        dataset = open_dataset(Path(data.folder))
        sizes = ", ".join(f"{each.split} {each.num_images}" for each in data.splits)
        print(f"{data.num_ok} images ({sizes}), {len(data.labels)} labels")
        for split in ("train", "validation", "test"):
            counts = dict(zip(dataset.card.labels, dataset.card.class_counts(split), strict=True))
            print(f"  {split}: {counts}")
        for weights in (True, False):
            judged = darkroom_model(dataset, place, class_weights=weights)
            show(f"Darkroom, {'rare labels weighted' if weights else 'no weights'}", judged)
        show("scikit-learn", scikit_learn(dataset, "imagenet"))
        if options.scratch:
            small = darkroom.ingest(
                images, name="mosaics-small", image_size=SIDE, task="multi-label", max_judged=0, workspace=place
            )
            judged = darkroom_model(open_dataset(Path(small.folder)), place, architecture=options.scratch)
            show(f"Darkroom, {options.scratch} from scratch", judged)


if __name__ == "__main__":
    main()
