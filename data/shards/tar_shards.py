"""Webdataset shards: uncompressed tar files, in which the files of a sample lie side by side under the same key.

`<key>.png` or `<key>.jpg`, the stored image; `<key>.cls`, the number of its class as text, unless an image may have
several labels; `<key>.json`, the facts: `path` and `sha256` of the source file, `copy`, `height`, `width`, `crc32` of
the stored image, and `label`, or `labels` as a list of names. The key is the first 20 hex digits of the SHA-256 of
`path`, a hyphen and `copy`: a data set has each once, and none has a dot, at which keys end.

The convention: https://github.com/webdataset/webdataset. Whatever could differ from one writing to the next, such as
times and owners, is 0, so that the same records give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from darkroom.data.labels.label_map import LabelMap
from darkroom.data.parallel import in_batches
from darkroom.data.shards.parquet_shards import as_rows, grouped
from darkroom.data.shards.records import Record, guarded, refusing_damage

_SUFFIXES = {"png": ".png", "jpeg": ".jpg"}
_FORMATS = {suffix: name for name, suffix in _SUFFIXES.items()}
_BLOCK = tarfile.BLOCKSIZE


class _Member(NamedTuple):
    """A file in a tar; `content` is None where it was passed over."""

    key: str
    suffix: str
    content: bytes | None


class _TarShard:
    def __init__(self, archive: tarfile.TarFile, labels: LabelMap) -> None:
        self._archive, self._labels = archive, labels

    def write(self, record: Record) -> None:
        key = f"{hashlib.sha256(record.path.encode()).hexdigest()[:20]}-{record.copy}"
        facts: dict[str, Any] = {
            "copy": record.copy,
            "crc32": zlib.crc32(record.encoded),
            "height": record.height,
            "path": record.path,
            "sha256": record.sha256,
            "width": record.width,
        }
        self._add(key + _SUFFIXES[record.format], record.encoded)
        if self._labels.task.name == "single-label":
            facts["label"] = record.label
            self._add(f"{key}.cls", str(record.label_index).encode())
        else:
            facts["labels"] = list(self._labels.task.names(record.label))
        self._add(f"{key}.json", json.dumps(facts, ensure_ascii=False, sort_keys=True).encode())

    def _add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)  # mode 0644, of nobody, in 1970
        member.size = len(content)
        self._archive.addfile(member, io.BytesIO(content))
        self._archive.members = []  # type: ignore[attr-defined]  # it would keep every entry in memory


@contextmanager
def writer(path: Path, labels: LabelMap) -> Iterator[_TarShard]:
    """A writer of one shard.

    Args:
        path, labels: As for `darkroom.data.shards.shards.open_writer`.
    """
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        yield _TarShard(archive, labels)


def num_records(path: Path) -> int:
    """The number of records in a shard, counted without reading them.

    Raises:
        FormatError: where the file is damaged.
    """
    with refusing_damage(path):
        return sum(member.suffix == ".json" for member in _members(path, with_content=False))


def read(path: Path, labels: LabelMap) -> Iterator[Record]:
    """The records of a shard.

    Args:
        path, labels: As for `darkroom.data.shards.shards.read_shard`.

    Raises:
        Exception: of any kind, where the file is damaged.
    """
    per_sample = 3 if labels.task.name == "single-label" else 2
    for image, *number, facts in in_batches(_members(path), per_sample):
        found = json.loads(facts.content or b"")
        if found["crc32"] != zlib.crc32(image.content or b"") or len({image.key, facts.key}) > 1:
            raise ValueError("a sample is not as it was written")
        names = [found["label"]] if number else found["labels"]
        indices = tuple(labels.index(name) for name in names)
        if number and (number[0].key, int(number[0].content or b"")) != (image.key, *indices):
            raise ValueError("a class is not as it was written")
        yield Record(
            encoded=image.content or b"",
            format=_FORMATS[image.suffix],
            height=found["height"],
            width=found["width"],
            label=labels.task.text(names),
            indices=indices,
            path=found["path"],
            sha256=found["sha256"],
            copy=found["copy"],
        )


def row_groups(path: Path, labels: LabelMap) -> Iterator[pa.Table]:
    """The same as tables with the columns of Parquet shards; one at a time is in memory.

    Args:
        path: The shard.
        labels: The class names by index.

    Raises:
        FormatError: where the file is damaged.
    """
    for group in grouped(guarded(path, read(path, labels))):
        yield as_rows(group, labels)


def copy_without(source: Path, target: Path, labels: LabelMap, dropped: Container[tuple[str, str]]) -> None:
    """Copy a shard without some of its records.

    Args:
        source, target, labels, dropped: As for `darkroom.data.shards.shards.copy_without`.

    Raises:
        FormatError: where the shard is damaged.
    """
    with writer(target, labels) as shard:
        for record in guarded(source, read(source, labels)):
            if (record.path, record.sha256) not in dropped:
                shard.write(record)


def _members(path: Path, with_content: bool = True) -> Iterator[_Member]:
    """The files of a tar that `writer` wrote; `tarfile` takes one that is cut between two files for a whole one."""
    size = path.stat().st_size
    if size % tarfile.RECORDSIZE:
        raise ValueError("a tar ends with a whole record")
    with path.open("rb") as stream:
        while (block := stream.read(_BLOCK)) != bytes(_BLOCK):
            found = tarfile.TarInfo.frombuf(block, "ascii", "strict")
            key, dot, suffix = found.name.partition(".")
            padding = -found.size % _BLOCK
            if stream.tell() + found.size + padding > size:
                raise ValueError("a tar ends within a file")
            if with_content:
                content = stream.read(found.size)
                stream.seek(padding, io.SEEK_CUR)
            else:
                content = None
                stream.seek(found.size + padding, io.SEEK_CUR)
            yield _Member(key, dot + suffix, content)
        if any(stream.read()):
            raise ValueError("something comes after the end of a tar")
