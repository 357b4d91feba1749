"""Cards: the JSON file that is written last into a folder, and lists the folder's files with sizes and SHA-256."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from darkroom.data.errors import FormatError
from darkroom.data.files.hashing import file_sha256

M = TypeVar("M", bound=BaseModel)


class FileFact(BaseModel):
    """A file that a card lists.

    Attributes:
        file: Name relative to the card's folder, `/`-separated.
        bytes: Size.
        sha256: Of its content, hex.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, folder: Path, file: str) -> FileFact:
        """The facts of a file as it is on disk now.

        Args:
            folder: The card's folder.
            file: Name relative to it.
        """
        path = folder / file
        return cls(file=file, bytes=path.stat().st_size, sha256=file_sha256(path))


def check_file(folder: Path, fact: FileFact) -> None:
    """Check a listed file by name and size, without reading it.

    Args:
        folder: The card's folder.
        fact: What the card says of the file.

    Raises:
        FormatError: where the file is missing, outside the folder, or of another size.
    """
    path = folder / fact.file
    if Path(fact.file).is_absolute() or ".." in Path(fact.file).parts:
        raise FormatError(f"The card in {folder} lists {fact.file!r}, which is outside the folder: refused.")
    found = path.stat().st_size if path.is_file() else None
    if found != fact.bytes:
        what = "is missing" if found is None else f"has {found} bytes, not {fact.bytes}"
        raise FormatError(
            f"{path} {what}, as its card says it should. Delete {folder} and build it again, or restore it."
        )


def read_card(path: Path, model: type[M], schema_version: int, remedy: str = "") -> M:
    """Read a card and check its schema version.

    Args:
        path: The JSON file.
        model: The pydantic model to read it as; it has a field `schema_version`.
        schema_version: The only version that is accepted.
        remedy: A sentence to end the message with, where there is more to say than what is wrong.

    Raises:
        FormatError: where the card is missing or damaged, or has another schema version; the message names both
            versions.
    """
    try:
        return _read_card(path, model, schema_version)
    except FormatError as error:
        raise FormatError(f"{error} {remedy}".rstrip()) from None


def _read_card(path: Path, model: type[M], schema_version: int) -> M:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        found = raw.get("schema_version")
    except FileNotFoundError:
        raise FormatError(f"{path.parent} has no {path.name}: it is unfinished, or the wrong folder.") from None
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
