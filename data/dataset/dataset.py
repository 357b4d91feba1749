"""A data set on disk: `dataset.json` (the card), `manifest.parquet`, `duplicates.parquet`, `shards/`.

The card is written last and lists its files with sizes and SHA-256; a folder without it is not a data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from darkroom.data.dataset.duplicate_summary import DuplicateSummary
from darkroom.data.dataset.manifest import read_manifest
from darkroom.data.errors import InputError
from darkroom.data.files.atomic import atomic_file
from darkroom.data.files.cards import FileFact, check_file, read_card
from darkroom.data.images.decode import decode_stored
from darkroom.data.images.decoder_fingerprint import Decoder
from darkroom.data.images.pixels.augment import AugmentPolicy, contact_sheet
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.labels import corrections
from darkroom.data.labels.corrections import CorrectionSummary
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.settings import without_defaults
from darkroom.data.shards.records import Record
from darkroom.data.shards.shard_names import ShardFormat
from darkroom.data.shards.shards import read_shard
from darkroom.data.splits.splits import SPLITS, SplitPlan
from darkroom.data.stores.workspace import DATASET_CARD
from darkroom.data.task import TASKS, TaskName

SCHEMA_VERSION = 1


class ShardFact(FileFact):
    """A shard, as the card lists it.

    Attributes:
        split: `train`, `validation` or `test`.
        num_rows: Images in it, copies included.
        num_copies: Augmented copies among them.
    """

    split: str
    num_rows: int
    num_copies: int


class ClassCount(BaseModel):
    """Images of one class in one split, copies not counted.

    Attributes:
        split: `train`, `validation` or `test`.
        label: The class.
        num_images: How many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str
    label: str
    num_images: int


