"""An experiment: one data set, several settings, each a trial; the best on validation becomes a bundle.

<folder>/
  plan.json            the trials that are to be made, with all their settings; written first
  trial-00001.json     a trial that has ended: how, why, and its epochs; a file each
  .staging-00001/      the state of a trial that has not ended, or may still become the bundle
  trials.parquet       one row per trial
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
from darkroom.models.measures.intervals import Frozen, Interval, wilson_interval
from darkroom.models.settings import TrainSettings
from darkroom.models.training import model_version
from darkroom.models.training_loop.techniques.early_stopping import best_epoch

SCHEMA_VERSION = 1
# Raised whenever the same plan would give other trials.
CODE_VERSION = 1
TRIALS = "trials.parquet"
JOURNAL = "optuna.journal"
PLAN = "plan.json"

Status = Literal["complete", "pruned", "failed"]


class Varied(Frozen):
    """One value of a varied option.

    Attributes:
        option: As typed, without dashes.
        value: As typed.
    """

    option: str
    value: str


class VariedOption(Frozen):
    """An option, and all values to try.

    Attributes:
        option: As typed, without dashes.
        values: As typed.
    """

    option: str
    values: tuple[str, ...]


class TrialPlan(Frozen):
    """A trial, and all that decides its result.

    Attributes:
        number: From 1.
        values: What is varied in it.
        dataset: `name@version`.
        settings: Of the training.
    """

    number: int
    values: tuple[Varied, ...]
    dataset: str
    settings: TrainSettings

    @property
    def told(self) -> str:
        """The varied values as text, such as `optimizer=adam, augment=none`."""
        return ", ".join(f"{varied.option}={varied.value}" for varied in self.values)


class ExperimentPlan(Frozen):
    """The plan of an experiment.

    Attributes:
        name: The data set's.
        recipe: What all trials have in common, as the user named it.
        command: The command line that asks for it.
        options: What is varied.
        num_combinations: Of all values; more than there are trials where some were drawn.
        prune_after: Epochs that every trial gets before it can be stopped early; 0 stops none.
        trials: In the order in which they are run.
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
        """A hash of the data and all settings; recipe and command only describe these."""
        trials = [(trial.dataset, trial.settings.model_dump(mode="json")) for trial in self.trials]
        return content_version(CODE_VERSION, model_version.CODE_VERSION, self.prune_after, trials)


class TrialRecord(Frozen):
    """How a trial ended.

    Attributes:
        number: From 1.
        status: `complete`, `pruned` or `failed`.
        reason: Why it is not complete; None where it is.
        history: Its epochs, numbered within each stage.
    """

    schema_version: int = SCHEMA_VERSION
    number: int
    status: Status
    reason: str | None = None
    history: tuple[EpochLog, ...] = ()


class NetworkCost(Frozen):
    """What scoring with a network costs on this machine, whatever its weights.

    Attributes:
        network: Its architecture and image size, in words.
        images_per_second: By ONNX Runtime, fp32, on one processor; without decoding.
        megabytes: Of its ONNX file.
    """

    network: str
    images_per_second: float
    megabytes: float


class TrialRow(Frozen):
    """A trial with the figures of the epoch whose weights are kept; None where there is no epoch.

    Attributes:
        number: From 1.
        values: What is varied in it.
        status: `complete`, `pruned` or `failed`.
        reason: Why it is not complete; None where it is.
        num_epochs: Epochs run.
        best_epoch: The epoch whose weights are kept; the first is 1.
        num_images: Validation images.
        num_correct: Those that are right.
        accuracy: Their share.
        interval: 95 % Wilson score interval of the accuracy.
        loss: Mean cross-entropy on validation, with the trial's own label smoothing.
        seconds: The sum over its epochs.
        dataset: `name@version`.
        bundle: The name and version that `darkroom train` gives a bundle of these settings.
        cost: Of its network; None where all trials have the same one.
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
    cost: NetworkCost | None = None


class HeldOutFigures(Frozen):
    """The best bundle on images that neither trained nor selected it.

    Attributes:
        num_images: Test images.
        num_correct: Those that are right.
        accuracy: Their share.
        interval: 95 % Wilson score interval of the accuracy.
    """

    num_images: int
    num_correct: int
    accuracy: float
    interval: Interval


class ExperimentCard(Frozen):
    """The card of an experiment, `experiment.json`.

    Attributes:
        name: The data set's.
        version: A hash of the data and all settings.
        recipe, command, options, num_combinations, prune_after: As in `ExperimentPlan`.
        trials: Those that were run, by number.
        best: The number of the trial that became the bundle.
        bundle: `name@version` of that bundle.
        test: Its figures on the test images; None where it was not evaluated.
        files: Of the experiment's folder.
    """

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
        """The trial that became the bundle."""
        return next(row for row in self.trials if row.number == self.best)

    def with_status(self, status: Status) -> list[TrialRow]:
        """The trials that ended with a status: `complete`, `pruned` or `failed`."""
        return [row for row in self.trials if row.status == status]


def find_experiment(folder: Path, workspace: Workspace) -> ExperimentCard | None:
    """The card of a finished experiment whose bundle still exists; None where there is none.

    Args:
        folder: The experiment's.
        workspace: Where the bundle is looked for.

    Raises:
        FormatError: where the card is damaged.
    """
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
    """How a trial ended; None where it has not.

    Args:
        folder: The experiment's.
        number: The trial's, from 1.
    """
    file = record_file(folder, number)
    return read_card(file, TrialRecord, SCHEMA_VERSION) if file.is_file() else None


def ended(folder: Path) -> list[TrialRecord]:
    """The records of all trials that have ended, by number."""
    return [read_card(file, TrialRecord, SCHEMA_VERSION) for file in sorted(folder.glob("trial-*.json"))]


def rows(folder: Path, workspace: Workspace) -> list[TrialRow]:
    """The trials that have ended, with their figures, by number.

    Args:
        folder: The experiment's.
        workspace: Where the data sets are.
    """
    plan = read_plan(folder)
    datasets = {name: open_dataset(workspace.find_dataset(name)) for name in {t.dataset for t in plan.trials}}
    found = []
    for record in ended(folder):
        trial = plan.trials[record.number - 1]
        found.append(_row(trial, record, datasets[trial.dataset]))
    return found


def ranked(trials: Iterable[TrialRow]) -> list[TrialRow]:
    """The trials, best first: complete before pruned before failed; then by accuracy, by loss, and by number.

    By accuracy and not by loss, because the losses of trials with different label smoothing cannot be compared.
    """
    order = ("complete", "pruned", "failed")
    return sorted(trials, key=lambda row: (order.index(row.status), -(row.num_correct or 0), row.loss or 0, row.number))


def record_file(folder: Path, number: int) -> Path:
    """The file of a trial's record, written once it has ended.

    Args:
        folder: The experiment's.
        number: The trial's, from 1.
    """
    return folder / f"trial-{number:05d}.json"


def state_folder(folder: Path, number: int) -> Path:
    """The folder in which a trial's training keeps its state.

    Args:
        folder: The experiment's.
        number: The trial's, from 1.
    """
    return folder / f".staging-{number:05d}"


def remove_states(folder: Path) -> None:
    """Remove the states of all trials, none of which is needed any more."""
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
