"""What is known of a source, or of a data set, before anything is trained on it; `inspection.json` on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.dataset.duplicate_summary import DuplicateSummary
from darkroom.data.dataset.manifest import OK, QUARANTINED, by_label
from darkroom.data.files.cards import read_card
from darkroom.data.files.provenance import LibraryVersion, library_versions
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.publication import gather
from darkroom.data.ingest.reuse import part_folder
from darkroom.data.labels.corrections import CorrectionSummary
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.quality.assessment import Quality, assess
from darkroom.data.shards.shard_names import part_shards
from darkroom.data.stores.workspace import INSPECTION_CARD
from darkroom.data.task import SINGLE_LABEL, Task, TaskName
from darkroom.models.inspecting.label_errors import (
    Judged,
    LabelErrors,
    extract_features,
    find_label_errors,
    load_judged,
)
from darkroom.models.inspecting.multi_label_errors import find_multi_label_errors
from darkroom.models.measures.intervals import Frozen

SCHEMA_VERSION = 1
_MAX_LISTED = 1000
_MAX_EXAMPLES = 96
_MAX_EXAMPLES_PER_CLASS = 8


class QuarantinedFile(Frozen):
    """A quarantined file.

    Attributes:
        path: As in the manifest.
        reason: The reason code.
    """

    path: str
    reason: str


class Example(Frozen):
    """A usable image of a class.

    Attributes:
        path: As in the manifest.
        label: Its class.
    """

    path: str
    label: str


class CopyPair(Frozen):
    """Two images that are the same or nearly so: a row of `duplicates.parquet`.

    Attributes:
        path, other: As in the manifest.
        kind: `exact` or `near`.
        split, other_split: The split of each.
        label, other_label: The class of each.
        similarity: Of the pixels, at most 1.
    """

    path: str
    other: str
    kind: str
    split: str
    other_split: str
    label: str
    other_label: str
    similarity: float


class Inspection(Frozen):
    """What is known of a source or a data set without training.

    Attributes:
        name: The data set's, or what it would be called.
        version: The data set's; None for a source that is not ingested.
        source: As given on the command line.
        licence: Of the images, where known.
        citation: What to cite, where known.
        decisions: Sentences on how labels and splits were found.
        policy: How the images were decoded.
        quality: Class balance, sizes and outliers.
        examples: Up to 8 images of each class, chosen by their hashes; of more than 96 classes, of the first.
        set_aside: The first 1,000 quarantined files, by path.
        duplicates: The counts of duplicates.
        copies: The first 1,000 pairs: those across splits first, then those with two labels, then the most similar.
        label_errors: None where labels were not checked.
        libraries: Versions of those that can affect the result.
        generated_by: Command, flow or run that made it.
        corrections: What corrections changed; None without them.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    version: str | None
    source: str
    licence: str | None
    citation: str | None
    decisions: tuple[str, ...]
    policy: DecodePolicy
    quality: Quality
    examples: tuple[Example, ...] = ()
    set_aside: tuple[QuarantinedFile, ...]
    duplicates: DuplicateSummary
    copies: tuple[CopyPair, ...]
    label_errors: LabelErrors | None
    libraries: tuple[LibraryVersion, ...]
    generated_by: str
    corrections: CorrectionSummary | None = None


def extract_part_features(staging: Path, index: int, labels: LabelMap, backbone: Path, share: float) -> Path:
    """The features of some of one part's images, by which their labels are checked; an existing file is kept.

    Args:
        staging: The folder of an ingest that is not published.
        index: The part, from 0.
        labels: The label map.
        backbone: As `export_judge` wrote it.
        share: Of the images, 0 to 1, chosen by their hashes.

    Returns:
        The file that `load_judged` reads.

    Raises:
        FormatError: where a shard is damaged.
    """
    part = part_folder(staging, index)
    shards = list(part_shards(part))
    file = staging / "label-features" / f"{share:.6f}" / f"{index:05d}.npz"
    extract_features(shards, labels, backbone, share, file)
    return file


def inspect_staging(staging: Path, features: list[Path], generated_by: str) -> Inspection:
    """Describe a source whose parts are written.

    Args:
        staging: The folder of an ingest that is not published.
        features: What `extract_part_features` returned; empty to check no labels.
        generated_by: As in `Inspection`.
    """
    found = gather(staging)
    plan, labels = found.plan, found.plan.label_map
    return Inspection(
        name=plan.settings.name,
        version=None,
        source=plan.source,
        licence=plan.licence,
        citation=plan.citation,
        decisions=found.decisions,
        policy=plan.settings.policy,
        quality=assess(found.manifest, plan.settings.policy, _MAX_LISTED, labels.task),
        examples=choose_examples(found.manifest, labels.task),
        set_aside=_quarantined(found.manifest),
        duplicates=found.summary,
        copies=_copies(found.copies, labels.task),
        label_errors=_label_errors(features, labels),
        libraries=library_versions(),
        generated_by=generated_by,
        corrections=plan.corrections,
    )


