"""The files of a folder: every one listed, sorted, with a printable path; hostile names and links included."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from darkroom.data.errors import ImageError, SourceError
from darkroom.data.reason_codes import ReasonCode

# Left behind by systems and tools, or files beside the images that are plainly something else; never an error.
STRAY_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini", ".gitkeep", ".gitignore", ".directory"})
STRAY_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"})
_DOCUMENTS = ".txt .md .rst .rtf .pdf .html .htm .doc .docx .xls .xlsx .ods .ppt .pptx .log .bib"
_DATA = ".csv .tsv .json .jsonl .ndjson .xml .yaml .yml .toml .ini .cfg .parquet .npy .pkl .mat .db .sqlite"
_CODE = ".py .ipynb .sh .r .m .js"
_SIDECARS = ".aae .xmp .thm .pp3 .dop .cls"
_SOUND_AND_FILM = ".mov .mp4 .m4v .avi .mkv .webm .3gp .mp3 .wav .m4a"
_ARCHIVES = ".zip .tar .gz .tgz .bz2 .xz .7z .rar"
STRAY_SUFFIXES = frozenset(
    f"{_DOCUMENTS} {_DATA} {_CODE} {_SIDECARS} {_SOUND_AND_FILM} {_ARCHIVES} .part .crdownload .lnk .url".split()
)


@dataclass(frozen=True)
class FileEntry:
    """One file of a folder.

    Attributes:
        path: Relative to the folder, `/`-separated; odd bytes of a name that is not UTF-8 are written `\\xNN`.
        os_path: The same as the operating system knows it, for opening.
        size_bytes: Size when listed.
        mtime_ns: Time of the last change, nanoseconds since 1970.
        reason: Why the file is quarantined without reading it, or None.
        etag: Of a file in a store, what changes there with its content.
    """

    path: str
    os_path: str
    size_bytes: int
    mtime_ns: int
    reason: ReasonCode | None = None
    etag: str | None = None


def printable(os_path: str) -> str:
    """A path as text that can be shown and stored: `\\xNN` for each byte that is not UTF-8.

    Python holds such bytes as lone surrogates. A backslash that would read like one of them is written `\\x5c`, so that
    no two paths print the same.
    """
    return re.sub(r"[\udc80-\udcff]|\\(?=x[0-9a-f]{2})", lambda odd: f"\\x{ord(odd[0]) & 0xFF:02x}", os_path)


def os_path_of(path: str) -> str:
    """The path as the operating system knows it, of one that `printable` has made."""

    def odd(match: re.Match[str]) -> str:
        value = int(match[1], 16)
        return chr(0xDC00 + value) if value >= 0x80 else chr(value)

    return re.sub(r"\\x([0-9a-f]{2})", odd, path)


def check_folder(folder: Path) -> None:
    """Check that a path is a folder whose own name a card can hold.

    Raises:
        SourceError: where it is missing, a file, or has a name that is not UTF-8.
    """
    if not folder.is_dir():
        found = "is a file, not a folder" if folder.exists() else "does not exist"
        raise SourceError(f"The folder {printable(str(folder))} {found}. Give the folder that holds the images.")
    where = os.path.realpath(folder)
    if where.encode("utf-8", "replace") != os.fsencode(where):
        raise SourceError(f"The folder {printable(where)} has a name that is not UTF-8. Rename it.")


def has_files(folder: Path) -> bool:
    """Whether anything but folders lies anywhere under `folder`."""
    return next(iter_files(folder), None) is not None


def list_files(folder: Path) -> list[FileEntry]:
    """All files under `folder`, as `iter_files` yields them.

    Raises:
        SourceError: where `folder` is not a folder or cannot be listed.
    """
    return list(iter_files(folder))


def iter_files(folder: Path) -> Iterator[FileEntry]:
    """Every file under `folder`, sorted by printable path; only one folder's names are in memory at a time.

    Links to files inside the folder are followed. A link that leads outside, to a folder or to nothing gets an entry
    with a reason (`link_outside`, `link_to_folder`, `broken_link`), as do a FIFO, socket or device (`not_a_file`), a
    folder without permission (`unreadable`, its path ends in `/`) and stray files (`stray_file`).

    Raises:
        SourceError: where `folder` is not a folder or cannot be listed.
    """
    check_folder(folder)
    root = os.path.realpath(folder)
    try:
        os.scandir(root).close()
    except OSError as error:
        raise SourceError(f"The folder {printable(str(folder))} cannot be listed: {error.strerror}.") from None
    return _walk(root)


def scan_files(folder: Path) -> Iterator[FileEntry]:
    """The entries that `iter_files` gives, in no order: in memory are the names of folders not yet looked into.

    Raises:
        SourceError: where `folder` is not a folder or cannot be listed.
    """
    check_folder(folder)
    root = os.path.realpath(folder)
    waiting = [("", False)]
    while waiting:
        inside, stray = waiting.pop()
        try:
            with os.scandir(os.path.join(root, inside)) as names:
                for each in names:
                    if _is_folder(each):
                        waiting.append((f"{inside}{each.name}/", stray or _is_stray_folder(each.name)))
                    else:
                        yield _entry(root, inside + each.name, each.name, stray)
        except OSError as error:
            if not inside:
                where = printable(str(folder))
                raise SourceError(f"The folder {where} cannot be listed: {error.strerror}.") from None
            yield FileEntry(printable(inside), inside, 0, 0, "unreadable")


def read_file(folder: Path, os_path: str, max_bytes: int) -> bytes:
    """The content of a listed file.

    What has changed since the listing is caught here: a file replaced by a link that leads outside is not read, and one
    replaced by a FIFO cannot hang the run.

    Args:
        folder: The listed folder.
        os_path: The listing's `FileEntry.os_path`.
        max_bytes: A larger file is not read.

    Raises:
        ImageError: `unreadable`, `too_large` or `link_outside`.
    """
    path = os.path.join(folder, os_path)
    if _has_link(folder, os_path):
        root, path = os.path.realpath(folder), os.path.realpath(path)
        if os.path.commonpath([root, path]) != root:
            raise ImageError("link_outside")
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ImageError("unreadable", "no longer a regular file")
            if found.st_size > max_bytes:
                raise ImageError("too_large", f"{found.st_size} bytes, the limit is {max_bytes}")
            data = stream.read(found.st_size + 1)
            # It has grown meanwhile; `max_bytes + 1` at once would take as much memory for every small file.
            return data if len(data) <= found.st_size else data + stream.read(max_bytes - found.st_size)
    except OSError as error:
        raise ImageError("unreadable", error.strerror or str(error)) from None


def read_named(path: str, max_bytes: int) -> bytes:
    """The content of a file that somebody has named: a link stands for its target, wherever that is.

    Args:
        path: The file, as the operating system knows it.
        max_bytes: A larger file is not read.

    Raises:
        ImageError: `unreadable` or `too_large`.
    """
    target = os.path.realpath(path)
    return read_file(Path(os.path.dirname(target)), os.path.basename(target), max_bytes)


def _has_link(folder: Path, os_path: str) -> bool:
    """Whether a path may lead out of a folder: resolving it costs more than reading a small file."""
    place = str(folder)
    for name in os_path.split("/"):
        place = f"{place}/{name}"
        if name in ("", "..") or os.path.islink(place):  # noqa: PTH114 -- names that are not UTF-8, and speed
            return True
    return False


def _walk(root: str) -> Iterator[FileEntry]:
    # Not recursive: folders may be nested deeper than Python's stack.
    open_folders = [("", False, _names(root) or [])]
    while open_folders:
        inside, stray, names = open_folders[-1]
        if not names:
            open_folders.pop()
            continue
        name = names.pop()
        os_path = inside + name
        if not name.endswith("/"):
            yield _entry(root, os_path, name, stray)
        elif (below := _names(os.path.join(root, os_path))) is None:
            yield FileEntry(printable(os_path), os_path, 0, 0, "unreadable")
        else:
            open_folders.append((os_path, stray or _is_stray_folder(name[:-1]), below))


def _names(folder: str) -> list[str] | None:
    """The names in a folder, the first one last; those of folders end in `/`, as in the paths of what is in them."""
    try:
        with os.scandir(folder) as entries:
            names = [f"{entry.name}/" if _is_folder(entry) else entry.name for entry in entries]
    except OSError:
        return None
    return sorted(names, key=printable, reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _entry(root: str, os_path: str, name: str, stray: bool) -> FileEntry:
    reason: ReasonCode | None = "stray_file" if stray or _is_stray(name) else None
    path = os.path.join(root, os_path)
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            target = os.path.realpath(path)
            if not os.path.exists(target):
                reason = "broken_link"
            elif os.path.commonpath([root, target]) != root:
                reason = "link_outside"
            elif os.path.isdir(target):
                reason = "link_to_folder"
            else:
                found = os.stat(target)
        if reason is None and not stat.S_ISREG(found.st_mode):
            reason = "not_a_file"
    except OSError:
        return FileEntry(printable(os_path), os_path, 0, 0, "unreadable")
    return FileEntry(printable(os_path), os_path, found.st_size, found.st_mtime_ns, reason)


def is_stray_path(path: str) -> bool:
    """Whether a file with this path, `/`-separated, is quarantined as `stray_file`."""
    *folders, name = path.split("/")
    return _is_stray(name) or any(_is_stray_folder(folder) for folder in folders)


def _is_stray_folder(name: str) -> bool:
    """Whether a folder is a system's or a tool's own: hidden ones and the recycle bins among them."""
    return name.startswith(".") or name.lower() in STRAY_FOLDERS


def _is_stray(name: str) -> bool:
    lowered = name.lower()
    return lowered in STRAY_NAMES or lowered.startswith("._") or os.path.splitext(lowered)[1] in STRAY_SUFFIXES
