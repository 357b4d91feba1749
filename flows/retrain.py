"""Flow `retrain`: what is newly labelled becomes a new version of a model, in use only if it is not worse."""

from __future__ import annotations

from darkroom.flows.evaluate import evaluate
from darkroom.flows.form_types import NotNegative
from darkroom.flows.options import MAX_JUDGED
from darkroom.flows.recipe import Recipe, load_recipe
from darkroom.flows.retrain_result import RetrainResult
from darkroom.flows.run import run_name, trained
from darkroom.flows.settings import RunnerKind, open_workspace
from darkroom.models.bundle.blessed import blessed_reference
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow


@flow(name="retrain", flow_run_name=run_name)
def retrain(
    recipe: str | Recipe,
    source: str | None = None,
    workspace: str | None = None,
    runner: RunnerKind | None = None,
    address: str | None = None,
    max_judged: NotNegative = MAX_JUDGED,
) -> RetrainResult:
    """Ingest what is newly labelled, train, and evaluate against the model in use on the same test images.

    The new version is in use from then on where it is blessed: where it is not worse. A scoring that runs meanwhile
    keeps the version that it began with. `rollback` returns to the one before.

    Args:
        recipe: A recipe's name, alone or as recipe:NAME, a YAML file, a source, or the recipe itself; its settings and
            its name are to be those of the model in use.
        source: The images, in place of the recipe's own source.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
        runner: Who works on the parts: threads, processes, dask or ray; None takes DARKROOM_RUNNER, or threads.
        address: Of the Dask or Ray cluster; None takes DARKROOM_RUNNER_ADDRESS.
        max_judged: Images whose labels are checked for `dataset.html`, chosen by their hashes; 0 checks none.
    """
    plan = load_recipe(recipe) if isinstance(recipe, str) else recipe
    place = open_workspace(workspace)
    with trained(plan, source, place, max_judged, runner, address) as (data, bundle):
        name = bundle.bundle.partition("@")[0]
        before = blessed_reference(place, name)
        report = evaluate(bundle.bundle, data.dataset, rules=plan.blessing, workspace=place.reference)
    now = blessed_reference(place, name)
    result = RetrainResult(ingest=data, train=bundle, evaluate=report, before=before, now=now)
    show_result(result.description(), "retraining", name)
    return result
