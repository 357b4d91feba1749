"""The tables of trials that the terminal and Prefect show."""

from __future__ import annotations

from darkroom.flows.trial_tables import describe_trials
from darkroom.models.experiments.experiment import NetworkCost, TrialRow, Varied
from darkroom.models.measures.intervals import wilson_interval


def row_of(number: int, num_correct: int, network: str | None, speed: float = 1.0) -> TrialRow:
    return TrialRow(
        number=number,
        values=(Varied(option="architecture", value=f"net{number}"),),
        status="complete",
        reason=None,
        num_epochs=7,
        best_epoch=1,
        num_images=100,
        num_correct=num_correct,
        accuracy=num_correct / 100,
        interval=wilson_interval(num_correct, 100),
        loss=1.0,
        seconds=61.0,
        dataset="tiny@0",
        bundle="tiny@0",
        cost=NetworkCost(network=network, images_per_second=speed, megabytes=18.63) if network else None,
    )


def test_the_leader_board_follows_the_trials_where_networks_differ() -> None:
    shown = describe_trials(
        "tiny-0", [row_of(2, 95, "large, 260 x 260", 12.4), row_of(1, 90, "small, 160 x 160", 1234)]
    )
    trials, leaders = shown.tables
    assert trials.cells[0] == ("2", "net2", "complete", "7", "0.9500", "0.888 to 0.978", "61 s", "")
    assert leaders.columns == ("network", "validation", "95 % interval", "images/s", "MB", "on the Pareto line")
    assert leaders.cells == (
        ("large, 260 x 260", "0.9500", "0.888 to 0.978", "12", "18.6", "yes"),
        ("small, 160 x 160", "0.9000", "0.826 to 0.945", "1,234", "18.6", "yes"),
    )
    beaten = describe_trials("tiny-0", [row_of(2, 95, "large, 260 x 260", 12.4), row_of(1, 90, "small, 160 x 160", 12)])
    assert [cells[-1] for cells in beaten.tables[1].cells] == ["yes", ""]


def test_without_costs_there_are_the_trials_alone() -> None:
    assert [table.title for table in describe_trials("tiny-0", [row_of(1, 90, None)]).tables] == [
        "Trials, the best first"
    ]
