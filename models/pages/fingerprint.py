"""The fingerprint of a folder of pages: what they were made from, so that they are written only when that changes.

`made.json` is written after all other files: the fingerprint, and size and SHA-256 of each file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from darkroom.data.errors import FormatError
from darkroom.data.files.atomic import write_json
from darkroom.data.files.cards import FileFact, check_file, read_card
from darkroom.data.files.hashing import content_version
from darkroom.data.files.provenance import library_versions

MADE_CARD = "made.json"
SCHEMA_VERSION = 1


class Made(BaseModel):
    """What pages were made from, `made.json`.

    Attributes:
        made_from: The fingerprint.
        files: The pages and their pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    made_from: str
    files: tuple[FileFact, ...]


def fingerprint_of(*inputs: Any) -> str:
    """The fingerprint of all inputs (plain JSON values) and of the installed libraries' versions."""
    return content_version([library.model_dump() for library in library_versions()], *inputs)


def write_fingerprint(folder: Path, fingerprint: str, names: Iterable[str]) -> None:
    """Write `made.json`, which marks the named files of a folder as complete.

    Args:
        folder: The pages' folder.
        fingerprint: What they were made from.
        names: Their file names.
    """
    made = Made(made_from=fingerprint, files=tuple(FileFact.of(folder, name) for name in names))
    write_json(folder / MADE_CARD, made.model_dump(mode="json"))


def refresh_made(folder: Path, name: str) -> bool:
    """Record one file as it is now, after its links were changed; False where nothing was to be recorded.

    Args:
        folder: The pages' folder.
        name: The file's name.
    """
    try:
        made = read_card(folder / MADE_CARD, Made, SCHEMA_VERSION)
    except FormatError:
        return False
    files = tuple(FileFact.of(folder, name) if fact.file == name else fact for fact in made.files)
    if files != made.files:
        write_json(folder / MADE_CARD, made.model_copy(update={"files": files}).model_dump(mode="json"))
    return files != made.files


def files_up_to_date(folder: Path, fingerprint: str) -> tuple[str, ...]:
    """The names of a folder's files; () where they have another fingerprint, or one was changed since.

    Args:
        folder: The pages' folder.
        fingerprint: What they would be made from now.
    """
    try:
        made = read_card(folder / MADE_CARD, Made, SCHEMA_VERSION)
        for fact in made.files:
            check_file(folder, fact)
    except FormatError:
        return ()
    is_whole = made.made_from == fingerprint and all(FileFact.of(folder, fact.file) == fact for fact in made.files)
    return tuple(fact.file for fact in made.files) if is_whole else ()
