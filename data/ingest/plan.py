"""From a source's folder to a data set: plan, write the parts (each on its own, in any order), publish.

The work in progress is in `datasets/<name>/.staging-<fingerprint>/`: `plan.json`, `plan.parquet` (the files, by
part) and `parts/00000/` (a part of the manifest, at most one shard a split, and `thumbnails.npy` to compare images by).
A part appears whole or not at all, so a killed run resumes with the missing parts. The fingerprint is
a hash of the listing (paths, sizes, times) and of all settings; the version of the data set is a hash of the content.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from darkroom.data.dataset.dataset import is_whole
from darkroom.data.dataset.manifest import write_table
from darkroom.data.errors import InputError
from darkroom.data.figures import some
from darkroom.data.files.atomic import remove_folder, write_json
from darkroom.data.images.decoder_fingerprint import Decoder, decoder, settle_mismatch
from darkroom.data.images.value_range import check_value_range
from darkroom.data.ingest.dataset_version import CODE_VERSION, listing_fingerprint
from darkroom.data.ingest.multi_label_splits import hashes_of, multi_label_decision, multi_label_splits
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.ingest.reuse import keep_work, with_earlier
from darkroom.data.ingest.split_assignment import earlier_splits
from darkroom.data.labels.corrections import CORRECTIONS, CorrectionSummary, with_digests
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.labels.reading import Reading
from darkroom.data.labels.recognition.labelling import Labelled, Labelling, label_files
from darkroom.data.settings import DecoderMismatch
from darkroom.data.sources.resolve import Source
from darkroom.data.splits.splits import SplitPlan
from darkroom.data.splits.stratification import MIN_CLASS_SIZE
from darkroom.data.stores.listing import FileEntry, list_files
from darkroom.data.stores.workspace import DATASET_CARD, Workspace
from darkroom.data.task import TASKS

logger = logging.getLogger(__name__)

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
        ("split", pa.string()),
    ]
)


class IngestPlan(BaseModel):
    """The plan of an ingest, `plan.json`; its files are in `plan.parquet` beside it.

    Attributes:
        fingerprint: Of the listing: see `listing_fingerprint`.
        folder: The source's local folder.
        source: As given on the command line.
        identity: What of it belongs to the version: see `Source.identity`.
        licence: Of the images, where known.
        citation: What to cite, where known.
        settings: The ingest's.
        decisions: Sentences on how labels and splits were found.
        labels: The class names, sorted.
        splits: How the images are split.
        num_files: Files in the source.
        num_parts: Parts to write.
        retry_quarantined: Read files again that an earlier ingest quarantined.
        code_version: Of the code that reads files; other work is not reused.
        decoder: What decodes the images; None in a plan of an earlier Darkroom.
        corrections: What corrections changed; None without them. Their rows are in `corrections.parquet` beside it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    folder: str
    source: str
    identity: str = ""
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
    decoder: Decoder | None = None
    corrections: CorrectionSummary | None = None

    def version_settings(self) -> dict[str, Any]:
        """The settings as the version hashes them: of corrections what was said, and not where."""
        settings = self.settings.model_dump(mode="json")
        if self.corrections is None:
            return settings
        return settings | {"labels": settings["labels"] | {"corrections": self.corrections.digest}}

    @property
    def label_map(self) -> LabelMap:
        """The labels, and how an image's are written."""
        return LabelMap(self.labels, TASKS[self.settings.labels.task])

    def split(self, file: Mapping[str, Any], sha256: str) -> str:
        """The split of a file of the plan: the one that was drawn for it, or what its hash and the source say.

        Args:
            file: A row of the plan.
            sha256: Of the file, hex.
        """
        return str(file.get("split") or self.splits.split(sha256, file["source_split"]))

    def gives_the_same(self, other: IngestPlan) -> bool:
        """Whether an unchanged file would be read and stored the same under the other plan."""
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
class Planned:
    """What is left to do.

    Attributes:
        staging: The folder of the plan and the parts.
        num_parts: Parts to write; 0 where the data set exists.
        published: The data set's folder, where it was already ingested.
    """

    staging: Path
    num_parts: int
    published: Path | None = None


