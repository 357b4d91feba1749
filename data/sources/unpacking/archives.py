"""Archives (`.zip`, `.tar`, `.tar.gz`, `.tgz`), unpacked once into `sources/<first 16 hex digits of their SHA-256>/`.

Archives in an archive are unpacked too, each into a folder of its own name: `train.zip` becomes `train/`, as in
Kaggle's original of dogs against cats. What holds for the outer one holds for all of them together. The archives of a
folder (`archive_folder.py`) are unpacked in the same way, as if one archive held them.

An archive is somebody else's file, so nothing that it says about itself is believed: bytes are counted while they are
written, names are checked before they are used, and one bad entry refuses the whole archive, leaving nothing behind.
Only plain files and folders come out, files with mode 0644. Memory: chunks of a MiB, 16 bytes of hash a name, and for
a zip its table of contents (about 0.6 KB an entry).
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from darkroom.data.errors import SourceError, WorkError
from darkroom.data.figures import count, size
from darkroom.data.files.atomic import atomic_folder, remove_folder
from darkroom.data.files.hard_links import link_or_copy
from darkroom.data.files.hashing import file_sha256
from darkroom.data.files.locks import exclusive
from darkroom.data.files.names import SafeNames
from darkroom.data.sources.unpacking.tar_stream import CHUNK_BYTES, ForwardStream, open_tar, tar_stream
from darkroom.data.stores.listing import printable

logger = logging.getLogger(__name__)

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")

_MIB = 2**20
# Not bzip2 and LZMA, rare in zips: zipfile unpacks a few KB of those into gigabytes of memory before it can be stopped.
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BY_HAND = "Unpack it yourself if you trust it, and give the folder instead."
_FETCH_AGAIN = "Fetch the archive again, or unpack what can be read and give the folder."
# What zipfile, tarfile and the decompressors raise for bytes that are not what they should be.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    IndexError,
    RuntimeError,  # also RecursionError (a chain of tar headers) and NotImplementedError
)
_BAD_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ)


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits beyond which an archive is refused.

    Attributes:
        max_entries: Files and folders.
        max_unpacked_bytes: Of all files together (for a tar: of the unpacked stream).
        max_ratio: Unpacked bytes for each byte of the archive; images hardly shrink, so a bomb stands out.
        ratio_free_bytes: `max_ratio` is not looked at before this many unpacked bytes.
        max_depth: Archives in archives.
    """

    max_entries: int = 5_000_000
    max_unpacked_bytes: int = 200 * 2**30
    max_ratio: int = 200
    ratio_free_bytes: int = 64 * _MIB
    max_depth: int = 3


DEFAULT_LIMITS = ArchiveLimits()


