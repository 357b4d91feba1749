"""What a stage leaves on disk, to be compared with what another run of it left."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

TIMES = {"started_at", "seconds", "images_per_second", "rows_reused"}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file by its relative path, as bytes; run records only as whole, and summaries without their times."""
    return {str(path.relative_to(folder)): _content(path) for path in folder.rglob("*") if path.is_file()}


def final_names(folder: Path) -> dict[str, bytes]:
    """What a killed run left, without what lies under a temporary name, and the markers of what it was decoding."""
    return {name: data for name, data in tree(folder).items() if ".tmp-" not in name and "/in-flight-" not in name}


def without_work(files: dict[str, bytes]) -> dict[str, bytes]:
    """A table's files, without those of a run that has not ended."""
    return {name: data for name, data in files.items() if ".scoring/" not in name or name.endswith("/.lock")}


def differing(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """The files that an undisturbed run does not leave, or not so."""
    return sorted(name for name, data in found.items() if expected.get(name) != data)


def identities(paths: Iterable[Path]) -> dict[int, int]:
    """Time of the last change by inode: a file that was made again has another."""
    return {path.stat().st_ino: path.stat().st_mtime_ns for path in paths if path.is_file()}


def _content(path: Path) -> bytes:
    if path.name == ".lock":
        return b""  # of a killed run it names the holder
    if path.name.endswith("run.json"):
        return b"whole" if "settings" in json.loads(path.read_text()) else b"half"
    if path.name.endswith(".summary.json"):
        facts = json.loads(path.read_text())
        return json.dumps({name: value for name, value in facts.items() if name not in TIMES}).encode()
    return path.read_bytes()
