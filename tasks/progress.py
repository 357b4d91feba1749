"""To whom the steps of a run report how far they are: to the command line where somebody watches, else to nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from darkroom.data.progress import Progress, unseen
from darkroom.tasks.decorators import is_plain

_WATCHER: ContextVar[Progress] = ContextVar("watcher", default=unseen)


def watcher() -> Progress:
    """Who is told; nobody in a plain run, which is somebody else's program."""
    return unseen if is_plain() else _WATCHER.get()


@contextmanager
def one_step(name: str) -> Iterator[None]:
    """Tell that something begins which cannot say how far it is, and that it is done."""
    progress = watcher()
    progress(name, 0, 1)
    yield
    progress(name, 1, 1)


@contextmanager
def watched_by(progress: Progress) -> Iterator[None]:
    """Tell `progress` how far the steps are that run in here."""
    before = _WATCHER.set(progress)
    try:
        yield
    finally:
        _WATCHER.reset(before)
