"""A bundle is published whole or not at all, and calibrated on validation images alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss

from darkroom.data.errors import SettingError, WorkError
from darkroom.data.images.decode import decode_stored
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.measures.calibration import probabilities
from darkroom.models.onnx.inference import split_logits
from darkroom.models.onnx.runtime import export_onnx
from darkroom.models.training import publish
from darkroom.models.training.model_version import bundle_version, published_bundle, staging_folder
from darkroom.models.training.publish import add_profile, lacks_profile, publish_bundle
from darkroom.models.training.train import Trained
from tests.models.conftest import SETTINGS


@pytest.fixture
def trained(bundle) -> Trained:
    return Trained(bundle.keras_model(), bundle.card.history, bundle.card.best_epoch)


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("step", ["export_onnx", "decide", "write_card"])
def test_an_exception_in_any_step_publishes_nothing_and_leaves_the_training_to_go_on(
    dataset, trained, tmp_path, monkeypatch, step
):
    def fails(*args, **kwargs):
        raise OSError("No space left on device")

    place = Workspace(tmp_path)
    staging = staging_folder(dataset, SETTINGS, place)
    staging.mkdir(parents=True)
    before = everything_in(tmp_path)
    monkeypatch.setattr(publish, step, fails)
    with pytest.raises(WorkError, match="Disk full"):
        publish_bundle(dataset, SETTINGS, trained, place)
    assert everything_in(tmp_path) == before
    assert published_bundle(dataset, SETTINGS, place) is None


def test_an_onnx_export_that_computes_something_else_is_an_error_and_nothing_is_published(
    dataset, trained, tmp_path, monkeypatch
):
    def export_with_another_bias(model, path):
        kernel, bias = model.layers[-1].get_weights()
        model.layers[-1].set_weights([kernel, bias + np.array([0, 0.05, 0], np.float32)])
        export_onnx(model, path)
        model.layers[-1].set_weights([kernel, bias])

    monkeypatch.setattr(publish, "export_onnx", export_with_another_bias)
    with pytest.raises(WorkError, match=r"differs from model.keras by 0\.05.*nothing was published"):
        publish_bundle(dataset, SETTINGS, trained, Workspace(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_published_bundle_is_found_again_and_its_staging_is_gone(dataset, trained, tmp_path):
    place = Workspace(tmp_path)
    staging = staging_folder(dataset, SETTINGS, place)
    (staging / "scratch").mkdir(parents=True)
    folder = publish_bundle(dataset, SETTINGS, trained, place)
    assert published_bundle(dataset, SETTINGS, place) == folder
    assert sorted(path.name for path in folder.parent.iterdir()) == [bundle_version(dataset, SETTINGS)]
    assert sorted(path.name for path in folder.iterdir()) == [
        "bundle.json", "model.int8.onnx", "model.keras", "model.onnx", "profile",
    ]  # fmt: skip


def test_other_settings_give_another_version(dataset):
    one = bundle_version(dataset, SETTINGS)
    assert bundle_version(dataset, SETTINGS.model_copy()) == one
    for change in ({"seed": 4}, {"epochs": 4}, {"dropout": 0.1}, {"min_precision": 0.5}, {"calibration": "isotonic"}):
        assert bundle_version(dataset, SETTINGS.model_copy(update=change)) != one


def test_temperature_and_threshold_are_fitted_on_validation_alone(dataset, bundle):
    """Both are found again by trying all values, on logits computed by Keras from the validation shards."""
    records = list(dataset.records("validation"))
    truth = np.array([record.label_index for record in records])
    images = np.stack([decode_stored(record.encoded) for record in records])
    logits = np.asarray(bundle.keras_model()(images, training=False), np.float64)
    assert 0 < (logits.argmax(axis=1) != truth).sum() < len(truth)  # or there would be nothing to fit
    tried = np.geomspace(0.05, 20, 600)
    losses = [log_loss(truth, probabilities(logits, value), labels=[0, 1, 2]) for value in tried]
    assert bundle.card.calibration.temperature == pytest.approx(tried[np.argmin(losses)], rel=0.02)

    chances = probabilities(logits, bundle.card.calibration.temperature)
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == truth
    reached = [value for value in confidence if right[confidence >= value].mean() >= SETTINGS.min_precision]
    assert bundle.card.threshold == pytest.approx(min(reached), abs=1e-4)
    assert 0 < bundle.card.threshold < 1


def test_the_test_part_is_not_read_while_a_bundle_is_made(dataset, trained, tmp_path, monkeypatch):
    read = []

    def watched(self, split):
        read.append(split)
        return records(self, split)

    records = type(dataset).records
    monkeypatch.setattr(type(dataset), "records", watched)
    publish_bundle(dataset, SETTINGS, trained, Workspace(tmp_path))
    assert set(read) == {"validation", "train"}  # to judge, and to quantize


def test_a_precision_that_no_confidence_reaches_is_refused(dataset, trained, tmp_path):
    kernel, bias = trained.model.layers[-1].get_weights()
    trained.model.layers[-1].set_weights([kernel * 0, bias * 0 + [1, 0, 0]])
    with pytest.raises(SettingError, match=r"precision of 0\.95"):
        publish_bundle(dataset, SETTINGS, trained, Workspace(tmp_path))
    assert published_bundle(dataset, SETTINGS, Workspace(tmp_path)) is None


def test_logits_of_a_split_come_in_the_order_of_its_records(dataset, bundle):
    logits, truth = split_logits(dataset, "test", bundle.runner())
    records = list(dataset.records("test"))
    assert [dataset.card.labels[index] for index in truth] == [record.label for record in records]
    for record, row in zip(records, logits, strict=True):
        np.testing.assert_allclose(bundle.runner()(decode_stored(record.encoded)[None])[0], row, atol=1e-5)


def test_a_bundle_of_before_there_were_profiles_gets_the_one_that_its_training_would_write(dataset, bundle, tmp_path):
    folder = shutil.copytree(bundle.folder, tmp_path / "old")
    shutil.rmtree(folder / "profile")
    old = open_bundle(folder)
    assert lacks_profile(old, dataset)
    assert not lacks_profile(bundle, dataset)
    add_profile(old, dataset)
    assert not lacks_profile(old, dataset)
    for name in ("profile.json", "samples.npz"):
        assert (folder / "profile" / name).read_bytes() == (bundle.folder / "profile" / name).read_bytes()
