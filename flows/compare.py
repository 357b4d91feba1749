"""Flow `compare`: a recipe with every combination of some settings; the best becomes a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.files.locks import exclusive
from darkroom.data.stores.version_locks import in_use
from darkroom.data.stores.workspace import EXPERIMENT_CARD, Workspace
from darkroom.flows.evaluate import evaluate
from darkroom.flows.form_types import AtLeastOne, NotNegative
from darkroom.flows.ingest import ingest
from darkroom.flows.options import MAX_JUDGED
from darkroom.flows.results import CompareResult
from darkroom.flows.runners import Runner, choose_runner
from darkroom.flows.settings import RunnerKind, open_workspace
from darkroom.flows.train import cached_features, train
from darkroom.flows.trial_tables import describe_trials
from darkroom.flows.variations import Variation, command, variations, with_new_names
from darkroom.models.experiments.experiment import ExperimentPlan, HeldOutFigures, TrialPlan, Varied, VariedOption
from darkroom.models.experiments.search import draw
from darkroom.models.measures.intervals import Interval
from darkroom.models.settings import BlessingRules
from darkroom.tasks import compare as tasks
from darkroom.tasks.artifacts import show_progress, show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.pages import link_pages


@flow(name="compare", flow_run_name="{recipe} {date}")
def compare(
    recipe: str,
    vary: dict[str, list[str]],
    changes: dict[str, Any] | None = None,
    trials: AtLeastOne | None = None,
    prune_after: NotNegative = 5,
    retry_failed: bool = False,
    source: str | None = None,
    max_judged: NotNegative = MAX_JUDGED,
    workspace: str | None = None,
    runner: RunnerKind | None = None,
    address: str | None = None,
) -> CompareResult:
    """Train a recipe with every combination of some settings, evaluated on validation; the best becomes a bundle.

    Args:
        recipe: A recipe's name, alone or as recipe:NAME, a YAML file, or a source.
        vary: Values by option of `darkroom run`, as they are typed there.
        changes: Settings in place of the recipe's, nested as they are in it, the same in all trials.
        trials: Draw this many combinations at random; None takes all.
        prune_after: Epochs that every trial gets before it can be stopped early; 0 stops none.
        retry_failed: Make trials again that failed.
        source: A local copy of the images, in place of the recipe's own source.
        max_judged: Images whose labels are checked for `dataset.html`, chosen by their hashes; 0 checks none.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
        runner: Who works on the parts: threads, processes, dask or ray; None takes DARKROOM_RUNNER, or threads.
        address: Of the Dask or Ray cluster; None takes DARKROOM_RUNNER_ADDRESS.
    """
    place, workers = open_workspace(workspace), choose_runner(runner, address)
    vary = with_new_names(vary)
    combinations = variations(recipe, vary, changes or {})
    chosen = _drawn(combinations, trials)
    plan = ExperimentPlan(
        name=chosen[0].recipe.name,
        recipe=recipe,
        command=command(recipe, vary, changes or {}, trials, prune_after),
        options=tuple(VariedOption(option=option, values=tuple(values)) for option, values in vary.items()),
        num_combinations=len(combinations),
        prune_after=prune_after,
        trials=_planned(chosen, _ingested(chosen, source, max_judged, place, workers)),
    )
    folder = place.experiment(plan.name, plan.version)
    with in_use(place, *(place.find_dataset(trial.dataset) for trial in plan.trials)), exclusive(folder):
        place.fetch(folder, EXPERIMENT_CARD)
        missing = tasks.start_experiment(folder, plan, retry_failed, place)
        card = done = tasks.find_experiment(folder, place)
        if card is None:
            for trial in missing:
                _make(folder, trial, place, workers)
                _show_trials(folder, plan, place)
            best = tasks.choose_best(folder, place)
            bundle = train(best.dataset, best.settings, place.reference, workers.kind, workers.address)
            test = _judged(bundle.bundle, best, chosen[0].recipe.blessing, place)
            card = tasks.finish_experiment(folder, best, bundle.bundle, test, place)
        place.replace(folder, EXPERIMENT_CARD)
    link_pages(place.find_model(card.bundle), place)
    return CompareResult.of(card, folder, reused=done is not None)


def _drawn(combinations: Sequence[Variation], num_trials: int | None) -> Sequence[Variation]:
    """All combinations in order, or `num_trials` of them at random."""
    if num_trials is None or num_trials >= len(combinations):
        return combinations
    return [combinations[index] for index in draw(len(combinations), num_trials)]


def _planned(chosen: Sequence[Variation], datasets: Sequence[str]) -> tuple[TrialPlan, ...]:
    return tuple(
        TrialPlan(
            number=number,
            values=tuple(Varied(option=option, value=value) for option, value in variation.values),
            dataset=dataset,
            settings=variation.recipe.train,
        )
        for number, (variation, dataset) in enumerate(zip(chosen, datasets, strict=True), start=1)
    )


def _ingested(
    chosen: Sequence[Variation], source: str | None, max_judged: int, place: Workspace, workers: Runner
) -> list[str]:
    """The data set of each variation; those with the same ingest settings share one."""
    made: dict[str, str] = {}
    for variation in chosen:
        settings = variation.recipe.ingest_settings()
        key = settings.model_dump_json()
        if key not in made:
            made[key] = ingest(
                source or variation.recipe.source,
                settings,
                max_judged=max_judged,
                workspace=place.reference,
                runner=workers.kind,
                address=workers.address,
            ).dataset
    return [made[variation.recipe.ingest_settings().model_dump_json()] for variation in chosen]


def _make(folder: Path, trial: TrialPlan, place: Workspace, workers: Runner) -> None:
    """One trial; where it cannot be made, that is its result."""
    try:
        features = cached_features(open_dataset(place.find_dataset(trial.dataset)), trial.settings, workers)
        tasks.train_trial(folder, trial.number, trial.told, features, place)
    except Exception as error:
        tasks.record_failure(folder, trial.number, error)


def _show_trials(folder: Path, plan: ExperimentPlan, place: Workspace) -> None:
    """Show the trials that have ended, and how many are left."""
    ended = tasks.read_trials(folder, place)
    show_result(describe_trials(f"{plan.name}-{plan.version}", ended), "trials", plan.name)
    show_progress(100 * len(ended) / len(plan.trials), "Trials that have ended", "trials-done", plan.name)


def _judged(bundle: str, best: TrialPlan, rules: BlessingRules, place: Workspace) -> HeldOutFigures | None:
    """The only look at the test images; None where there are none."""
    if not open_dataset(place.find_dataset(best.dataset)).card.num_images("test"):
        return None
    report = evaluate(bundle, best.dataset, rules=rules, workspace=place.reference)
    return HeldOutFigures(
        num_images=report.num_images,
        num_correct=report.num_correct,
        accuracy=report.accuracy,
        interval=Interval(low=report.accuracy_low, high=report.accuracy_high),
    )
