"""NumPy arrays by name in one `.npz` file, written whole or not at all, and read without pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import FormatError
from darkroom.data.files.atomic import atomic_file


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays to an `.npz` file, whole or not at all; the same arrays give the same bytes.

    Args:
        path: The file.
        arrays: `NDArray` each, under its name.

    Raises:
        WorkError: where the disk is full.
    """
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def read_arrays(path: Path, names: tuple[str, ...], remedy: str = "Remove the file.") -> list[NDArray[Any]]:
    """Read arrays from an `.npz` file, without pickle.

    Args:
        path: The file.
        names: The arrays to read.
        remedy: A sentence to end the message with.

    Returns:
        The arrays, in the order of `names`.

    Raises:
        FormatError: where the file is missing or damaged, lacks one of the arrays, or is compressed: `write_arrays`
            does not compress, and 1 MB of zlib can unpack to 1 GB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("compressed")
        with np.load(path, allow_pickle=False) as stored:
            return [stored[name] for name in names]
    except Exception as error:  # NumPy's and zipfile's parsers raise nearly anything
        raise FormatError(f"{path} cannot be read ({type(error).__name__}). {remedy}") from None
