"""Evaluation: figures that can be computed again from the predictions, on images that training never saw."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, log_loss, roc_auc_score

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import InputError
from darkroom.data.files.provenance import LibraryVersion
from darkroom.data.images.decoder_fingerprint import Decoder, decoder
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.evaluation.evaluate import EvaluateRequest, evaluate_bundle
from darkroom.models.evaluation.reporting.report import EvaluationReport
from darkroom.models.evaluation.reporting.split_predictions import SplitPredictions, predict_split
from darkroom.models.settings import BlessingRules
from tests.bundles import tiny_bundle
from tests.models.scoring.test_score import run, table


@pytest.fixture(scope="module")
def copied(bundle, tmp_path_factory) -> Bundle:
    """The bundle, to write a report into."""
    return open_bundle(shutil.copytree(bundle.folder, tmp_path_factory.mktemp("evaluate") / "bundle"))


@pytest.fixture(scope="module")
def report(copied, dataset) -> EvaluationReport:
    return evaluate_bundle(EvaluateRequest(copied, dataset, "test", "pytest"))


@pytest.fixture(scope="module")
def predictions(copied, report):
    return pq.read_table(copied.report_folder / "predictions.parquet").to_pylist()


def test_each_prediction_stands_beside_the_truth_of_its_own_image(predictions, images, bundle, dataset):
    """Metrics from a shuffled iterator, the tutorials' mistake, would pair one image's truth with another's score."""
    from darkroom.data.images.decode import decode

    assert [row["path"] for row in predictions] == sorted(dataset.paths("test"))
    runner = bundle.runner()
    for row in predictions:
        assert row["truth"] == Path(row["path"]).parent.name
        pixels = decode((images / row["path"]).read_bytes(), bundle.card.policy)
        np.testing.assert_allclose(row["logits"], runner(pixels[None])[0], atol=1e-4)
        assert row["predicted"] == bundle.card.labels[int(np.argmax(row["logits"]))]


