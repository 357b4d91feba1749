"""A folder of archives, such as webdataset's shards or what Kaggle gives: all are unpacked into one folder.

`sources/<key>/`
    train-000000/0001.jpg …    what each archive holds, below its own name, so that names may repeat between archives
    labels.csv …               the other files of the folder, as they lie beside the archives
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

from darkroom.data.errors import SourceError
from darkroom.data.files.hashing import content_version, file_sha256
from darkroom.data.sources.unpacking.archives import DAMAGE, is_inner_archive, unpack_into, without_suffix
from darkroom.data.sources.unpacking.tar_stream import open_tar, tar_stream
from darkroom.data.stores.listing import FileEntry, is_stray_path, iter_files, printable

_CODE_VERSION = 1
# How much of a tar is looked at to see whether it holds images.
_NUM_PEEKED = 100
_MAX_PEEKED_BYTES = 2**28
# What webdataset's tools leave beside a tar.
_INDICES = (".idx", ".index")


@dataclass(frozen=True)
class ArchiveFolder:
    """A folder that holds archives, and no image beside them.

    Attributes:
        folder: Where they lie.
        archives: Them, in the order of their paths.
        others: Its other files.
    """

    folder: Path
    archives: tuple[FileEntry, ...]
    others: tuple[FileEntry, ...]

    def unpacked_folder(self, workspace_sources: Path) -> Path:
        """Where they are unpacked, or will be: a folder named after their content, absolute.

        Args:
            workspace_sources: The workspace's `sources` folder.

        Raises:
            SourceError: where an archive cannot be read.
        """
        try:
            found = [(each.path, file_sha256(self.folder / each.os_path)) for each in self.archives]
        except OSError as error:
            raise SourceError(
                f"The archive {printable(str(error.filename))} cannot be read: {error.strerror}."
            ) from None
        beside = [(each.path, each.size_bytes, each.mtime_ns) for each in self.others]
        key = content_version(_CODE_VERSION, found, beside)
        return Path(os.path.abspath(workspace_sources)) / f"{key}-archives-v{_CODE_VERSION}"

    def unpack(self, workspace_sources: Path) -> Path:
        """Unpack them, or find them unpacked by an earlier run; the limits of one archive hold for all together.

        Args:
            workspace_sources: The workspace's `sources` folder; made where it is missing.

        Raises:
            SourceError, WorkError: as `darkroom.data.sources.unpacking.archives.unpack` does.
        """
        archives = {f"{without_suffix(each.os_path)}/": self.folder / each.os_path for each in self.archives}
        if len(archives) < len(self.archives):
            raise SourceError(
                f"{printable(str(self.folder))} holds two archives of one name that differ in their suffixes. Move or "
                "rename one of them."
            )
        others = {each.os_path: self.folder / each.os_path for each in self.others}
        return unpack_into(self.unpacked_folder(workspace_sources), self.folder, archives, others)


def archive_folder(folder: Path) -> ArchiveFolder | None:
    """The archives of a folder; None where it holds none, or an image beside them.

    Args:
        folder: The source.
    """
    archives: list[FileEntry] = []
    others: list[FileEntry] = []
    for entry in iter_files(folder):
        if is_loose_image(entry):
            return None
        if entry.reason in (None, "stray_file"):
            (archives if is_inner_archive(entry.path) else others).append(entry)
    return ArchiveFolder(folder, tuple(archives), tuple(others)) if archives else None


def is_loose_image(entry: FileEntry) -> bool:
    """Whether a listed file is an image by its name, and not a licence or an index beside the archives."""
    suffix = PurePosixPath(entry.path).suffix.lower()
    return entry.reason is None and bool(suffix) and suffix not in _INDICES


def packed_images(folder: Path, entries: Sequence[FileEntry]) -> Iterator[FileEntry]:
    """The archives beside images that may hold more of them; not those that lie unpacked in a folder of their name.

    Args:
        folder: The source.
        entries: Its files.
    """
    folders = {str(parent) for entry in entries if entry.reason is None for parent in PurePosixPath(entry.path).parents}
    for entry in entries:
        if entry.reason == "stray_file" and is_inner_archive(entry.path):
            is_unpacked = without_suffix(entry.path) in folders
            if not is_unpacked and may_hold_images(folder / entry.os_path):
                yield entry


def may_hold_images(archive: Path) -> bool:
    """Whether a file in an archive may be an image by its name; of a tar the first 100 are looked at.

    True also where the archive cannot be read, or holds another one.

    Args:
        archive: A `.zip`, `.tar`, `.tar.gz` or `.tgz` file.
    """
    try:
        if archive.name.lower().endswith(".zip"):
            with ZipFile(archive) as opened:
                names = opened.namelist()
        else:
            names = _first_names(archive)
    except (*DAMAGE, OSError):
        return True
    return any(
        is_inner_archive(name) or (PurePosixPath(name).suffix and not is_stray_path(name) and not name.endswith("/"))
        for name in names
    )


def _first_names(archive: Path) -> list[str]:
    left_bytes = _MAX_PEEKED_BYTES

    def count_bytes(num_bytes: int) -> None:
        nonlocal left_bytes
        left_bytes -= num_bytes
        if left_bytes < 0:
            raise EOFError("enough was looked at")

    with tar_stream(archive, count_bytes) as stream, open_tar(stream) as opened:
        return [member.name for member in islice(iter(opened.next, None), _NUM_PEEKED) if member.isreg()]
