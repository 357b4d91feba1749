"""Files and folders that appear complete or not at all: a temporary name on the same file system, then a rename.

A temporary name starts with `.tmp-`, so that a reader that lists a folder can skip what a killed run left; the next run
that locks the folder removes it (`darkroom.data.files.locks`).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from darkroom.data.errors import WorkError

_MANY_FILES = 1000
TEMPORARY_PREFIX = ".tmp-"
_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + r"[0-9a-f]{32}(\.\w+)*")


def temporary_beside(path: Path) -> Path:
    """A new temporary name in the folder of `path`, so that the rename never crosses file systems."""
    return path.parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"


@contextmanager
def atomic_file(path: Path, work: Path | None = None) -> Iterator[Path]:
    """Give a temporary path to write to; on success it is flushed to disk and becomes `path`.

    After an exception nothing stands at `path` that was not there before, and the temporary file is gone.

    Args:
        path: The file.
        work: Folder of the temporary file, on the same file system; None for the folder of `path`.

    Raises:
        WorkError: where the disk is full.
    """
    temporary = temporary_beside((work or path.parent) / path.name)
    with naming_a_full_disk(path):
        for folder in {path.parent, temporary.parent}:
            folder.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it becomes `path` as a whole, as `atomic_file` does for a file.
    If `path` already exists, because another run was first, it is kept.

    Raises:
        WorkError: where the disk is full.
    """
    temporary = temporary_beside(path)
    with naming_a_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            yield temporary
            _flush_folder(temporary)
            try:
                os.rename(temporary, path)
            except OSError:
                if not path.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder atomically: a killed process leaves nothing under its name. A missing folder is no error."""
    temporary = temporary_beside(path)
    try:
        path.rename(temporary)
    except FileNotFoundError:
        return
    shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed runs left under temporary names in `folder`, and at any depth in its hidden folders.

    Only for the holder of the folder's lock: another run may still be writing its own.
    """
    for place, folders, files in os.walk(folder):
        unfinished = [name for name in folders if _TEMPORARY.fullmatch(name)]
        for name in unfinished:
            shutil.rmtree(Path(place, name), ignore_errors=True)
        for name in filter(_TEMPORARY.fullmatch, files):
            Path(place, name).unlink(missing_ok=True)
        at_the_top = Path(place) == folder
        folders[:] = [name for name in folders if name not in unfinished and (not at_the_top or name[0] == ".")]


def write_json(path: Path, value: Any, work: Path | None = None) -> None:
    """Write a value as JSON with sorted keys, whole or not at all. The only JSON writer.

    Args:
        path: The file.
        value: What `json.dumps` accepts.
        work: Folder of the temporary file, as in `atomic_file`.

    Raises:
        WorkError: where the disk is full.
    """
    with atomic_file(path, work) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def naming_a_full_disk(path: Path) -> Iterator[None]:
    """Give a full disk one message: libraries report it in different ways, mostly without the file's name.

    Raises:
        WorkError: where the disk is full.
    """
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC).lower() in str(error).lower():
            raise WorkError(
                f"Disk full: {path} was not written. Free some space, and start the same command again."
            ) from error
        raise


def _flush_folder(folder: Path) -> None:
    """Flush a folder with all that is in it to disk.

    File by file, which takes a journal's commit each; where there are many, by one call for the whole file system.
    """
    paths = (Path(place, name) for place, _, files in os.walk(folder) for name in (*files, ""))
    first = list(islice(paths, _MANY_FILES))
    if len(first) == _MANY_FILES and _flush_file_system(folder):
        return
    for path in chain(first, paths):
        _flush(path)


def _flush_file_system(folder: Path) -> bool:
    """Flush the file system that a folder lies on; false where this system cannot (Linux can)."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor) == 0:
            return True
        number = ctypes.get_errno()
    finally:
        os.close(descriptor)
    if number == errno.ENOSYS:
        return False
    raise OSError(number, os.strerror(number), str(folder))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
