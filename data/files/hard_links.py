"""The same file under another name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link_or_copy(file: Path, to: Path) -> None:
    """A hard link to a file, which takes no space, or a copy where the file system allows none.

    Args:
        file: The file; a symbolic link stands for what it leads to.
        to: The new name, in a folder that exists.
    """
    try:
        os.link(os.path.realpath(file), to)
    except OSError:
        shutil.copy2(file, to)
