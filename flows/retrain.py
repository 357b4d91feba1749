"""Flow `retrain`: what is newly labelled becomes a new version of a model, in use only if it is better."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from darkroom.data.stores.version_locks import in_use
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.descriptions import describe
from darkroom.flows.evaluate import evaluate
from darkroom.flows.ingest import ingest
from darkroom.flows.options import MAX_JUDGED
from darkroom.flows.recipe import Recipe, load_recipe
from darkroom.flows.results import EvaluateResult, IngestResult, SelfDescribed, TrainResult
from darkroom.flows.run import run_name
from darkroom.flows.settings import RunnerKind, open_workspace
from darkroom.flows.train import train
from darkroom.models.bundle.blessed import read_blessed
from darkroom.models.pages.description import Description, Row
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow


class RetrainResult(SelfDescribed):
    """A retraining: its steps, and which version was in use before and is now; None where none is."""

    ingest: IngestResult
    train: TrainResult
    evaluate: EvaluateResult
    before: str | None
    now: str | None

    def description(self) -> Description:
        """Whether another version is in use, and what was done for it."""
        steps = [describe(step) for step in (self.ingest, self.train, self.evaluate)]
        said = "no version" if self.now is None else self.now
        if self.now == self.before:
            state = f"{said}, as before"
        else:
            state = f"{said}, in place of {self.before}" if self.before else f"{said}, the first"
        told = {"in use", "folder", "trained on"}
        rows = [Row(label="in use", text=state)]
        for step in steps:
            rows += [row for row in step.rows if row.label not in told]
            told |= {"model"} if step is steps[1] else set()
        remarks = tuple(remark for step in steps for remark in step.remarks)
        return Description(title=f"Retraining of {self.train.bundle}", rows=tuple(rows), remarks=remarks)


@flow(name="retrain", flow_run_name=run_name)
def retrain(
    recipe: str | Recipe,
    source: str | None = None,
    workspace: str | None = None,
    runner: RunnerKind | None = None,
    address: str | None = None,
    max_judged: int = MAX_JUDGED,
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
    where = place.reference
    settings = plan.ingest_settings()
    data = ingest(
        source or plan.source, settings, max_judged=max_judged, workspace=where, runner=runner, address=address
    )
    with ExitStack() as used:
        used.enter_context(in_use(place, Path(data.folder)))
        bundle = train(data.dataset, plan.train, where, runner, address)
        used.enter_context(in_use(place, Path(bundle.folder)))
        name = bundle.bundle.partition("@")[0]
        before = _in_use(name, place)
        report = evaluate(bundle.bundle, data.dataset, rules=plan.blessing, workspace=where)
    result = RetrainResult(ingest=data, train=bundle, evaluate=report, before=before, now=_in_use(name, place))
    show_result(result.description(), "retraining", name)
    return result


def _in_use(name: str, place: Workspace) -> str | None:
    """`name@version` of a model's blessed version; None where it has none."""
    card = read_blessed(place, name)
    return f"{name}@{card.current}" if card else None
