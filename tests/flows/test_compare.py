"""The flow `compare` on a tiny folder: stopped in the middle and gone on with, its bundle, and what it shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from darkroom.data.errors import WorkError
from darkroom.flows.compare import compare
from darkroom.flows.ingest import ingest
from darkroom.flows.recipe import load_recipe
from darkroom.flows.results import CompareResult
from darkroom.flows.terminal import show
from darkroom.flows.train import train
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.experiments import trials
from darkroom.models.training.train import Trained, train_network
from darkroom.models.training_loop.stage import TrainRequest
from tests.datasets import write_images
from tests.told import told

VARY = {"optimizer": ["adam", "sgd"], "fine-tune-layers": ["0", "2"]}  # cifar4 has no blocks to tune: it fails


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recipe for the tiny data set."""
    folder = tmp_path_factory.mktemp("source")
    plan = {
        "name": "colours",
        "source": str(write_images(folder / "colours")),
        "policy": {"image_size": [32, 32]},
        "train": {"model": "cifar4", "weights": "none", "epochs": 2, "batch_size": 16, "name": "quick"},
    }
    (folder / "colours.yaml").write_text(yaml.safe_dump(plan))
    return str(folder / "colours.yaml")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place") / "workspace"


class Runs:
    """A run that a full disk stops in its third trial, and the one that is started again after it."""

    def __init__(self, recipe: str, workspace: Path) -> None:
        self.trained: list[int] = []
        self.error: WorkError | None = None
        real = train_network
        full = True

        def counted(request: TrainRequest) -> Trained:
            self.trained.append(int(request.staging.name.removeprefix(".staging-")))

            def stopping(log: Any) -> None:
                request.on_epoch(log)
                if full and len(self.trained) == 3:
                    raise WorkError("Disk full.") from OSError(28, "No space left on device")

            return real(replace(request, on_epoch=stopping))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trials, "train_network", counted)
            try:
                compare(recipe, VARY, max_judged=0, workspace=str(workspace))
            except WorkError as error:
                self.error = error
            (self.folder,) = (workspace / "experiments").iterdir()
            self.left = sorted(path.name for path in self.folder.iterdir())
            full = False
            self.result: CompareResult = compare(recipe, VARY, max_judged=0, workspace=str(workspace))


@pytest.fixture(scope="module")
def runs(prefect_server: str, recipe: str, workspace: Path) -> Runs:
    return Runs(recipe, workspace)


def test_a_run_that_was_stopped_goes_on_with_the_trial_at_hand(runs: Runs) -> None:
    assert str(runs.error) == "Disk full."
    assert {"plan.json", "trial-00001.json", "trial-00002.json", ".staging-00003"} <= set(runs.left)
    assert not {"experiment.json", "trial-00003.json"} & set(runs.left)
    assert runs.trained == [1, 2, 3, 3, 4]
    assert not runs.result.reused
    history = json.loads((runs.folder / "trial-00003.json").read_text())["history"]
    assert [log["epoch"] for log in history] == [1, 2]


def test_failing_trials_are_rows_and_the_best_of_the_others_is_the_bundle(runs: Runs) -> None:
    ended = {tuple(varied.value for varied in row.values): row for row in runs.result.trials}
    assert {values: row.status for values, row in ended.items()} == {
        ("adam", "0"): "complete", ("sgd", "0"): "complete", ("adam", "2"): "failed", ("sgd", "2"): "failed"
    }  # fmt: skip
    assert "there is no backbone with pretrained weights" in (ended["adam", "2"].reason or "")
    one, other = ended["adam", "0"], ended["sgd", "0"]
    assert one.num_correct is not None
    assert other.num_correct is not None
    expected = max(one, other, key=lambda row: (row.num_correct, -(row.loss or 0)))
    assert runs.result.best == expected == runs.result.trials[0]
    assert runs.result.bundle == expected.bundle
    assert runs.result.num_combinations == 4


