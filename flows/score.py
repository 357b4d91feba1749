"""Flow `score`: a folder of images becomes a prediction table."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow

from darkroom.data.files.locks import exclusive
from darkroom.data.settings import DecoderMismatch
from darkroom.data.stores.storage import place_from
from darkroom.data.stores.workspace import Workspace, name_from
from darkroom.flows.results import ScoreResult
from darkroom.flows.runners import choose_runner, open_workers
from darkroom.flows.settings import RunnerKind, decoder_rule, open_mirror, open_workspace
from darkroom.models.scoring.output import TableOutput
from darkroom.models.scoring.plan import check_places
from darkroom.models.scoring.schema import WORK_FOLDER
from darkroom.models.settings import Precision
from darkroom.tasks import score as tasks
from darkroom.tasks.window import submit_all


@flow(name="score", flow_run_name="{folder}")
def score(
    folder: str,
    model: str,
    out: str | None = None,
    rows_per_part: int = 1000,
    dataset: str | None = None,
    split: str = "test",
    retry_quarantined: bool = False,
    precision: Precision = "auto",
    embeddings: bool = False,
    workspace: str | None = None,
    runner: RunnerKind | None = None,
    address: str | None = None,
    decoder_mismatch: DecoderMismatch | None = None,
) -> ScoreResult:
    """Score every file of a folder with a model bundle.

    Args:
        folder: The images, in a folder or at a URL; subfolders too.
        model: A bundle: a name (newest version), name@version, name@blessed, or a path; `imagenet` is ready-made.
        out: Folder or URL for the table; None takes scores/<folder's name>-<bundle> in the workspace.
        rows_per_part: Files in one part of the table.
        dataset: Score only the files of one split of this data set, ingested from that folder; None scores all.
        split: That split.
        retry_quarantined: Try files again that an earlier run set aside, though they look unchanged.
        precision: fp32, int8, or auto: int8 where it gave the same answers as fp32 on validation images.
        embeddings: Add the column `embedding`, the features that the network's last layer decides by.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
        runner: Who works on the parts: threads, processes, dask or ray; None takes DARKROOM_RUNNER, or threads.
        address: Of the Dask or Ray cluster; None takes DARKROOM_RUNNER_ADDRESS.
        decoder_mismatch: Where the model or the rows of an earlier run had a decoder that gives other pixels: warn and
            score those rows again, or strict, which refuses; None takes DARKROOM_DECODER_MISMATCH, or warn.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    place, workers = open_workspace(workspace), choose_runner(runner, address)
    images, bundle = place_from(folder), tasks.find_bundle(model, place)
    name = name_from(str(images.resolve() if isinstance(images, Path) else images))
    target = _output(out, place, f"{name}-{bundle.parent.name}-{bundle.name}")
    only = place.find_dataset(dataset) if dataset else None
    check_places(images, target.folder)
    target.check_apart(images)
    work = target.folder / WORK_FOLDER
    with exclusive(work, target.folder), open_workers(workers, work) as pool:
        how = (retry_quarantined, precision, embeddings, decoder_rule(decoder_mismatch))
        plan = tasks.plan_scoring(images, bundle, target, rows_per_part, only, split, *how)
        arguments = ((target.folder, index, bundle) for index in range(plan.num_parts))
        reused = 0
        with closing(submit_all(pool, tasks.score_part, arguments, plan.num_parts, "score")) as parts:
            for part in parts:
                target.share_part(part.index)
                reused += part.num_reused
        summary = tasks.summarize(target, reused, started.isoformat(timespec="seconds"), time.monotonic() - clock)
    return ScoreResult.of(summary, target.reference)


def _output(given: str | None, workspace: Workspace, run: str) -> TableOutput:
    """Where a table goes: the folder or URL as given, or `scores/<run>` in the workspace."""
    if given is None:
        folder = workspace.scores / run
        inside = folder.relative_to(workspace.root).as_posix() if workspace.mirror else ""
        return TableOutput(folder, workspace.mirror, inside)
    place = place_from(given)
    if isinstance(place, Path):
        return TableOutput(place.resolve())
    mirror = open_mirror(place)
    return TableOutput(mirror.folder, mirror)
