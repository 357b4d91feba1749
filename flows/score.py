"""Flow `score`: a folder of images, or some files, become a prediction table."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from darkroom.data.files.locks import exclusive
from darkroom.data.settings import DecoderMismatch
from darkroom.data.stores.folders import folder_at
from darkroom.data.stores.version_locks import in_use
from darkroom.flows.count_tables import count_tables
from darkroom.flows.descriptions import describe
from darkroom.flows.form_types import AtLeastOne, Split
from darkroom.flows.options import ROWS_PER_PART
from darkroom.flows.results import ScoreResult
from darkroom.flows.runners import choose_runner, open_workers
from darkroom.flows.scoring_input import images_given
from darkroom.flows.settings import RunnerKind, decoder_rule, default_table, open_table, open_workspace
from darkroom.flows.watch_result import WatchResult, settle
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.prediction_table.schema import TOP_K, TopK, check_top_k
from darkroom.models.scoring.exported_file import TableFormat, check_form, say_outdated
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.summary import ScoreSummary
from darkroom.models.settings import Precision
from darkroom.models.watching.limits import Limits
from darkroom.models.watching.request import WatchRequest
from darkroom.models.watching.watch import Watched
from darkroom.tasks import score as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.watching import watch, watched_before
from darkroom.tasks.window import submit_all


def _name(given: dict[str, Any]) -> str:
    """The name of Prefect's run: the images, the date and the model."""
    images = given["folder"] or given.get("files")
    said = images if isinstance(images, str) else f"{len(images or ())} files"
    return f"{said} {date.today()} {given['model']}"


@flow(name="score", flow_run_name=_name)
def score(
    folder: str | list[str] | None,
    model: str,
    out: str | None = None,
    rows_per_part: AtLeastOne = ROWS_PER_PART,
    dataset: str | None = None,
    split: Split = "test",
    retry_quarantined: bool = False,
    precision: Precision = "auto",
    embeddings: bool = False,
    workspace: str | None = None,
    runner: RunnerKind | None = None,
    address: str | None = None,
    decoder_mismatch: DecoderMismatch | None = None,
    rescore: bool = False,
    files: str | None = None,
    top_k: TopK = TOP_K,
    format: TableFormat = "parquet",  # noqa: A002 -- as the option is called
    limits: Limits | None = None,
) -> ScoreResult:
    """Score every file of a folder, or some files, with a model bundle.

    Args:
        folder: Required, unless `files` is given. The images, in a folder or at a URL, subfolders too; or an image
            file, or a list of them.
        model: A model: a name (the blessed version, else the newest), name@newest, name@blessed, name@version, or a
            path; `imagenet`, `imagenet-lite1` and `imagenet-lite2` are ready-made.
        out: Folder or URL for the table; None takes one in the workspace's scores, named after
            folder and model.
        rows_per_part: Files in one part of the table.
        dataset: Score only the files of one split of this data set, ingested from that folder; None scores all.
        split: That split.
        retry_quarantined: Try files again that an earlier run quarantined, though they look unchanged.
        precision: fp32, int8, or auto: int8 where it gave the same answers as fp32 on validation images.
        embeddings: Add the column `embedding`, the features that the network's last layer decides by.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
        runner: Who works on the parts: threads, processes, dask or ray; None takes DARKROOM_RUNNER, or threads.
        address: Of the Dask or Ray cluster; None takes DARKROOM_RUNNER_ADDRESS.
        decoder_mismatch: Where the model or the rows of an earlier run had a decoder that gives other pixels: warn and
            score those rows again, or strict, which refuses; None takes DARKROOM_DECODER_MISMATCH, or warn.
        rescore: Replace a table that another version of a model made; without it such a table is an error.
        files: A text file of paths to score, one per line, in place of a folder.
        top_k: Classes that a row keeps, the most likely first: a number, or all.
        format: Write the whole table also as one file, CSV or JSON lines, beside the table's folder; parquet writes the
            folder alone.
        limits: What the run may be like, each limit a warning or a failure; None takes the defaults (docs/watching.md).
    """
    started, clock = datetime.now(UTC), time.monotonic()
    check_top_k(top_k)
    images = images_given(folder, files)
    place, workers = open_workspace(workspace), choose_runner(runner, address)
    found = tasks.find_bundle(model, place)
    bundle = found.folder
    request = ScoreRequest(
        folder=images,
        bundle=bundle,
        out=open_table(out, default_table(images, bundle, place), place),
        chosen=found.choice,
        rescore=rescore,
        rows_per_part=rows_per_part,
        dataset=place.find_dataset(dataset) if dataset else None,
        split=split,
        precision=precision,
        embeddings=embeddings,
        retry_quarantined=retry_quarantined,
        decoder_mismatch=decoder_rule(decoder_mismatch),
        top_k=top_k,
    )
    table = request.out
    check_form(table, format)
    used = in_use(place, bundle, request.dataset, images if isinstance(images, Path) else None)
    with used, exclusive(table.paths.work), open_workers(workers, table.paths.work) as pool:
        plan = tasks.plan_scoring(request)
        done = []
        with tasks.share_network(bundle, plan.engine) as network:
            arguments = ((table.folder, index, plan.num_parts, network) for index in range(plan.num_parts))
            with closing(submit_all(pool, tasks.score_part, arguments, plan.num_parts, "score")) as parts:
                for part in parts:
                    table.share_part(part.index)
                    done.append(part)
        summary = tasks.summarize(table, done, started.isoformat(timespec="seconds"), time.monotonic() - clock)
        say_outdated(table.paths, format, summary)
        exported = tasks.write_form(table, format, summary) if format != "parquet" else None
        watched = None if summary.listed else _watched(request, summary, limits)
    result = ScoreResult.of(summary, table.reference, images, exported)
    if watched:
        result = result.model_copy(update={"watched": WatchResult.of(watched)})
    show_result(describe(result).with_tables(*count_tables(result)), "scoring", table.folder.name)
    return settle(result, watched, table.folder.name) if watched else result


def _watched(request: ScoreRequest, summary: ScoreSummary, limits: Limits | None) -> Watched:
    """The whole table, as the images of this run; where none was scored, what came of the run before."""
    table = request.out
    asked = WatchRequest(
        table=table,
        parts=tuple(table.paths.parts()),
        images=folder_at(summary.folder),
        bundle=open_bundle(request.bundle),
        started_at=summary.started_at,
        images_per_second=summary.images_per_second,
        limits=limits or Limits(),
    )
    is_known = summary.rows_reused == summary.num_files
    return (watched_before(asked, summary.num_files) if is_known else None) or watch(asked)
