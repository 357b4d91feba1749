"""NumPy arrays by name in one `.npz` file, written whole or not at all, and read without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import FormatError
from darkroom.data.files.atomic import atomic_file


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays, `NDArray` each, under their names; the same arrays give the same bytes."""
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def read_arrays(path: Path, names: tuple[str, ...], remedy: str = "Remove the file.") -> list[NDArray[Any]]:
    """The arrays of these names, in their order.

    Raises:
        FormatError: where the file is missing or damaged, or holds no array of a name; it ends with `remedy`.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return [stored[name] for name in names]
    except Exception as error:  # NumPy's and zipfile's parsers raise nearly anything
        raise FormatError(f"{path} cannot be read ({type(error).__name__}). {remedy}") from None
