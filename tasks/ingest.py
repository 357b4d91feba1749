"""Tasks of the ingest flow."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.files.lease import Lease, working_under
from darkroom.data.files.provenance import complete_run_record, write_run_record
from darkroom.data.ingest import parts, plan, publication
from darkroom.data.ingest.parts import PartCounts
from darkroom.data.ingest.plan import Planned
from darkroom.data.ingest.request import IngestRequest
from darkroom.data.sources.resolve import Source, resolve
from darkroom.data.stores.workspace import Workspace
from darkroom.tasks.decorators import run_id, task
from darkroom.tasks.names import numbered
from darkroom.tasks.retries import FETCH_DELAYS_SECONDS, PART_DELAY_SECONDS, RETRIES, machine_failed


@task(retries=RETRIES, retry_delay_seconds=list(FETCH_DELAYS_SECONDS), retry_condition_fn=machine_failed)
def fetch_source(reference: str, workspace: Workspace) -> Source:
    """Fetch a source to a local folder."""
    return resolve(reference, workspace)


@task()
def plan_ingest(request: IngestRequest) -> Planned:
    """List and label the files."""
    planned = plan.plan_ingest(request)
    if planned.published:
        complete_run_record(planned.published, "ingest", run_id(), request.settings.model_dump(mode="json"))
    return planned


@task(
    task_run_name=numbered("write part"),
    retries=RETRIES,
    retry_delay_seconds=PART_DELAY_SECONDS,
    retry_condition_fn=machine_failed,
)
def write_part(staging: Path, index: int, total: int, lease: Lease | None = None) -> PartCounts:
    """Decode one part of the files and write its shards; `total` is for its name."""
    with working_under(lease):
        return parts.write_part(staging, index)


@task()
def publish_dataset(staging: Path, workspace: Workspace) -> Path:
    """Merge the parts and publish them under a version."""
    settings = plan.read_plan(staging).settings.model_dump(mode="json")
    folder = publication.publish(staging, workspace)
    write_run_record(folder, "ingest", run_id(), settings)
    return folder
