"""Files that are named one by one, on a command line or in a list: looked at first, then a folder of just these.

They are named relative to the folder that they have in common, however they were written: `..`, links to folders and
the working directory are resolved. A link to a file keeps its own name and stands for its target, wherever that is: the
person has named it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from darkroom.data.errors import SourceError
from darkroom.data.figures import count, listed
from darkroom.data.files.hashing import content_version
from darkroom.data.reason_codes import ReasonCode
from darkroom.data.stores.listing import STRAY_SUFFIXES, FileEntry, is_stray_path, printable, read_named
from darkroom.data.stores.storage import Url, place_from
from darkroom.data.stores.workspace import name_from

_MAX_LIST_BYTES = 2**30
_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class NamedFiles:
    """Some files, as an `ImageFolder` of no others.

    Attributes:
        folder: The folder that they have in common, absolute.
        names: Relative to it, as the operating system knows them, in the order of the table; no two are the same.
        name: What their table is called in a workspace.
        num_repeated: How often a file was named again.
        num_readers: As in `ImageFolder`.
    """

    folder: Path
    names: tuple[str, ...] = ()
    name: str = ""
    num_repeated: int = 0
    num_readers: int = 0

    @property
    def reference(self) -> str:
        """The absolute path of the folder."""
        return str(self.folder)

    @property
    def paths(self) -> Iterator[str]:
        """The absolute path of each file."""
        return (os.path.join(self.folder, name) for name in self.names)

    def called_by_content(self) -> NamedFiles:
        """The same, called after the file or the folder, and a hash of all paths: other files are another table."""
        label = Path(self.names[0]).stem if len(self.names) == 1 else self.folder.name
        return replace(self, name=f"{name_from(label)[:60]}-{content_version(self.reference, self.names)[:8]}")

    def check(self) -> None:
        """Nothing to check: `find_named` has looked at each."""

    def iter_files(self) -> Iterator[FileEntry]:
        """Every file, sorted by printable path; what its folder is called makes none a `stray_file`."""
        return (_entry(name, path) for name, path in zip(self.names, self.paths, strict=True))

    def read_file(self, os_path: str, max_bytes: int) -> bytes:
        """The content of a file; a link stands for its target.

        Args:
            os_path: The listing's `FileEntry.os_path`.
            max_bytes: A larger file is not read.

        Raises:
            ImageError: `unreadable` or `too_large`.
        """
        return read_named(os.path.join(self.folder, os_path), max_bytes)


def find_named(given: Sequence[str]) -> NamedFiles:
    """The files that a command line or a program names.

    Args:
        given: Paths, absolute or relative to the working directory.

    Raises:
        SourceError: where one is no file or, by its suffix, no image.
    """
    check_named(given)
    return _named(given).called_by_content()


def check_named(given: Sequence[str]) -> None:
    """Refuse what a command line names and is no image file.

    Raises:
        SourceError: where one is no file or, by its suffix, no image.
    """
    if len(given) == 1 and not os.path.exists(given[0]):
        raise SourceError(f"There is no file or folder {printable(given[0])!r}. Check the path.")
    _check_files(given, "")
    other = next((path for path in given if os.path.splitext(path)[1].lower() in STRAY_SUFFIXES), None)
    if other is not None:
        name = printable(other)
        raise SourceError(
            f"{name} is no image. If it is a list of images, a path per line, write: --files {name}. Unpack an archive "
            "first."
        )


def find_listed(text: bytes, name: str) -> NamedFiles:
    """The files that a list names, one path per line; blank lines are skipped.

    Args:
        text: The list, in UTF-8; relative paths start at the working directory.
        name: The list's own path, for messages; the table is named after it.

    Raises:
        SourceError: where it is no such list, names nothing, or something that is no file.
    """
    shown = printable(name)
    try:
        lines = text.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{shown}, line {line}, is not UTF-8. Give a text file of paths, one per line.") from None
    if b"\0" in text:
        raise SourceError(f"{shown} holds a NUL byte. Give a text file of paths, one per line.")
    given = [line.removesuffix("\r") for line in lines if line.strip()]
    if not given:
        raise SourceError(f"{shown} names no files. Write the path of an image on each line.")
    _check_files(given, shown)
    return replace(_named(given), name=name_from(Path(name).stem))


def read_list(path: Path) -> bytes:
    """The text of a list of files.

    Raises:
        SourceError: where it cannot be read.
    """
    shown = printable(str(path))
    try:
        if path.is_dir():
            raise SourceError(f"{shown} is a folder, not a list. Leave out --files to score it.")
        with path.open("rb") as stream:
            text = stream.read(_MAX_LIST_BYTES + 1)
    except OSError as error:
        raise SourceError(f"The list {shown} cannot be read: {error.strerror}. Check the path.") from None
    if len(text) > _MAX_LIST_BYTES:
        raise SourceError(f"The list {shown} is larger than 1 GiB. Divide it.")
    return text


def _check_files(given: Sequence[str], source: str) -> None:
    """Refuse what is no file.

    Args:
        given: Paths.
        source: The list that names them; empty for a command line.
    """
    for path in given:
        if "://" in path and isinstance(place_from(path), Url):
            raise SourceError(f"{path} is a URL. Of an object store a whole folder is scored: give that alone.")
    missing = [path for path in given if not os.path.exists(path)]
    if missing:
        said = _said(missing, source, "file that is not there", "files that are not there")
        raise SourceError(f"{said} Check the paths; relative ones start at the working directory.")
    folders = [path for path in given if os.path.isdir(path)]
    if folders:
        said = _said(folders, source, "folder", "folders")
        raise SourceError(f"{said} Name the files in them, or score one folder alone.")
    others = [path for path in given if not stat.S_ISREG(os.stat(path).st_mode)]
    if others:
        raise SourceError(f"{_said(others, source, 'device or pipe', 'devices and pipes')} Leave them out.")


def _said(wrong: Sequence[str], source: str, one: str, many: str) -> str:
    """`list.txt names 12 files that are not there, such as 'a.jpg', 'b.jpg' and 'c.jpg'.`"""
    examples = listed([repr(printable(path)) for path in wrong[:_NUM_EXAMPLES]], "and")
    such = f", such as {examples}" if len(wrong) > _NUM_EXAMPLES else f": {examples}"
    return f"{f'{source} names' if source else 'The arguments name'} {count(len(wrong), one, many)}{such}."


def _named(given: Sequence[str]) -> NamedFiles:
    """The files, each once, relative to the folder that they have in common."""
    folders: dict[str, str] = {}
    found: dict[str, None] = {}
    for path in given:
        before, name = os.path.split(path)
        if before not in folders:
            folders[before] = os.path.realpath(before)
        found[os.path.join(folders[before], name)] = None
    common = os.path.commonpath({os.path.dirname(path) for path in found})
    odd = next((path for path in found if path.encode("utf-8", "replace") != os.fsencode(path)), None)
    if odd is not None:
        raise SourceError(
            f"{printable(odd)} has a name that is not UTF-8. Rename it, or score the folder that holds it."
        )
    names = sorted((os.path.relpath(path, common) for path in found), key=lambda name: (printable(name), name))
    return NamedFiles(Path(common), tuple(names), num_repeated=len(given) - len(found))


def _entry(name: str, path: str) -> FileEntry:
    reason: ReasonCode | None = "stray_file" if is_stray_path(os.path.basename(name)) else None
    try:
        found = os.stat(path)
    except OSError:  # gone since it was looked at
        return FileEntry(printable(name), name, 0, 0, "unreadable")
    if not stat.S_ISREG(found.st_mode):
        reason = "not_a_file"
    return FileEntry(printable(name), name, found.st_size, found.st_mtime_ns, reason)