def extract_shard_features(dataset: Dataset, shard: str, backbone: Path, share: float) -> Path:
    """The features of some of a published shard's images, by which their labels are checked; an existing file is kept.

    Args:
        dataset: The data set.
        shard: The shard's file name in the card.
        backbone: As `export_judge` wrote it.
        share: Of the images, 0 to 1, chosen by their hashes.

    Returns:
        The file that `load_judged` reads.

    Raises:
        FormatError: where the shard is damaged.
    """
    file = backbone.parent / f"{share:.6f}" / f"{Path(shard).name}.npz"
    extract_features([dataset.folder / shard], dataset.labels, backbone, share, file)
    return file


def inspect_dataset(dataset: Dataset, features: list[Path], generated_by: str) -> Inspection:
    """Describe a published data set.

    Args:
        dataset: The data set.
        features: What `extract_shard_features` returned; empty to check no labels.
        generated_by: As in `Inspection`.
    """
    card, manifest, labels = dataset.card, dataset.manifest(), dataset.labels
    return Inspection(
        name=card.name,
        version=card.version,
        source=card.source,
        licence=card.licence,
        citation=card.citation,
        decisions=card.decisions,
        policy=card.policy,
        quality=assess(manifest, card.policy, _MAX_LISTED, labels.task),
        examples=choose_examples(manifest, labels.task),
        set_aside=_quarantined(manifest),
        duplicates=card.duplicate_summary,
        copies=_copies(dataset.duplicates(), labels.task),
        label_errors=_label_errors(features, labels),
        libraries=library_versions(),
        generated_by=generated_by,
        corrections=card.corrections,
    )


def read_inspection(folder: Path) -> Inspection:
    """Read `inspection.json`.

    Raises:
        FormatError: where it is missing, damaged or of another schema version.
    """
    return read_card(folder / INSPECTION_CARD, Inspection, SCHEMA_VERSION)


def choose_examples(manifest: pa.Table, task: Task = SINGLE_LABEL) -> tuple[Example, ...]:
    """A few usable images of each class, by label and hash: the same each time, whatever the order of the listing.

    Args:
        manifest: With the columns `path`, `sha256`, `label` and `status`.
        task: How the labels of an image are written.
    """
    rows = by_label(manifest.filter(pc.equal(manifest["status"], OK)).select(["label", "sha256", "path"]), task)
    num_classes = max(pc.count_distinct(rows["label"]).as_py(), 1)
    limit = max(1, min(_MAX_EXAMPLES_PER_CLASS, _MAX_EXAMPLES // num_classes))
    # The lowest hashes of each class, by columns: a data set may have millions of rows.
    rows = rows.sort_by([("label", "ascending"), ("sha256", "ascending"), ("path", "ascending")])
    labels = rows["label"].combine_chunks()
    if not len(labels):
        return ()
    starts = np.flatnonzero(np.r_[True, pc.not_equal(labels[1:], labels[:-1]).to_numpy(zero_copy_only=False)])
    ends = np.r_[starts[1:], len(labels)]
    chosen = np.concatenate([np.arange(a, min(a + limit, b)) for a, b in zip(starts, ends, strict=True)])
    return tuple(Example(path=row["path"], label=row["label"]) for row in rows.take(chosen[:_MAX_EXAMPLES]).to_pylist())


_FIND_ERRORS: Mapping[TaskName, Callable[[Judged, LabelMap, int], LabelErrors]] = {
    "single-label": find_label_errors,
    "multi-label": find_multi_label_errors,
}


def _label_errors(features: list[Path], labels: LabelMap) -> LabelErrors | None:
    return _FIND_ERRORS[labels.task.name](load_judged(features), labels, _MAX_LISTED) if features else None


def _quarantined(manifest: pa.Table) -> tuple[QuarantinedFile, ...]:
    rows = manifest.filter(pc.equal(manifest["status"], QUARANTINED)).select(["path", "reason"]).sort_by("path")
    return tuple(QuarantinedFile(**row) for row in rows.slice(0, _MAX_LISTED).to_pylist())


def _copies(table: pa.Table, task: Task) -> tuple[CopyPair, ...]:
    rows = table.select(list(CopyPair.model_fields)).to_pylist()
    rows.sort(
        key=lambda row: (
            row["split"] == row["other_split"],
            row["label"] == row["other_label"],
            -row["similarity"],
            row["path"],
            row["other"],
        )
    )
    return tuple(
        CopyPair(
            **row
            | {"similarity": round(row["similarity"], 3)}
            | {name: task.shown(row[name]) for name in ("label", "other_label")}
        )
        for row in rows[:_MAX_LISTED]
    )
