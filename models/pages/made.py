"""What the files of a folder were made from, so that they are made once.

`made.json`, written after all others: a hash of all that went in, and size and SHA-256 of each file that came of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from darkroom.data.errors import FormatError
from darkroom.data.files.atomic import content_version, write_json
from darkroom.data.files.cards import FileFact, check_file, read_card
from darkroom.data.files.provenance import library_versions

MADE_CARD = "made.json"
SCHEMA_VERSION = 1


class Made(BaseModel):
    """`made.json`: `made_from` is a content version of all that went in, `files` what came of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    made_from: str
    files: tuple[FileFact, ...]


def version_of(*parts: Any) -> str:
    """A content version of what goes in, and of the libraries that work on it."""
    return content_version([library.model_dump() for library in library_versions()], *parts)


def write_made(folder: Path, made_from: str, names: Iterable[str]) -> None:
    """Say that these files of the folder are whole, and what they were made from."""
    made = Made(made_from=made_from, files=tuple(FileFact.of(folder, name) for name in names))
    write_json(folder / MADE_CARD, made.model_dump(mode="json"))


def refresh_made(folder: Path, name: str) -> bool:
    """Take over one file as it is now, after its links were changed; False where it is not listed."""
    try:
        made = read_card(folder / MADE_CARD, Made, SCHEMA_VERSION)
    except FormatError:
        return False
    files = tuple(FileFact.of(folder, name) if fact.file == name else fact for fact in made.files)
    if files != made.files:
        write_json(folder / MADE_CARD, made.model_copy(update={"files": files}).model_dump(mode="json"))
    return files != made.files


def made_before(folder: Path, made_from: str) -> tuple[str, ...]:
    """The names of the files where all were made from just this and have not been changed since; else none."""
    try:
        made = read_card(folder / MADE_CARD, Made, SCHEMA_VERSION)
        for fact in made.files:
            check_file(folder, fact)
    except FormatError:
        return ()
    is_whole = made.made_from == made_from and all(FileFact.of(folder, fact.file) == fact for fact in made.files)
    return tuple(fact.file for fact in made.files) if is_whole else ()
