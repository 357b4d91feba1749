"""Which versions of data sets and models are in use by a run: none of them is removed meanwhile.

A run that reads a version holds a shared lock on `<name>/.<version>.in-use`; `darkroom clean` takes it exclusively, or
leaves the version alone. Like any lock of ours (`darkroom.data.files.locks`) it ends with its holder.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from darkroom.data.files.locks import LOCK_FILE
from darkroom.data.stores.workspace import Workspace


@contextmanager
def in_use(place: Workspace, *versions: Path | None) -> Iterator[None]:
    """Hold versions within the block, so that nothing removes them; what lies outside the workspace is not held.

    Args:
        place: The workspace.
        versions: Folders of data sets and models; None is passed over.
    """
    with ExitStack() as held:
        for version in versions:
            if version is not None and version.resolve().is_relative_to(place.root.resolve()):
                _hold(version, held)
        yield


def _hold(version: Path, held: ExitStack) -> None:
    try:
        file = held.enter_context(_lock_file(version).open("a"))
    except OSError:  # a workspace that cannot be written, so nothing can be removed from it either
        return
    fcntl.flock(file, fcntl.LOCK_SH)


@contextmanager
def alone(version: Path) -> Iterator[bool]:
    """Hold a version against everybody within the block; gives False where a run uses it, or writes under its name.

    Args:
        version: Its folder, whose parent exists.
    """
    with ExitStack() as files:
        try:
            for path in (version.parent / LOCK_FILE, _lock_file(version)):
                fcntl.flock(files.enter_context(path.open("a")), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
        else:
            free = True
        yield free


def _lock_file(version: Path) -> Path:
    return version.with_name(f".{version.name}.in-use")
