"""The mistakes of the tutorials that this project set out from, each made impossible: a test a mistake.

They scored without the scaling of the training, computed metrics from a shuffled iterator, stopped early in the wrong
direction, validated on training images, and had folders swapped. None of them raised an error.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.dataset.input import Shuffle, batches
from darkroom.data.errors import InputError
from darkroom.data.images.decode import decode
from darkroom.models.bundle.bundle import Bundle, EpochLog, open_bundle, write_card
from darkroom.models.evaluation.evaluate import EvaluateRequest, evaluate_bundle
from darkroom.models.networks.architectures import build_scratch
from darkroom.models.onnx.inference import stored_batches
from darkroom.models.scoring.parts import open_runner, score_part
from darkroom.models.settings import TrainSettings
from darkroom.models.training.train import train_network
from darkroom.models.training_loop.stage import TrainRequest
from darkroom.models.training_loop.techniques.early_stopping import best_epoch, is_over
from tests.bundles import tiny_bundle
from tests.datasets import COLOURS, NUM_IMAGES, ingest, write_images
from tests.scoring import plan

SIZE = (32, 32)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def dataset(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return ingest(images, tmp_path_factory.mktemp("workspace"))


@pytest.fixture
def bundle(dataset: Dataset, tmp_path: Path) -> Bundle:
    """Random weights on pixels scaled to -1 to 1, said to be made with the data set."""
    folder = tiny_bundle(tmp_path / "tiny", sorted(COLOURS), SIZE)
    opened = open_bundle(folder)
    write_card(folder, opened.card.model_copy(update={"dataset": dataset.reference, "policy": dataset.card.policy}))
    return open_bundle(folder)


def scored(folder: Path, bundle: Bundle, out: Path) -> dict[str, dict[str, Any]]:
    """Rows of the prediction table by path."""
    runner, opened = open_runner(bundle.folder)
    planned = plan(folder, opened, out, 1000)
    for index in range(planned.num_parts):
        score_part(out, index, runner, opened)
    return {row["path"]: row for row in pq.read_table(out / "part-00000.parquet").to_pylist() if row["label"]}


def test_scoring_scales_pixels_as_the_training_did(bundle: Bundle, images: Path, tmp_path: Path) -> None:
    """The tutorial divided by 255 in training and not in scoring, and so scored noise with great confidence."""
    rows = scored(images / "test", bundle, tmp_path / "out")
    kernel, bias = bundle.keras_model().layers[-1].get_weights()
    changed = 0
    for path, row in rows.items():
        pixels = decode((images / "test" / path).read_bytes(), bundle.card.policy).reshape(-1).astype(np.float64)
        right, unscaled = (softmax(x @ kernel + bias) for x in (pixels / 127.5 - 1, pixels))
        assert row["confidence"] == pytest.approx(right.max(), abs=1e-4)
        assert row["label"] == bundle.card.labels[int(right.argmax())]
        changed += abs(unscaled.max() - right.max()) > 0.05
    assert changed > len(rows) / 2  # the mistake would show


def test_the_network_takes_the_very_pixels_that_training_was_given(dataset: Dataset, images: Path) -> None:
    """Scaling is a layer of the network: neither training nor scoring has a scaling of its own to forget."""
    given = np.concatenate([pixels for pixels, _ in stored_batches(dataset.records("train"), 7, dataset.labels)])
    for record, pixels in zip(dataset.records("train"), given, strict=True):
        np.testing.assert_array_equal(pixels, decode((images / record.path).read_bytes(), dataset.card.policy))
    network = build_scratch("cifar4", SIZE, 3, 0.0)
    assert isinstance(network.layers[0], keras.layers.Rescaling)


def test_the_order_in_which_images_are_read_changes_no_figure(
    bundle: Bundle, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tutorial compared the truth of one order with the predictions of another, and got the figures of guessing."""
    straight = evaluate_bundle(EvaluateRequest(bundle, dataset, "test", "pytest"))
    rows = pq.read_table(bundle.report_folder / "predictions.parquet")
    records = Dataset.records

    def shuffled(self: Dataset, split: str) -> Any:
        found = list(records(self, split))
        return iter([found[place] for place in np.random.default_rng(7).permutation(len(found))])

    monkeypatch.setattr(Dataset, "records", shuffled)
    again = evaluate_bundle(EvaluateRequest(bundle, dataset, "test", "pytest"))
    assert again.metrics == straight.metrics
    assert again.metrics.accuracy == straight.metrics.accuracy
    assert again.metrics.log_loss == pytest.approx(straight.metrics.log_loss)
    assert (
        pq.read_table(bundle.report_folder / "predictions.parquet")
        .drop(["logits", "confidence"])
        .equals(rows.drop(["logits", "confidence"]))
    )


