"""From finished parts to a data set: merged, searched for duplicates, checked, and published under its version.

The work then stays as `.earlier-<fingerprint>/`, from which the next ingest takes what has not changed.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.data.dataset.dataset import ClassCount, DatasetCard, ReasonCount, ShardFact, is_whole, open_dataset
from darkroom.data.dataset.label_map import LabelMap
from darkroom.data.dataset.leaks import DuplicateSummary
from darkroom.data.dataset.manifest import OK, count_reasons, write_table
from darkroom.data.dataset.shard_names import part_shard_name, shard_name
from darkroom.data.dataset.shards import copy_without, num_records
from darkroom.data.dataset.splits import SPLITS
from darkroom.data.errors import CountError, InputError
from darkroom.data.figures import count
from darkroom.data.files.atomic import atomic_folder, remove_folder, write_json
from darkroom.data.files.cards import FileFact
from darkroom.data.files.parallel import num_cpus, ordered_map
from darkroom.data.ingest.dataset_version import dataset_version
from darkroom.data.ingest.plan import IngestPlan, read_plan, version_note
from darkroom.data.ingest.quarantine_limit import check_quarantine_limit
from darkroom.data.ingest.reuse import keep_work, part_folder
from darkroom.data.quality.duplicates import (
    Images,
    Thumbnails,
    choose_leaks,
    describe,
    duplicates_table,
    find_copies,
    set_aside,
    stored_thumbnails,
    summarise,
)
from darkroom.data.stores.workspace import DATASET_CARD, Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gathered:
    """All parts of an ingest.

    Attributes:
        plan: The ingest's.
        parts: Their folders, in order.
        manifest: Their rows, sorted by path.
        copies: The duplicates among the images, as `duplicates.parquet` has them.
        summary: The counts of these.
    """

    plan: IngestPlan
    parts: list[Path]
    manifest: pa.Table
    copies: pa.Table
    summary: DuplicateSummary


def gather(staging: Path) -> Gathered:
    """Merge the manifests of all parts, and find duplicates among the images.

    Raises:
        CountError: where the rows do not add up to the files listed.
        InputError: where `leaks` is `fail` and a training image duplicates a held-out one.
    """
    plan = read_plan(staging)
    parts = [part_folder(staging, index) for index in range(plan.num_parts)]
    tables = [pq.read_table(part / "manifest.parquet") for part in parts]
    manifest = pa.concat_tables(tables)
    if manifest.num_rows != plan.num_files:
        raise CountError(f"{plan.num_files} files were listed and {manifest.num_rows} rows written. Ingest again.")
    manifest = manifest.append_column("place", pa.array(range(plan.num_files), pa.int64())).sort_by("path")
    manifest, copies, summary = _gate(plan, manifest, stored_thumbnails(parts, [table.num_rows for table in tables]))
    return Gathered(plan, parts, manifest, copies, summary)


def publish(staging: Path, workspace: Workspace) -> Path:
    """Merge the parts into `datasets/<name>/<version>/`, its card last; the parts are kept for the next ingest.

    Args:
        staging: The folder of the plan and the parts.
        workspace: Where the data set goes.

    Returns:
        The version's folder.

    Raises:
        CountError: where the rows do not add up to the files listed.
        InputError: where too many images were quarantined, a class has no image to train on, or `leaks` is `fail` and a
            training image duplicates a held-out one.
    """
    gathered = gather(staging)
    plan, parts, manifest = gathered.plan, gathered.parts, gathered.manifest
    counts = _check(plan, manifest)
    version = dataset_version(
        plan.settings.model_dump(mode="json"), plan.identity or plan.source, plan.decisions, manifest
    )
    final = workspace.dataset(plan.settings.name, version)
    if is_whole(final):
        before = open_dataset(final).card.decoder
        if plan.decoder and plan.decoder.is_other(before):
            logger.warning(
                "%s is there already, decoded by %s: it stays as it is.", f"{plan.settings.name}@{version}", before
            )
    else:
        remove_folder(final)
        with atomic_folder(final) as temporary:
            shards = _gather_shards(plan, parts, manifest, temporary)
            _check_shards(manifest, plan, shards)
            write_table(temporary / "manifest.parquet", manifest)
            write_table(temporary / "duplicates.parquet", gathered.copies)
            card = _card(gathered, version, counts, shards, temporary)
            write_json(temporary / DATASET_CARD, card.model_dump(mode="json"))
    write_json(version_note(workspace, plan.settings.name, plan.fingerprint), {"version": version})
    keep_work(staging)
    return final


def _gate(plan: IngestPlan, manifest: pa.Table, thumbnails: Thumbnails) -> tuple[pa.Table, pa.Table, DuplicateSummary]:
    """Find duplicates, and keep out those that would leak between splits, as the settings ask.

    Returns:
        The manifest, without its column `place`; `duplicates.parquet`; the counts.
    """
    settings = plan.settings
    images = Images.of(manifest, settings.policy.image_size)
    pairs = find_copies(images, thumbnails)
    chosen = choose_leaks(images, pairs)
    summary = summarise(images, pairs, chosen, settings.leaks)
    if chosen and settings.leaks == "fail":
        raise InputError(
            f"{plan.folder}: {count(len(chosen), 'image')} must not be trained on: {describe(images, chosen)}. Remove "
            "them from the source, quarantine them with --leaks drop, or use them with --leaks keep."
        )
    if chosen:
        done = "quarantined" if settings.leaks == "drop" else "used anyway (leaks: keep)"
        logger.warning("%s: %s %s: %s.", settings.name, count(len(chosen), "image"), done, describe(images, chosen))
    if settings.leaks == "keep":
        chosen = {}
    manifest = set_aside(manifest, images, chosen).drop_columns("place").combine_chunks()
    return manifest, duplicates_table(images, pairs, chosen), summary


def _check(plan: IngestPlan, manifest: pa.Table) -> tuple[ClassCount, ...]:
    """Counts per split and class; refuses a data set that cannot be trained or evaluated on."""
    check_quarantine_limit(manifest, plan.settings.max_quarantined_share, plan.folder)
    grouped = manifest.group_by(["split", "label"]).aggregate([([], "count_all")]).to_pylist()
    found = Counter({(row["split"], row["label"]): row["count_all"] for row in grouped if row["split"]})
    for split in SPLITS:
        missing = [label for label in plan.labels if not found[split, label]]
        if missing and split == "train":
            raise InputError(
                f"{plan.folder} has no image to train on for {', '.join(missing)}: too few, or all quarantined. "
                "Add images, leave small classes out with --min-class-size, or lower --test and --validation."
            )
        if len(missing) == len(plan.labels):
            raise InputError(f"{plan.folder} leaves no image for {split}. Add images, or give it a larger share.")
        if missing:
            logger.warning("The %s split has no images of: %s.", split, ", ".join(missing))
    return tuple(
        ClassCount(split=split, label=label, num_images=found[split, label])
        for split in SPLITS
        for label in plan.labels
    )


def _gather_shards(plan: IngestPlan, parts: list[Path], manifest: pa.Table, folder: Path) -> tuple[ShardFact, ...]:
    """Link the parts' shards under their final names, numbered in the order of the parts.

    A shard that holds images that the gate quarantined is written again without them; one of nothing else is left out.
    """
    (folder / "shards").mkdir()
    aside = manifest.filter(pc.is_valid(pc.field("copy_of")))
    dropped = set(zip(aside["path"].to_pylist(), aside["sha256"].to_pylist(), strict=True))
    wanted = []
    for split in SPLITS:
        found = [(part, kept, gone) for part in parts for kept, gone in [_count(part, split, dropped)] if kept]
        for index, (part, kept, gone) in enumerate(found):
            file = f"shards/{shard_name(split, index, len(found), plan.settings.shards.format)}"
            wanted.append((part, split, file, kept, gone))

    def placed(shard: tuple[Path, str, str, int, int]) -> ShardFact:
        part, split, file, kept, gone = shard
        source = part / part_shard_name(split, plan.settings.shards.format)
        if gone:
            copy_without(source, folder / file, LabelMap(plan.labels), dropped)
        else:
            _link(source, folder / file)
        copies = kept * plan.settings.copies if split == "train" else 0
        if (stored := num_records(folder / file)) != kept + copies:
            raise CountError(f"{file} of {plan.settings.name} holds {stored} images, not {kept + copies}.")
        fact = FileFact.of(folder, file)
        return ShardFact(**fact.model_dump(), split=split, num_rows=kept + copies, num_copies=copies)

    # Hashing is most of it, and leaves Python to the other threads.
    return tuple(ordered_map(placed, wanted, num_cpus(), window=2 * num_cpus()))


def _count(part: Path, split: str, dropped: set[tuple[str, str]]) -> tuple[int, int]:
    """How many images of a split a part holds that stay, and how many that were quarantined since."""
    rows = pq.read_table(part / "manifest.parquet", columns=["path", "sha256"], filters=[("split", "=", split)])
    gone = sum(key in dropped for key in zip(rows["path"].to_pylist(), rows["sha256"].to_pylist(), strict=True))
    return rows.num_rows - gone, gone


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _check_shards(manifest: pa.Table, plan: IngestPlan, shards: tuple[ShardFact, ...]) -> None:
    stored = sum(shard.num_rows - shard.num_copies for shard in shards)
    used = manifest["status"].to_pylist().count(OK)
    if stored != used:
        raise CountError(f"{used} images are in the manifest of {plan.settings.name} and {stored} in its shards.")


def _card(
    gathered: Gathered, version: str, counts: tuple[ClassCount, ...], shards: tuple[ShardFact, ...], folder: Path
) -> DatasetCard:
    plan, manifest = gathered.plan, gathered.manifest
    settings = plan.settings
    return DatasetCard(
        name=settings.name,
        version=version,
        source=plan.source,
        licence=plan.licence,
        citation=plan.citation,
        decisions=plan.decisions,
        labels=plan.labels,
        policy=settings.policy,
        splits=plan.splits,
        shard_format=settings.shards.format,
        augmentation=settings.augmentation,
        copies=settings.copies,
        num_files=manifest.num_rows,
        num_ok=sum(count.num_images for count in counts),
        reasons=tuple(
            ReasonCount(reason=reason, num_files=number) for reason, number in count_reasons(manifest).items()
        ),
        counts=counts,
        decoder=plan.decoder,
        manifest=FileFact.of(folder, "manifest.parquet"),
        duplicates=FileFact.of(folder, "duplicates.parquet"),
        duplicate_summary=gathered.summary,
        shards=shards,
    )
