"""Training: in two stages or from scratch, repeatable, stopped in the right direction, and going on after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import FormatError, SettingError, WorkError
from darkroom.data.images.decode import decode_stored
from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.networks.architectures import build_backbone
from darkroom.models.settings import Optimizer, TrainSettings
from darkroom.models.training.features import load_features
from darkroom.models.training.train import Trained, train_network
from darkroom.models.training_loop import stage as stages
from darkroom.models.training_loop import state
from darkroom.models.training_loop.stage import Stage, TrainRequest, epoch_feed
from darkroom.models.training_loop.techniques.mixing import NO_MIXING, Mixing
from darkroom.models.training_loop.techniques.objective import objective_of

SCRATCH = TrainSettings(
    model="starter", epochs=6, batch_size=12, optimizer="adamw", learning_rate=2e-3, weight_decay=0.1,
    label_smoothing=0.05, mixup=0.2, seed=1,
)  # fmt: skip
TRANSFER = TrainSettings(
    model="efficientnet-lite0", epochs=4, batch_size=12, learning_rate=1e-3, fine_tune_blocks=2, fine_tune_epochs=3,
    fine_tune_learning_rate=1e-3, augmentation="none", seed=1,  # type: ignore[arg-type]
)  # fmt: skip


def figures(history: tuple[EpochLog, ...]) -> np.ndarray:
    """`float[epochs, 4]`: all of a history but the time it took."""
    return np.array([(e.loss, e.accuracy, e.val_loss, e.val_accuracy) for e in history])


def validation(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels, from the records themselves."""
    records = list(dataset.records("validation"))
    return np.stack([decode_stored(r.encoded) for r in records]), np.array([r.label_index for r in records])


@pytest.fixture(scope="module")
def scratch(dataset, tmp_path_factory) -> Trained:
    return train_network(TrainRequest(dataset, SCRATCH, tmp_path_factory.mktemp("scratch")))


@pytest.fixture(scope="module")
def transfer(dataset, features, tmp_path_factory) -> Trained:
    return train_network(TrainRequest(dataset, TRANSFER, tmp_path_factory.mktemp("transfer"), features))


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_every_optimizer_takes_a_step_and_decays_kernels_alone(name):
    stage = Stage("head", lambda epoch: None, None, steps=1, epochs=1, learning_rate=0.1)
    settings = TrainSettings(optimizer=name, schedule="constant", weight_decay=0.01)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    model.compile(optimizer=stages.build_optimizer(settings, stage), loss="mse")
    kernel = model.layers[0].kernel.numpy()
    model.optimizer.apply([v * 0 for v in model.trainable_variables], model.trainable_variables)
    np.testing.assert_allclose(model.layers[0].kernel, kernel * (1 - 0.1 * 0.01), rtol=1e-5)
    np.testing.assert_array_equal(model.layers[1].gamma, np.ones(3))

    inputs = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    before = model.layers[0].bias.numpy() + 0
    model.fit(inputs, inputs[:, :3] * 2 + 1, verbose=0)
    assert np.isfinite(model.layers[0].kernel.numpy()).all()
    assert (model.layers[1].beta.numpy() != 0).any()
    assert before.shape == (3,)


def test_images_are_blended_anew_in_each_epoch_and_never_without_mixing(dataset):
    images = np.random.default_rng(5).integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
    settings = TrainSettings(batch_size=4, mixup=0.4, seed=3)
    objective = objective_of(dataset, settings)
    fed = tf.data.Dataset.from_tensor_slices((images, np.arange(12) % 2)).batch(4)

    def pixels(mixing: Mixing, epoch: int) -> np.ndarray:
        stage = Stage("scratch", lambda epoch: fed, None, steps=3, epochs=2, learning_rate=1, mixing=mixing)
        return np.concatenate([batch.numpy() for batch, _ in epoch_feed(stage, objective, settings, epoch)])

    np.testing.assert_array_equal(pixels(Mixing(mixup=0.4), 0), pixels(Mixing(mixup=0.4), 0))
    assert (pixels(Mixing(mixup=0.4), 0) != pixels(Mixing(mixup=0.4), 1)).any()
    np.testing.assert_array_equal(pixels(NO_MIXING, 0), images)


