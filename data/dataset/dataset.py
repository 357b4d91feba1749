"""A data set on disk: `dataset.json` (the card), `manifest.parquet`, `duplicates.parquet`, `shards/`.

The card is written last and lists its files with sizes and SHA-256; a folder without it is not a data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from darkroom.data.dataset.label_map import LabelMap
from darkroom.data.dataset.leaks import DuplicateSummary
from darkroom.data.dataset.manifest import read_manifest
from darkroom.data.dataset.shard_names import ShardFormat
from darkroom.data.dataset.shards import Record, read_shard
from darkroom.data.dataset.splits import SPLITS, SplitPlan
from darkroom.data.errors import InputError
from darkroom.data.files.atomic import atomic_file
from darkroom.data.files.cards import FileFact, check_file, read_card
from darkroom.data.images.augment import AugmentPolicy, contact_sheet
from darkroom.data.images.decode import DecodePolicy, decode_stored
from darkroom.data.images.decoder import Decoder
from darkroom.data.stores.workspace import DATASET_CARD

SCHEMA_VERSION = 1


class ShardFact(FileFact):
    """A shard: its split, and its rows (`num_copies` of them augmented copies)."""

    split: str
    num_rows: int
    num_copies: int


class ClassCount(BaseModel):
    """Images of one class in one split, copies not counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str
    label: str
    num_images: int


class ReasonCount(BaseModel):
    """Files quarantined for one reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    num_files: int


class DatasetCard(BaseModel):
    """The card of a data set, `dataset.json`; the same content by the same packages gives the same bytes.

    Attributes:
        decoder: What decoded all of its images; None in a card of an earlier Darkroom, which did not record it. Like
            everything but the rows of the manifest, the source, the settings and the decisions, it is no part of the
            version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    name: str
    version: str
    source: str
    licence: str | None
    citation: str | None
    decisions: tuple[str, ...]
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

    def num_images(self, split: str) -> int:
        """Images of a split, copies not counted."""
        return sum(count.num_images for count in self.counts if count.split == split)

    def class_counts(self, split: str) -> tuple[int, ...]:
        """Images of each class of a split, in label map order."""
        found = {count.label: count.num_images for count in self.counts if count.split == split}
        return tuple(found.get(label, 0) for label in self.labels)


@dataclass(frozen=True)
class Dataset:
    """An opened data set: its folder and its card."""

    folder: Path
    card: DatasetCard

    @property
    def labels(self) -> LabelMap:
        return LabelMap(self.card.labels)

    @property
    def reference(self) -> str:
        return f"{self.card.name}@{self.card.version}"

    def shard_paths(self, split: str) -> list[Path]:
        """The shards of a split, in order; raises InputError where the split is empty."""
        found = [self.folder / shard.file for shard in self.card.shards if shard.split == split]
        if split not in SPLITS:
            raise InputError(f"There is no split {split!r}: there are {', '.join(SPLITS)}.")
        if not found:
            raise InputError(f"The data set {self.reference} has no {split} images. Ingest more, or another split.")
        return found

    def records(self, split: str) -> Iterator[Record]:
        """Stored images of a split in shard order, copies included."""
        labels = self.labels
        for path in self.shard_paths(split):
            yield from read_shard(path, labels)

    def manifest(self, *columns: str) -> pa.Table:
        """The manifest's rows, sorted by path."""
        return read_manifest(self.folder / "manifest.parquet", columns)

    def duplicates(self) -> pa.Table:
        """The rows of `duplicates.parquet`: see `darkroom.data.quality.duplicates`."""
        return pq.read_table(self.folder / self.card.duplicates.file)

    def paths(self, split: str) -> list[str]:
        """The paths of a split's files, sorted."""
        rows = self.manifest("path", "split").filter(pc.equal(pc.field("split"), split))
        return [str(path) for path in rows["path"].to_pylist()]


def read_dataset_card(folder: Path) -> DatasetCard:
    """The card of a data set, without a look at its files; raises FormatError as `open_dataset` does."""
    return read_card(folder / DATASET_CARD, DatasetCard, SCHEMA_VERSION)


def open_dataset(folder: Path) -> Dataset:
    """Read and check the card of a data set.

    Raises:
        FormatError: where the card is missing, damaged or of an unknown schema version, or a shard is missing or has
            another size than the card says.
    """
    card = read_dataset_card(folder)
    for fact in (card.manifest, card.duplicates, *card.shards):
        check_file(folder, fact)
    return Dataset(folder, card)


def is_whole(folder: Path) -> bool:
    """Whether `open_dataset` takes a folder."""
    try:
        open_dataset(folder)
    except InputError:
        return False
    return True


def write_preview(dataset: Dataset, policy: AugmentPolicy, path: Path, num_images: int = 6) -> None:
    """Write a contact sheet PNG: training images, each followed by augmented copies."""
    originals = (record for record in dataset.records("train") if record.copy == 0)
    sheet = contact_sheet([decode_stored(record.encoded) for record in islice(originals, num_images)], policy)
    with atomic_file(path) as temporary:
        temporary.write_bytes(sheet)
