"""Flow `ingest`: a source becomes a data set."""

from __future__ import annotations

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.files.locks import exclusive
from darkroom.data.ingest.plan import share_dataset
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.settings import DecoderMismatch
from darkroom.data.stores.version_locks import in_use
from darkroom.data.stores.workspace import name_from
from darkroom.flows.descriptions import class_counts, describe
from darkroom.flows.form_types import NotNegative
from darkroom.flows.options import MAX_JUDGED
from darkroom.flows.results import IngestResult
from darkroom.flows.runners import choose_runner, open_workers
from darkroom.flows.settings import RunnerKind, decoder_rule, open_workspace
from darkroom.tasks import ingest as tasks
from darkroom.tasks import inspect_source as pages
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.window import submit_all


@flow(name="ingest", flow_run_name="{source} {date}")
def ingest(
    source: str,
    settings: IngestSettings | None = None,
    retry_quarantined: bool = False,
    max_judged: NotNegative = MAX_JUDGED,
    workspace: str | None = None,
    runner: RunnerKind | None = None,
    address: str | None = None,
    decoder_mismatch: DecoderMismatch | None = None,
) -> IngestResult:
    """Ingest a source: a folder, an archive, the URL of either, kaggle:owner/dataset or sample:NAME.

    Args:
        source: Where the images are.
        settings: How they are labelled, split, decoded and stored; None names the data set after its source.
        retry_quarantined: Read files again that an earlier ingest quarantined, though they look unchanged.
        max_judged: Images whose labels are checked for `dataset.html`, chosen by their hashes; 0 checks none.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
        runner: Who works on the parts: threads, processes, dask or ray; None takes DARKROOM_RUNNER, or threads.
        address: Of the Dask or Ray cluster; None takes DARKROOM_RUNNER_ADDRESS.
        decoder_mismatch: Where an earlier ingest had a decoder that gives other pixels: warn and decode all files
            again, or strict, which refuses; None takes DARKROOM_DECODER_MISMATCH, or warn.
    """
    place, workers = open_workspace(workspace), choose_runner(runner, address)
    rules = settings or IngestSettings(name=name_from(source))
    found = tasks.fetch_source(source, place)
    request = IngestRequest(found, rules, place, retry_quarantined, decoder_rule(decoder_mismatch))
    used = in_use(place, found.folder)
    with used, exclusive(request.folder), open_workers(workers, request.folder) as pool:
        plan = tasks.plan_ingest(request)
        folder, num_known = plan.published, 0
        if folder is None:
            arguments = ((plan.staging, index, plan.num_parts) for index in range(plan.num_parts))
            parts = submit_all(pool, tasks.write_part, arguments, plan.num_parts, "ingest")
            num_known = sum(part.num_known for part in parts)
            folder = tasks.publish_dataset(plan.staging, place)
        chosen = pages.choose_shards(folder, max_judged)
        features = list(submit_all(pool, pages.extract_shard_features, chosen, len(chosen), "labels"))
        pages.write_dataset_page(folder, features, found, f"darkroom ingest {source} --name {rules.name}")
        share_dataset(folder, place)
    card = open_dataset(folder).card
    result = IngestResult.of(card, folder, found, plan.published is not None, num_known)
    show_result(describe(result).with_tables(class_counts(card)), "dataset", card.name)
    return result
