"""One process at a time per output folder: a second one waits, says for whom, and then finds the output up to date.

A lock is `flock` on `<folder>/.lock`: the system lets go of it when its holder dies, however it dies, so nothing
is ever left locked. The lock's file stays; it names its holder, for the message of whoever waits.

Whoever holds a folder first removes what killed runs left unfinished in it. Where its work fails, the folders that were
made for the lock go again, unless something lies in them.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from darkroom.data.errors import InputError, WorkError
from darkroom.data.files.atomic import remove_unfinished

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"
_LOOK_EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class Waiting:
    """How a lock is waited for.

    Attributes:
        run: The name of the run that wants it, by which others are told who holds it; None where it has none.
        max_seconds: Wait no longer; None waits for as long as it takes.
    """

    run: str | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        pid: Its process.
        host: The machine of that.
        since: UTC, ISO 8601.
        run: The name of its run; None where it has none.
    """

    pid: int
    host: str
    since: str
    run: str | None = None

    def __str__(self) -> str:
        """Say it in words."""
        run = f"run {self.run}, " if self.run else ""
        return f"{run}process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def exclusive(folder: Path, outputs: Path | None = None, waiting: Waiting = Waiting()) -> Iterator[None]:
    """Hold a lock on `folder` within the block; another process that wants it waits, and says for whom.

    Args:
        folder: Holds the lock's file; created where it is missing.
        outputs: The folder that the lock protects, whose unfinished files are removed; None for `folder` itself.
        waiting: How long to wait for another process.

    Raises:
        WorkError: where another process holds it for too long.
        InputError: where the folder cannot be written to.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    with _locked(folder, waiting):
        try:
            remove_unfinished(outputs or folder)
            yield
        except BaseException:
            _remove_empty(folder, made)
            raise


@contextmanager
def _locked(folder: Path, waiting: Waiting) -> Iterator[None]:
    while True:
        with _opened(folder) as file:
            _acquire(file, folder, waiting)
            if not _is_at(file, folder / LOCK_FILE):  # whoever held it has removed the folder: there is another by now
                continue
            me = Holder(os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat(timespec="seconds"), waiting.run)
            with suppress(OSError):  # of a full disk: the name of its holder is no part of a lock
                file.truncate(0)
                os.write(file.fileno(), json.dumps(asdict(me)).encode())  # past the buffer, which closing would flush
            try:
                yield
            finally:
                with suppress(OSError):
                    file.truncate(0)
            return


def _opened(folder: Path) -> TextIO:
    try:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # a run that failed has just removed the folder
                return (folder / LOCK_FILE).open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{folder.parent} cannot be written to: {error.strerror}. Make it writable, or choose another folder."
        ) from None


def _acquire(file: TextIO, folder: Path, waiting: Waiting) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        holder = _holder(file)
    logger.info("Another run is using %s: waiting for it to finish (%s).", folder, holder)
    if waiting.max_seconds is None:
        fcntl.flock(file, fcntl.LOCK_EX)
        return
    until = time.monotonic() + waiting.max_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise WorkError(
                    f"Another run is using {folder} ({_holder(file)}), and did not finish within "
                    f"{waiting.max_seconds:g} s. Nothing was changed. Wait for it or end it, and run again."
                ) from None
        time.sleep(_LOOK_EVERY_SECONDS)


def _holder(file: TextIO) -> Holder | str:
    try:
        file.seek(0)
        found = json.loads(file.read())
        return Holder(**{each.name: found[each.name] for each in fields(Holder)})
    except (OSError, ValueError, KeyError, TypeError):
        return "it does not say which"


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove_empty(folder: Path, made: list[Path]) -> None:
    """Remove the folders that were made for a lock, where they hold nothing else; the caller still holds it."""
    with suppress(OSError):
        if made and os.listdir(folder) == [".lock"]:
            (folder / LOCK_FILE).unlink()
            for each in made:
                each.rmdir()
