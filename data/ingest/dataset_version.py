"""The version of a data set: a hash of its content and of all settings that decided it.

The same files and settings give the same version on every machine, whenever and in whatever order they were read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from darkroom.data.files.hashing import content_version
from darkroom.data.stores.listing import FileEntry

# Raised whenever the same source and settings would give another data set.
CODE_VERSION = 3


def dataset_version(settings: Mapping[str, Any], source: str, decisions: Sequence[str], manifest: pa.Table) -> str:
    """The version, 12 hexadecimal digits.

    Args:
        settings: `IngestSettings` as JSON values.
        source: What of the source belongs to its content, such as a sample's name; not how a path was written.
        decisions: How labels and splits were found.
        manifest: Sorted by path.
    """
    return content_version(CODE_VERSION, settings, source, decisions, _digest(manifest))


def listing_fingerprint(settings: Mapping[str, Any], source: str, entries: Iterable[FileEntry]) -> str:
    """A hash of a listing and all settings, by which a rerun finds the version without reading a file.

    Args:
        settings: `IngestSettings` as JSON values.
        source: Where it is: `Source.location`.
        entries: Path, size, modification time and reason of each file count.
    """
    facts = [(entry.path, entry.size_bytes, entry.mtime_ns, entry.reason) for entry in entries]
    return content_version(CODE_VERSION, settings, source, facts)


def _digest(manifest: pa.Table) -> str:
    """SHA-256 over what the manifest says of each file; independent of how Parquet lays it out."""
    digest = hashlib.sha256()
    columns = manifest.select(["path", "sha256", "label", "split", "status", "reason"])
    for batch in columns.to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()
