"""Leases: other processes work for a run, on this machine or others, only as long as the run holds a lease.

A lease is a file in the folder that the run has locked. Workers look for it while they work, and stop when it is gone:
the run has ended, or was killed, and another one has locked the folder since and swept the file away, which has a
temporary name (`darkroom.data.files.atomic`). So no worker writes for long into a folder that belongs to another run.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4
from weakref import WeakValueDictionary

from darkroom.data.errors import WorkError
from darkroom.data.files.atomic import temporary_beside
from darkroom.data.parallel import CPU_SHARE, STOP

T = TypeVar("T")

_LOOK_EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class Lease:
    """The terms on which another process works for a run.

    Attributes:
        file: Exists for as long as the work is wanted.
        num_cpus: Processors that one part may use.
    """

    file: Path
    num_cpus: int

    def end(self) -> None:
        """End the lease: every process that works under it stops."""
        self.file.unlink(missing_ok=True)


@contextmanager
def grant(folder: Path, num_cpus: int) -> Iterator[Lease]:
    """Grant a lease for the duration of the block.

    Args:
        folder: Created where it is missing; the caller holds its lock.
        num_cpus: Processors that one part may use.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lease = Lease(temporary_beside(folder / "lease"), num_cpus)
    lease.file.touch()
    try:
        yield lease
    finally:
        lease.end()


@contextmanager
def working_under(lease: Lease | None) -> Iterator[None]:
    """Hold `darkroom.data.parallel` to a lease within the block; None changes nothing.

    Raises:
        WorkError: where the lease has ended, or its folder cannot be seen from this machine.
    """
    if lease is None:
        yield
        return
    if not lease.file.parent.is_dir():
        raise WorkError(
            f"The worker on {socket.gethostname()} cannot see the folder {lease.file.parent}. All machines of a "
            "cluster need the images, the workspace and the output at the same paths, on a shared file system."
        )
    watched = _Watched(lease.file)
    stop, share = STOP.set(watched), CPU_SHARE.set(lease.num_cpus)
    try:
        if watched.is_set():
            raise WorkError("Not started: the run has ended.")
        yield
    finally:
        STOP.reset(stop)
        CPU_SHARE.reset(share)


class Shared(Generic[T]):
    """What the parts of one run share, such as a loaded network: made once in each process that works for the run.

    The run holds it and gives it to each part. Threads of the run's own process get this very object, which lets go of
    what it made when its block ends. All parts that are sent to another process get the same object there, which is let
    go of when the lease of the run has ended. No two runs have one together, so neither have two versions of a model.

    Args:
        make: Makes it; pickled where parts are worked on by other processes.
        run: Identifies the run; None where this is its beginning.
    """

    def __init__(self, make: Callable[[], T], run: str | None = None) -> None:
        self._make = make
        self._run = run or uuid4().hex
        self._lock = threading.Lock()
        self._made: list[T] = []

    def get(self, lease: Lease | None) -> T:
        """What is shared, made by the first part that asks; the others wait for it.

        Args:
            lease: The one that the part works under; None in the run's own process.
        """
        with self._lock:
            if not self._made:
                self._made.append(self._make())
                if lease:
                    threading.Thread(target=_hold, args=(self, lease), daemon=True).start()
            return self._made[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._made.clear()

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared_here, (self._make, self._run)


# In a process that works for others: of each run what its parts share. Held by the parts that have it and by `_hold`.
_SHARED_HERE: WeakValueDictionary[str, Shared[Any]] = WeakValueDictionary()
_SHARED_HERE_LOCK = threading.Lock()


def _shared_here(make: Callable[[], T], run: str) -> Shared[T]:
    """What the parts of a run share in this process."""
    with _SHARED_HERE_LOCK:
        found = _SHARED_HERE.get(run)
        if found is None:
            found = _SHARED_HERE[run] = Shared(make, run)
        return found


def _hold(shared: Shared[Any], lease: Lease) -> None:
    """Keep what is shared between one part and the next, until the lease ends."""
    while _is_there(lease.file):
        time.sleep(_LOOK_EVERY_SECONDS)


class _Watched:
    """Whether a file is gone; checked at intervals, because it may be on a remote file system."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._look_at = 0.0
        self._gone = False

    def is_set(self) -> bool:
        """Whether it is gone."""
        if not self._gone and time.monotonic() >= self._look_at:
            self._gone = not _is_there(self._file)
            self._look_at = time.monotonic() + _LOOK_EVERY_SECONDS
        return self._gone


def _is_there(file: Path) -> bool:
    """Open the file rather than ask whether it exists: NFS answers the latter from a cache."""
    try:
        os.close(os.open(file, os.O_RDONLY))
    except FileNotFoundError:
        return False
    except OSError:  # what it says of the server it does not say of the file
        return True
    return True
