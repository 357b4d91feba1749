"""Flow `run`: all of it, from a source to a table of predictions."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from darkroom.data.stores.version_locks import in_use
from darkroom.flows.descriptions import describe
from darkroom.flows.evaluate import evaluate
from darkroom.flows.explain import explain
from darkroom.flows.ingest import ingest
from darkroom.flows.options import MAX_JUDGED
from darkroom.flows.recipe import Recipe, load_recipe
from darkroom.flows.results import RunResult, targets_of
from darkroom.flows.score import score
from darkroom.flows.settings import RunnerKind, open_workspace
from darkroom.flows.train import train
from darkroom.models.pages.navigation import EXPLAIN_FOLDER
from darkroom.models.settings import Precision
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.explain import choose_examples


def run_name() -> str:
    """The name in the UI of a run of a recipe: that of the recipe or the source."""
    from prefect.runtime import flow_run

    recipe = flow_run.get_parameters()["recipe"]
    return str(recipe if isinstance(recipe, str) else recipe["name"] if isinstance(recipe, dict) else recipe.name)


@flow(name="run", flow_run_name=run_name)
def run(
    recipe: str | Recipe,
    source: str | None = None,
    workspace: str | None = None,
    runner: RunnerKind | None = None,
    address: str | None = None,
    precision: Precision = "auto",
    max_judged: int = MAX_JUDGED,
) -> RunResult:
    """Ingest, train, evaluate, explain, and score the test images (or the new images that come with a sample).

    Args:
        recipe: A recipe's name, alone or as recipe:NAME, a YAML file, a source, or the recipe itself.
        source: A local copy of the images, in place of the recipe's own source.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
        runner: Who works on the parts: threads, processes, dask or ray; None takes DARKROOM_RUNNER, or threads.
        address: Of the Dask or Ray cluster; None takes DARKROOM_RUNNER_ADDRESS.
        precision: Of scoring: fp32, int8, or auto: int8 where it gave the same answers as fp32 on validation images.
        max_judged: Images whose labels are checked for `dataset.html`, chosen by their hashes; 0 checks none.
    """
    plan = load_recipe(recipe) if isinstance(recipe, str) else recipe
    opened = open_workspace(workspace)
    place = opened.reference
    data = ingest(
        source or plan.source,
        plan.ingest_settings(),
        max_judged=max_judged,
        workspace=place,
        runner=runner,
        address=address,
    )
    with ExitStack() as used:  # an older version that was found up to date is not cleaned away between two steps
        used.enter_context(in_use(opened, Path(data.folder), Path(data.source_folder)))
        bundle = train(data.dataset, plan.train, place, runner, address)
        used.enter_context(in_use(opened, Path(bundle.folder)))
        report = evaluate(bundle.bundle, data.dataset, rules=plan.blessing, workspace=place)
        examples = choose_examples(Path(bundle.folder), Path(data.source_folder))
        pictures = explain(bundle.bundle, examples, str(Path(report.report).parent / EXPLAIN_FOLDER), workspace=place)
        judged = None if data.new_images else data.dataset
        images = data.new_images or data.source_folder
        table = score(
            images,
            bundle.bundle,
            dataset=judged,
            precision=precision,
            workspace=place,
            runner=runner,
            address=address,
        )
    result = RunResult(
        ingest=data, train=bundle, evaluate=report, explain=pictures, score=table, targets=targets_of(plan, report)
    )
    show_result(describe(result), "run", plan.name)
    return result
