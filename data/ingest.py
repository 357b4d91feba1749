"""From a source's folder to a data set: plan, write the parts (each on its own, in any order), publish.

The work in progress lies in `datasets/<name>/.staging-<fingerprint>/`: `plan.json`, `plan.parquet` (the files, by
part) and `parts/00000/` (a part of the manifest, at most one shard a split, and `thumbnails.npy` to compare images by).
A part appears whole or not at all, so a run that was killed goes on with the parts that are missing. The fingerprint is
a hash of the listing (paths, sizes, times) and of all settings; the version of the data set is a hash of the content.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data.atomic import atomic_folder, content_version, remove_folder, write_json
from data.augment import AugmentPolicy, augment_copy
from data.dataset import ClassCount, DatasetCard, FileFact, ReasonCount, ShardFact, open_dataset
from data.decode import DecodePolicy, decode_with_header, encode_jpeg, encode_png, read_header
from data.duplicates import (
    THUMBNAILS,
    DuplicateSummary,
    Images,
    Leaks,
    Thumbnails,
    choose_leaks,
    describe,
    duplicates_table,
    find_copies,
    set_aside,
    stored_thumbnails,
    summarise,
)
from data.earlier import Known, known_files, relabelled, with_earlier
from data.errors import CountError, ImageError, InputError
from data.labelling import Labelling, LabelRules, label_files
from data.labels import LabelMap
from data.listing import list_files, read_file
from data.manifest import HARMLESS_REASONS, OK, QUARANTINED, ManifestRow, count_reasons, to_table, write_table
from data.parallel import num_cpus, ordered_map
from data.perceptual import SIDE, perceptual_hash, thumbnail
from data.quality import pixel_statistics
from data.settings import SettingsModel
from data.shards import Record, ShardRules, ShardWriter, num_records, open_writer, read_shard, shard_name
from data.sources import Source
from data.splits import SPLITS, SplitPlan, SplitRules
from data.workspace import DATASET_CARD, Workspace, check_name

logger = logging.getLogger(__name__)

# Raised whenever the same source and settings would give another data set.
CODE_VERSION = 2

_PLAN_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("os_path", pa.binary()),
        ("bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("label", pa.string()),
        ("source_split", pa.string()),
        ("reason", pa.string()),
        ("part", pa.int32()),
    ]
)


class IngestSettings(SettingsModel):
    """All that decides what an ingest makes.

    Attributes:
        name: Of the data set.
        labels, splits, policy, shards: The rules for each step.
        augmentation: What `copies` look like.
        copies: Augmented copies of each training image that are written into the shards.
        seed: For the copies.
        max_quarantined_share: The run fails where more than this share of the labelled images cannot be used.
        leaks: What happens to training images that copy a test or validation image (same bytes, or same picture), to
            validation images that copy a test image, and to training images that stand under two labels: `drop` sets
            them aside, `fail` stops and names them, `keep` uses them and only lists them.
    """

    name: str
    labels: LabelRules = LabelRules()
    splits: SplitRules = SplitRules()
    policy: DecodePolicy = DecodePolicy()
    shards: ShardRules = ShardRules()
    augmentation: AugmentPolicy = AugmentPolicy()
    copies: int = Field(default=0, ge=0, le=100)
    seed: int = 0
    max_quarantined_share: float = Field(default=0.5, ge=0, le=1)
    leaks: Leaks = "drop"

    @model_validator(mode="after")
    def _copies_differ(self) -> IngestSettings:
        if self.copies and self.augmentation.changes_nothing:
            raise ValueError("copies would be the same image again: give --copy-augment as well, or no copies")
        return self


class IngestPlan(BaseModel):
    """What is to be done, as `plan.json` keeps it; the files stand in `plan.parquet` beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    folder: str
    source: str
    licence: str | None
    citation: str | None
    settings: IngestSettings
    decisions: tuple[str, ...]
    labels: tuple[str, ...]
    splits: SplitPlan
    num_files: int
    num_parts: int
    retry_quarantined: bool = False
    code_version: int = CODE_VERSION

    def gives_the_same(self, other: IngestPlan) -> bool:
        """Whether a file that has not changed would be read and stored alike under the other plan."""
        mine, others = (
            (
                plan.code_version,
                plan.folder,
                plan.settings.policy,
                plan.settings.shards.model_copy(update={"rows_per_shard": 1}),
                plan.settings.copies and (plan.settings.copies, plan.settings.augmentation, plan.settings.seed),
            )
            for plan in (self, other)
        )
        return mine == others


