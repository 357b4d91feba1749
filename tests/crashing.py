"""A decoder that dies: makes Pillow's reader of BMP abort the process at files that end with CRASH.

A folder with this as `sitecustomize.py` on PYTHONPATH brings it into every Python process that is started.
"""

from __future__ import annotations

from pathlib import Path

CRASH = b"CRASH"
_SITE = """
import os

import PIL.BmpImagePlugin

_open = PIL.BmpImagePlugin.BmpImageFile._open


def _dies(self):
    if self.fp.getvalue().endswith(b"CRASH"):
        os.abort()
    _open(self)


PIL.BmpImagePlugin.BmpImageFile._open = _dies
"""


def write_crashing_decoder(folder: Path) -> str:
    """The value of PYTHONPATH with which files that end with CRASH kill whoever decodes them."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SITE, encoding="utf-8")
    return str(folder)
