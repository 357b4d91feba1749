"""Flow `score-inbox`: what is new in a folder is added to a table that grows night by night."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

from darkroom.data.files.locks import Waiting, exclusive
from darkroom.data.settings import DecoderMismatch
from darkroom.data.stores.folders import folder_at
from darkroom.data.stores.storage import place_from
from darkroom.flows.count_tables import count_tables
from darkroom.flows.descriptions import describe
from darkroom.flows.form_types import AtLeastOne, Seconds
from darkroom.flows.inbox_result import InboxResult
from darkroom.flows.options import ROWS_PER_PART
from darkroom.flows.runners import choose_runner, open_workers
from darkroom.flows.settings import (
    RunnerKind,
    decoder_rule,
    default_inbox_table,
    inbox_rules,
    open_table,
    open_workspace,
)
from darkroom.flows.watch_result import WatchResult, settle
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.inbox.request import InboxRequest, now_in, patterns
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.settings import Precision
from darkroom.models.watching.limits import Limits
from darkroom.models.watching.request import WatchRequest
from darkroom.tasks import score_inbox as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.score import find_bundle
from darkroom.tasks.watching import watch
from darkroom.tasks.window import submit_all


def _name(given: dict[str, Any]) -> str:
    """The name of Prefect's run: the folder, the night and the model."""
    night = now_in(inbox_rules(time_zone=given.get("time_zone")).time_zone).date()
    return f"{given['folder']} {night} {given['model']}"


@flow(name="score-inbox", flow_run_name=_name)
def score_inbox(
    folder: str,
    model: str,
    out: str | None = None,
    rows_per_part: AtLeastOne = ROWS_PER_PART,
    rescore: bool = False,
    exclude: str | None = None,
    settle_seconds: Seconds | None = None,
    time_zone: str | None = None,
    wait_seconds: Seconds | None = None,
    precision: Precision = "auto",
    embeddings: bool = False,
    workspace: str | None = None,
    runner: RunnerKind | None = None,
    address: str | None = None,
    decoder_mismatch: DecoderMismatch | None = None,
    limits: Limits | None = None,
) -> InboxResult:
    """Score what is new in a folder since the last run, and add it to the folder's table.

    Args:
        folder: The inbox, a folder or a URL; subfolders too.
        model: A model: a name (the blessed version, else the newest), name@newest, name@blessed, name@version, or a
            path; `imagenet`, `imagenet-lite1` and `imagenet-lite2` are ready-made.
        out: Folder or URL for the table; None takes one in the workspace's scores, named after
            inbox and model.
        rows_per_part: Files in one part of the table.
        rescore: Also score files that another version of a model has scored; its rows stay.
        exclude: Patterns of paths to leave out, such as raw/*,*.xml; hidden files and unfinished downloads always are.
        settle_seconds: A file that was changed within so many seconds may still be written, and waits for the next run;
            None takes DARKROOM_SETTLE_SECONDS, or 60.
        time_zone: Says which night it is, such as Europe/Berlin; None takes DARKROOM_TIME_ZONE, or the machine's own.
        wait_seconds: How long to wait for another run that writes the same table; None takes DARKROOM_WAIT_SECONDS, or
            300.
        precision: fp32, int8, or auto: int8 where it gave the same answers as fp32 on validation images.
        embeddings: Add the column `embedding`, the features that the network's last layer decides by.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
        runner: Who works on the parts: threads, processes, dask or ray; None takes DARKROOM_RUNNER, or threads.
        address: Of the Dask or Ray cluster; None takes DARKROOM_RUNNER_ADDRESS.
        decoder_mismatch: Where the model had a decoder that gives other pixels: warn, or strict, which refuses; None
            takes DARKROOM_DECODER_MISMATCH, or warn.
        limits: What a night may be like, each limit a warning or a failure; None takes the defaults (docs/watching.md).
    """
    clock, rules = time.monotonic(), inbox_rules(settle_seconds, time_zone, wait_seconds)
    started = now_in(rules.time_zone)
    place, workers = open_workspace(workspace), choose_runner(runner, address)
    images, found = place_from(folder), find_bundle(model, place)
    request = InboxRequest(
        ScoreRequest(
            folder=images,
            bundle=found.folder,
            out=open_table(out, default_inbox_table(images, found.folder, place), place),
            chosen=found.choice,
            rescore=rescore,
            rows_per_part=rows_per_part,
            precision=precision,
            embeddings=embeddings,
            decoder_mismatch=decoder_rule(decoder_mismatch),
        ),
        started,
        patterns(exclude),
        rules.settle_seconds,
    )
    table = request.table
    waiting = Waiting(tasks.run_name(), rules.wait_seconds)
    with exclusive(table.paths.work, waiting=waiting), open_workers(workers, table.paths.work) as pool:
        plan = tasks.plan_night(request)
        with tasks.share_network(found.folder, plan) as network:
            arguments = (
                (table.out.folder, index, plan.score.num_parts, network) for index in range(plan.score.num_parts)
            )
            with closing(submit_all(pool, tasks.stage_part, arguments, plan.score.num_parts, "score")) as parts:
                done = [tasks.publish_part(request, plan, part) for part in parts]
        summary = tasks.summarize_night(request, plan, done, time.monotonic() - clock)
        watched = watch(
            WatchRequest(
                table=table.out,
                parts=tuple(table.out.folder / name for name in summary.parts),
                images=folder_at(summary.folder),
                bundle=open_bundle(found.folder),
                started_at=summary.started_at,
                images_per_second=summary.images_per_second,
                limits=limits or Limits(),
            )
        )
    result = InboxResult.of(summary, table.out.reference).model_copy(update={"watched": WatchResult.of(watched)})
    show_result(describe(result).with_tables(*count_tables(result)), "scoring", table.out.folder.name)
    tasks.emit_scored(summary, table.out.reference)
    return settle(result, watched, table.out.folder.name)
