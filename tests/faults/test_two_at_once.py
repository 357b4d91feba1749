"""Two identical runs at once on the same output: one works, the other waits, says so, and finds the work done."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.outputs import tree
from tests.faults.stages import Nursery, Outcome, Run

WAITING = "Another run is using "


def both(nursery: Nursery, run: Run) -> tuple[Outcome, Outcome]:
    """The one that worked and the one that waited."""
    outcomes = nursery.run(run, run)
    assert [outcome.exit_status for outcome in outcomes] == [0, 0], [outcome.error for outcome in outcomes]
    said = [any(line.startswith(WAITING) for line in outcome.log) for outcome in outcomes]
    if said == [False, False]:
        pytest.fail("neither waited: they were not at work at the same time")
    assert sorted(said) == [False, True]
    worker, waiter = sorted(outcomes, key=lambda outcome: outcome.log[:1] != [] and outcome.log[0].startswith(WAITING))
    return worker, waiter


def test_of_two_ingests_one_works_and_the_end_is_that_of_one(
    nursery: Nursery, images: Path, ingested: Path, tmp_path: Path
) -> None:
    worker, waiter = both(nursery, Run("ingest", {"source": str(images), "workspace": str(tmp_path)}))
    assert worker.result == {"published": 0, "num_reused": 0}
    assert waiter.result == {"published": 1}
    assert tree(tmp_path) == tree(ingested)


def test_of_two_scorings_one_works_and_the_end_is_that_of_one(
    nursery: Nursery, images: Path, bundle: Path, tmp_path: Path
) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    (outcome,) = nursery.run(Run("score", {"folder": str(images), "bundle": str(bundle), "out": str(alone / "table")}))
    assert outcome.exit_status == 0, outcome.error
    arguments = {"folder": str(images), "bundle": str(bundle), "out": str(shared / "table")}
    worker, waiter = both(nursery, Run("score", arguments))
    assert (worker.result["num_reused"], waiter.result["num_reused"]) == (0, 121)
    assert tree(shared) == tree(alone)


def test_of_two_trainings_one_works_and_the_other_trains_no_epoch(
    nursery: Nursery, dataset: Path, tmp_path: Path
) -> None:
    worker, waiter = both(nursery, Run("train", {"dataset": str(dataset), "workspace": str(tmp_path)}))
    assert (worker.result["published"], waiter.result["published"]) == (0, 1)
    assert sum(line.startswith("scratch epoch ") for line in worker.log) == 4
    assert len(waiter.log) == 1
    assert len(list(tmp_path.glob("models/*/*/bundle.json"))) == 1
    assert not list(tmp_path.glob("models/*/.staging-*"))


def test_of_two_extractions_of_the_same_features_one_works(nursery: Nursery, dataset: Path, tmp_path: Path) -> None:
    """Two trainings of other models share them, and neither may sweep away what the other is writing."""
    shutil.copytree(dataset, tmp_path / "dataset")
    worker, waiter = both(nursery, Run("features", {"dataset": str(tmp_path / "dataset")}))
    assert "0 of 8 shards" in worker.log[-1]
    assert "8 of 8 shards" in waiter.log[-1]
    assert len(list(tmp_path.glob("dataset/features/*/*.npz"))) == 8
