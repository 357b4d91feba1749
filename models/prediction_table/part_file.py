"""A part of the table on disk: a Parquet file whose footer says what the rows were made from.

So a table's folder is continued when it has been moved without the files beside it. Of the footer's key-value
metadata, `darkroom` holds `PartFacts` as JSON, and `darkroom.sha256` the SHA-256 of all bytes in front of the footer,
by which a damaged or edited part is told from a whole one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from darkroom.data.dataset.manifest import parquet_options
from darkroom.data.files.atomic import atomic_file
from darkroom.data.files.hashing import content_version
from darkroom.data.images.decoder_fingerprint import Decoder
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.settings import without_defaults
from darkroom.models.onnx.runtime import Engine
from darkroom.models.prediction_table.schema import SCHEMA_VERSION, TOP_K

_FACTS, _SHA256 = b"darkroom", b"darkroom.sha256"
# Of what a table was made from, that which came later: where it is as it always was, it is not written.
LATER = ("listed", "top_k", "familiarity", "num_unfamiliar")


class PartFacts(BaseModel):
    """What a part's rows were made from.

    Attributes:
        folder: The scored folder.
        listed: Whether files of it were named, in place of all.
        bundle: `name@version` of the bundle that made the rows.
        precision: Of the network: `fp32` or `int8`.
        engine: What ran it, see `darkroom.models.onnx.runtime`.
        embedding_size: Numbers in the column `embedding`; None where there is none.
        top_k: Classes that each row keeps, if there are as many.
        decode_policy: How files became pixels.
        decoder: What decoded them; None where that was not recorded.
        familiarity: The version of the training profile by which images are unfamiliar; None where none says so.
        first_row: The position of the first row in the table, from 0.
        num_rows: Rows of the part.
        rows_key: What each row depends on besides its file.
        part_key: What the part depends on: `rows_key` and its files.
        stamps: One per row, of its file, see `stamp`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    folder: str
    listed: bool = False
    bundle: str
    precision: Literal["fp32", "int8", "service"]
    engine: Engine
    embedding_size: int | None
    top_k: int = TOP_K
    decode_policy: DecodePolicy
    decoder: Decoder | None
    familiarity: str | None = None
    first_row: int
    num_rows: int
    rows_key: str
    part_key: str
    stamps: tuple[str, ...]

    @model_serializer(mode="wrap")
    def _as_it_always_was(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_defaults(self, dump(self), LATER)


def stamp(file: Mapping[str, Any]) -> str:
    """16 hex digits of a planned file's path, size, modification time, ETag and reason not to read it."""
    text = "\0".join(str(file[fact]) for fact in ("path", "bytes", "mtime_ns", "etag", "reason"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def part_key(rows_key: str, stamps: Sequence[str]) -> str:
    """A hash of what a part depends on.

    Args:
        rows_key: What each row depends on besides its file.
        stamps: Of its files, in order.
    """
    return content_version(rows_key, stamps)


def write_part(path: Path, table: pa.Table, facts: PartFacts, work: Path, plain: str | None = None) -> None:
    """Write a part, whole or not at all; equal rows and facts give equal bytes.

    Args:
        path: The part.
        table: Its rows.
        facts: What they were made from.
        work: Folder of the temporary file.
        plain: A column to store as it is, see `darkroom.data.dataset.manifest.write_table`.
    """
    with atomic_file(path, work) as temporary, temporary.open("wb") as stream:
        hashed = _HashedStream(stream)
        with pq.ParquetWriter(hashed, table.schema, **parquet_options(table, plain)) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({_FACTS: facts.model_dump_json(), _SHA256: hashed.sha256.hexdigest()})


def is_ours(path: Path) -> bool:
    """Whether Darkroom wrote a part, in this version or another."""
    return _FACTS in _metadata(path)


def read_facts(path: Path) -> PartFacts | None:
    """What a part was made from; None where it is missing, damaged, not ours, or written by another version."""
    try:
        return PartFacts.model_validate_json(_metadata(path)[_FACTS])
    except (KeyError, ValidationError):
        return None


def is_intact(path: Path) -> bool:
    """Whether a part's rows are unchanged since they were written, by their SHA-256."""
    written = _metadata(path).get(_SHA256)
    if written is None:
        return False
    with path.open("rb") as stream:
        stream.seek(-8, 2)  # the file ends in the footer, its length in four bytes, and "PAR1"
        rest = stream.tell() - int.from_bytes(stream.read(4), "little")
        stream.seek(0)
        sha256 = hashlib.sha256()
        while rest > 0 and (read := stream.read(min(rest, 2**20))):
            sha256.update(read)
            rest -= len(read)
    return sha256.hexdigest().encode() == written


def _metadata(path: Path) -> dict[bytes, bytes]:
    try:
        return pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException):
        return {}


class _HashedStream:
    """A file to write to, and the SHA-256 of what was written so far."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.sha256, self.closed = stream, hashlib.sha256(), False

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._stream.write(data)

    def tell(self) -> int:
        return self._stream.tell()

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: the file is closed by its opener."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False
