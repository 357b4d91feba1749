"""From finished parts to a data set: merged, searched for duplicates, checked, and published under its version.

The work then stays as `.earlier-<fingerprint>/`, from which the next ingest takes what has not changed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.data.dataset.dataset import ClassCount, DatasetCard, ReasonCount, ShardFact, is_whole, open_dataset
from darkroom.data.dataset.duplicate_summary import DuplicateSummary
from darkroom.data.dataset.manifest import OK, count_reasons, with_labels, write_table
from darkroom.data.errors import CountError, InputError
from darkroom.data.figures import count, some
from darkroom.data.files.atomic import atomic_folder, remove_folder, write_json
from darkroom.data.files.cards import FileFact
from darkroom.data.files.hard_links import link_or_copy
from darkroom.data.ingest.dataset_version import dataset_version
from darkroom.data.ingest.parts import read_moved
from darkroom.data.ingest.plan import IngestPlan, read_plan, version_note
from darkroom.data.ingest.quarantine_limit import check_quarantine_limit
from darkroom.data.ingest.reuse import keep_work, part_folder
from darkroom.data.ingest.split_assignment import EARLIER_SCHEMA, AssignedSplits, assign_splits, earlier_splits
from darkroom.data.labels.corrections import CORRECTIONS
from darkroom.data.parallel import num_cpus, ordered_map
from darkroom.data.quality.duplicates import (
    Images,
    Thumbnails,
    choose_leaks,
    describe,
    duplicates_table,
    find_duplicates,
    quarantine,
    stored_thumbnails,
    summarise,
    tied_images,
)
from darkroom.data.shards.records import Record
from darkroom.data.shards.shard_names import part_shard_name, shard_name
from darkroom.data.shards.shards import copy_without, num_records, open_writer, read_shard
from darkroom.data.splits.splits import SPLITS
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
        moved: The new splits of images that fair splits moved, by SHA-256.
        decisions: How labels and splits were found.
    """

    plan: IngestPlan
    parts: list[Path]
    manifest: pa.Table
    copies: pa.Table
    summary: DuplicateSummary
    moved: dict[str, str]
    decisions: tuple[str, ...]


