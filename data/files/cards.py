"""Cards: the JSON file that is written last into a folder, and lists the folder's files with sizes and SHA-256.

A card may come from somebody else. It is read only as a plain file within its folder, up to `MAX_CARD_BYTES`,
`MAX_CARD_VALUES` and 200 levels deep, and as UTF-8 in which every character is whole.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, ValidationError
from pydantic_core import from_json

from darkroom.data.errors import FormatError
from darkroom.data.files.hashing import file_sha256

M = TypeVar("M", bound=BaseModel)

# A data set of a billion images, a million shards, has a card of 200 MB.
MAX_CARD_BYTES = 256 * 2**20
# Counted by commas and opening brackets: a list of empty lists takes 25 times its own size in memory.
MAX_CARD_VALUES = 10_000_000
# For the tuples of a card: a million wrong values are one error, not a million of a kilobyte each.
FIRST_ERROR = FailFast()


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
        FormatError: where the file is missing, outside the folder, no plain file, or of another size.
    """
    path = folder / fact.file
    if "\0" in fact.file or Path(fact.file).is_absolute() or ".." in Path(fact.file).parts:
        raise FormatError(f"The card in {folder} lists {fact.file!r}, which is outside the folder: refused.")
    check_plain(folder, path)
    found = path.stat().st_size if path.is_file() else None
    if found != fact.bytes:
        what = "is missing" if found is None else f"has {found} bytes, not {fact.bytes}"
        raise FormatError(
            f"{path} {what}, as its card says it should. Delete {folder} and build it again, or restore it."
        )


def check_plain(folder: Path, path: Path) -> None:
    """Refuse a link that leads out of `folder`, and a FIFO, socket or device, on which a reader would hang.

    Args:
        folder: What the file belongs to.
        path: Of the file, which may be missing.

    Raises:
        FormatError: where it is one of these.
    """
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise FormatError(f"{path} is a link that leads out of {folder}: refused. Copy the file itself there.")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FormatError(f"{path} is a FIFO, a socket or a device, not a file: refused.")


def read_card(
    path: Path, model: type[M], schema_version: int, remedy: str = "", max_values: int = MAX_CARD_VALUES
) -> M:
    """Read a card and check its schema version.

    Args:
        path: The JSON file.
        model: The pydantic model to read it as; it has a field `schema_version`.
        schema_version: The only version that is accepted.
        remedy: A sentence to end the message with, where there is more to say than what is wrong.
        max_values: How many it may hold, keys and brackets among them.

    Raises:
        FormatError: where the card is missing or damaged, or has another schema version; the message names both
            versions.
    """
    try:
        return _read_card(path, model, schema_version, max_values)
    except FormatError as error:
        raise FormatError(f"{error} {remedy}".rstrip()) from None


def _read_card(path: Path, model: type[M], schema_version: int, max_values: int) -> M:
    raw = _read_json(path, max_values)
    found = raw.get("schema_version")
    if found != schema_version:
        raise FormatError(f"{path} has schema version {found}, this Darkroom reads {schema_version}. Update Darkroom.")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "decode_version":
            raise FormatError(f"The images of {path.parent} were {first['msg']}.") from None
        parts = map(str, first["loc"])
        where = ".".join(part for part in parts if not part[:1].isupper())  # the class of a union is no field
        raise FormatError(f"{path} is damaged at {where}: {first['msg']}.") from None


def _read_json(path: Path, max_values: int) -> dict[str, Any]:
    """The JSON object of a file within its folder; a number such as NaN is left to the card's fields."""
    check_plain(path.parent, path)
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise FormatError(f"{path} cannot be read: it is not a file.")
            if found.st_size > MAX_CARD_BYTES:
                raise FormatError(f"{path} has more than {MAX_CARD_BYTES >> 20} MiB, too much for a card: refused.")
            data = stream.read(found.st_size)
        if sum(map(data.count, (b",", b"[", b"{"))) > max_values:
            raise FormatError(f"{path} holds more than {max_values:,} values, too many for a card: refused.")
        raw = from_json(data)
        if not isinstance(raw, dict):
            raise ValueError("it is no JSON object")
        return raw
    except FileNotFoundError:
        raise FormatError(f"{path.parent} has no {path.name}: it is unfinished, or the wrong folder.") from None
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read: {error}.") from None