def is_archive(path: Path) -> bool:
    """Whether the name ends as that of an archive that `unpack` reads."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(archive: Path, workspace_sources: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> Path:
    """Unpack an archive, or find it unpacked by an earlier run.

    Args:
        archive: A `.zip`, `.tar`, `.tar.gz` or `.tgz` file.
        workspace_sources: The workspace's `sources` folder; made where it is missing.
        limits: Beyond them the archive is refused.

    Returns:
        The absolute path of `sources/<archive sha256[:16]>/`.

    Raises:
        SourceError: where the archive cannot be read, is damaged or empty, passes a limit, or holds an entry that is
            encrypted, repeated, a link or a device, or would be written outside the folder.
        WorkError: where the workspace cannot be written to.
    """
    return unpack_into(unpacked_folder(archive, workspace_sources), archive, {"": archive}, {}, limits)


def unpack_into(
    folder: Path,
    shown: Path,
    archives: Mapping[str, Path],
    others: Mapping[str, Path],
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> Path:
    """Unpack archives into one folder, or find them unpacked by an earlier run; it appears whole or not at all.

    Args:
        folder: Where to; named after the content.
        shown: The archive, or the folder that holds them all, for messages.
        archives: By the path below `folder` that each is unpacked to, with a `/` at its end; "" is `folder` itself.
        others: Files that lie beside the archives, by path below `folder`.
        limits: For all archives together.

    Raises:
        SourceError, WorkError: as `unpack` does.
    """
    if is_unpacked(folder):
        logger.info("%s is already unpacked: %s", printable(str(shown)), folder)
        return folder
    unpacking = _Unpacking(shown, archives, limits)
    try:
        with exclusive(folder.parent):
            if is_unpacked(folder):  # by the run that this one has waited for
                return folder
            remove_folder(folder)
            with atomic_folder(folder) as temporary:
                unpacking.into(temporary)
                for path, other in others.items():
                    (temporary / path).parent.mkdir(parents=True, exist_ok=True)
                    link_or_copy(other, temporary / path)
    except OSError as error:
        if error.errno is None:  # gzip reports damage as an OSError without a number
            raise unpacking.refusal(f"is damaged ({error})", _FETCH_AGAIN) from None
        if error.errno in _BAD_NAME:
            reason = f"has a name that cannot be a file here ({error.strerror})"
            raise unpacking.refusal(reason, _BY_HAND) from None
        raise WorkError(
            f"{printable(str(shown))} cannot be unpacked into {folder}: {error.strerror}. "
            "Free space there, or choose another folder with --workspace."
        ) from None
    except DAMAGE as error:
        raise unpacking.refusal(f"is cut short or damaged ({printable(str(error))})", _FETCH_AGAIN) from None
    counts = f"{count(unpacking.num_files, 'file')}, {size(unpacking.unpacked_bytes)}"
    logger.info("Unpacked %s into %s: %s", printable(str(shown)), folder, counts)
    return folder


def unpacked_folder(archive: Path, workspace_sources: Path) -> Path:
    """Where an archive is unpacked, or will be: `sources/<archive sha256[:16]>/`, absolute.

    Args:
        archive: The file; it is read as a whole, for its hash.
        workspace_sources: The workspace's `sources` folder.

    Raises:
        SourceError: where the archive cannot be read.
    """
    try:
        key = file_sha256(archive)[:16]
    except OSError as error:
        raise SourceError(f"The archive {printable(str(archive))} cannot be read: {error.strerror}.") from None
    return Path(os.path.abspath(workspace_sources)) / key


def is_unpacked(folder: Path) -> bool:
    """Whether this is an unpacked archive; not one of an earlier Darkroom that left archives in it as they were."""
    return folder.is_dir() and not any(
        is_inner_archive(os.path.join(place, name).removeprefix(f"{folder}/"))
        for place, _, names in os.walk(folder)
        for name in names
    )


def is_inner_archive(name: str) -> bool:
    """Whether an entry is an archive to unpack; hidden ones and what macOS keeps beside one (`__MACOSX`) are none."""
    if not name.lower().endswith(ARCHIVE_SUFFIXES):
        return False
    return not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


class _Unpacking:
    """One archive on its way into a folder: what was counted so far, and the entry at hand for the sentences."""

    def __init__(self, shown: Path, archives: Mapping[str, Path], limits: ArchiveLimits) -> None:
        self.shown = shown
        self.archives = archives
        self.limits = limits
        self.archive_bytes = sum(archive.stat().st_size for archive in archives.values())
        self.entry: str | None = None
        self.inside: tuple[str, ...] = ()
        self.num_entries = 0
        self.num_files = 0
        self.unpacked_bytes = 0
        self._names = SafeNames()

    def into(self, folder: Path) -> None:
        for prefix, archive in self.archives.items():
            self.inside, self.entry = ((archive.name,) if prefix else ()), None
            self._into(folder, archive, prefix)
        self.inside, self.entry = (), None
        if not self.num_files:
            raise self.refusal("holds no file", "Give an archive with images in it.")

    def _into(self, folder: Path, archive: Path, prefix: str) -> None:
        """Unpack an archive into `folder / prefix`, and each archive in it, which is then removed."""
        unpacked = self._zip_into if archive.name.lower().endswith(".zip") else self._tar_into
        for name in unpacked(folder, archive, prefix):
            self.num_files += 1
            if is_inner_archive(name):
                if len(self.inside) == self.limits.max_depth:
                    raise self.refusal(f"is an archive below {self.limits.max_depth} others", _BY_HAND)
                self.inside, self.entry = (*self.inside, str(self.entry)), None
                self._into(folder, folder / name, f"{without_suffix(name)}/")
                (folder / name).unlink()
                self.inside, self.num_files = self.inside[:-1], self.num_files - 1

    def refusal(self, reason: str, remedy: str) -> SourceError:
        names = [printable(name) for name in (*self.inside, self.entry) if name is not None]
        where = "its entry " + " in ".join(map(repr, reversed(names))) if names else "it"
        what = "The archive {} is" if "" in self.archives else "The archives in {} are"
        return SourceError(f"{what.format(printable(str(self.shown)))} refused: {where} {reason}. {remedy}")

    def enter(self, name: str, is_folder: bool, prefix: str) -> str:
        """Count an entry and check its name; returns it below `prefix`, with plain `/` between its parts."""
        self.entry = name
        self.num_entries += 1
        if self.num_entries > self.limits.max_entries:
            raise self.refusal(f"comes after the limit of {self.limits.max_entries:,} entries", _BY_HAND)
        try:
            SafeNames().check(name, is_folder)  # by itself first: below a prefix no path is absolute
            return self._names.check(prefix + name, is_folder)
        except ValueError as error:
            raise self.refusal(str(error), _BY_HAND) from None

    def check_bytes(self, unpacked_bytes: int) -> None:
        """Refuse once this many bytes are too many for this archive."""
        if unpacked_bytes > self.limits.max_unpacked_bytes:
            raise self.refusal(f"passes the limit of {self.limits.max_unpacked_bytes:,} unpacked bytes", _BY_HAND)
        if unpacked_bytes > max(self.limits.ratio_free_bytes, self.limits.max_ratio * self.archive_bytes):
            reason = f"unpacks to more than {self.limits.max_ratio} times the archive's size, as a zip bomb does"
            raise self.refusal(reason, _BY_HAND)

    def count_bytes(self, num_bytes: int) -> None:
        self.unpacked_bytes += num_bytes
        self.check_bytes(self.unpacked_bytes)

    def _zip_into(self, folder: Path, archive: Path, prefix: str) -> Iterator[str]:
        """Write each file of a zip below `folder`; gives its name there."""
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            # Everything that the table of contents gives away is refused before the first byte is written.
            names = [self._check_zip_entry(info, prefix) for info in entries]
            self.entry = None
            self.check_bytes(self.unpacked_bytes + sum(info.file_size for info in entries))
            for info, name in zip(entries, names, strict=True):
                self.entry = info.filename
                if info.is_dir():
                    (folder / name).mkdir(parents=True, exist_ok=True)
                    continue
                with opened.open(info) as stream:
                    written_bytes = _write(folder / name, self._zip_chunks(stream))
                if written_bytes != info.file_size:
                    raise self.refusal(f"has {written_bytes} bytes instead of {info.file_size}", _FETCH_AGAIN)
                yield name

    def _check_zip_entry(self, info: zipfile.ZipInfo, prefix: str) -> str:
        # Some tools of Windows write `\` between the parts, against the format's rule.
        name = self.enter(info.filename.replace("\\", "/"), info.is_dir(), prefix)
        if info.flag_bits & 0x41:  # bit 0 encrypted, bit 6 strongly so
            raise self.refusal("is encrypted", "Unpack it with its password and give the folder instead.")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise self.refusal("is a link or a device, not a file", _BY_HAND)
        if info.compress_type not in _ZIP_METHODS:
            raise self.refusal(f"is compressed in a way other than Deflate (method {info.compress_type})", _BY_HAND)
        return name

    def _zip_chunks(self, stream: IO[bytes]) -> Iterator[bytes]:
        while chunk := stream.read(CHUNK_BYTES):
            self.count_bytes(len(chunk))
            yield chunk

    def _tar_into(self, folder: Path, archive: Path, prefix: str) -> Iterator[str]:
        """The same of a tar."""
        with tar_stream(archive, self.count_bytes) as stream:
            with open_tar(stream) as opened:
                while (member := opened.next()) is not None:
                    opened.members = []  # type: ignore[attr-defined]  # it would keep every entry in memory
                    name = self.enter(member.name, member.isdir(), prefix)
                    if member.isdir():
                        (folder / name).mkdir(parents=True, exist_ok=True)
                        continue
                    self._write_member(member, folder / name, stream)
                    yield name
            # tarfile takes a damaged header for the end; the real end is a block of zeros.
            if stream.last_read != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("the mark at its end is missing")
            while stream.read(CHUNK_BYTES):  # so that gzip compares its checksum
                pass

    def _write_member(self, member: tarfile.TarInfo, path: Path, stream: ForwardStream) -> None:
        if not member.isreg() or member.issparse():
            raise self.refusal("is a link, a device or a sparse file, not a plain file", _BY_HAND)
        stream.seek(member.offset_data)
        if _write(path, stream.chunks(member.size)) != member.size:
            raise tarfile.ReadError("unexpected end of data")


def without_suffix(name: str) -> str:
    """The name of the folder that an archive is unpacked into."""
    return re.sub(r"\.(zip|tar|tgz|tar\.gz)$", "", name, flags=re.IGNORECASE)


def _write(path: Path, chunks: Iterator[bytes]) -> int:
    """A new file, mode 0644, from chunks; returns the number of bytes written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as stream:
        return sum(stream.write(chunk) for chunk in chunks)
