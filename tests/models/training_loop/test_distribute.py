"""Training by several processes: what one process would learn, on shards of their own, and no worker left behind."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import DarkroomError, InputError, SettingError, WorkError
from darkroom.data.images.decode import decode_stored
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.settings import TrainSettings
from darkroom.models.training.model_version import bundle_name, staging_folder
from darkroom.models.training.multi_machine import join_training, open_cluster, with_workers_of
from darkroom.models.training.publish import publish_bundle
from darkroom.models.training.train import Trained, shared_stage, train_network
from darkroom.models.training_loop import cluster, stage
from darkroom.models.training_loop.cluster import Answer, Cluster, Work, local_cluster, run_workers
from darkroom.models.training_loop.stage import TrainRequest, even_sizes

# The whole training split is one batch, and nothing is drawn: every step of two workers is the one of a single process.
FULL = TrainSettings(
    model="cifar4", epochs=12, batch_size=36, dropout=0.0, learning_rate=3e-3, optimizer="adamw", weight_decay=0.05,
    label_smoothing=0.05, augmentation="none", seed=1,  # type: ignore[arg-type]
)  # fmt: skip
# As people train: batches, dropout, batch normalisation, augmentation, mixup.
USUAL = TrainSettings(
    name="together", model="residual32", epochs=12, batch_size=6, learning_rate=3e-3, mixup=0.1, seed=1
)

# A worker that also writes what its network and its shards were.
_WATCHED = """
import sys
import numpy as np
from darkroom.data.dataset import input as feed
from darkroom.models.training_loop import worker

opened, check, train = [], feed._check_hash, worker.take_part

def noted(path, *facts):
    opened.append(path.name)
    check(path, *facts)

def watched(work, on_epoch):
    model = train(work, on_epoch)
    np.savez(work.staging / f"{work.worker}.npz", *model.get_weights())
    (work.staging / f"{work.worker}.txt").write_text("\\n".join(sorted(set(opened))))
    return model

feed._check_hash, worker.take_part = noted, watched
worker.main()
"""


def figures(trained: Trained) -> np.ndarray:
    """`float[epochs, 4]`."""
    return np.array([(e.loss, e.accuracy, e.val_loss, e.val_accuracy) for e in trained.history])


def started_as(monkeypatch: pytest.MonkeyPatch, script: str) -> list[subprocess.Popen[str]]:
    """Let workers be this script; gives the processes as they are started."""
    real, started = subprocess.Popen, []

    def popen(command: list[str], **more: Any) -> subprocess.Popen[str]:
        started.append(real([sys.executable, "-c", script, command[-1]], **more))
        return started[-1]

    monkeypatch.setattr(cluster.subprocess, "Popen", popen)  # type: ignore[attr-defined]
    return started


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start it; what is given back waits for its result."""
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run() -> None:
        try:
            found.put(work())
        except BaseException as error:
            found.put(error)

    threading.Thread(target=run, daemon=True).start()
    return lambda: found.get(timeout=300)


def accuracy(dataset: Dataset, model: Any) -> float:
    """On the test images, from the records themselves."""
    records = list(dataset.records("test"))
    logits = np.asarray(model(np.stack([decode_stored(r.encoded) for r in records]), training=False))
    return float((logits.argmax(axis=1) == [r.label_index for r in records]).mean())


