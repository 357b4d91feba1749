"""Arrays in a file: read as they were written, and refused with the remedy where they cannot be."""

from __future__ import annotations

import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from darkroom.data.errors import FormatError
from darkroom.models.npz import read_arrays, write_arrays


def test_arrays_come_back_in_the_order_asked_for_and_give_the_same_bytes(tmp_path: Path) -> None:
    arrays = {"one": np.arange(6, dtype=np.float32).reshape(2, 3), "two": np.array(["a", "\xe9"])}
    for name in ("a.npz", "b.npz"):
        write_arrays(tmp_path / name, **arrays)
    two, one = read_arrays(tmp_path / "a.npz", ("two", "one"))
    np.testing.assert_array_equal(one, arrays["one"])
    np.testing.assert_array_equal(two, arrays["two"])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("damage", ["missing", "cut", "no such array", "pickle"])
def test_what_cannot_be_read_is_refused_with_the_remedy(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    values = np.array([{}], object) if damage == "pickle" else np.zeros(3)
    write_arrays(path, **{"other" if damage == "no such array" else "values": values})
    if damage == "missing":
        path.unlink()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FormatError, match=r"x\.npz cannot be read .*Do this"):
        read_arrays(path, ("values",), "Do this.")


def test_a_compressed_file_is_not_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", values=np.zeros(2**20))
    assert (tmp_path / "x.npz").stat().st_size < 2**14
    with pytest.raises(FormatError, match=r"x\.npz cannot be read"):
        read_arrays(tmp_path / "x.npz", ("values",))


def test_a_header_of_more_values_than_the_file_has_takes_no_memory(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.npz", values=np.zeros(10**6 // 8))
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        member = archive.read("values.npy")
    assert b"(125000,), }     " in member
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("values.npy", member.replace(b"(125000,), }     ", b"(12500000000,), }"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FormatError, match=r"y\.npz cannot be read"):
        read_arrays(tmp_path / "y.npz", ("values",))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 2**10
