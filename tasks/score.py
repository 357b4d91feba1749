"""Tasks of the score flow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from darkroom.data.files.lease import Lease, Shared, working_under
from darkroom.data.stores.model_choice import FoundModel
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle import imagenet
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.onnx.runtime import Engine, Runner
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.scoring import exported_file, parts, plan, summary
from darkroom.models.scoring.exported_file import TableFormat
from darkroom.models.scoring.parts import PartDone
from darkroom.models.scoring.plan import ScorePlan
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.summary import ScoreSummary
from darkroom.tasks.decorators import run_id, task
from darkroom.tasks.names import numbered
from darkroom.tasks.retries import PART_DELAY_SECONDS, RETRIES, machine_failed

SharedNetwork = Shared[tuple[Runner, Bundle]]


@task()
def find_bundle(model: str, workspace: Workspace) -> FoundModel:
    """A bundle by its reference, and why that version; the ready-made one is built on first use."""
    return imagenet.find_bundle(model, workspace)


def share_network(bundle: Path, engine: Engine) -> SharedNetwork:
    """The network for all parts of a run, loaded by the first one in each process."""
    return Shared(partial(parts.open_runner, bundle, engine))


@task()
def plan_scoring(request: ScoreRequest) -> ScorePlan:
    """List the files to score."""
    return plan.plan_scoring(request, open_bundle(request.bundle))


@task(
    task_run_name=numbered("score part"),
    retries=RETRIES,
    retry_delay_seconds=PART_DELAY_SECONDS,
    retry_condition_fn=machine_failed,
)
def score_part(out: Path, index: int, total: int, network: SharedNetwork, lease: Lease | None = None) -> PartDone:
    """Score the files of one part and write it; `total` is for its name."""
    with working_under(lease):
        return parts.score_part(out, index, *network.get(lease))


@task()
def write_form(out: TableOutput, form: TableFormat, made: ScoreSummary) -> str | None:
    """Write the table in another form; gives its path or URL."""
    return exported_file.write_form(out, form, made)


@task()
def summarize(out: TableOutput, done: Sequence[PartDone], started_at: str, seconds: float) -> ScoreSummary:
    """Count the rows and write the summary."""
    made = summary.summarize(out.folder, done, started_at, seconds, run_id())
    out.share_table()
    return made
