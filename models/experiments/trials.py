"""Running an experiment: its trials one by one, then the best one's bundle, the table and the page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.dataset.manifest import write_table
from darkroom.data.errors import DarkroomError, SettingError, WorkError
from darkroom.data.figures import count
from darkroom.data.files.atomic import remove_folder, write_json
from darkroom.data.files.cards import FileFact
from darkroom.data.files.locks import exclusive
from darkroom.data.stores.workspace import EXPERIMENT_CARD, Workspace
from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.experiments.experiment import (
    JOURNAL,
    PLAN,
    TRIALS,
    ExperimentCard,
    ExperimentPlan,
    HeldOutFigures,
    TrialPlan,
    TrialRecord,
    TrialRow,
    ended,
    ranked,
    read_plan,
    read_record,
    record_file,
    remove_states,
    rows,
    state_folder,
)
from darkroom.models.experiments.experiment_page import EXPERIMENT_FILES, write_experiment_page
from darkroom.models.experiments.leader_board import with_costs
from darkroom.models.experiments.search import ask, write_journal
from darkroom.models.training import model_version
from darkroom.models.training.train import train_network
from darkroom.models.training_loop.stage import TrainRequest

logger = logging.getLogger(__name__)


class Pruned(Exception):  # noqa: N818 - no error: the end of a trial
    """Ends a trial that is worse than the others were after as many epochs."""


def start(folder: Path, plan: ExperimentPlan, retry_failed: bool, workspace: Workspace) -> list[TrialPlan]:
    """Write the plan.

    Args:
        folder: The experiment's.
        plan: What to write.
        retry_failed: Run failed trials again.
        workspace: Where the data sets are.

    Returns:
        The trials to run, in order: those that have not ended and, with `retry_failed`, those that failed.

    Raises:
        SettingError: where the trials' data sets differ in their validation images.
    """
    datasets = [open_dataset(workspace.find_dataset(name)) for name in sorted({t.dataset for t in plan.trials})]
    different = {tuple(dataset.paths("validation")): dataset.reference for dataset in datasets}
    if len(different) > 1:
        raise SettingError(
            f"The trials would be evaluated on different validation images: those of "
            f"{' and '.join(different.values())} differ. Vary only settings that do not change them."
        )
    if len(datasets) > 1:
        logger.info(
            "The trials differ in how images are decoded, so each uses one of %s.",
            " and ".join(f"{d.reference} ({' x '.join(map(str, d.card.policy.image_size))} pixels)" for d in datasets),
        )
    write_json(folder / PLAN, plan.model_dump(mode="json"))
    if retry_failed:
        for trial in plan.trials:
            record = read_record(folder, trial.number)
            if record and record.status == "failed":
                (folder / EXPERIMENT_CARD).unlink(missing_ok=True)
                record_file(folder, trial.number).unlink()
    missing = [trial for trial in plan.trials if not record_file(folder, trial.number).is_file()]
    logger.info("%s, %d already finished.", count(len(plan.trials), "trial"), len(plan.trials) - len(missing))
    return missing


def train_trial(folder: Path, number: int, features: Path | None, workspace: Workspace) -> TrialRecord:
    """Train or resume one trial, and record how it ended; a failure is raised as well.

    Args:
        folder: The experiment's.
        number: The trial's.
        features: The folder of cached features, needed where the network has a pretrained backbone.
        workspace: Where the data set is.
    """
    import keras

    plan = read_plan(folder)
    trial = plan.trials[number - 1]
    logger.info("Trial %d of %d: %s", number, len(plan.trials), trial.told)
    keras.backend.clear_session()  # of the trials before it: their networks would stay in memory
    asked = ask(plan, trial, ended(folder))
    history: list[EpochLog] = []

    def watch(log: EpochLog) -> None:
        history.append(log)
        asked.report(log.val_accuracy, len(history))
        if plan.prune_after and asked.should_prune():
            raise Pruned(
                f"after {count(len(history), 'epoch')} its best accuracy was "
                f"{max(log.val_accuracy for log in history):.4f}, below the median of the complete trials at that epoch"
            )

    reason: str | None = None
    try:
        dataset = open_dataset(workspace.find_dataset(trial.dataset))
        train_network(TrainRequest(dataset, trial.settings, state_folder(folder, number), features, watch))
    except Pruned as pruned:
        reason = str(pruned)
    except Exception as error:
        record_failure(folder, number, error, history)
        raise
    record = TrialRecord(
        number=number, status="pruned" if reason else "complete", reason=reason, history=tuple(history)
    )
    if reason:
        logger.info("Trial %d is stopped early: %s.", number, reason)
    return _keep(folder, record)


def record_failure(folder: Path, number: int, error: Exception, history: Sequence[EpochLog] = ()) -> TrialRecord:
    """Record a trial that cannot be run. A failure of the machine says nothing of the trial, and is raised again.

    Args:
        folder: The experiment's.
        number: The trial's, from 1.
        error: What ended it.
        history: The epochs that it had.
    """
    known = read_record(folder, number)
    if known:
        return known
    if isinstance(error, OSError) or isinstance(error.__cause__, OSError):
        raise error
    said = " ".join(str(error).split())[:500]
    reason = said if isinstance(error, DarkroomError) else f"{type(error).__name__}: {said}"
    logger.info("Trial %d failed: %s", number, reason)
    return _keep(folder, TrialRecord(number=number, status="failed", reason=reason, history=tuple(history)))


def choose_best(folder: Path, workspace: Workspace) -> TrialPlan:
    """The best complete trial, by its validation figures alone.

    Args:
        folder: The experiment's.
        workspace: Where the data sets are.

    Raises:
        WorkError: where no trial is complete.
    """
    best = ranked(rows(folder, workspace))[0]
    if best.status != "complete":
        raise WorkError(
            f"All {len(ended(folder))} trials failed, the first with: {(best.reason or '').rstrip('.')}. Correct the "
            "settings, or repeat the trials with --retry-failed."
        )
    return read_plan(folder).trials[best.number - 1]


def hand_over(folder: Path, trial: TrialPlan, workspace: Workspace) -> None:
    """Move the trial's state to where `train` looks for it, so that nothing is trained twice.

    Args:
        folder: The experiment's.
        trial: The one that becomes the bundle.
        workspace: Where the bundle goes.
    """
    dataset = open_dataset(workspace.find_dataset(trial.dataset))
    with exclusive(workspace.models / model_version.bundle_name(dataset, trial.settings)):
        state = state_folder(folder, trial.number)
        if state.is_dir() and model_version.published_bundle(dataset, trial.settings, workspace) is None:
            staging = model_version.staging_folder(dataset, trial.settings, workspace)
            remove_folder(staging)  # of a training of its own that was killed
            state.rename(staging)


def finish(
    folder: Path, best: TrialPlan, bundle: str, test: HeldOutFigures | None, workspace: Workspace
) -> ExperimentCard:
    """Write the table, the plot, the page, Optuna's journal and, last, the card; the trials' states are removed.

    Args:
        folder: The experiment's.
        best: The trial that became the bundle.
        bundle: `name@version` of the bundle.
        test: Its figures on the test images; None where it was not evaluated.
        workspace: Where the data sets are.
    """
    plan = read_plan(folder)
    records, table = ended(folder), with_costs(plan, rows(folder, workspace), workspace)
    card = ExperimentCard(
        name=plan.name,
        version=plan.version,
        recipe=plan.recipe,
        command=plan.command,
        options=plan.options,
        num_combinations=plan.num_combinations,
        prune_after=plan.prune_after,
        trials=tuple(table),
        best=best.number,
        bundle=bundle,
        test=test,
        files=(),
    )
    write_table(folder / TRIALS, _table(plan, table))
    write_experiment_page(folder, card, {record.number: record.history for record in records}, workspace)
    write_journal(folder / JOURNAL, plan, records)
    facts = tuple(FileFact.of(folder, name) for name in (TRIALS, JOURNAL, *EXPERIMENT_FILES))
    card = card.model_copy(update={"files": facts})
    write_json(folder / EXPERIMENT_CARD, card.model_dump(mode="json"))
    remove_states(folder)
    return card


def _keep(folder: Path, record: TrialRecord) -> TrialRecord:
    """Write how a trial ended; the state of one that cannot become the bundle is removed."""
    write_json(record_file(folder, record.number), record.model_dump(mode="json"))
    if record.status != "complete":
        remove_folder(state_folder(folder, record.number))
    return record


def _table(plan: ExperimentPlan, table: Sequence[TrialRow]) -> pa.Table:
    """`trials.parquet`: the varied options are columns of their own, named as typed."""
    columns: dict[str, pa.Array] = {"trial": pa.array([row.number for row in table], pa.int32())}
    for place, option in enumerate(plan.options):
        columns[option.option] = pa.array([row.values[place].value for row in table], pa.string())
    columns |= {
        "status": pa.array([row.status for row in table], pa.string()),
        "reason": pa.array([row.reason for row in table], pa.string()),
        "num_epochs": pa.array([row.num_epochs for row in table], pa.int32()),
        "best_epoch": pa.array([row.best_epoch for row in table], pa.int32()),
        "num_images": pa.array([row.num_images for row in table], pa.int64()),
        "num_correct": pa.array([row.num_correct for row in table], pa.int64()),
        "validation_accuracy": pa.array([row.accuracy for row in table], pa.float64()),
        "accuracy_low": pa.array([row.interval.low if row.interval else None for row in table], pa.float64()),
        "accuracy_high": pa.array([row.interval.high if row.interval else None for row in table], pa.float64()),
        "validation_loss": pa.array([row.loss for row in table], pa.float64()),
        "seconds": pa.array([row.seconds for row in table], pa.float64()),
        "dataset": pa.array([row.dataset for row in table], pa.string()),
        "bundle": pa.array([row.bundle for row in table], pa.string()),
    }
    costs = [row.cost for row in table]
    if any(costs):
        columns["images_per_second"] = pa.array([cost and cost.images_per_second for cost in costs], pa.float64())
        columns["megabytes"] = pa.array([cost and cost.megabytes for cost in costs], pa.float64())
    return pa.table(columns)