def plan_ingest(request: IngestRequest) -> Planned:
    """List and label the files of a source and write down the plan.

    Raises:
        InputError: where the folder holds no labelled image or fewer than two classes; where its images of 16 bits seem
            to hold fewer, and `policy.window` does not say how they are meant; or, with `strict`, where an earlier
            ingest used another decoder.
    """
    source, settings = request.source, request.settings
    entries = list_files(source.folder)
    fingerprint = source_fingerprint(source, settings, entries)
    staging = _staging(request, fingerprint)
    done = _published(request, fingerprint)
    if done and not request.retry_quarantined:
        if (staging / "plan.json").is_file() and _num_done(staging) == read_plan(staging).num_parts:
            keep_work(staging)  # the run that published it was killed before it came to that
        return Planned(staging, 0, done)
    if (staging / "plan.json").is_file() and _can_go_on(staging, request.decoder_mismatch):
        num_parts = read_plan(staging).num_parts
        done_before = (settings.name, _num_done(staging), num_parts)
        logger.info("Resuming the ingest of %s: %d of %d parts done.", *done_before)
        return Planned(staging, num_parts)
    labelling = label_files(source.folder, entries, settings.labels)
    splits, decision = _split_plan(labelling, settings)
    labels = LabelMap.of((text for file in labelling.files if (text := file.label)), TASKS[settings.labels.task])
    plan = IngestPlan(
        fingerprint=fingerprint,
        folder=str(source.folder),
        source=source.reference,
        identity=source.identity,
        licence=source.licence,
        citation=source.citation,
        settings=settings,
        decisions=(labelling.decision, decision),
        labels=labels.names,
        splits=splits,
        num_files=len(entries),
        num_parts=-(-len(entries) // settings.shards.rows_per_shard),
        retry_quarantined=request.retry_quarantined,
        decoder=decoder(),
        corrections=labelling.summary,
    )
    earlier = _earlier_work(plan, staging, request.decoder_mismatch)
    drawn: Mapping[str, str] = {}
    if settings.labels.task == "multi-label":
        hashes = hashes_of(source.folder, labelling.files, settings.policy.max_bytes)
        kept = earlier_splits(request.workspace, settings.name, splits)
        drawn = multi_label_splits(labelling.files, hashes, labels, splits, kept)
    table = with_earlier(_plan_table(labelling, drawn, settings.shards.rows_per_shard), earlier)
    labelled = [file for file in labelling.files if file.label is not None and not file.entry.reason]
    check_value_range(source.folder, (file.entry.os_path for file in _mixed(labelled)), settings.policy)
    # A row group a part, so that a part reads its own rows and not those of all the others.
    write_table(staging / "plan.parquet", table, settings.shards.rows_per_shard)
    if labelling.corrections:
        write_table(staging / CORRECTIONS, labelling.corrections.table(labelling.given))
    write_json(staging / "plan.json", plan.model_dump(mode="json"))
    for word, said in labelling.reading.with_splits(_told_splits(labelling, splits, decision)).lines():
        logger.info("%s: %-9s %s", settings.name, word, said)
    return Planned(staging, plan.num_parts)


def find_dataset(request: IngestRequest) -> Path | None:
    """The data set that `plan_ingest` would find; None where there is work left, if only to tidy up."""
    settings = request.settings
    if not version_note(request.workspace, settings.name, "").parent.is_dir():
        return None  # without a look at the files
    entries = list_files(request.source.folder)
    fingerprint = source_fingerprint(request.source, settings, entries)
    if _staging(request, fingerprint).exists():
        return None
    return _published(request, fingerprint)


def source_fingerprint(source: Source, settings: IngestSettings, entries: Sequence[FileEntry]) -> str:
    """A hash of a source's listing, the settings and the tables of corrections: see `listing_fingerprint`.

    Args:
        source: Where the files are.
        settings: How they are read.
        entries: All its files.
    """
    facts = with_digests(settings.model_dump(mode="json"), source.folder, settings.labels)
    return listing_fingerprint(facts, source.location, entries)


def _staging(request: IngestRequest, fingerprint: str) -> Path:
    return request.folder / f".staging-{fingerprint}"


def read_source(source: Source, settings: IngestSettings) -> Reading:
    """How an ingest would read a source, before it decodes the first image.

    Args:
        source: Where the files are.
        settings: Their rules for labels and splits count.

    Raises:
        InputError: where the source can be read in two ways, or not at all.
    """
    labelling = label_files(source.folder, list_files(source.folder), settings.labels)
    splits, decision = _split_plan(labelling, settings)
    return labelling.reading.with_splits(_told_splits(labelling, splits, decision))


def _split_plan(labelling: Labelling, settings: IngestSettings) -> tuple[SplitPlan, str]:
    """How the files are split, and the sentence that says so."""
    used = {file.source_split for file in labelling.files if file.label is not None}
    splits = SplitPlan.of(used, settings.splits)
    outside = _outside_splits(labelling)
    if outside and settings.splits.keep and not splits.held_out:
        raise InputError(
            f"{len(outside)} labelled images lie beside the training part, as {outside[0]}, and no part is called test "
            "or validation. If they are held out, call their folder test; if all images may be divided anew, use "
            "--no-keep-splits; leave them out with --exclude."
        )
    several = settings.labels.task == "multi-label"
    return splits, multi_label_decision(splits) if several else splits.decision


def _outside_splits(labelling: Labelling) -> list[str]:
    """Labelled images in no part, where others lie in a training part."""
    labelled = [file for file in labelling.files if file.label is not None]
    if all(file.source_split != "train" for file in labelled):
        return []
    return [file.entry.path for file in labelled if file.source_split is None]


def _told_splits(labelling: Labelling, splits: SplitPlan, decision: str) -> str:
    """How the splits are found, and the classes that are too small to be in each."""
    drawn = Counter(
        each
        for file in labelling.files
        if file.label is not None and splits.is_drawn(file.source_split)
        for each in TASKS[labelling.reading.task].names(file.label)
    )
    small = sorted(f"{label} {number}" for label, number in drawn.items() if number < MIN_CLASS_SIZE)
    outside = _outside_splits(labelling) if splits.held_out else []
    beside = f"; training has also {len(outside)} images in no part, as {outside[0]}" if outside else ""
    return decision + beside + (f"; too few images for every split: {some(small)}" if small else "")


def read_plan(staging: Path) -> IngestPlan:
    """The plan of a staging folder."""
    return IngestPlan.model_validate_json((staging / "plan.json").read_text(encoding="utf-8"))


def _can_go_on(staging: Path, rule: DecoderMismatch) -> bool:
    """Whether the work in a staging folder is that of the installed decoder; it is removed where it is not."""
    begun = read_plan(staging).decoder
    if decoder().is_same(begun):
        return True
    _settle(begun, staging.parent.name, rule)
    remove_folder(staging)
    return False


def _earlier_work(plan: IngestPlan, staging: Path, rule: DecoderMismatch) -> list[Path]:
    """Folders of work on the same source with the same settings by the same decoder, the newest first."""
    ours, others = [], []
    for folder in sorted(staging.parent.glob(".[es]*-*"), key=lambda found: (-found.stat().st_mtime_ns, found.name)):
        try:
            earlier = read_plan(folder)
        except (OSError, ValueError):  # abandoned before its plan was whole, or of another version of Darkroom
            continue
        if folder != staging and earlier.gives_the_same(plan):
            if decoder().is_same(earlier.decoder):
                ours.append(folder)
            else:
                others.append(earlier.decoder)
    if others and not ours:
        _settle(others[0], plan.settings.name, rule)
    return ours


def _settle(found: Decoder | None, name: str, rule: DecoderMismatch) -> None:
    then = "all files are decoded again and the data set has one decoder"
    if not settle_mismatch(f"The images of the earlier ingest of {name} were", found, decoder(), rule, then):
        logger.info("The earlier ingest of %s does not say which decoder it had: all files are decoded again.", name)


def _num_done(staging: Path) -> int:
    """The number of complete parts."""
    return sum(1 for _ in (staging / "parts").glob("[0-9]*"))


def version_note(workspace: Workspace, name: str, fingerprint: str) -> Path:
    """The file that says which version a listing and its settings gave, so that a rerun need not read an image.

    Args:
        workspace: Where the data set is.
        name: The data set's.
        fingerprint: Of the listing.
    """
    return workspace.datasets / name / ".fingerprints" / f"{fingerprint}.json"


def share_dataset(folder: Path, workspace: Workspace) -> None:
    """Upload a published data set to the workspace's store, with the notes by which its listing is recognised.

    Args:
        folder: The version's.
        workspace: Nothing happens where it is in no store.
    """
    workspace.share(folder, DATASET_CARD)
    for note in sorted((folder.parent / ".fingerprints").glob("*.json")):
        workspace.share_file(note)


def _published(request: IngestRequest, fingerprint: str) -> Path | None:
    workspace, name = request.workspace, request.settings.name
    note = version_note(workspace, name, fingerprint)
    workspace.fetch_file(note)
    try:
        version = json.loads(note.read_text(encoding="utf-8"))["version"]
        folder = workspace.fetch(workspace.dataset(name, version), DATASET_CARD)
    except (OSError, ValueError, KeyError, InputError):
        return None
    return folder if is_whole(folder) else None


def _mixed(files: Iterable[Labelled]) -> list[Labelled]:
    """Files in the order of a hash of their paths, which mixes the classes."""
    return sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file.entry.os_path)).digest())


def _plan_table(labelling: Labelling, drawn: Mapping[str, str], rows_per_part: int) -> pa.Table:
    """The files by part, with the splits that were drawn for them.

    They are in the order of a hash of their paths, so that every shard is a mixture of the classes.
    """
    order = _mixed(labelling.files)
    columns = [
        [file.entry.path for file in order],
        [os.fsencode(file.entry.os_path) for file in order],
        [file.entry.size_bytes for file in order],
        [file.entry.mtime_ns for file in order],
        [file.label for file in order],
        [file.source_split for file in order],
        [file.entry.reason for file in order],
        [place // rows_per_part for place in range(len(order))],
        [drawn.get(file.entry.path) for file in order],
    ]
    return pa.table(columns, schema=_PLAN_SCHEMA)
