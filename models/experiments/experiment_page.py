"""The page of an experiment: `experiment.html`, self-contained, and `experiment.png`, its plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from darkroom.data.files.atomic import atomic_file
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.experiments.experiment import ExperimentCard, TrialRow, ranked
from darkroom.models.experiments.leader_board import Leader, leader_board
from darkroom.models.experiments.search import NUM_UNSTOPPED
from darkroom.models.pages.navigation import EXPERIMENT_PAGE, experiment_navigation
from darkroom.models.pages.page import Picture, render, write_page

EXPERIMENT_PLOT = "experiment.png"
EXPERIMENT_FILES = (EXPERIMENT_PAGE, EXPERIMENT_PLOT)


@dataclass(frozen=True)
class ValueFigures:
    """The complete trials that share a value of an option.

    Attributes:
        option, value: As typed.
        num_trials: How many.
        mean: Their mean accuracy on validation.
        best: The highest accuracy of these.
    """

    option: str
    value: str
    num_trials: int
    mean: float
    best: float


def write_experiment_page(
    folder: Path, card: ExperimentCard, histories: Mapping[int, Sequence[EpochLog]], workspace: Workspace
) -> None:
    """Write the plot and the page; each appears whole or not at all.

    Args:
        folder: The experiment's.
        card: What to show; its list of files is not used.
        histories: The epochs of each trial, by its number.
        workspace: Where the pages that it links to are.
    """
    from darkroom.models.pages import plots  # which loads what draws

    order = ranked(card.trials)
    judged = [row for row in order if row.interval is not None]
    intervals = plots.trial_intervals(
        [
            (f"{row.number}  {_values(row)}", row.interval.low, row.accuracy, row.interval.high, row.status == "pruned")
            for row in judged
            if row.interval is not None and row.accuracy is not None
        ]
    )
    curves = plots.trial_curves(
        [([log.val_accuracy for log in histories[row.number]], row.status == "pruned") for row in judged]
    )
    datasets = sorted({row.dataset for row in card.trials})
    leaders = leader_board(card.trials)
    page = render(
        "experiment.html.j2",
        links=experiment_navigation(workspace, folder / EXPERIMENT_PAGE, card.bundle, datasets),
        card=card,
        best=card.best_row,
        told=", ".join(f"{varied.option} {varied.value}" for varied in card.best_row.values),
        trials=order,
        judged=judged,
        num_complete=len(card.with_status("complete")),
        num_alike=sum(1 for row in card.with_status("complete") if _overlap(row, card.best_row)) - 1,
        num_unstopped=NUM_UNSTOPPED,
        max_trials=plots.MAX_TRIALS,
        by_value=by_value(card),
        leaders=leaders,
        speeds=Picture.of_plot(plots.pareto([_point(leader) for leader in leaders])) if leaders else None,
        datasets=datasets,
        seconds=sum(row.seconds for row in card.trials),
        intervals=Picture.of_plot(intervals),
        curves=Picture.of_plot(curves),
    )
    with atomic_file(folder / EXPERIMENT_PLOT) as temporary:
        temporary.write_bytes(intervals)
    write_page(folder / EXPERIMENT_PAGE, page)


def by_value(card: ExperimentCard) -> list[ValueFigures]:
    """For each option, its values ordered by the mean accuracy of the complete trials that have them."""
    found = []
    for place, option in enumerate(card.options):
        figures = []
        for value in option.values:
            having = [row.accuracy for row in card.with_status("complete") if row.values[place].value == value]
            known = [accuracy for accuracy in having if accuracy is not None]
            if known:
                mean = sum(known) / len(known)
                figures.append(ValueFigures(option.option, value, len(known), mean, max(known)))
        found += sorted(figures, key=lambda row: -row.mean)
    return found


def _point(leader: Leader) -> tuple[str, float, float, tuple[float, float], bool]:
    """A network as its plot takes it."""
    row, cost = leader.row, leader.cost
    bounds = (row.interval.low, row.interval.high) if row.interval else (0.0, 1.0)
    return cost.network, cost.images_per_second, row.accuracy or 0.0, bounds, leader.is_on_the_line


def _values(row: TrialRow) -> str:
    return " · ".join(varied.value for varied in row.values)


def _overlap(row: TrialRow, best: TrialRow) -> bool:
    return row.interval is not None and best.interval is not None and row.interval.high >= best.interval.low
