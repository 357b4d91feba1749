"""Experiments: trials that go on after a kill, pruned ones, failed ones, the best one, and what is said of them."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import SettingError, WorkError
from darkroom.data.files.atomic import write_json
from darkroom.data.files.hashing import file_sha256
from darkroom.data.images.decode import decode_stored
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.shards.shards import ShardRules
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.experiments import trials
from darkroom.models.experiments.experiment import (
    ExperimentCard,
    ExperimentPlan,
    HeldOutFigures,
    TrialPlan,
    TrialRecord,
    TrialRow,
    Varied,
    VariedOption,
    find_experiment,
    ranked,
    read_record,
    record_file,
    rows,
    state_folder,
)
from darkroom.models.experiments.search import draw
from darkroom.models.measures.intervals import Interval, wilson_interval
from darkroom.models.settings import TrainSettings
from darkroom.models.training import model_version, publish
from darkroom.models.training.train import train_network
from darkroom.models.training_loop.stage import TrainRequest
from tests.datasets import COLOURS, ingest, photograph, write_images

BASE = TrainSettings(model="cifar4", weights="none", epochs=2, batch_size=12, patience=5)
HOSTILE = "<script>alert(1)</script>"


def plan_of(dataset: Dataset, settings: Sequence[TrainSettings], prune_after: int = 0, name: str = "tiny"):
    """A plan of these trials; what is varied is written as optimizer and learning rate, whatever else differs."""
    values = [(each.optimizer, f"{each.learning_rate}/{number}") for number, each in enumerate(settings)]
    return ExperimentPlan(
        name=name,
        recipe=HOSTILE,
        command=f"darkroom compare {HOSTILE}",
        options=(
            VariedOption(option="optimizer", values=tuple(dict.fromkeys(optimizer for optimizer, _ in values))),
            VariedOption(option="learning-rate", values=tuple(rate for _, rate in values)),
        ),
        num_combinations=len(settings),
        prune_after=prune_after,
        trials=tuple(
            TrialPlan(
                number=number,
                values=(
                    Varied(option="optimizer", value=values[number - 1][0]),
                    Varied(option="learning-rate", value=values[number - 1][1]),
                ),
                dataset=dataset.reference,
                settings=each,
            )
            for number, each in enumerate(settings, start=1)
        ),
    )


def setting(**changes) -> TrainSettings:
    return BASE.model_copy(update=changes)


def log(accuracy: float, loss: float = 1.0, epoch: int = 1) -> EpochLog:
    return EpochLog(
        epoch=epoch, stage="scratch", loss=1.0, accuracy=0.5, val_loss=loss, val_accuracy=accuracy, seconds=0.5
    )


def record(folder: Path, number: int, accuracies: Sequence[float], status="complete") -> None:
    history = tuple(log(accuracy, 1 / number / epoch, epoch) for epoch, accuracy in enumerate(accuracies, start=1))
    ended = TrialRecord(number=number, status=status, history=history)
    write_json(record_file(folder, number), ended.model_dump(mode="json"))


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Wilson 1927, the closed form."""
    z, share = 1.959963984540054, correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return centre - half, centre + half


def right_answers(model, dataset: Dataset) -> int:
    images = np.stack([decode_stored(row.encoded) for row in dataset.records("validation")])
    truth = [row.label_index for row in dataset.records("validation")]
    return int((np.asarray(model(images, training=False)).argmax(axis=1) == truth).sum())


class Done:
    """A grid of four, of which the last fails, brought to its end."""

    def __init__(self, dataset: Dataset, workspace: Workspace) -> None:
        settings = [
            setting(optimizer=optimizer, learning_rate=rate) for optimizer in ("adam", "sgd") for rate in (1e-3, 1e-2)
        ]
        settings[3] = setting(optimizer="sgd", learning_rate=0.5, fine_tune_blocks=2)
        self.plan = plan_of(dataset, settings)
        self.folder = workspace.experiment(self.plan.name, self.plan.version)
        self.folder.mkdir(parents=True)
        for trial in trials.start(self.folder, self.plan, False, workspace):
            try:
                trials.train_trial(self.folder, trial.number, None, workspace)
            except SettingError as error:
                trials.record_failure(self.folder, trial.number, error)
        self.rows = rows(self.folder, workspace)
        self.best = trials.choose_best(self.folder, workspace)
        trials.hand_over(self.folder, self.best, workspace)
        self.staging = model_version.staging_folder(dataset, self.best.settings, workspace)
        self.handed_over = sorted(path.name for path in (self.staging / "scratch").iterdir())
        trained = train_network(TrainRequest(dataset, self.best.settings, self.staging))
        self.num_right = right_answers(trained.model, dataset)
        self.bundle = publish.publish_bundle(dataset, self.best.settings, trained, workspace)
        self.reference = f"{self.bundle.parent.name}@{self.bundle.name}"
        interval = Interval(low=0.5, high=0.9)
        self.test = HeldOutFigures(num_images=18, num_correct=13, accuracy=13 / 18, interval=interval)
        self.card = trials.finish(self.folder, self.best, self.reference, self.test, workspace)