def test_an_interrupt_that_tensorflow_made_an_error_of_is_an_interrupt_again_and_other_errors_stay():
    swallowed = (
        "pybind11::error_already_set: MISMATCH of original and normalized active exception types: ORIGINAL "
        "InvalidArgumentError REPLACED BY KeyboardInterrupt: <EMPTY MESSAGE>"
    )
    with pytest.raises(KeyboardInterrupt), stages.keeping_interrupts():
        raise RuntimeError(swallowed)
    with pytest.raises(RuntimeError, match="of another kind"), stages.keeping_interrupts():
        raise RuntimeError("of another kind")


@pytest.mark.parametrize("settings", [SCRATCH, TRANSFER], ids=["scratch", "transfer"])
def test_no_stage_is_fed_by_what_waits_for_the_tuner_at_the_end_of_an_epoch(
    settings, dataset, features, tmp_path, monkeypatch
):
    fed = []
    fit = keras.Model.fit

    def noted(self, feed, validation_data, **rest):
        fed.extend([feed, validation_data])
        return fit(self, feed, validation_data=validation_data, **rest)

    monkeypatch.setattr(keras.Model, "fit", noted)
    few = settings.model_copy(update={"epochs": 1, "fine_tune_epochs": 1})
    train_network(TrainRequest(dataset, few, tmp_path, features))
    assert [each.options().autotune.enabled for each in fed] == [False] * (4 if settings is TRANSFER else 2)


def test_flip_averaging_changes_the_network_that_is_given_back_and_not_its_training(dataset, scratch, tmp_path):
    averaged = train_network(TrainRequest(dataset, SCRATCH.model_copy(update={"flip_average": True}), tmp_path))
    np.testing.assert_allclose(figures(averaged.history), figures(scratch.history), rtol=1e-5)
    images, _ = validation(dataset)
    mirrored = images[:, :, ::-1]
    plain = (
        np.asarray(scratch.model(images, training=False)) + np.asarray(scratch.model(mirrored, training=False))
    ) / 2
    np.testing.assert_allclose(averaged.model(images, training=False), plain, atol=1e-3)
    np.testing.assert_allclose(averaged.model(mirrored, training=False), plain, atol=1e-3)


def test_two_trainings_with_the_same_seed_have_the_same_history(dataset, scratch, tmp_path):
    again = train_network(TrainRequest(dataset, SCRATCH, tmp_path))
    np.testing.assert_allclose(figures(again.history), figures(scratch.history), rtol=1e-5)
    other = train_network(
        TrainRequest(dataset, SCRATCH.model_copy(update={"seed": 2, "epochs": 1}), tmp_path / "other")
    )
    assert abs(other.history[0].loss - scratch.history[0].loss) > 1e-3


def test_the_network_has_the_weights_of_the_epoch_that_was_best_on_the_validation_images(dataset, tmp_path):
    """The figures are computed again from the validation shards: nothing was measured on training images."""
    settings = SCRATCH.model_copy(
        update={"label_smoothing": 0.0, "schedule": "constant", "learning_rate": 0.02, "epochs": 40, "patience": 2}
    )
    trained = train_network(TrainRequest(dataset, settings, tmp_path))
    losses = [entry.val_loss for entry in trained.history]
    assert trained.best_epoch == int(np.argmin(losses)) + 1
    assert len(losses) == trained.best_epoch + 2 < 40  # stopped early
    images, truth = validation(dataset)
    logits = np.asarray(trained.model(images, training=False), np.float64)
    loss = -log_softmax(logits, axis=1)[np.arange(len(truth)), truth].mean()
    best = trained.history[trained.best_epoch - 1]
    assert best.val_loss == pytest.approx(loss, rel=1e-3)
    assert best.val_accuracy == pytest.approx((logits.argmax(axis=1) == truth).mean())


