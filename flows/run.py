"""Flow `run`: all of it, from a source to a table of predictions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from darkroom.data.stores.version_locks import in_use
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.descriptions import describe
from darkroom.flows.evaluate import evaluate
from darkroom.flows.explain import explain
from darkroom.flows.form_types import NotNegative
from darkroom.flows.ingest import ingest
from darkroom.flows.options import MAX_JUDGED
from darkroom.flows.recipe import Recipe, load_recipe
from darkroom.flows.results import IngestResult, RunResult, TrainResult, targets_of
from darkroom.flows.score import score
from darkroom.flows.settings import RunnerKind, open_workspace
from darkroom.flows.train import train
from darkroom.models.pages.navigation import EXPLAIN_FOLDER
from darkroom.models.settings import Precision
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.explain import choose_examples


def run_name(given: dict[str, Any]) -> str:
    """The name in the UI of a run of a recipe: that of the recipe or the source, and the date."""
    recipe = given["recipe"]
    name = recipe if isinstance(recipe, str) else recipe["name"] if isinstance(recipe, dict) else recipe.name
    return f"{name} {date.today()}"


@contextmanager
def trained(
    plan: Recipe, source: str | None, place: Workspace, max_judged: int, runner: RunnerKind | None, address: str | None
) -> Iterator[tuple[IngestResult, TrainResult]]:
    """The data set and the model of a recipe, made where they are missing.

    Within the block neither is cleaned away: what was found up to date may be an older version.

    Args:
        plan: The recipe.
        source: Images in place of the recipe's own; None for these.
        place: The workspace.
        max_judged, runner, address: As for `run`.
    """
    data = ingest(
        source or plan.source,
        plan.ingest_settings(),
        max_judged=max_judged,
        workspace=place.reference,
        runner=runner,
        address=address,
    )
    with in_use(place, Path(data.folder), Path(data.source_folder)):
        bundle = train(data.dataset, plan.train, place.reference, runner, address)
        with in_use(place, Path(bundle.folder)):
            yield data, bundle


@flow(name="run", flow_run_name=run_name)
def run(
    recipe: str | Recipe,
    source: str | None = None,
    workspace: str | None = None,
    runner: RunnerKind | None = None,
    address: str | None = None,
    precision: Precision = "auto",
    max_judged: NotNegative = MAX_JUDGED,
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
    with trained(plan, source, opened, max_judged, runner, address) as (data, bundle):
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