@pytest.fixture(scope="module")
def done(dataset: Dataset, workspace: Workspace) -> Done:
    return Done(dataset, workspace)


def test_the_best_becomes_the_bundle_that_train_makes_of_its_settings(done: Done, dataset: Dataset, tmp_path: Path):
    record = read_record(done.folder, done.best.number)
    assert record is not None
    assert "history.json" in done.handed_over  # so nothing was trained twice
    plain = train_network(TrainRequest(dataset, done.best.settings, tmp_path))
    figures = [(entry.loss, entry.accuracy, entry.val_loss, entry.val_accuracy) for entry in record.history]
    expected = [(entry.loss, entry.accuracy, entry.val_loss, entry.val_accuracy) for entry in plain.history]
    np.testing.assert_allclose(figures, expected, rtol=1e-4)
    import keras

    made = keras.models.load_model(done.bundle / "model.keras")
    for mine, theirs in zip(made.get_weights(), plain.model.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert done.reference == done.card.bundle == done.card.best_row.bundle


def test_the_best_is_the_complete_trial_with_the_most_right_validation_images(done: Done, dataset: Dataset):
    assert [row.status for row in done.rows] == ["complete", "complete", "complete", "failed"]
    complete = [row for row in done.rows if row.status == "complete"]
    most = max(row.num_correct or 0 for row in complete)
    least = min(row.loss or 0.0 for row in complete if row.num_correct == most)
    best = done.rows[done.best.number - 1]
    assert (best.num_correct, best.loss) == (most, least)
    assert best.num_correct == done.num_right
    assert best.num_images == dataset.card.num_images("validation") == 15


def test_intervals_are_wilsons(done: Done):
    for row in done.rows[:3]:
        assert row.interval is not None
        assert row.num_correct is not None
        assert (row.interval.low, row.interval.high) == pytest.approx(wilson(row.num_correct, 15))
        assert row.accuracy == row.num_correct / 15


def test_a_failed_trial_is_a_row_with_its_reason(done: Done):
    failed = done.rows[3]
    assert failed.reason is not None
    assert failed.reason.startswith("cifar4 is trained whole, from scratch")
    assert (failed.num_epochs, failed.accuracy, failed.interval, failed.loss) == (0, None, None, None)


def test_the_table_holds_what_the_card_holds(done: Done):
    table = duckdb.sql(f"SELECT * FROM '{done.folder}/trials.parquet' ORDER BY trial").df().to_dict("records")
    assert len(table) == 4
    for found, row in zip(table, done.card.trials, strict=True):
        assert (found["trial"], found["status"], found["num_epochs"]) == (row.number, row.status, row.num_epochs)
        assert (found["optimizer"], found["learning-rate"]) == tuple(varied.value for varied in row.values)
        if row.interval:
            assert found["validation_accuracy"] == row.accuracy
            assert (found["accuracy_low"], found["accuracy_high"]) == (row.interval.low, row.interval.high)
            assert found["validation_loss"] == row.loss
        else:
            assert math.isnan(found["validation_accuracy"])
            assert found["reason"] == row.reason


def test_the_card_answers_for_every_file_and_states_are_gone(done: Done, workspace: Workspace):
    card = ExperimentCard.model_validate_json((done.folder / "experiment.json").read_text())
    assert card == done.card
    names = {"trials.parquet", "experiment.html", "experiment.png", "optuna.journal"}
    assert {fact.file for fact in card.files} == names
    for fact in card.files:
        assert fact.sha256 == file_sha256(done.folder / fact.file)
    assert list(done.folder.glob(".staging-*")) == []
    assert not done.staging.exists()
    assert find_experiment(done.folder, workspace) == card


def test_an_experiment_whose_bundle_is_gone_is_not_done(done: Done, workspace: Workspace, tmp_path: Path):
    assert find_experiment(done.folder, Workspace(tmp_path)) is None


def test_optunas_own_tools_read_the_trials(done: Done):
    storage = JournalStorage(JournalFileBackend(str(done.folder / "optuna.journal")))
    study = optuna.load_study(study_name=done.folder.name, storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3 + ["FAIL"]
    assert study.best_value == pytest.approx(done.card.best_row.accuracy)
    assert study.trials[1].params == {"optimizer": "adam", "learning-rate": "0.01/1"}


def test_the_page_says_what_the_best_of_many_is_worth_and_runs_nothing(done: Done):
    page = (done.folder / "experiment.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", page).replace("&nbsp;", " ").replace("\xa0", " ").split())
    assert "Best of 3 completed trials" in text
    assert "72.2 %, 13 of 18" in text
    assert "optimistic: it is the highest of 3 results on the same 15 images" in text
    for row in done.rows[:3]:
        assert f"{row.num_correct} of 15" in text
    assert "Trial 4 failed: cifar4 is trained whole" in text
    assert HOSTILE not in page
    assert page.count("<script") == 0
    assert not re.search(r'(src|href)="(?!data:)', page)


@given(st.lists(st.tuples(st.sampled_from(["complete", "pruned", "failed"]), st.integers(0, 3), st.integers(1, 3))))
def test_ranks_are_by_status_then_accuracy_then_loss_then_number(found):
    made = [
        TrialRow(
            number=number,
            values=(),
            status=status,
            reason=None,
            num_epochs=1,
            best_epoch=1,
            num_images=3,
            num_correct=correct,
            accuracy=correct / 3,
            interval=wilson_interval(correct, 3),
            loss=float(loss),
            seconds=0.0,
            dataset="d@1",
            bundle="b@1",
        )
        for number, (status, correct, loss) in enumerate(found, start=1)
    ]
    order = ranked(made)
    assert sorted(row.number for row in order) == list(range(1, len(made) + 1))
    for before, after in pairwise(order):
        ranks = ("complete", "pruned", "failed")
        one, other = (
            (ranks.index(row.status), -(row.num_correct or 0), row.loss or 0.0, row.number) for row in (before, after)
        )
        assert one < other


def test_a_trial_below_the_median_of_those_before_it_is_stopped_once_it_is_old_enough(
    dataset: Dataset, workspace: Workspace, tmp_path: Path
):
    settings = [setting(seed=seed, epochs=3) for seed in range(3)] + [setting(learning_rate=1e-9, epochs=3)]
    plan = plan_of(dataset, settings, prune_after=2)
    trials.start(tmp_path, plan, False, workspace)
    for number, accuracies in enumerate([(1.0, 1.0, 1.0), (0.95, 0.99, 1.0), (0.1, 0.1, 0.1)], start=1):
        record(tmp_path, number, accuracies)
    ended = trials.train_trial(tmp_path, 4, None, workspace)
    assert (ended.status, len(ended.history)) == ("pruned", 2)
    assert ended.history[0].val_accuracy < 0.95  # the median already after the first epoch
    assert max(entry.val_accuracy for entry in ended.history) < 0.99
    assert "below the median" in (ended.reason or "")
    assert not state_folder(tmp_path, 4).exists()
    assert trials.choose_best(tmp_path, workspace).number == 2  # as many right as the first, with less loss


def test_nothing_is_pruned_beside_two_trials_or_where_pruning_is_off(
    dataset: Dataset, workspace: Workspace, tmp_path: Path
):
    for place, (num_before, prune_after) in enumerate([(2, 1), (3, 0)]):
        folder = tmp_path / str(place)
        settings = [setting(seed=seed) for seed in range(num_before)] + [setting(learning_rate=1e-9, epochs=1)]
        trials.start(folder, plan_of(dataset, settings, prune_after), False, workspace)
        for number in range(1, num_before + 1):
            record(folder, number, (1.0, 1.0))
        ended = trials.train_trial(folder, num_before + 1, None, workspace)
        assert ended.history[0].val_accuracy < 1.0
        assert (ended.status, len(ended.history)) == ("complete", 1)


_TRAIN_IN_A_PROCESS = """
import sys
from pathlib import Path
from darkroom.data.stores.workspace import Workspace
from darkroom.models.experiments.trials import train_trial
train_trial(Path(sys.argv[1]), 2, None, Workspace(Path(sys.argv[2])))
"""


def test_a_killed_trial_goes_on_after_its_last_epoch_and_ended_ones_are_not_made_again(
    dataset: Dataset, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plan = plan_of(dataset, [setting(seed=1), setting(seed=2, epochs=30, patience=30)])
    trials.start(tmp_path, plan, False, workspace)
    record(tmp_path, 1, (0.5, 0.6))
    history = state_folder(tmp_path, 2) / "scratch" / "history.json"
    command = [sys.executable, "-c", _TRAIN_IN_A_PROCESS, str(tmp_path), str(workspace.root)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not history.is_file() or history.read_text().count('"epoch"') < 2:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    before = json.loads(history.read_text())
    assert [trial.number for trial in trials.start(tmp_path, plan, False, workspace)] == [2]

    told = []
    real = train_network

    def watched(request):
        def both(entry):
            told.append(entry)
            request.on_epoch(entry)
            if len(told) > len(before) + 1:
                raise KeyboardInterrupt

        return real(replace(request, on_epoch=both))

    monkeypatch.setattr(trials, "train_network", watched)
    with pytest.raises(KeyboardInterrupt):  # stopped by hand, which says nothing of the trial either
        trials.train_trial(tmp_path, 2, None, workspace)
    assert [entry.model_dump() for entry in told[: len(before)]] == before
    assert [entry.epoch for entry in told] == list(range(1, len(before) + 3))
    assert read_record(tmp_path, 2) is None


def test_what_fails_for_the_machines_sake_is_no_result_of_a_trial(
    dataset: Dataset, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trials.start(tmp_path, plan_of(dataset, [setting()]), False, workspace)

    def full(*arguments):
        raise WorkError("Disk full.") from OSError(28, "No space left on device")

    monkeypatch.setattr(trials, "train_network", full)
    with pytest.raises(WorkError, match="Disk full"):
        trials.train_trial(tmp_path, 1, None, workspace)
    assert read_record(tmp_path, 1) is None
    with pytest.raises(PermissionError):
        trials.record_failure(tmp_path, 1, PermissionError(13, "Permission denied"))
    assert read_record(tmp_path, 1) is None
    odd = trials.record_failure(tmp_path, 1, ValueError("shapes\nof two"), [log(0.5)])
    assert (odd.status, odd.reason, len(odd.history)) == ("failed", "ValueError: shapes of two", 1)
    with pytest.raises(WorkError, match=r"^All 1 trials failed, the first with: ValueError: shapes of two\. Correct"):
        trials.choose_best(tmp_path, workspace)


def test_only_failed_trials_are_made_again_and_only_when_asked(dataset: Dataset, workspace: Workspace, tmp_path: Path):
    plan = plan_of(dataset, [setting(seed=seed) for seed in range(4)])
    (tmp_path / "experiment.json").write_text("{}")
    for number, status in enumerate(["complete", "failed", "pruned"], start=1):
        record(tmp_path, number, (0.5,), status)
    assert [trial.number for trial in trials.start(tmp_path, plan, False, workspace)] == [4]
    assert (tmp_path / "experiment.json").exists()
    assert [trial.number for trial in trials.start(tmp_path, plan, True, workspace)] == [2, 4]
    assert not (tmp_path / "experiment.json").exists()


def test_trials_with_other_validation_images_are_not_compared(
    images: Path, dataset: Dataset, workspace: Workspace, tmp_path: Path
):
    from PIL import Image

    folder = write_images(tmp_path / "images")
    Image.fromarray(photograph("blue", 700)).save(folder / "validation/blue/new.png")
    rules = IngestSettings(name="more", policy=DecodePolicy(image_size=(32, 32)), shards=ShardRules(rows_per_shard=30))
    other = ingest(folder, workspace.root, rules)
    assert other.labels.names == dataset.labels.names == tuple(sorted(COLOURS))
    plan = plan_of(dataset, [setting(seed=1), setting(seed=2)])
    mixed = plan.trials[1].model_copy(update={"dataset": other.reference})
    with pytest.raises(SettingError, match="different validation images"):
        trials.start(tmp_path, plan.model_copy(update={"trials": (plan.trials[0], mixed)}), False, workspace)


def test_the_version_is_of_data_and_settings_and_not_of_words(dataset: Dataset):
    plan = plan_of(dataset, [setting(seed=1), setting(seed=2)])
    assert plan.version == plan.model_copy(update={"recipe": "other", "command": "other"}).version
    versions = {
        plan.version,
        plan_of(dataset, [setting(seed=2), setting(seed=1)]).version,
        plan_of(dataset, [setting(seed=1), setting(seed=3)]).version,
        plan_of(dataset, [setting(seed=1), setting(seed=2)], prune_after=1).version,
    }
    assert len(versions) == 4


@pytest.mark.parametrize(("num_combinations", "num_trials"), [(2, 1), (12, 5), (12, 12), (1000, 30)])
def test_a_random_search_draws_each_combination_at_most_once_and_always_the_same(num_combinations, num_trials):
    drawn = draw(num_combinations, num_trials)
    assert len(set(drawn)) == len(drawn) == num_trials
    assert set(drawn) <= set(range(num_combinations))
    assert draw(num_combinations, num_trials) == drawn
    if num_combinations == 1000:
        assert drawn != sorted(drawn)
