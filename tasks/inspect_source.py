"""Tasks of the inspect flow."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.files.lease import Lease, working_under
from darkroom.data.ingest.parts import PartCounts
from darkroom.data.ingest.plan import read_plan
from darkroom.data.sources.resolve import Source
from darkroom.data.stores.workspace import INSPECTION_CARD
from darkroom.models.inspecting import inspection
from darkroom.models.inspecting.dataset_page import mark_up_to_date, source_thumbnails
from darkroom.models.inspecting.dataset_page import write_inspection as write
from darkroom.models.inspecting.inspection import Inspection, extract_part_features, inspect_staging
from darkroom.models.inspecting.label_error_page import write_label_error_page
from darkroom.models.inspecting.label_errors import export_judge
from darkroom.models.pages.fingerprint import MADE_CARD
from darkroom.tasks.decorators import task
from darkroom.tasks.progress import one_step


@task()
def choose_judged(staging: Path, parts: Sequence[PartCounts], max_judged: int) -> list[tuple[Path, int, Path, float]]:
    """What `extract_features` is called with for each part; nothing where no label is to be checked."""
    num_ok = sum(part.num_ok for part in parts)
    if max_judged == 0 or num_ok == 0:
        return []
    backbone = staging / "label-features" / "backbone.onnx"
    export_judge(backbone)
    return [(staging, part.index, backbone, min(1.0, max_judged / num_ok)) for part in parts]


@task(task_run_name="features of part {index}, to check labels")
def extract_features(staging: Path, index: int, backbone: Path, share: float, lease: Lease | None = None) -> Path:
    """Compute the features of a share of one part's images."""
    with working_under(lease):
        return extract_part_features(staging, index, read_plan(staging).label_map, backbone, share)


@task()
def choose_shards(folder: Path, max_judged: int) -> list[tuple[Path, str, Path, float]]:
    """What `extract_shard_features` is called with; nothing where no label is to be checked, or the page exists."""
    dataset = open_dataset(folder)
    if max_judged == 0 or (folder / INSPECTION_CARD).is_file():
        return []
    backbone = folder / "features" / ".labels" / "backbone.onnx"
    export_judge(backbone)
    share = min(1.0, max_judged / dataset.card.num_ok)
    return [(folder, shard.file, backbone, share) for shard in dataset.card.shards]


@task(task_run_name="features of {shard}, to check labels")
def extract_shard_features(folder: Path, shard: str, backbone: Path, share: float, lease: Lease | None = None) -> Path:
    """Compute the features of a share of one shard's images."""
    with working_under(lease):
        return inspection.extract_shard_features(open_dataset(folder), shard, backbone, share)


@task()
def write_dataset_page(folder: Path, features: list[Path], source: Source, generated_by: str) -> None:
    """Write `dataset.html` and `inspection.json` beside a data set's card, once."""
    if not (folder / INSPECTION_CARD).is_file():
        with one_step("page"):
            found = inspection.inspect_dataset(open_dataset(folder), features, generated_by)
            write_label_error_page(folder, source.folder, found)
            write(folder, found, source_thumbnails(source.folder, found))
        shutil.rmtree(folder / "features" / ".labels", ignore_errors=True)


@task()
def write_inspection(
    staging: Path, features: list[Path], source: Source, folder: Path, generated_by: str
) -> Inspection:
    """Check the labels, write the page and the figures; what was read for them is removed."""
    with one_step("page"):
        found, listing = inspect_staging(staging, features, generated_by), read_plan(staging).fingerprint
        (folder / MADE_CARD).unlink(missing_ok=True)
        write_label_error_page(folder, source.folder, found)
        write(folder, found, source_thumbnails(source.folder, found))
    mark_up_to_date(folder, listing, generated_by)
    shutil.rmtree(staging, ignore_errors=True)
    return found
