"""A data set on disk: `dataset.json` (the card), `manifest.parquet`, `duplicates.parquet`, `shards/`.

The card is written last and lists its files with sizes and SHA-256; a folder without it is not a data set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from data.atomic import atomic_file, file_sha256
from data.augment import AugmentPolicy, contact_sheet
from data.decode import DecodePolicy, decode_stored
from data.duplicates import DuplicateSummary
from data.errors import FormatError, InputError
from data.labels import LabelMap
from data.manifest import read_manifest
from data.shards import Record, ShardFormat, read_shard
from data.splits import SplitPlan
from data.workspace import DATASET_CARD

SCHEMA_VERSION = 1
M = TypeVar("M", bound=BaseModel)


class FileFact(BaseModel):
    """A file that a card answers for: name relative to the card's folder, size in bytes, SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, folder: Path, file: str) -> FileFact:
        path = folder / file
        return cls(file=file, bytes=path.stat().st_size, sha256=file_sha256(path))


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
    """Files set aside for one reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    num_files: int


class DatasetCard(BaseModel):
    """What a data set is, for people and programs; the same content gives the same bytes."""

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
        """The rows of `duplicates.parquet`: see `data.duplicates`."""
        return pq.read_table(self.folder / self.card.duplicates.file)

    def paths(self, split: str) -> list[str]:
        """The paths of a split's files, sorted."""
        rows = self.manifest("path", "split").filter(pc.equal(pc.field("split"), split))
        return [str(path) for path in rows["path"].to_pylist()]


def open_dataset(folder: Path) -> Dataset:
    """Read and check the card of a data set.

    Raises:
        FormatError: where the card is missing, damaged or of an unknown schema version, or a shard is missing or has
            another size than the card says.
    """
    card = read_card(folder / DATASET_CARD, DatasetCard, SCHEMA_VERSION)
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
    """Write a contact sheet PNG: training images, each with changed copies beside it."""
    originals = (record for record in dataset.records("train") if record.copy == 0)
    sheet = contact_sheet([decode_stored(record.encoded) for record in islice(originals, num_images)], policy)
    with atomic_file(path) as temporary:
        temporary.write_bytes(sheet)


def check_file(folder: Path, fact: FileFact) -> None:
    """Refuse a file that a card lists and that is missing, outside the folder, or of another size."""
    path = folder / fact.file
    if Path(fact.file).is_absolute() or ".." in Path(fact.file).parts:
        raise FormatError(f"The card in {folder} names {fact.file!r}, outside its folder. It is not ours: refused.")
    found = path.stat().st_size if path.is_file() else None
    if found != fact.bytes:
        what = "is missing" if found is None else f"has {found} bytes, not {fact.bytes}"
        raise FormatError(
            f"{path} {what}, as its card says it should. Delete {folder} and make it again, or restore it."
        )


def read_card(path: Path, model: type[M], schema_version: int) -> M:
    """A card as `model`; raises FormatError with both versions where `schema_version` is not ours."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        found = raw.get("schema_version")
    except FileNotFoundError:
        raise FormatError(f"{path.parent} has no {path.name}: it is not finished, or not what you meant.") from None
    except (OSError, ValueError, AttributeError) as error:
        raise FormatError(f"{path} cannot be read: {error}.") from None
    if found != schema_version:
        raise FormatError(f"{path} has schema version {found}, this Darkroom reads {schema_version}. Update Darkroom.")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "decode_version":
            raise FormatError(f"The images of {path.parent} were {first['msg']}.") from None
        where = ".".join(str(part) for part in first["loc"])
        raise FormatError(f"{path} is damaged at {where}: {first['msg']}.") from None
