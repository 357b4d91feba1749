"""Hashes of files and of settings: what a version is made of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits; reads it in chunks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_version(*parts: Any) -> str:
    """A short hash of the parts: the first 12 hex digits of the SHA-256 of their JSON, keys sorted.

    Args:
        parts: What JSON can hold; anything else counts as its `str()`.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