def test_the_truth_of_every_judged_image_is_the_folder_that_it_lies_in(bundle: Bundle, dataset: Dataset) -> None:
    evaluate_bundle(EvaluateRequest(bundle, dataset, "test", "pytest"))
    rows = pq.read_table(bundle.report_folder / "predictions.parquet").to_pylist()
    assert [row["truth"] for row in rows] == [Path(row["path"]).parent.name for row in rows]
    assert {row["truth"] for row in rows} == set(COLOURS)


def test_training_may_shuffle_but_image_and_label_stay_together(dataset: Dataset, images: Path) -> None:
    of_pixels = {
        decode((images / path).read_bytes(), dataset.card.policy).tobytes(): sorted(COLOURS).index(path.split("/")[1])
        for path in dataset.paths("train")
    }
    seen = []
    for pixels, truth in batches(dataset, "train", 5, Shuffle(seed=1, epoch=2)):
        for image, label in zip(np.asarray(pixels), np.asarray(truth), strict=True):
            assert of_pixels[image.astype(np.uint8).tobytes()] == int(label)
            seen.append(image.astype(np.uint8).tobytes())
    assert sorted(seen) == sorted(of_pixels)
    assert seen != list(of_pixels)


def epoch(number: int, val_loss: float, val_accuracy: float) -> EpochLog:
    return EpochLog(
        epoch=number, stage="scratch", loss=1.0, accuracy=0.5, val_loss=val_loss, val_accuracy=val_accuracy, seconds=1.0
    )


def test_training_goes_on_while_the_loss_falls_and_stops_when_it_rises() -> None:
    """The tutorial watched a loss with mode `max`: it stopped as soon as the network began to learn."""
    falling = [epoch(n, 1.0 - n / 20, 0.5 + n / 40) for n in range(1, 11)]
    assert not any(is_over(falling[:n], epochs=20, patience=2) for n in range(1, 11))
    assert best_epoch(falling).epoch == 10
    rising = [epoch(n, 0.5 + n / 20, 0.5 - n / 40) for n in range(1, 11)]
    assert best_epoch(rising).epoch == 1
    assert [is_over(rising[:n], epochs=20, patience=2) for n in range(1, 5)] == [False, False, True, True]


def test_what_stops_training_is_measured_on_images_that_are_not_trained_on(dataset: Dataset, tmp_path: Path) -> None:
    """The tutorial gave the training images as validation data; its figures only ever rose."""
    settings = TrainSettings(model="cifar4", epochs=2, batch_size=12, augmentation="none", seed=5)  # type: ignore[arg-type]
    trained = train_network(TrainRequest(dataset, settings, tmp_path))

    def accuracy(split: str) -> float:
        pairs = [(images, labels) for images, labels in stored_batches(dataset.records(split), 64, dataset.labels)]
        found = [np.asarray(trained.model(images, training=False)).argmax(axis=1) == labels for images, labels in pairs]
        return float(np.concatenate(found).mean())

    best = trained.history[trained.best_epoch - 1]
    assert best.val_accuracy == pytest.approx(accuracy("validation"))
    by_split = {split: {record.sha256 for record in dataset.records(split)} for split in NUM_IMAGES}
    assert {split: len(found) for split, found in by_split.items()} == {
        split: count * len(COLOURS) for split, count in NUM_IMAGES.items()
    }
    assert not by_split["train"] & by_split["validation"]
    assert not (by_split["train"] | by_split["validation"]) & by_split["test"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_no_figure_is_reported_on_what_the_network_was_made_with(bundle: Bundle, dataset: Dataset, split: str) -> None:
    with pytest.raises(InputError, match=f"with the {split} split"):
        evaluate_bundle(EvaluateRequest(bundle, dataset, split, "pytest"))
    assert not bundle.report_folder.exists()


def test_each_split_holds_the_images_of_its_own_folder(dataset: Dataset) -> None:
    """The tutorial trained on the test folder and tested on the training folder: two paths were swapped."""
    for split in NUM_IMAGES:
        assert {record.path.split("/")[0] for record in dataset.records(split)} == {split}
    rows = dataset.manifest("path", "split", "label", "status").to_pylist()
    assert all(row["path"].split("/")[:2] == [row["split"], row["label"]] for row in rows if row["status"] == "ok")


def test_folders_that_are_swapped_by_their_owner_are_not_taken_for_the_same_data_set(
    images: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """With train and test exchanged the version is another, so that no bundle passes for trained on the other."""
    swapped = tmp_path / "swapped"
    shutil.copytree(images, swapped)
    (swapped / "train").rename(swapped / "x")
    (swapped / "test").rename(swapped / "train")
    (swapped / "x").rename(swapped / "test")
    other = ingest(swapped, tmp_path / "w")
    assert other.card.version != dataset.card.version
    assert {record.sha256 for record in other.records("train")} == {r.sha256 for r in dataset.records("test")}
