"""The leader board: costs of each network once, its best trial, and the Pareto line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.files.atomic import write_json
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.experiments import leader_board as board
from darkroom.models.experiments import trials
from darkroom.models.experiments.experiment import (
    ExperimentPlan,
    NetworkCost,
    TrialPlan,
    TrialRecord,
    TrialRow,
    Varied,
    VariedOption,
    record_file,
    rows,
)
from darkroom.models.experiments.leader_board import leader_board, with_costs
from darkroom.models.measures.intervals import wilson_interval
from darkroom.models.networks.architectures import build_scratch
from darkroom.models.settings import TrainSettings

BASE = TrainSettings(model="cifar4", weights="none", epochs=1)
# Validation images that are right, of 15, by trial.
RIGHT = (12, 9, 14, 14, 3)


def told(settings: TrainSettings) -> str:
    return f"{settings.model}/{settings.optimizer}/{settings.flip_average}"


def planned(dataset: Dataset, settings: list[TrainSettings], folder: Path) -> ExperimentPlan:
    """An experiment whose trials have all ended, the last one stopped early."""
    plan = ExperimentPlan(
        name="tiny",
        recipe="tiny",
        command="darkroom compare tiny",
        options=(VariedOption(option="architecture", values=tuple(map(told, settings))),),
        num_combinations=len(settings),
        prune_after=0,
        trials=tuple(
            TrialPlan(
                number=number,
                values=(Varied(option="architecture", value=told(each)),),
                dataset=dataset.reference,
                settings=each,
            )
            for number, each in enumerate(settings, start=1)
        ),
    )
    folder.mkdir()
    write_json(folder / "plan.json", plan.model_dump(mode="json"))
    for number in range(1, len(settings) + 1):
        accuracy = RIGHT[number - 1] / 15
        log: dict[str, Any] = {"loss": 1.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": accuracy, "seconds": 1.0}
        status: Any = "pruned" if number == len(RIGHT) else "complete"
        ended = TrialRecord(number=number, status=status, history=(EpochLog(epoch=1, stage="scratch", **log),))
        write_json(record_file(folder, number), ended.model_dump(mode="json"))
    return plan


def test_each_network_is_measured_once_and_stands_in_the_table_and_on_the_page(
    dataset: Dataset, workspace: Workspace, tmp_path: Path, plain_pictures: None
) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"optimizer": "sgd"},
        {"model": "cifar6"},
        {"model": "cifar6", "flip_average": True},
        {"model": "residual32"},
    ]
    settings = [BASE.model_copy(update=each) for each in changes]
    folder = tmp_path / "experiment"
    plan = planned(dataset, settings, folder)
    card = trials.finish(folder, plan.trials[2], "tiny-cifar6@0", None, workspace)
    costs = [row.cost for row in card.trials]
    assert costs[0] == costs[1] is not None
    assert costs[4] is None  # it was stopped early, and cannot lead
    names = ["cifar4, 32 x 32", "cifar6, 32 x 32", "cifar6, 32 x 32, flip-averaged"]
    assert [cost.network for cost in costs[1:4] if cost] == names
    for cost, name in zip(costs[1:3], ("cifar4", "cifar6"), strict=True):
        assert cost is not None
        num_bytes = 4 * build_scratch(name, (32, 32), 3, 0.0).count_params()
        assert num_bytes - 5_000 <= cost.megabytes * 1e6 <= 1.05 * num_bytes + 20_000
        assert cost.images_per_second > 10
    leaders = leader_board(card.trials)
    assert sorted(leader.cost.network for leader in leaders) == names
    assert {leader.cost.network: leader.row.number for leader in leaders}["cifar4, 32 x 32"] == 1
    table = duckdb.sql(f"select images_per_second, megabytes from '{folder}/trials.parquet' order by trial").fetchall()
    assert table == [(cost.images_per_second, cost.megabytes) if cost else (None, None) for cost in costs]
    page = (folder / "experiment.html").read_text()
    assert page.count("Leader board") == 1
    assert page.index("cifar6, 32 x 32") < page.index("cifar4, 32 x 32")


def test_where_all_trials_have_the_same_network_nothing_is_measured(
    dataset: Dataset, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "_measured", lambda network: pytest.fail("measured"))
    plan = planned(dataset, [BASE, BASE.model_copy(update={"optimizer": "sgd"})], tmp_path / "experiment")
    found = with_costs(plan, rows(tmp_path / "experiment", workspace), workspace)
    assert [row.cost for row in found] == [None, None]
    assert leader_board(found) == []


def row_of(number: int, num_correct: int, network: str, speed: float) -> TrialRow:
    return TrialRow(
        number=number,
        values=(),
        status="complete",
        reason=None,
        num_epochs=1,
        best_epoch=1,
        num_images=10,
        num_correct=num_correct,
        accuracy=num_correct / 10,
        interval=wilson_interval(num_correct, 10),
        loss=1.0,
        seconds=1.0,
        dataset="tiny@0",
        bundle="tiny@0",
        cost=NetworkCost(network=network, images_per_second=speed, megabytes=1.0),
    )


@given(st.lists(st.tuples(st.integers(0, 10), st.sampled_from((1.0, 2.0, 3.0, 5.0)), st.integers(0, 2)), max_size=8))
def test_the_line_goes_through_those_that_none_beats_in_both(drawn: list[tuple[int, float, int]]) -> None:
    """Two trials of the same network count once, by the better one."""
    table = [row_of(k, right, f"{speed}-{kind}", speed) for k, (right, speed, kind) in enumerate(drawn, start=1)]
    leaders = leader_board(table)
    best = {name: max(r.num_correct or 0 for r in table if r.cost and r.cost.network == name)
            for name in {r.cost.network for r in table if r.cost}}  # fmt: skip
    assert {leader.cost.network: leader.row.num_correct for leader in leaders} == best
    points = [(leader.cost.images_per_second, leader.row.num_correct or 0) for leader in leaders]
    on_the_line = {point for leader, point in zip(leaders, points, strict=True) if leader.is_on_the_line}
    unbeaten = {
        (speed, right)
        for speed, right in points
        if not any(s >= speed and r >= right and (s, r) != (speed, right) for s, r in points)
    }
    assert on_the_line == unbeaten
    assert [right for _, right in points] == sorted((right for _, right in points), reverse=True)