def test_the_figures_of_the_report_are_scikit_learns_on_the_predictions(copied, report, predictions):
    labels = list(copied.card.labels)
    truth, predicted = ([row[key] for row in predictions] for key in ("truth", "predicted"))
    stored = json.loads((copied.report_folder / "report.json").read_text())["metrics"]
    assert stored["num_images"] == len(predictions) == 18
    assert stored["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    np.testing.assert_array_equal(stored["confusion_matrix"], confusion_matrix(truth, predicted, labels=labels))
    expected = classification_report(truth, predicted, labels=labels, output_dict=True)
    for entry in stored["per_class"]:
        theirs = expected[entry["label"]]
        assert [entry["precision"], entry["recall"], entry["f1"], entry["support"]] == pytest.approx(
            [theirs["precision"], theirs["recall"], theirs["f1-score"], theirs["support"]]
        )
    chances = softmax(np.array([row["logits"] for row in predictions]) / copied.card.calibration.temperature, axis=1)
    assert stored["log_loss"] == pytest.approx(log_loss(truth, chances, labels=labels), rel=1e-5)
    assert stored["macro_roc_auc"] == pytest.approx(
        roc_auc_score(truth, chances, labels=labels, multi_class="ovr", average="macro")
    )


def test_confidence_coverage_and_accuracy_follow_from_the_logits(copied, report, predictions):
    chances = softmax(np.array([row["logits"] for row in predictions]) / copied.card.calibration.temperature, axis=1)
    confidence = np.array([row["confidence"] for row in predictions])
    np.testing.assert_allclose(confidence, chances.max(axis=1), atol=1e-6)
    kept = confidence >= copied.card.threshold
    right = np.array([row["truth"] == row["predicted"] for row in predictions])
    assert report.coverage == pytest.approx(kept.mean())
    assert report.accuracy_at_threshold == pytest.approx(right[kept].mean())
    assert (report.temperature, report.threshold) == (copied.card.calibration.temperature, copied.card.threshold)


def test_scoring_the_test_images_agrees_with_the_report_to_the_last_image(
    images, dataset, copied, report, predictions, tmp_path
):
    run(images, copied, tmp_path / "table", 5, dataset=dataset.folder)
    rows = table(tmp_path / "table").to_pylist()
    assert [row["path"] for row in rows] == [row["path"] for row in predictions]
    for scored, evaluated in zip(rows, predictions, strict=True):
        assert (scored["label"], scored["sha256"]) == (evaluated["predicted"], evaluated["sha256"])
        assert scored["confidence"] == pytest.approx(evaluated["confidence"], abs=1e-5)
    assert np.mean([not row["abstained"] for row in rows]) == pytest.approx(report.coverage)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_what_the_bundle_was_made_with_cannot_judge_it(copied, dataset, split):
    with pytest.raises(InputError, match=rf"the {split} split of tiny@.*use the test split"):
        evaluate_bundle(EvaluateRequest(copied, dataset, split, "pytest"))


def test_other_labels_and_another_decode_policy_are_refused(copied, dataset):
    card = dataset.card.model_copy(update={"labels": ("amber", "blue", "red")})
    with pytest.raises(InputError, match=r"labels amber, blue, red, the model .* has amber, blue, green"):
        evaluate_bundle(EvaluateRequest(copied, Dataset(dataset.folder, card), "test", "pytest"))
    policy = dataset.card.policy.model_copy(update={"resize": "pad"})
    with pytest.raises(InputError, match="decoded with a different policy"):
        evaluate_bundle(
            EvaluateRequest(
                copied, Dataset(dataset.folder, dataset.card.model_copy(update={"policy": policy})), "test", "x"
            )
        )


def test_images_of_another_decoder_than_in_training_are_judged_with_a_warning_or_refused(
    copied, dataset, tmp_path, caplog, plain_pictures
):
    own = open_bundle(shutil.copytree(copied.folder, tmp_path / "own"))
    other = Decoder(fingerprint="0" * 12, packages=(LibraryVersion(name="pillow", version="9.9.9"),))
    elsewhere = Dataset(dataset.folder, dataset.card.model_copy(update={"decoder": other}))
    assert own.card.decoder == dataset.card.decoder == decoder()
    with pytest.raises(InputError, match=r"pillow 9\.9\.9") as refused:
        evaluate_bundle(EvaluateRequest(own, elsewhere, "test", "pytest", decoder_mismatch="strict"))
    assert refused.value.exit_status == 2
    caplog.set_level(logging.WARNING, "darkroom")
    report = evaluate_bundle(EvaluateRequest(own, elsewhere, "test", "pytest"))
    assert report.metrics.num_images == 18
    (said,) = [record.getMessage() for record in caplog.records if "pillow 9.9.9" in record.getMessage()]
    assert own.reference in said
    assert str(decoder()) in said
    caplog.clear()
    unknown = Dataset(dataset.folder, dataset.card.model_copy(update={"decoder": None}))
    for same in (dataset, unknown):
        evaluate_bundle(EvaluateRequest(own, same, "test", "pytest", decoder_mismatch="strict"))
    assert "decoded by" not in caplog.text


def test_evaluation_does_not_touch_the_bundle_itself(bundle, copied, report):
    assert open_bundle(copied.folder).card == bundle.card


def test_a_report_is_made_again_only_where_something_it_was_made_from_has_changed(
    bundle, dataset, tmp_path, monkeypatch, plain_pictures
):
    own = open_bundle(shutil.copytree(bundle.folder, tmp_path / "bundle", ignore=shutil.ignore_patterns("report")))
    judgements = []

    def counting(*what: Any) -> SplitPredictions:
        judgements.append(1)
        return predict_split(*what)

    monkeypatch.setattr("darkroom.models.evaluation.evaluate.predict_split", counting)

    def written() -> dict[str, tuple[int, bytes]]:
        return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in own.report_folder.iterdir()}

    first = evaluate_bundle(EvaluateRequest(own, dataset, "test", "pytest"))
    before = written()
    assert evaluate_bundle(EvaluateRequest(own, dataset, "test", "pytest")) == first
    assert (len(judgements), written()) == (1, before)
    evaluate_bundle(EvaluateRequest(own, dataset, "test", "pytest", rules=BlessingRules(min_accuracy=0.5)))
    evaluate_bundle(EvaluateRequest(own, dataset, "test", "pytest"))
    assert len(judgements) == 3
    for number, name in enumerate(("predictions.parquet", "model_card.md", "report.html", "report.json", "made.json")):
        (own.report_folder / name).write_bytes(b"{}")
        evaluate_bundle(EvaluateRequest(own, dataset, "test", "pytest"))
        assert len(judgements) == 4 + number
        (own.report_folder / name).unlink()
        assert evaluate_bundle(EvaluateRequest(own, dataset, "test", "pytest")) == first
        judgements.pop()
    assert {name: content for name, (_, content) in written().items()} == {
        name: content for name, (_, content) in before.items()
    }
    changed = own.card.model_copy(update={"threshold": 0.9})
    assert evaluate_bundle(EvaluateRequest(replace(own, card=changed), dataset, "test", "pytest")).threshold == 0.9


def test_the_page_shows_what_the_network_looked_at_in_its_worst_mistakes(copied, report):
    page = (copied.report_folder / "report.html").read_text(encoding="utf-8")
    num_wrong = report.metrics.num_images - report.metrics.num_correct
    assert page.count('alt="Grad-CAM heat map"') == min(num_wrong, 8)


def test_a_network_without_feature_maps_is_judged_without_heat_maps(dataset, tmp_path):
    linear = open_bundle(
        tiny_bundle(tmp_path / "tiny", dataset.card.labels, dataset.card.policy.image_size, dataset.card.policy)
    )
    found = evaluate_bundle(EvaluateRequest(linear, dataset, "test", "pytest"))
    assert found.worst_mistakes
    page = (linear.report_folder / "report.html").read_text(encoding="utf-8")
    assert "Grad-CAM" not in page
