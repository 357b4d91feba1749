"""The trials of an experiment as tables: each of them, and each network by its best."""

from __future__ import annotations

from collections.abc import Sequence

from darkroom.data.figures import duration, fraction, interval
from darkroom.models.experiments.experiment import TrialRow
from darkroom.models.experiments.leader_board import Leader, leader_board
from darkroom.models.pages.description import Description, Row, Table, cells_of

ENDED = {"complete": "complete", "pruned": "stopped early", "failed": "failed"}


def describe_trials(experiment: str, trials: Sequence[TrialRow]) -> Description:
    """The trials of an experiment that have ended."""
    row = Row(label="trials", text=f"{len(trials):,} ended")
    return Description(title=f"Trials of {experiment}", rows=(row,)).with_tables(*trial_tables(trials))


def trial_tables(trials: Sequence[TrialRow]) -> tuple[Table, ...]:
    """The trials in the order given and, where their networks differ, the leader board."""
    leaders = leader_board(trials)
    return (_trials(trials), *([_leaders(leaders)] if leaders else []))


def _trials(trials: Sequence[TrialRow]) -> Table:
    options = [varied.option for varied in trials[0].values] if trials else []
    cells = cells_of(
        (
            row.number,
            *(varied.value for varied in row.values),
            *(ENDED[row.status], row.num_epochs, fraction(row.accuracy)),
            interval(row.interval.low, row.interval.high) if row.interval else "",
            *(duration(row.seconds), row.reason),
        )
        for row in trials
    )
    columns = ("trial", *options, "ended", "epochs", "validation", "95 % interval", "time", "reason")
    return Table(title="Trials, the best first", columns=columns, cells=cells)


def _leaders(leaders: Sequence[Leader]) -> Table:
    cells = cells_of(
        (
            leader.cost.network,
            fraction(leader.row.accuracy),
            interval(leader.row.interval.low, leader.row.interval.high) if leader.row.interval else "",
            f"{leader.cost.images_per_second:,.0f}",
            f"{leader.cost.megabytes:.1f}",
            "yes" if leader.is_on_the_line else "",
        )
        for leader in leaders
    )
    columns = ("network", "validation", "95 % interval", "images/s", "MB", "on the Pareto line")
    return Table(title="Leader board: images/s on one processor, without decoding", columns=columns, cells=cells)
