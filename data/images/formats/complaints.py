"""What libtiff complains of while it decodes, kept off the terminal and counted.

libtiff prints a line to standard error for each fault of a file, and may give pixels all the same: a damaged fax comes
out with rows that are wrong. Pillow leaves its error handler as it is, so it is set here, in the copy of the library
that Pillow has loaded. The handler runs in the thread that decodes. Where that copy is not found, lines go to standard
error as before.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import PIL

_thread = threading.local()


@dataclass
class Complaints:
    """What a decoder complained of.

    Attributes:
        number: How often.
    """

    number: int = 0


@contextmanager
def complaints() -> Iterator[Complaints]:
    """Count what libtiff complains of in this thread."""
    outer = getattr(_thread, "heard", None)
    _thread.heard = heard = Complaints()
    try:
        yield heard
    finally:
        _thread.heard = outer


def _hear(module: int, message: int, arguments: int) -> None:
    heard = getattr(_thread, "heard", None)
    if heard is not None:
        heard.number += 1


_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(_hear)


def _libtiff() -> list[Path]:
    """Where Pillow's copy may be: beside its package, in its package, or wherever the system loaded it from."""
    package = Path(PIL.__file__).parent
    found = [*package.parent.glob("[Pp]illow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")]
    if not found:
        with suppress(OSError):
            maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
            found = [Path(line.split()[-1]) for line in maps.splitlines() if "/libtiff.so" in line]
    return found[:1]


@cache
def hear_libtiff() -> bool:
    """Set the handler for the whole process; gives whether the library was found."""
    for path in _libtiff():
        with suppress(OSError, AttributeError):
            ctypes.CDLL(str(path)).TIFFSetErrorHandler(_HANDLER)
            return True
    return False
