"""What Optuna does for an experiment: drawing combinations at random, and pruning poor trials.

Its study is built from the records of the ended trials whenever it is asked, so that there is nothing else that a
killed run could leave damaged: the same records give the same decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.data.files.atomic import atomic_file
from darkroom.models.experiments.experiment import ExperimentPlan, TrialPlan, TrialRecord
from darkroom.models.training_loop.techniques.early_stopping import best_epoch

if TYPE_CHECKING:
    from optuna import Study, Trial

# Trials that must be complete before another is pruned by comparison with them.
NUM_UNSTOPPED = 3
_SEED = 0


def draw(num_combinations: int, num_trials: int) -> list[int]:
    """Random search: indices of different combinations, the same on every call.

    Args:
        num_combinations: Of all values; indices are below it.
        num_trials: How many to draw, at most `num_combinations`.
    """
    optuna = _optuna()
    grid = list(range(num_combinations))
    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"index": grid}, seed=_SEED))
    drawn = {"index": optuna.distributions.CategoricalDistribution(grid)}
    return [int(study.ask(drawn).params["index"]) for _ in range(num_trials)]


def ask(plan: ExperimentPlan, trial: TrialPlan, records: Sequence[TrialRecord]) -> Trial:
    """Optuna's view of a trial that is about to run, next to those that have ended.

    It prunes by the median of the earlier trials at the same epoch (`optuna.pruners.MedianPruner`).

    Args:
        plan: The experiment's.
        trial: The one to run.
        records: The trials that have ended.
    """
    optuna = _optuna()
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.GridSampler({o.option: list(o.values) for o in plan.options}, seed=_SEED),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=NUM_UNSTOPPED, n_warmup_steps=plan.prune_after),
    )
    _add_ended(study, plan, [record for record in records if record.number < trial.number])
    study.enqueue_trial({varied.option: varied.value for varied in trial.values})
    asked: Trial = study.ask(_distributions(plan))
    return asked


def write_journal(path: Path, plan: ExperimentPlan, records: Sequence[TrialRecord]) -> None:
    """Write the ended trials as an Optuna journal, for its own tools; the file appears whole or not at all.

    Args:
        path: The file.
        plan: The experiment's.
        records: The trials that have ended.
    """
    optuna = _optuna()
    with atomic_file(path) as temporary:
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(temporary)))
        study = optuna.create_study(study_name=f"{plan.name}-{plan.version}", direction="maximize", storage=storage)
        _add_ended(study, plan, records)


def _add_ended(study: Study, plan: ExperimentPlan, records: Sequence[TrialRecord]) -> None:
    optuna = _optuna()
    states = {
        "complete": optuna.trial.TrialState.COMPLETE,
        "pruned": optuna.trial.TrialState.PRUNED,
        "failed": optuna.trial.TrialState.FAIL,
    }
    for record in records:
        kept = best_epoch(list(record.history)) if record.history else None
        study.add_trial(
            optuna.trial.create_trial(
                state=states[record.status],
                value=kept.val_accuracy if kept and record.status != "failed" else None,
                params={varied.option: varied.value for varied in plan.trials[record.number - 1].values},
                distributions=_distributions(plan),
                user_attrs={"trial": record.number, "reason": record.reason},
                intermediate_values={step: log.val_accuracy for step, log in enumerate(record.history, start=1)},
            )
        )


def _distributions(plan: ExperimentPlan) -> dict[str, Any]:
    optuna = _optuna()
    return {option.option: optuna.distributions.CategoricalDistribution(option.values) for option in plan.options}


def _optuna() -> Any:
    """Optuna with its own log turned off."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