class ReasonCount(BaseModel):
    """Files quarantined for one reason.

    Attributes:
        reason: A reason code: see `reason_codes.py`.
        num_files: How many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    num_files: int


class DatasetCard(BaseModel):
    """The card of a data set, `dataset.json`; the same content by the same packages gives the same bytes.

    The version is a hash of the manifest's rows, the source, the settings and the decisions, and of nothing else here.

    Attributes:
        name: The data set's.
        version: 12 hex digits.
        source: As given to the ingest, such as `sample:digits`.
        licence: Of the images, where known.
        citation: What to cite, where known.
        decisions: Sentences on how labels and splits were found.
        task: One label an image, or any number; left out of the file where it is one.
        labels: The class names, sorted; a label's index is its position.
        policy: How the images were decoded.
        splits: How they were split.
        shard_format: `tfrecord`, `parquet` or `webdataset`.
        augmentation: Of the copies.
        copies: Augmented copies of each training image.
        decoder: What decoded all the images; None in a card of an earlier Darkroom, which did not record it.
        num_files: Files in the source.
        num_ok: Images used.
        reasons: Why the other files were quarantined, most frequent first.
        counts: Images by split and class; an image of several labels counts for each.
        manifest: The file `manifest.parquet`.
        duplicates: The file `duplicates.parquet`.
        duplicate_summary: What it comes to.
        shards: By split, in the order in which they are read.
        corrections: What people corrected in the source's labels; None where no corrections were taken in.
        correction_rows: The file `corrections.parquet`: see `darkroom.data.labels.corrections`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    name: str
    version: str
    source: str
    licence: str | None
    citation: str | None
    decisions: tuple[str, ...]
    task: TaskName = "single-label"
    labels: tuple[str, ...]
    policy: DecodePolicy
    splits: SplitPlan
    shard_format: ShardFormat
    augmentation: AugmentPolicy
    copies: int
    decoder: Decoder | None = None
    num_files: int
    num_ok: int
    reasons: tuple[ReasonCount, ...]
    counts: tuple[ClassCount, ...]
    manifest: FileFact
    duplicates: FileFact
    duplicate_summary: DuplicateSummary
    shards: tuple[ShardFact, ...]
    corrections: CorrectionSummary | None = None
    correction_rows: FileFact | None = None

    @model_serializer(mode="wrap")
    def _without_the_usual_task(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_defaults(self, dump(self), ("task",))

    def num_images(self, split: str) -> int:
        """Images of a split, copies not counted."""
        return sum(shard.num_rows - shard.num_copies for shard in self.shards if shard.split == split)

    def class_counts(self, split: str) -> tuple[int, ...]:
        """Images of each class in a split, in the order of the label map."""
        found = {count.label: count.num_images for count in self.counts if count.split == split}
        return tuple(found.get(label, 0) for label in self.labels)


@dataclass(frozen=True)
class Dataset:
    """An opened data set.

    Attributes:
        folder: Its folder.
        card: Its card, checked.
    """

    folder: Path
    card: DatasetCard

    @property
    def labels(self) -> LabelMap:
        """The label map."""
        return LabelMap(self.card.labels, TASKS[self.card.task])

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.card.name}@{self.card.version}"

    def shard_paths(self, split: str) -> list[Path]:
        """The shards of a split, in the order in which they are read.

        Raises:
            InputError: where there is no such split, or it is empty.
        """
        found = [self.folder / shard.file for shard in self.card.shards if shard.split == split]
        if split not in SPLITS:
            raise InputError(f"There is no split {split!r}: there are {', '.join(SPLITS)}.")
        if not found:
            raise InputError(f"The data set {self.reference} has no {split} images. Ingest more, or another split.")
        return found

    def records(self, split: str) -> Iterator[Record]:
        """The stored images of a split in shard order, copies included.

        Raises:
            InputError: where there is no such split, or it is empty.
            FormatError: where a shard is damaged.
        """
        labels = self.labels
        for path in self.shard_paths(split):
            yield from read_shard(path, labels)

    def manifest(self, *columns: str) -> pa.Table:
        """The manifest's rows, sorted by path; only the named columns, or all where none is named."""
        return read_manifest(self.folder / "manifest.parquet", columns)

    def duplicates(self) -> pa.Table:
        """The rows of `duplicates.parquet`: see `darkroom.data.quality.duplicates`."""
        return pq.read_table(self.folder / self.card.duplicates.file)

    def corrections(self) -> pa.Table:
        """The rows of `corrections.parquet`; none where no corrections were taken in."""
        rows = self.card.correction_rows
        return pq.read_table(self.folder / rows.file) if rows else corrections.SCHEMA.empty_table()

    def paths(self, split: str) -> list[str]:
        """The paths of a split's files, sorted."""
        rows = self.manifest("path", "split").filter(pc.equal(pc.field("split"), split))
        return [str(path) for path in rows["path"].to_pylist()]


def read_dataset_card(folder: Path) -> DatasetCard:
    """The card of a data set, without checking its files.

    Raises:
        FormatError: where the card is missing, damaged or of an unknown schema version.
    """
    return read_card(folder / DATASET_CARD, DatasetCard, SCHEMA_VERSION)


def open_dataset(folder: Path) -> Dataset:
    """Read and check the card of a data set.

    Raises:
        FormatError: where the card is missing, damaged or of an unknown schema version, or a file that it lists is
            missing or of another size.
    """
    card = read_dataset_card(folder)
    rows = (card.correction_rows,) if card.correction_rows else ()
    for fact in (card.manifest, card.duplicates, *rows, *card.shards):
        check_file(folder, fact)
    return Dataset(folder, card)


def is_whole(folder: Path) -> bool:
    """Whether `open_dataset` accepts a folder."""
    try:
        open_dataset(folder)
    except InputError:
        return False
    return True


def write_preview(dataset: Dataset, policy: AugmentPolicy, path: Path, num_images: int = 6) -> None:
    """Write a contact sheet as PNG: training images, each followed by augmented copies.

    Args:
        dataset: Where the images are from.
        policy: How they are augmented.
        path: The file to write.
        num_images: Rows of the sheet.
    """
    originals = (record for record in dataset.records("train") if record.copy == 0)
    sheet = contact_sheet([decode_stored(record.encoded) for record in islice(originals, num_images)], policy)
    with atomic_file(path) as temporary:
        temporary.write_bytes(sheet)
