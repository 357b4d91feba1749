"""Tasks of the compare flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from darkroom.data.files.provenance import complete_run_record, write_run_record
from darkroom.data.stores.workspace import Workspace
from darkroom.models.experiments import experiment, trials
from darkroom.models.experiments.experiment import (
    ExperimentCard,
    ExperimentPlan,
    HeldOutFigures,
    TrialPlan,
    TrialRecord,
    TrialRow,
)
from darkroom.tasks.decorators import run_id, task


@task()
def start_experiment(folder: Path, plan: ExperimentPlan, retry_failed: bool, workspace: Workspace) -> list[TrialPlan]:
    """Write the plan; returns the trials that have not ended."""
    return trials.start(folder, plan, retry_failed, workspace)


@task()
def find_experiment(folder: Path, workspace: Workspace) -> ExperimentCard | None:
    """The experiment's card, where it is finished."""
    card = experiment.find_experiment(folder, workspace)
    if card:
        complete_run_record(folder, "compare", run_id(), _settings(folder))
    return card


@task(task_run_name="trial {number}: {told}")
def train_trial(folder: Path, number: int, told: str, features: Path | None, workspace: Workspace) -> TrialRecord:
    """Train one trial and record how it ended; `told` names it in the UI."""
    return trials.train_trial(folder, number, features, workspace)


@task(task_run_name="record that trial {number} failed")
def record_failure(folder: Path, number: int, error: Exception) -> TrialRecord:
    """Record a trial that cannot be run."""
    return trials.record_failure(folder, number, error)


@task()
def read_trials(folder: Path, workspace: Workspace) -> list[TrialRow]:
    """The trials that have ended, best first."""
    return experiment.ranked(experiment.rows(folder, workspace))


@task()
def choose_best(folder: Path, workspace: Workspace) -> TrialPlan:
    """The best trial on validation; its state is moved to where `train` resumes it."""
    best = trials.choose_best(folder, workspace)
    trials.hand_over(folder, best, workspace)
    return best


@task()
def finish_experiment(
    folder: Path, best: TrialPlan, bundle: str, test: HeldOutFigures | None, workspace: Workspace
) -> ExperimentCard:
    """Write the table, the plot, the page and the card."""
    card = trials.finish(folder, best, bundle, test, workspace)
    write_run_record(folder, "compare", run_id(), _settings(folder))
    return card


def _settings(folder: Path) -> dict[str, Any]:
    return experiment.read_plan(folder).model_dump(mode="json")