def test_two_workers_go_on_from_a_stopped_run_and_learn_what_one_process_learns(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(log: EpochLog) -> None:
        if log.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_network(TrainRequest(dataset, FULL, tmp_path, None, stop))
    started = started_as(monkeypatch, _WATCHED)
    told: list[int] = []
    together = FULL.model_copy(update={"workers": 2})
    resumed = train_network(TrainRequest(dataset, together, tmp_path, None, lambda log: told.append(log.epoch)))
    assert len(started) == 2
    assert told == list(range(1, 13))
    alone = train_network(TrainRequest(dataset, FULL, tmp_path / "alone"))
    np.testing.assert_allclose(figures(resumed), figures(alone), rtol=5e-3, atol=1e-3)
    assert accuracy(dataset, alone.model) > 0.7  # 0.33 is chance
    assert accuracy(dataset, resumed.model) == pytest.approx(accuracy(dataset, alone.model), abs=0.06)

    with np.load(tmp_path / "0.npz") as chief, np.load(tmp_path / "1.npz") as other:
        assert set(chief) == set(other)
        for name in chief:
            np.testing.assert_array_equal(chief[name], other[name])
    opened = [(tmp_path / f"{worker}.txt").read_text().split() for worker in (0, 1)]
    for split in ("train", "validation"):
        mine = [{name for name in names if name.startswith(split)} for names in opened]
        shards = {path.name for path in dataset.shard_paths(split)}
        assert mine[0] | mine[1] == shards
        assert mine == [shards, shards] or not mine[0] & mine[1]


def test_two_machines_that_train_the_usual_way_publish_one_bundle_as_good_as_one_machines(
    dataset: Dataset, tmp_path: Path
) -> None:
    place, addresses = Workspace(tmp_path), local_cluster(2).addresses
    together = with_workers_of(Cluster(addresses, (0,)), USUAL)
    assert together == USUAL.model_copy(update={"workers": 2})

    def lead() -> Any:
        from darkroom.data.files.locks import exclusive

        with exclusive(place.models / bundle_name(dataset, together)):
            staging = staging_folder(dataset, together, place)
            trained = train_network(TrainRequest(dataset, together, staging, None, cluster=Cluster(addresses, (0,))))
            return trained, publish_bundle(dataset, together, trained, place)

    chief = in_thread(lead)
    time.sleep(1)  # the lock is the chief's
    joined = join_training(dataset, together, Cluster(addresses, (1,)), place)
    result = chief()
    assert not isinstance(result, BaseException), result
    trained, bundle = result
    assert joined == bundle
    assert (bundle / "bundle.json").is_file()
    card = json.loads((bundle / "bundle.json").read_text())
    assert card["settings"]["workers"] == 2
    assert not staging_folder(dataset, together, place).exists()

    alone = train_network(TrainRequest(dataset, USUAL, tmp_path / "alone"))
    assert accuracy(dataset, alone.model) > 0.7
    assert accuracy(dataset, trained.model) == pytest.approx(accuracy(dataset, alone.model), abs=0.25)
    # A later run of the one that joined has nothing to do, and waits for nobody.
    assert join_training(dataset, together, Cluster(addresses, (1,)), place) == bundle


@pytest.mark.parametrize(("status", "kind"), [(1, WorkError), (2, InputError)])
def test_what_a_worker_fails_with_is_what_the_run_fails_with(
    status: int, kind: type[DarkroomError], dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Answer(error="The loss is no longer a number.").model_dump_json()
    started = started_as(monkeypatch, f"import sys; print({said!r}); sys.exit({status})")
    with pytest.raises(kind, match="The loss is no longer a number"):
        list(run_workers(local_cluster(2), dataset.folder, FULL, tmp_path, "scratch"))
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


@pytest.mark.parametrize(
    ("end", "how"),
    [("sys.exit('no memory')", "ended with status 1"), ("os.kill(os.getpid(), 9)", "was ended by SIGKILL")],
)
def test_a_worker_that_dies_is_named_with_the_place_of_its_messages_and_the_others_end(
    end: str, how: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = "import json, os, sys, time; time.sleep(60 * (json.loads(sys.argv[1])['worker'] == 0))"
    started = started_as(monkeypatch, f"{first}; sys.stderr.write('what it said'); {end}")
    begun = time.monotonic()
    with pytest.raises(WorkError, match=rf"Worker 1 of 2 {how} .*worker-1\.log\. Run the same"):
        list(run_workers(local_cluster(2), dataset.folder, FULL, tmp_path, "scratch"))
    assert time.monotonic() - begun < 30  # the other was not waited for
    assert all(process.poll() is not None for process in started)
    assert (tmp_path / "scratch" / "worker-1.log").read_text().startswith("what it said")


def test_workers_end_with_the_run_that_started_them_even_if_it_is_killed(dataset: Dataset, tmp_path: Path) -> None:
    work = Work(
        addresses=("a:1", "b:1"), worker=0, place=0, num_here=1, dataset=dataset.folder, settings=FULL,
        staging=tmp_path, stage="scratch",
    )  # fmt: skip
    script = (
        "import time; from darkroom.models.training_loop import worker; "
        "worker.take_part = lambda *_: time.sleep(300); worker.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, work.model_dump_json()], stdin=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    try:
        time.sleep(0.2)
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()  # as the system does for a process that died
        assert process.wait(60) == 1
    finally:
        process.kill()


def test_what_an_epoch_is_told_to_stops_the_workers(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`darkroom compare` prunes a trial in this way."""
    log = EpochLog(epoch=1, stage="scratch", loss=1, accuracy=0, val_loss=1, val_accuracy=0, seconds=1)
    line = Answer(epoch=log).model_dump_json()
    started = started_as(monkeypatch, f"import time; print({line!r}, flush=True); time.sleep(300)")

    def pruned(log: EpochLog) -> None:
        raise ValueError(f"epoch {log.epoch}")

    with pytest.raises(ValueError, match="epoch 1"):
        train_network(TrainRequest(dataset, FULL.model_copy(update={"workers": 2}), tmp_path, None, pruned))
    deadline = time.monotonic() + 20
    while any(process.poll() is None for process in started):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("num_rows", "num_batches"), [(36, 3), (37, 3), (5, 5), (1000, 7), (62, 63 - 2)])
def test_even_sizes_hold_every_row_and_differ_by_no_more_than_one(num_rows: int, num_batches: int) -> None:
    sizes = even_sizes(num_rows, num_batches)
    assert (len(sizes), sum(sizes)) == (num_batches, num_rows)
    assert 1 <= min(sizes) <= max(sizes) <= min(sizes) + 1


def test_all_workers_have_as_many_batches_and_every_image_once_an_epoch(dataset: Dataset) -> None:
    from darkroom.data.dataset.input import Share

    settings = FULL.model_copy(update={"batch_size": 10, "label_smoothing": 0.0})
    stages = [stage.image_stage("scratch", dataset, settings, Share(reader, 3)) for reader in range(3)]
    fed = [[len(labels) for _, labels in made.feed(0)] for made in stages]
    assert {len(sizes) for sizes in fed} == {4} == {made.steps for made in stages}
    assert sum(map(sum, fed)) == 36
    assert all(8 <= sum(step) <= 12 for step in zip(*fed, strict=True))


def test_workers_that_have_nothing_to_share_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    head = TrainSettings(model="efficientnet-lite0", workers=2)
    assert shared_stage(head) is None
    with pytest.raises(SettingError, match=r"2 workers have nothing to share: .* give --fine-tune-layers"):
        train_network(TrainRequest(dataset, head, tmp_path, tmp_path))
    with pytest.raises(ValueError, match="a batch of 4 images cannot be shared by 5 workers"):
        TrainSettings(batch_size=4, workers=5)
    with pytest.raises(SettingError, match=r"--workers is 3, but TF_CONFIG lists 2"):
        with_workers_of(Cluster(("a:1", "b:1"), (0,)), TrainSettings(workers=3))
    assert open_cluster(None, Workspace(tmp_path)) is None


# Two devices of one process: their step is that of one device, and their running statistics agree after the epoch.
_MIRRORED = """
import sys
import keras
import numpy as np
import tensorflow as tf
from darkroom.models.training_loop.distribute import Replicas

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
random = np.random.default_rng(0)
inputs = random.normal(size=(31, 6)).astype(np.float32)
truth = inputs[:, :3].argmax(axis=1)
weights = [1.0, 2.0, 0.5]

def network():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6,)), keras.layers.Dense(8, activation="relu")]
    return keras.Sequential([*layers, keras.layers.Dense(3)])

def feed(sizes):
    return tf.data.Dataset.from_tensor_slices((inputs, truth)).batch(31).rebatch(sizes)

plain = network()
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
plain.compile(keras.optimizers.Adam(0.05), loss, metrics=["accuracy"])
expected = plain.fit(
    inputs, truth, 31, 3, validation_data=(inputs, truth), class_weight=dict(enumerate(weights)), verbose=0
).history

class Objective:
    def loss(self, reduction):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)

    def image_weights(self, truth):
        return tf.gather(tf.constant(weights), truth)

    def right(self, truth, logits):
        return tf.equal(truth, tf.argmax(logits, axis=-1))

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model, optimizer = network(), keras.optimizers.Adam(0.05)
    optimizer.build(model.trainable_variables)
replicas = Replicas(strategy, model, optimizer, Objective())
for epoch in range(3):
    found = replicas.epoch(feed([11, 20]), 1, feed([31]), [0, epoch])
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name][epoch], rtol=1e-4, err_msg=name)

with strategy.scope():
    model = keras.Sequential([keras.Input((6,)), keras.layers.BatchNormalization(momentum=0.0), keras.layers.Dense(3)])
    optimizer = keras.optimizers.SGD(0.0)
    optimizer.build(model.trainable_variables)
replicas = Replicas(strategy, model, optimizer, Objective())
replicas.epoch(feed([16, 15]), 1, feed([31]), [0, 0])
mean = (inputs[:16].mean(axis=0) + inputs[16:].mean(axis=0)) / 2
for value in strategy.experimental_local_results(model.layers[0].moving_mean.value):
    np.testing.assert_allclose(value, mean, atol=1e-6)
"""


def test_devices_of_one_process_share_a_step_as_fit_computes_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MIRRORED], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
