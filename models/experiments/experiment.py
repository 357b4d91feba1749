"""An experiment: one data set, several settings, each a trial; the best on validation becomes a bundle.

<folder>/
  plan.json            the trials that are to be made, with all their settings; written first
  trial-00001.json     a trial that has ended: how, why, and its epochs; a file each
  .staging-00001/      the state of a trial that has not ended, or may still become the bundle
  trials.parquet       one row a trial
  experiment.html      the page for people, and its plot `experiment.png`
  optuna.journal       the same trials for Optuna's own tools, such as its dashboard
  experiment.json      the card; written last, its presence means done
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.files.atomic import remove_folder
from darkroom.data.files.cards import FileFact, read_card
from darkroom.data.files.hashing import content_version
from darkroom.data.stores.workspace import BUNDLE_CARD, EXPERIMENT_CARD, Workspace
from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.measures.metrics import Frozen, Interval, wilson_interval
from darkroom.models.settings import TrainSettings
from darkroom.models.training import model_version
from darkroom.models.training_loop.early_stopping import best_epoch

SCHEMA_VERSION = 1
# Raised whenever the same plan would give other trials.
CODE_VERSION = 1
TRIALS = "trials.parquet"
JOURNAL = "optuna.journal"
PLAN = "plan.json"

Status = Literal["complete", "pruned", "failed"]


class Varied(Frozen):
    """An option with one of its values, as typed."""

    option: str
    value: str


class VariedOption(Frozen):
    """An option with all its requested values, as typed."""

    option: str
    values: tuple[str, ...]


class TrialPlan(Frozen):
    """A trial: its number, from 1, what is varied in it, and everything that decides its result."""

    number: int
    values: tuple[Varied, ...]
    dataset: str
    settings: TrainSettings

    @property
    def told(self) -> str:
        """`optimizer=adam, augment=none`."""
        return ", ".join(f"{varied.option}={varied.value}" for varied in self.values)


class ExperimentPlan(Frozen):
    """The plan of an experiment.

    Attributes:
        name: Of the data set.
        recipe: What all trials have in common, as the user named it.
        command: The command line that asks for it.
        options: What is varied.
        num_combinations: Of all values; more than there are trials where some were drawn.
        prune_after: Epochs that every trial has before it can be stopped as hopeless; 0 never stops one.
        trials: In the order in which they are made.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    recipe: str
    command: str
    options: tuple[VariedOption, ...]
    num_combinations: int
    prune_after: int
    trials: tuple[TrialPlan, ...]

    @property
    def version(self) -> str:
        """Of the data and all settings; recipe and command are only words for them."""
        trials = [(trial.dataset, trial.settings.model_dump(mode="json")) for trial in self.trials]
        return content_version(CODE_VERSION, model_version.CODE_VERSION, self.prune_after, trials)


class TrialRecord(Frozen):
    """How a trial ended; `reason` says why where it is not complete, `history` numbers the epochs of each stage."""

    schema_version: int = SCHEMA_VERSION
    number: int
    status: Status
    reason: str | None = None
    history: tuple[EpochLog, ...] = ()


class TrialRow(Frozen):
    """A trial with its figures, those of the epoch whose weights are kept; None where there is no epoch.

    Attributes:
        num_correct: Validation images that are right, of `num_images`.
        interval: 95 % Wilson score interval of the accuracy.
        loss: Mean cross-entropy on validation, with the trial's own label smoothing.
        seconds: Of its epochs.
        bundle: The name and version that `darkroom train` gives a bundle of these settings.
    """

    number: int
    values: tuple[Varied, ...]
    status: Status
    reason: str | None
    num_epochs: int
    best_epoch: int | None
    num_images: int
    num_correct: int | None
    accuracy: float | None
    interval: Interval | None
    loss: float | None
    seconds: float
    dataset: str
    bundle: str


class HeldOutFigures(Frozen):
    """The bundle on images that neither trained nor chose it."""

    num_images: int
    num_correct: int
    accuracy: float
    interval: Interval