@dataclass(frozen=True)
class PartCounts:
    """What came of one part: its files, those used, and those taken over from an earlier ingest."""

    index: int
    num_files: int
    num_ok: int
    num_known: int
    reused: bool


@dataclass(frozen=True)
class Planned:
    """Where the work is done and how many parts it has; or, where this was ingested before, the data set."""

    staging: Path
    num_parts: int
    published: Path | None = None


@dataclass(frozen=True)
class Gathered:
    """All parts of an ingest: their folders, the manifest sorted by path, and the copies among its images."""

    plan: IngestPlan
    parts: list[Path]
    manifest: pa.Table
    copies: pa.Table
    summary: DuplicateSummary


def plan_ingest(
    source: Source, settings: IngestSettings, workspace: Workspace, retry_quarantined: bool = False
) -> Planned:
    """List and label the files of a source and write down the plan.

    Args:
        source: Where the files are.
        settings: The rules.
        workspace: Where the data set goes.
        retry_quarantined: Read files again that an earlier ingest set aside, though they look unchanged.

    Raises:
        InputError: where the folder holds no labelled image or fewer than two classes.
    """
    check_name(settings.name)
    entries = list_files(source.folder)
    fingerprint = content_version(
        CODE_VERSION,
        settings.model_dump(mode="json"),
        source.reference,
        [(entry.path, entry.size_bytes, entry.mtime_ns, entry.reason) for entry in entries],
    )
    staging = workspace.datasets / settings.name / f".staging-{fingerprint}"
    done = _published(workspace, settings.name, fingerprint)
    if done and not retry_quarantined:
        if (staging / "plan.json").is_file() and _num_done(staging) == read_plan(staging).num_parts:
            _keep_work(staging)  # the run that published it was killed before it came to that
        return Planned(staging, 0, done)
    if (staging / "plan.json").is_file():
        num_parts = read_plan(staging).num_parts
        done_before = (settings.name, _num_done(staging), num_parts)
        logger.info("Going on with the ingest of %s that was begun before: %d of %d parts are done.", *done_before)
        return Planned(staging, num_parts)
    labelling = label_files(source.folder, entries, settings.labels)
    used = [file for file in labelling.files if file.label]
    splits = SplitPlan.of({file.source_split for file in used}, settings.splits)
    plan = IngestPlan(
        fingerprint=fingerprint,
        folder=str(source.folder),
        source=source.reference,
        licence=source.licence,
        citation=source.citation,
        settings=settings,
        decisions=(labelling.decision, splits.decision),
        labels=LabelMap.of(file.label for file in used if file.label).names,
        splits=splits,
        num_files=len(entries),
        num_parts=-(-len(entries) // settings.shards.rows_per_shard),
        retry_quarantined=retry_quarantined,
    )
    table = with_earlier(_plan_table(labelling, settings.shards.rows_per_shard), _earlier_work(plan, staging))
    # A row group a part, so that a part reads its own rows and not those of all the others.
    write_table(staging / "plan.parquet", table, settings.shards.rows_per_shard)
    write_json(staging / "plan.json", plan.model_dump(mode="json"))
    for decision in plan.decisions:
        logger.info("%s: %s.", settings.name, decision)
    return Planned(staging, plan.num_parts)


def read_plan(staging: Path) -> IngestPlan:
    """The plan of a staging folder."""
    return IngestPlan.model_validate_json((staging / "plan.json").read_text(encoding="utf-8"))


def write_part(staging: Path, index: int) -> PartCounts:
    """Read, decode and store the files of one part; done already, it is only counted."""
    plan = read_plan(staging)
    final = staging / "parts" / f"{index:05d}"
    reused, num_known = final.is_dir(), 0
    if not reused:
        with pq.ParquetFile(staging / "plan.parquet") as listed:
            files = listed.read_row_group(index).to_pylist()
        known = _taken_over(plan, known_files(staging.parent, files), files)
        num_known = len(known)
        with atomic_folder(final) as temporary:
            _write_part(temporary, plan, files, known)
    rows = pq.read_table(final / "manifest.parquet", columns=["status"])["status"].to_pylist()
    return PartCounts(index, len(rows), rows.count(OK), num_known, reused)


def gather(staging: Path) -> Gathered:
    """Put the manifests of all parts together and find the copies among the images.

    Raises:
        CountError: where rows do not add up to the files that were listed.
        InputError: where, with `leaks` as `fail`, a training image copies a held-out one.
    """
    plan = read_plan(staging)
    parts = [staging / "parts" / f"{index:05d}" for index in range(plan.num_parts)]
    tables = [pq.read_table(part / "manifest.parquet") for part in parts]
    manifest = pa.concat_tables(tables)
    if manifest.num_rows != plan.num_files:
        raise CountError(f"{plan.num_files} files were listed and {manifest.num_rows} rows written. Ingest again.")
    manifest = manifest.append_column("place", pa.array(range(plan.num_files), pa.int64())).sort_by("path")
    manifest, copies, summary = _gate(plan, manifest, stored_thumbnails(parts, [table.num_rows for table in tables]))
    return Gathered(plan, parts, manifest, copies, summary)


def publish(staging: Path, workspace: Workspace) -> Path:
    """Put the parts together into `datasets/<name>/<version>/`, the card last; the work stays for the next ingest.

    Raises:
        CountError: where rows do not add up to the files that were listed.
        InputError: where too many images were set aside, a class has no image to train on, or, with `leaks` as `fail`,
            a training image copies a held-out one.
    """
    gathered = gather(staging)
    plan, parts, manifest = gathered.plan, gathered.parts, gathered.manifest
    counts = _check(plan, manifest)
    version = content_version(
        CODE_VERSION,
        plan.settings.model_dump(mode="json"),
        plan.source,
        plan.decisions,
        _digest(manifest),
    )
    final = workspace.dataset(plan.settings.name, version)
    if not _is_whole(final):
        remove_folder(final)
        with atomic_folder(final) as temporary:
            shards = _gather_shards(plan, parts, manifest, temporary)
            _check_shards(manifest, plan, shards)
            write_table(temporary / "manifest.parquet", manifest)
            write_table(temporary / "duplicates.parquet", gathered.copies)
            card = _card(plan, version, manifest, counts, shards, gathered.summary, temporary)
            write_json(temporary / DATASET_CARD, card.model_dump(mode="json"))
    write_json(_note(workspace, plan.settings.name, plan.fingerprint), {"version": version})
    _keep_work(staging)
    return final


def _earlier_work(plan: IngestPlan, staging: Path) -> list[Path]:
    """Folders of earlier work on the same source with the same settings, the newest first."""
    found = []
    for folder in staging.parent.glob(".[es]*-*"):
        try:
            if folder != staging and read_plan(folder).gives_the_same(plan):
                found.append(folder)
        except (OSError, ValueError):  # given up before its plan was whole, or of another version of Darkroom
            continue
    return sorted(found, key=lambda folder: (-folder.stat().st_mtime_ns, folder.name))


def _num_done(staging: Path) -> int:
    """The parts that are whole."""
    return sum(1 for _ in (staging / "parts").glob("[0-9]*"))


def _keep_work(staging: Path) -> None:
    """Leave the parts to the next ingest, in place of all earlier work; the shards are links, and take no room."""
    for old in staging.parent.glob(".[es]*-*"):
        if old != staging:
            remove_folder(old)
    staging.rename(staging.with_name(staging.name.replace(".staging-", ".earlier-")))


def _taken_over(plan: IngestPlan, known: dict[bytes, Known], files: list[dict[str, Any]]) -> dict[bytes, Known]:
    """Those of the known files that would come out the same, with the label and the place that they have now."""
    labels, taken = LabelMap(plan.labels), {}
    for file in files:
        each = known.get(file["os_path"])
        if each is None or file["label"] is None or each.row.label is None:
            continue
        if each.row.status == QUARANTINED:
            if not plan.retry_quarantined:
                taken[file["os_path"]] = relabelled(each, file["label"], file["source_split"], None, labels)
            continue
        split = plan.splits.split(str(each.row.sha256), file["source_split"])
        if plan.settings.copies == 0 or (split == "train") == (each.row.split == "train"):
            taken[file["os_path"]] = relabelled(each, file["label"], file["source_split"], split, labels)
    return taken


def _note(workspace: Workspace, name: str, fingerprint: str) -> Path:
    """Which version a listing and its settings gave, so that a rerun need not read a single image."""
    return workspace.datasets / name / ".fingerprints" / f"{fingerprint}.json"


def _published(workspace: Workspace, name: str, fingerprint: str) -> Path | None:
    try:
        version = json.loads(_note(workspace, name, fingerprint).read_text(encoding="utf-8"))["version"]
        folder = workspace.dataset(name, version)
    except (OSError, ValueError, KeyError, InputError):
        return None
    return folder if _is_whole(folder) else None


def _is_whole(folder: Path) -> bool:
    try:
        open_dataset(folder)
    except InputError:
        return False
    return True


def _plan_table(labelling: Labelling, rows_per_part: int) -> pa.Table:
    """The files by part: in the order of a hash of their paths, so that every shard is a mixture of the classes."""
    order = sorted(labelling.files, key=lambda file: hashlib.sha256(os.fsencode(file.entry.os_path)).digest())
    columns = [
        [file.entry.path for file in order],
        [os.fsencode(file.entry.os_path) for file in order],
        [file.entry.size_bytes for file in order],
        [file.entry.mtime_ns for file in order],
        [file.label for file in order],
        [file.source_split for file in order],
        [file.entry.reason for file in order],
        [place // rows_per_part for place in range(len(order))],
    ]
    return pa.table(columns, schema=_PLAN_SCHEMA)


def _write_part(folder: Path, plan: IngestPlan, files: list[dict[str, Any]], known: dict[bytes, Known]) -> None:
    settings = plan.settings
    labels = LabelMap(plan.labels)
    threads = num_cpus()
    rows: list[ManifestRow] = []
    thumbnails = np.zeros((len(files), SIDE, SIDE), np.uint8)
    with ExitStack() as stack:
        writers: dict[str, ShardWriter] = {}
        for each in ordered_map(
            lambda file: known.get(file["os_path"]) or _read(plan, labels, file), files, threads, window=4 * threads
        ):
            row = each.row
            if each.thumbnail is not None:
                thumbnails[len(rows)] = each.thumbnail
            rows.append(row)
            for record in each.records:
                if row.split not in writers:
                    path = folder / f"{row.split}.{settings.shards.format}"
                    writers[str(row.split)] = stack.enter_context(open_writer(path, settings.shards.format, labels))
                writers[str(row.split)].write(record)
    for split in writers:
        used = sum(row.split == split for row in rows)
        expected = used * (1 + settings.copies) if split == "train" else used
        stored = num_records(folder / f"{split}.{settings.shards.format}")
        if stored != expected:
            raise CountError(f"A {split} shard of {settings.name} holds {stored} images, not {expected}. Ingest again.")
    np.save(folder / THUMBNAILS, thumbnails)
    write_table(folder / "manifest.parquet", to_table(rows))


def _read(plan: IngestPlan, labels: LabelMap, file: dict[str, Any]) -> Known:
    """One file's row; where it is used, its thumbnail and the image with its copies."""
    settings = plan.settings
    data: bytes | None = None
    try:
        if file["reason"]:
            raise ImageError(file["reason"])
        data = read_file(Path(plan.folder), os.fsdecode(file["os_path"]), settings.policy.max_bytes)
        if file["label"] is None:
            raise ImageError("unlabelled")
        decoded = decode_with_header(data, settings.policy)
    except ImageError as error:
        logger.debug("%s is set aside: %s", file["path"], error)
        return Known(_quarantined(file, data, error.reason), None, ())
    sha256 = hashlib.sha256(data).hexdigest()
    split = plan.splits.split(sha256, file["source_split"])
    row = ManifestRow(
        path=file["path"],
        sha256=sha256,
        bytes=len(data),
        format=decoded.format,
        width=decoded.width,
        height=decoded.height,
        mode=decoded.mode,
        label=file["label"],
        split=split,
        source_split=file["source_split"],
        status=OK,
        reason=None,
        perceptual_hash=perceptual_hash(decoded.pixels),
        **asdict(pixel_statistics(decoded.pixels, settings.policy)),
    )
    copies = settings.copies if split == "train" else 0
    changed = (
        augment_copy(decoded.pixels, sha256, copy, settings.seed, settings.augmentation)
        for copy in range(1, copies + 1)
    )
    return Known(
        row,
        thumbnail(decoded.pixels),
        tuple(
            Record(
                encoded=_encode(pixels, settings.shards),
                format=settings.shards.images,
                height=pixels.shape[0],
                width=pixels.shape[1],
                label=file["label"],
                label_index=labels.index(file["label"]),
                path=file["path"],
                sha256=sha256,
                copy=copy,
            )
            for copy, pixels in enumerate(chain([decoded.pixels], changed))
        ),
    )


def _encode(pixels: NDArray[np.uint8], rules: ShardRules) -> bytes:
    return encode_png(pixels) if rules.images == "png" else encode_jpeg(pixels, rules.jpeg_quality)


def _quarantined(file: dict[str, Any], data: bytes | None, reason: str) -> ManifestRow:
    header = read_header(data) if data else None
    return ManifestRow(
        path=file["path"],
        sha256=hashlib.sha256(data).hexdigest() if data is not None else None,
        bytes=file["bytes"] if data is None else len(data),
        format=header.format if header else None,
        width=header.width if header else None,
        height=header.height if header else None,
        mode=header.mode if header else None,
        label=file["label"],
        split=None,
        source_split=file["source_split"],
        status=QUARANTINED,
        reason=reason,
    )


def _digest(manifest: pa.Table) -> str:
    """SHA-256 over what the manifest says of each file; independent of how Parquet lays it out."""
    digest = hashlib.sha256()
    columns = manifest.select(["path", "sha256", "label", "split", "status", "reason"])
    for batch in columns.to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def _gate(plan: IngestPlan, manifest: pa.Table, thumbnails: Thumbnails) -> tuple[pa.Table, pa.Table, DuplicateSummary]:
    """Find copies and keep those out that would be judged or trained on wrongly, as the settings ask.

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
            f"{plan.folder}: {len(chosen)} images must not be trained on: {describe(images, chosen)}. Take them out of "
            "the source, or let --leaks drop set them aside, or use them with --leaks keep."
        )
    if chosen:
        done = "set aside" if settings.leaks == "drop" else "used all the same (leaks: keep)"
        logger.warning("%s: %d images were %s: %s.", settings.name, len(chosen), done, describe(images, chosen))
    if settings.leaks == "keep":
        chosen = {}
    manifest = set_aside(manifest, images, chosen).drop_columns("place").combine_chunks()
    return manifest, duplicates_table(images, pairs, chosen), summary


def _check(plan: IngestPlan, manifest: pa.Table) -> tuple[ClassCount, ...]:
    """Counts a split and class; refuses a data set on which nothing could be learned or judged."""
    reasons = count_reasons(manifest)
    broken = sum(number for reason, number in reasons.items() if reason not in HARMLESS_REASONS)
    used = manifest.num_rows - sum(reasons.values())
    if broken > plan.settings.max_quarantined_share * (used + broken) or used == 0:
        most = next((reason for reason in reasons if reason not in HARMLESS_REASONS), "unlabelled")
        raise InputError(
            f"{plan.folder}: {broken} of {used + broken} labelled files cannot be used, most as {most!r}; the limit is "
            f"{plan.settings.max_quarantined_share:.0%}. Repair the source, or raise --max-quarantined-share."
        )
    grouped = manifest.group_by(["split", "label"]).aggregate([([], "count_all")]).to_pylist()
    found = Counter({(row["split"], row["label"]): row["count_all"] for row in grouped if row["split"]})
    for split in SPLITS:
        missing = [label for label in plan.labels if not found[split, label]]
        if missing and split == "train":
            raise InputError(
                f"{plan.folder} has no image to train on for {', '.join(missing)}: too few, or all set aside. "
                "Add images, remove the class, or give a smaller share to --test and --validation."
            )
        if len(missing) == len(plan.labels):
            raise InputError(f"{plan.folder} leaves no image for {split}. Add images, or give it a larger share.")
        if missing:
            logger.warning("The %s part has no image of: %s.", split, ", ".join(missing))
    return tuple(
        ClassCount(split=split, label=label, num_images=found[split, label])
        for split in SPLITS
        for label in plan.labels
    )


def _gather_shards(plan: IngestPlan, parts: list[Path], manifest: pa.Table, folder: Path) -> tuple[ShardFact, ...]:
    """Link the parts' shards under their final names, numbered in the order of the parts.

    A shard that holds images which the gate set aside is written again without them; one of nothing else is left out.
    """
    shard_format = plan.settings.shards.format
    (folder / "shards").mkdir()
    aside = manifest.filter(pc.is_valid(pc.field("copy_of")))
    dropped = set(zip(aside["path"].to_pylist(), aside["sha256"].to_pylist(), strict=True))
    facts = []
    for split in SPLITS:
        found = [(part, kept, gone) for part in parts for kept, gone in [_count(part, split, dropped)] if kept]
        for index, (part, kept, gone) in enumerate(found):
            source = part / f"{split}.{shard_format}"
            file = f"shards/{shard_name(split, index, len(found), shard_format)}"
            if gone:
                _write_without(source, folder / file, plan, dropped)
            else:
                _link(source, folder / file)
            copies = kept * plan.settings.copies if split == "train" else 0
            if (stored := num_records(folder / file)) != kept + copies:
                raise CountError(f"{file} of {plan.settings.name} holds {stored} images, not {kept + copies}.")
            fact = FileFact.of(folder, file)
            facts.append(ShardFact(**fact.model_dump(), split=split, num_rows=kept + copies, num_copies=copies))
    return tuple(facts)


def _count(part: Path, split: str, dropped: set[tuple[str, str]]) -> tuple[int, int]:
    """How many images of a split a part holds that stay, and how many that were set aside since."""
    rows = pq.read_table(part / "manifest.parquet", columns=["path", "sha256"], filters=[("split", "=", split)])
    gone = sum(key in dropped for key in zip(rows["path"].to_pylist(), rows["sha256"].to_pylist(), strict=True))
    return rows.num_rows - gone, gone


def _write_without(source: Path, target: Path, plan: IngestPlan, dropped: set[tuple[str, str]]) -> None:
    labels = LabelMap(plan.labels)
    with open_writer(target, plan.settings.shards.format, labels) as writer:
        for record in read_shard(source, labels):
            if (record.path, record.sha256) not in dropped:
                writer.write(record)


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
    plan: IngestPlan,
    version: str,
    manifest: pa.Table,
    counts: tuple[ClassCount, ...],
    shards: tuple[ShardFact, ...],
    summary: DuplicateSummary,
    folder: Path,
) -> DatasetCard:
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
        manifest=FileFact.of(folder, "manifest.parquet"),
        duplicates=FileFact.of(folder, "duplicates.parquet"),
        duplicate_summary=summary,
        shards=shards,
    )
