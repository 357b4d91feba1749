"""One process at a time per output folder: a second one waits, says so, and then finds the output up to date.

A lock is `flock` on `<folder>/.lock`: the system lets go of it when its holder dies, however it dies, so nothing
is ever left locked. The lock's file stays; what it holds means nothing.

Whoever holds a folder first removes what killed runs left unfinished in it.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.data.files.atomic import remove_unfinished

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"


@contextmanager
def exclusive(folder: Path, outputs: Path | None = None) -> Iterator[None]:
    """Hold a lock on `folder` within the block; another process that wants it waits, and says so.

    Args:
        folder: Holds the lock's file; created where it is missing.
        outputs: The folder that the lock protects, whose unfinished files are removed; None for `folder` itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("Another run is using %s: waiting for it to finish.", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        remove_unfinished(outputs or folder)
        yield