_TRAIN_IN_A_PROCESS = """
import sys
from pathlib import Path
from darkroom.data.dataset.dataset import open_dataset
from darkroom.models.settings import TrainSettings
from darkroom.models.training.train import train_network
from darkroom.models.training_loop.stage import TrainRequest
dataset, settings, staging, features = sys.argv[1:]
train_network(
    TrainRequest(
        open_dataset(Path(dataset)), TrainSettings.model_validate_json(settings), Path(staging), Path(features)
    )
)
"""


def kill_after(num_epochs: int, history: Path, dataset: Dataset, settings: TrainSettings, features: Path) -> None:
    """Train in a process of its own and kill it without warning as soon as so many epochs are done."""
    command = [sys.executable, "-c", _TRAIN_IN_A_PROCESS, str(dataset.folder), settings.model_dump_json()]
    process = subprocess.Popen(
        [*command, str(history.parent.parent), str(features)], cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not history.is_file() or history.read_text().count('"epoch"') < num_epochs:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def test_a_killed_training_goes_on_and_ends_as_an_undisturbed_one(dataset, scratch, features, tmp_path):
    kill_after(2, tmp_path / "scratch" / "history.json", dataset, SCRATCH, features)
    done = (tmp_path / "scratch" / "history.json").read_text().count('"epoch"')
    assert 2 <= done < 6
    resumed = train_network(TrainRequest(dataset, SCRATCH, tmp_path))
    assert len(resumed.history) == 6
    # Rounding differs with the threads of the two processes; a lost optimizer, seed or epoch differs by far more.
    np.testing.assert_allclose(figures(resumed.history), figures(scratch.history), rtol=2e-3, atol=2e-3)
    for mine, theirs in zip(resumed.model.get_weights(), scratch.model.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-3)


def test_a_training_killed_in_its_second_stage_goes_on_there(dataset, features, transfer, tmp_path):
    kill_after(1, tmp_path / "fine-tune" / "history.json", dataset, TRANSFER, features)
    resumed = train_network(TrainRequest(dataset, TRANSFER, tmp_path, features))
    assert [entry.stage for entry in resumed.history] == [entry.stage for entry in transfer.history]
    np.testing.assert_allclose(figures(resumed.history), figures(transfer.history), rtol=5e-3, atol=5e-3)


def test_the_head_is_trained_on_features_and_the_last_layers_after_it(dataset, features, transfer):
    assert [entry.stage for entry in transfer.history] == ["head"] * 4 + ["fine-tune"] * 3
    assert [entry.epoch for entry in transfer.history] == list(range(1, 8))
    assert transfer.best_epoch > 4  # or the head alone would have been kept
    pretrained = build_backbone("efficientnet-lite0", (32, 32), "imagenet")
    tuned = next(layer for layer in transfer.model.layers if isinstance(layer, keras.Model))
    changed = [
        layer.name
        for layer in pretrained.layers
        if any(
            not np.array_equal(old, new)
            for old, new in zip(layer.get_weights(), tuned.get_layer(layer.name).get_weights(), strict=True)
        )
    ]
    assert changed == ["block15_project_conv", "head_conv"]  # the statistics of batch normalisation among the rest


def test_without_fine_tuning_the_backbone_is_the_pretrained_one_bit_for_bit(dataset, features, tmp_path):
    settings = TRANSFER.model_copy(update={"fine_tune_blocks": 0})
    trained = train_network(TrainRequest(dataset, settings, tmp_path, features))
    backbone = next(layer for layer in trained.model.layers if isinstance(layer, keras.Model))
    pretrained = build_backbone("efficientnet-lite0", (32, 32), "imagenet")
    for mine, theirs in zip(backbone.get_weights(), pretrained.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    # The whole network on pixels does what its head did on features.
    inputs, _ = load_features(dataset, features, "validation")
    kernel, bias = trained.model.layers[-1].get_weights()
    images, truth = validation(dataset)
    logits = np.asarray(trained.model(images, training=False))
    np.testing.assert_allclose(logits, inputs @ kernel + bias, atol=1e-3)
    loss = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(truth)), truth].mean()
    assert trained.history[trained.best_epoch - 1].val_loss == pytest.approx(loss, rel=1e-3)