class ExperimentCard(Frozen):
    """`experiment.json`; `best` is the number of the trial that became the bundle."""

    schema_version: int = SCHEMA_VERSION
    name: str
    version: str
    recipe: str
    command: str
    options: tuple[VariedOption, ...]
    num_combinations: int
    prune_after: int
    trials: tuple[TrialRow, ...]
    best: int
    bundle: str
    test: HeldOutFigures | None
    files: tuple[FileFact, ...]

    @property
    def best_row(self) -> TrialRow:
        return next(row for row in self.trials if row.number == self.best)

    def with_status(self, status: Status) -> list[TrialRow]:
        return [row for row in self.trials if row.status == status]


def find_experiment(folder: Path, workspace: Workspace) -> ExperimentCard | None:
    """The card of an experiment that is done and whose bundle is still there."""
    if not (folder / EXPERIMENT_CARD).is_file():
        return None
    card = read_card(folder / EXPERIMENT_CARD, ExperimentCard, SCHEMA_VERSION)
    name, _, version = card.bundle.partition("@")
    if not (workspace.fetch(workspace.model(name, version), BUNDLE_CARD) / BUNDLE_CARD).is_file():
        return None
    remove_states(folder)
    return card


def read_plan(folder: Path) -> ExperimentPlan:
    """The plan of an experiment."""
    return read_card(folder / PLAN, ExperimentPlan, SCHEMA_VERSION)


def read_record(folder: Path, number: int) -> TrialRecord | None:
    """How a trial ended; None where it has not."""
    file = record_file(folder, number)
    return read_card(file, TrialRecord, SCHEMA_VERSION) if file.is_file() else None


def ended(folder: Path) -> list[TrialRecord]:
    """The records of all trials that have ended, by number."""
    return [read_card(file, TrialRecord, SCHEMA_VERSION) for file in sorted(folder.glob("trial-*.json"))]


def rows(folder: Path, workspace: Workspace) -> list[TrialRow]:
    """The trials that have ended, with their figures, by number."""
    plan = read_plan(folder)
    datasets = {name: open_dataset(workspace.find_dataset(name)) for name in {t.dataset for t in plan.trials}}
    found = []
    for record in ended(folder):
        trial = plan.trials[record.number - 1]
        found.append(_row(trial, record, datasets[trial.dataset]))
    return found


def ranked(trials: Iterable[TrialRow]) -> list[TrialRow]:
    """Best first: complete before stopped before failed; then by accuracy, then by loss, then by number.

    By accuracy and not by loss, since the loss of a trial with label smoothing is another quantity.
    """
    order = ("complete", "pruned", "failed")
    return sorted(trials, key=lambda row: (order.index(row.status), -(row.num_correct or 0), row.loss or 0, row.number))


def record_file(folder: Path, number: int) -> Path:
    """Where a trial's record stands once it has ended."""
    return folder / f"trial-{number:05d}.json"


def state_folder(folder: Path, number: int) -> Path:
    """Where a trial's training keeps its state."""
    return folder / f".staging-{number:05d}"


def remove_states(folder: Path) -> None:
    """Remove the states of all trials: none of them is needed any more."""
    for state in folder.glob(".staging-*"):
        remove_folder(state)


def _row(trial: TrialPlan, record: TrialRecord, dataset: Dataset) -> TrialRow:
    num_images = dataset.card.num_images("validation")
    history = list(record.history)
    kept = best_epoch(history) if history else None
    num_correct = round(kept.val_accuracy * num_images) if kept else None
    name = model_version.bundle_name(dataset, trial.settings)
    return TrialRow(
        number=record.number,
        values=trial.values,
        status=record.status,
        reason=record.reason,
        num_epochs=len(history),
        best_epoch=history.index(kept) + 1 if kept else None,
        num_images=num_images,
        num_correct=num_correct,
        accuracy=None if num_correct is None else num_correct / num_images,
        interval=None if num_correct is None else wilson_interval(num_correct, num_images),
        loss=kept.val_loss if kept else None,
        seconds=round(sum(log.seconds for log in history), 3),
        dataset=trial.dataset,
        bundle=f"{name}@{model_version.bundle_version(dataset, trial.settings)}",
    )
