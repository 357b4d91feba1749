"""Folders of images to score, local or in an object store, with one interface to list and read them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from darkroom.data.reason_codes import ReasonCode
from darkroom.data.stores.listing import (
    FileEntry,
    check_folder,
    is_stray_path,
    iter_files,
    printable,
    read_file,
    scan_files,
)
from darkroom.data.stores.named_files import NamedFiles
from darkroom.data.stores.storage import Url, list_objects, place_from, read_object

# What can be scored: a folder on this machine or in a store, or some files.
Images = Path | Url | NamedFiles


@dataclass(frozen=True)
class FileState:
    """A file as it is now.

    Attributes:
        size_bytes: Its size.
        mtime_ns: When its content was changed, nanoseconds since 1970.
        touched_ns: When anything about it was changed, its name included: a copy may keep the time of the content.
    """

    size_bytes: int
    mtime_ns: int
    touched_ns: int


class ImageFolder(Protocol):
    """A folder of images, wherever it is.

    Attributes:
        reference: The path or URL by which `folder_at` finds it again; a URL also from another machine.
        num_readers: Files worth reading at once; 0 where reading costs next to nothing beside decoding.
    """

    @property
    def reference(self) -> str: ...

    @property
    def num_readers(self) -> int: ...

    def check(self) -> None:
        """Check that it is a folder.

        Raises:
            SourceError: where it is not.
        """

    def iter_files(self) -> Iterator[FileEntry]:
        """Every file, sorted by printable path."""

    def read_file(self, os_path: str, max_bytes: int) -> bytes:
        """The content of a listed file.

        Args:
            os_path: The listing's `FileEntry.os_path`.
            max_bytes: A larger file is not read.

        Raises:
            ImageError: `unreadable`, `too_large` or `link_outside`.
        """


class WatchedFolder(ImageFolder, Protocol):
    """A folder in which images arrive."""

    def scan_files(self) -> Iterator[FileEntry]:
        """Every file, in no order: of a million, none is kept in memory."""

    def state_of(self, os_path: str) -> FileState | None:
        """A listed file as it is now; None where that is not worth a question: in a store, objects appear whole.

        Args:
            os_path: The listing's `FileEntry.os_path`.

        Raises:
            FileNotFoundError: where it is gone.
        """


@dataclass(frozen=True)
class LocalFolder:
    """A folder on this machine.

    Attributes:
        path: Absolute or relative to the working directory.
        num_readers: As in `ImageFolder`.
    """

    path: Path
    num_readers: int = 0

    @property
    def reference(self) -> str:
        """The absolute path."""
        return str(self.path.resolve())

    def check(self) -> None:
        check_folder(self.path)

    def iter_files(self) -> Iterator[FileEntry]:
        return iter_files(self.path)

    def scan_files(self) -> Iterator[FileEntry]:
        return scan_files(self.path)

    def state_of(self, os_path: str) -> FileState | None:
        found = (self.path / os_path).stat()
        return FileState(found.st_size, found.st_mtime_ns, max(found.st_mtime_ns, found.st_ctime_ns))

    def read_file(self, os_path: str, max_bytes: int) -> bytes:
        return read_file(self.path, os_path, max_bytes)


@dataclass(frozen=True)
class StoredFolder:
    """A folder in an object store. Its names never become local files, so no name in it can do harm.

    Attributes:
        url: Where it is.
        num_readers: As in `ImageFolder`.
    """

    url: Url
    num_readers: int = 16

    @property
    def reference(self) -> str:
        """The URL."""
        return str(self.url)

    def check(self) -> None:
        """Nothing to check: a folder of a store exists where something is below it."""

    def iter_files(self) -> Iterator[FileEntry]:
        return iter(sorted(self.scan_files(), key=lambda entry: (entry.path, os.fsencode(entry.os_path))))

    def scan_files(self) -> Iterator[FileEntry]:
        for fact in list_objects(self.url):
            name = fact.name
            if name.endswith("/") and fact.size_bytes == 0:  # what consoles make for an empty folder
                continue
            reason: ReasonCode | None = "stray_file" if is_stray_path(name) else None
            if name.endswith("/"):
                reason = "not_a_file"
            yield FileEntry(printable(name), name, fact.size_bytes, fact.mtime_ns, reason, fact.etag)

    def state_of(self, os_path: str) -> FileState | None:
        return None

    def read_file(self, os_path: str, max_bytes: int) -> bytes:
        return read_object(self.url / os_path, max_bytes)


def image_folder(place: Images) -> ImageFolder:
    """The folder at a path or URL, or some files of one."""
    if isinstance(place, NamedFiles):
        return place
    return watched_folder(place)


def watched_folder(place: Path | Url) -> WatchedFolder:
    """The folder at a path or URL, in which images arrive."""
    return StoredFolder(place) if isinstance(place, Url) else LocalFolder(place)


def folder_at(reference: str) -> WatchedFolder:
    """The folder that a `reference` names."""
    return watched_folder(place_from(reference))