def gather(staging: Path, workspace: Workspace | None = None) -> Gathered:
    """Merge the manifests of all parts, correct the splits, and find duplicates among the images.

    Args:
        staging: The folder of the plan and the parts.
        workspace: Where earlier versions are, whose splits are kept; None keeps none.

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
    thumbnails = stored_thumbnails(parts, [table.num_rows for table in tables])

    def tied() -> frozenset[str]:
        images = Images.of(manifest, plan.settings.policy.image_size)
        return tied_images(images, find_duplicates(images, thumbnails))

    none = EARLIER_SCHEMA.empty_table()
    if plan.settings.labels.task == "multi-label":  # which were drawn together when it was planned
        assigned = AssignedSplits(manifest, {}, None)
    else:
        earlier = earlier_splits(workspace, plan.settings.name, plan.splits) if workspace else none
        assigned = assign_splits(manifest, plan.splits, earlier, tied)
    gated, copies, summary = _gate(plan, assigned.manifest, thumbnails)
    decisions = (*plan.decisions, assigned.decision) if assigned.decision else plan.decisions
    return Gathered(plan, parts, gated, copies, summary, assigned.moved, decisions)


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
    gathered = gather(staging, workspace)
    plan, manifest = gathered.plan, gathered.manifest
    counts = _check(plan, manifest)
    version = dataset_version(plan.version_settings(), plan.identity or plan.source, gathered.decisions, manifest)
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
            shards = _gather_shards(gathered, staging, temporary)
            _check_shards(manifest, plan, shards)
            write_table(temporary / "manifest.parquet", with_labels(manifest, plan.label_map.task))
            write_table(temporary / "duplicates.parquet", gathered.copies)
            if plan.corrections:
                link_or_copy(staging / CORRECTIONS, temporary / CORRECTIONS)
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
    pairs = find_duplicates(images, thumbnails)
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
    manifest = quarantine(manifest, images, chosen).drop_columns("place").combine_chunks()
    return manifest, duplicates_table(images, pairs, chosen), summary


def _check(plan: IngestPlan, manifest: pa.Table) -> tuple[ClassCount, ...]:
    """Counts per split and class; refuses a data set that cannot be trained or evaluated on."""
    check_quarantine_limit(manifest, plan.settings.max_quarantined_share, plan.folder)
    grouped = manifest.group_by(["split", "label"]).aggregate([([], "count_all")]).to_pylist()
    found, task = Counter[tuple[str, str]](), plan.label_map.task
    for row in grouped:
        for label in task.names(row["label"]) if row["split"] else ():
            found[row["split"], label] += row["count_all"]
    for split in SPLITS:
        missing = [label for label in plan.labels if not found[split, label]]
        if missing and split == "train":
            raise InputError(
                f"{plan.folder} has no image to train on for {some(missing)}: too few, or all quarantined. "
                "Add images, leave small classes out with --min-class-size, or lower --test and --validation."
            )
        if len(missing) == len(plan.labels):
            raise InputError(f"{plan.folder} leaves no image for {split}. Add images, or give it a larger share.")
        if missing:
            logger.warning("The %s split has no images of: %s.", split, some(missing))
    return tuple(
        ClassCount(split=split, label=label, num_images=found[split, label])
        for split in SPLITS
        for label in plan.labels
    )


@dataclass(frozen=True)
class _Shard:
    """A shard to be: the images of a split that a part holds, those that leave it and those that come from another."""

    index: int
    part: Path
    split: str
    num_kept: int
    num_gone: int
    coming: dict[str, tuple[str, str]]

    @property
    def num_images(self) -> int:
        return self.num_kept + len(self.coming)


def _gather_shards(gathered: Gathered, staging: Path, folder: Path) -> tuple[ShardFact, ...]:
    """Link the parts' shards under their final names, numbered in the order of the parts.

    A shard is written again where images leave it, because the gate quarantined them or they lie in another split than
    drawn, and where such images come to it; one of no image is left out.
    """
    plan, manifest = gathered.plan, gathered.manifest
    (folder / "shards").mkdir()
    aside = manifest.filter(pc.is_valid(pc.field("copy_of"))).select(["path", "sha256"])
    is_moved = pc.is_in(manifest["path"], pa.array(list(gathered.moved), pa.string()))
    elsewhere = manifest.filter(pc.and_(is_moved, pc.is_valid(manifest["split"]))).select(["path", "split", "sha256"])
    moved = {row["path"]: (row["split"], row["sha256"]) for row in elsewhere.to_pylist()}
    dropped = {(row["path"], row["sha256"]) for rows in (aside, elsewhere) for row in rows.to_pylist()}
    wanted: list[tuple[_Shard, str]] = []
    for split in SPLITS:
        counted = (_count(index, part, split, dropped, moved) for index, part in enumerate(gathered.parts))
        found = [shard for shard in counted if shard.num_images]
        names = (shard_name(split, index, len(found), plan.settings.shards.format) for index in range(len(found)))
        wanted += zip(found, (f"shards/{name}" for name in names), strict=True)

    def placed(item: tuple[_Shard, str]) -> ShardFact:
        shard, file = item
        source = shard.part / part_shard_name(shard.split, plan.settings.shards.format)
        if shard.coming:
            coming = read_moved(staging, shard.index, shard.coming)
            _write_again(source, folder / file, plan, dropped, coming)
        elif shard.num_gone:
            copy_without(source, folder / file, plan.label_map, dropped)
        else:
            link_or_copy(source, folder / file)
        copies = shard.num_images * plan.settings.copies if shard.split == "train" else 0
        expected = shard.num_images + copies
        if (stored := num_records(folder / file)) != expected:
            raise CountError(f"{file} of {plan.settings.name} holds {stored} images, not {expected}.")
        fact = FileFact.of(folder, file)
        return ShardFact(**fact.model_dump(), split=shard.split, num_rows=expected, num_copies=copies)

    # Hashing is most of it, and leaves Python to the other threads.
    return tuple(ordered_map(placed, wanted, num_cpus(), window=2 * num_cpus()))


def _count(
    index: int, part: Path, split: str, dropped: set[tuple[str, str]], moved: Mapping[str, tuple[str, str]]
) -> _Shard:
    """What becomes of a part's shard of a split."""
    file = part / "manifest.parquet"
    rows = pq.read_table(file, columns=["path", "sha256"], filters=[("split", "=", split)])
    gone = sum(key in dropped for key in zip(rows["path"].to_pylist(), rows["sha256"].to_pylist(), strict=True))
    paths = pq.read_table(file, columns=["path"])["path"].to_pylist() if moved else []
    coming = {path: moved[path] for path in paths if path in moved and moved[path][0] == split}
    return _Shard(index, part, split, rows.num_rows - gone, gone, coming)


def _write_again(
    source: Path, target: Path, plan: IngestPlan, dropped: Container[tuple[str, str]], coming: Iterable[Record]
) -> None:
    """Write a shard without the images that leave it, and with those that come to it."""
    labels = plan.label_map
    before = read_shard(source, labels) if source.is_file() else ()
    kept = (record for record in before if (record.path, record.sha256) not in dropped)
    with open_writer(target, plan.settings.shards.format, labels) as writer:
        for record in chain(kept, coming):
            writer.write(record)


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
        decisions=gathered.decisions,
        task=settings.labels.task,
        labels=plan.labels,
        policy=settings.policy,
        splits=plan.splits,
        shard_format=settings.shards.format,
        augmentation=settings.augmentation,
        copies=settings.copies,
        num_files=manifest.num_rows,
        num_ok=manifest["status"].to_pylist().count(OK),
        reasons=tuple(
            ReasonCount(reason=reason, num_files=number) for reason, number in count_reasons(manifest).items()
        ),
        counts=counts,
        decoder=plan.decoder,
        manifest=FileFact.of(folder, "manifest.parquet"),
        duplicates=FileFact.of(folder, "duplicates.parquet"),
        duplicate_summary=gathered.summary,
        shards=shards,
        corrections=plan.corrections,
        correction_rows=FileFact.of(folder, CORRECTIONS) if plan.corrections else None,
    )
