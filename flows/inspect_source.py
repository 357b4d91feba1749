"""Flow `inspect`: what an ingest would find, without one.

The file is not called `inspect.py`: run as a script from this folder, another file would take it for Python's module.
"""

from __future__ import annotations

from darkroom.data.files.locks import exclusive
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.stores.workspace import INSPECTION_CARD, name_from
from darkroom.flows.descriptions import describe
from darkroom.flows.form_types import NotNegative
from darkroom.flows.options import MAX_JUDGED
from darkroom.flows.results import InspectResult
from darkroom.flows.runners import choose_runner, open_workers
from darkroom.flows.settings import RunnerKind, open_folder, open_workspace
from darkroom.flows.up_to_date import inspect_command
from darkroom.models.inspecting.dataset_page import find_inspection
from darkroom.tasks import ingest as ingest_tasks
from darkroom.tasks import inspect_source as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.window import submit_all


@flow(name="inspect", flow_run_name="{source} {date}")
def inspect(
    source: str,
    settings: IngestSettings | None = None,
    out: str | None = None,
    max_judged: NotNegative = MAX_JUDGED,
    workspace: str | None = None,
    runner: RunnerKind | None = None,
    address: str | None = None,
) -> InspectResult:
    """Look over a source: class balance, sizes, outliers, duplicates, suspected label errors.

    Args:
        source: A folder, an archive, the URL of either, kaggle:owner/dataset or sample:NAME.
        settings: How an ingest would label, split and decode it; None names it after the source.
        out: Folder or URL for `dataset.html` and `inspection.json`; None takes one in the workspace's
            `inspections`, named after the source.
        max_judged: Images whose labels are checked, chosen by their hashes; 0 checks none.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
        runner: Who works on the parts: threads, processes, dask or ray; None takes DARKROOM_RUNNER, or threads.
        address: Of the Dask or Ray cluster; None takes DARKROOM_RUNNER_ADDRESS.
    """
    place, workers = open_workspace(workspace), choose_runner(runner, address)
    rules = (settings or IngestSettings(name=name_from(source))).for_inspection()
    folder, at = open_folder(out, place.inspection(rules.name), place)
    found = ingest_tasks.fetch_source(source, place)
    command = inspect_command(source, max_judged)
    if done := find_inspection(found, rules, folder, command):
        at.replace(folder, INSPECTION_CARD)
        return InspectResult.of(done, folder, reused=True)
    request = IngestRequest(found, rules, place.inspection_work)
    with exclusive(request.folder), open_workers(workers, request.folder) as pool:
        plan = ingest_tasks.plan_ingest(request)
        arguments = ((plan.staging, index, plan.num_parts) for index in range(plan.num_parts))
        parts = list(submit_all(pool, ingest_tasks.write_part, arguments, plan.num_parts, "read"))
        chosen = tasks.choose_judged(plan.staging, parts, max_judged)
        features = list(submit_all(pool, tasks.extract_features, chosen, len(chosen), "features"))
        inspection = tasks.write_inspection(plan.staging, features, found, folder, command)
    at.replace(folder, INSPECTION_CARD)
    result = InspectResult.of(inspection, folder, reused=False)
    show_result(describe(result), "inspection", rules.name)
    return result