def test_the_bundle_is_what_train_makes_of_the_best_settings(runs: Runs, recipe: str, tmp_path: Path) -> None:
    best = {varied.option: varied.value for varied in runs.result.best.values}
    plan = load_recipe(recipe, {"train": {"optimizer": best["optimizer"]}})
    data = ingest(plan.source, plan.ingest_settings(), max_judged=0, workspace=str(tmp_path))
    alone = train(data.dataset, plan.train, str(tmp_path))
    assert alone.bundle == runs.result.bundle
    mine, theirs = (
        open_bundle(place / "models" / "quick" / alone.bundle.partition("@")[2]).card
        for place in (runs.folder.parents[1], tmp_path)
    )
    figures = [
        [(log.loss, log.accuracy, log.val_loss, log.val_accuracy) for log in card.history] for card in (mine, theirs)
    ]
    np.testing.assert_allclose(figures[0], figures[1], rtol=2e-3, atol=2e-3)
    assert (mine.best_epoch, mine.settings) == (theirs.best_epoch, theirs.settings)
    assert list((runs.folder.parents[1] / "models/quick").glob(".staging-*")) == []


def test_no_label_is_judged_where_none_is_to_be(runs: Runs, workspace: Path) -> None:
    pages = [json.loads(path.read_text()) for path in workspace.glob("datasets/*/*/inspection.json")]
    assert [page["label_errors"] for page in pages] == [None] * len({row.dataset for row in runs.result.trials})


def test_the_test_figure_is_of_the_bundles_own_report(runs: Runs) -> None:
    version = runs.result.bundle.partition("@")[2]
    predictions = runs.folder.parents[1] / "models" / "quick" / version / "report" / "predictions.parquet"
    rows = pq.read_table(predictions).to_pylist()
    assert runs.result.test is not None
    assert runs.result.test.num_images == len(rows)
    assert runs.result.test.num_correct == sum(row["truth"] == row["predicted"] for row in rows)


def test_the_same_comparison_again_makes_nothing_and_tells_the_same(
    runs: Runs, recipe: str, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trials, "train_trial", None)
    before = {path: path.stat().st_mtime_ns for path in runs.folder.glob("[te]*")}
    again = compare(recipe, VARY, workspace=str(workspace))
    assert again == runs.result.model_copy(update={"reused": True})
    assert {path: path.stat().st_mtime_ns for path in runs.folder.glob("[te]*")} == before
    lines = told(again)
    assert lines["trials"] == "4 of 4 combinations: 2 complete, 2 failed"
    show(again, as_json=False)
    shown = capsys.readouterr().out
    assert "fine-tune-layers" in shown
    assert all(word in shown for word in ("adam", "sgd", "failed", "complete"))
    show(again, as_json=True)
    assert json.loads(capsys.readouterr().out)["bundle"] == again.bundle


def test_the_run_shows_its_trials(runs: Runs) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import ArtifactSort

    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=200)
        names = {run.name for run in client.read_task_runs(limit=200)}
    shown = {artifact.key: artifact.data for artifact in reversed(artifacts)}
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", str(shown["trials-colours"]), re.MULTILINE)]
    assert sorted(numbers) == [1, 2, 3, 4]
    assert numbers[0] == runs.result.best.number
    assert shown["trials-done-colours"] == 100
    assert "trial 3: optimizer=sgd, fine-tune-layers=0" in names


def test_the_table_is_read_as_the_documentation_says(runs: Runs, workspace: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", script], cwd=workspace.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "validation_accuracy" in done.stdout
    assert "sgd" in done.stdout


def test_a_comparison_in_which_all_trials_fail_says_why(prefect_server: str, recipe: str, workspace: Path) -> None:
    with pytest.raises(WorkError, match=r"^All 2 trials failed, the first with: cifar4 is trained whole"):
        compare(recipe, {"fine-tune-layers": ["2", "3"]}, workspace=str(workspace))
    folders = [path for path in (workspace / "experiments").iterdir() if not (path / "experiment.json").exists()]
    assert len(folders) == 1


def test_drawn_trials_are_some_of_the_combinations(prefect_server: str, recipe: str, workspace: Path) -> None:
    vary = {"fine-tune-layers": [str(number) for number in range(1, 31)]}
    with pytest.raises(WorkError, match="All 3 trials failed"):
        compare(recipe, vary, trials=3, workspace=str(workspace))
    plans = [json.loads(path.read_text()) for path in workspace.glob("experiments/*/plan.json")]
    (plan,) = [plan for plan in plans if plan["num_combinations"] == 30]
    drawn = [trial["settings"]["fine_tune_blocks"] for trial in plan["trials"]]
    assert len(set(drawn)) == 3
    assert set(drawn) <= set(range(1, 31))