def test_fine_tuning_that_makes_nothing_better_is_thrown_away(dataset, features, tmp_path):
    settings = TRANSFER.model_copy(update={"fine_tune_learning_rate": 0.5, "fine_tune_epochs": 1})
    trained = train_network(TrainRequest(dataset, settings, tmp_path, features))
    assert trained.best_epoch <= 4
    backbone = next(layer for layer in trained.model.layers if isinstance(layer, keras.Model))
    pretrained = build_backbone("efficientnet-lite0", (32, 32), "imagenet")
    np.testing.assert_array_equal(
        backbone.get_layer("head_conv").get_weights()[0], pretrained.get_layer("head_conv").get_weights()[0]
    )


def test_a_loss_that_is_no_number_ends_the_training_with_a_sentence(dataset, tmp_path):
    settings = SCRATCH.model_copy(
        update={"optimizer": "sgd", "learning_rate": 1e30, "schedule": "constant", "weight_decay": 0.0}
    )
    with pytest.raises(WorkError, match=r"starter is no longer a number after epoch \d+\. Lower the learning rate"):
        train_network(TrainRequest(dataset, settings, tmp_path))
    history = tmp_path / "scratch" / "history.json"
    assert not history.is_file() or "NaN" not in history.read_text()


def test_a_damaged_state_is_refused_with_the_remedy(dataset, tmp_path):
    settings = SCRATCH.model_copy(update={"epochs": 1})
    train_network(TrainRequest(dataset, settings, tmp_path))
    state = tmp_path / "scratch" / "state-00001.keras"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(FormatError, match=r"scratch cannot be read .*Remove .* and train again"):
        train_network(TrainRequest(dataset, settings, tmp_path))


def test_a_training_that_goes_on_still_decays_no_biases(dataset, tmp_path):
    """Keras does not keep in its file which weights are excluded from decay."""
    settings = SCRATCH.model_copy(update={"epochs": 1, "schedule": "constant"})
    train_network(TrainRequest(dataset, settings, tmp_path))
    stage = Stage("scratch", lambda epoch: None, None, steps=3, epochs=1, learning_rate=0.1)
    optimizer = stages.build_optimizer(settings.model_copy(update={"optimizer": "sgd"}), stage)
    with pytest.raises(FormatError):  # another optimizer's state does not fit
        state.restore(tmp_path / "scratch", 1, optimizer)
    optimizer = stages.build_optimizer(settings, stage)
    model = state.restore(tmp_path / "scratch", 1, optimizer)
    assert int(optimizer.iterations) == 3
    assert not any(optimizer._use_weight_decay(v) for v in model.trainable_variables if v.name == "bias")
    assert all(optimizer._use_weight_decay(v) for v in model.trainable_variables if v.name == "kernel")


def test_an_exception_while_the_state_is_saved_leaves_no_half_file(tmp_path):
    def fails(path: str) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    with pytest.raises(WorkError, match="Disk full"):
        state._save(tmp_path / "best.weights.h5", fails)
    assert list(tmp_path.iterdir()) == []


def test_settings_that_do_not_fit_the_network_are_refused(dataset, tmp_path):
    with pytest.raises(SettingError, match="starter is trained whole, from scratch"):
        train_network(TrainRequest(dataset, SCRATCH.model_copy(update={"fine_tune_blocks": 2}), tmp_path))
    with pytest.raises(SettingError, match="is trained on cached features, and none were given"):
        train_network(TrainRequest(dataset, TRANSFER, tmp_path))
