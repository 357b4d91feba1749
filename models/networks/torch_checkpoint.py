"""Weights from an old-style PyTorch checkpoint, with NumPy only and without running any code from the file.

How `torch.save` wrote a file before PyTorch 1.6 (`torch/serialization.py`, `_legacy_save`), one after the other:

    pickle   magic number 0x1950A86A20F9469CFC6C
    pickle   protocol version 1001
    pickle   {"little_endian": bool, ...}
    pickle   the state dict; a tensor is a call of `_rebuild_tensor_v2`, its storage a persistent id
    pickle   list of the storages' keys
    a storage, in the order of the keys: int64 number of elements, then the elements

A tensor is a view of its storage by offset, shape and strides, counted in elements; it need not be contiguous.

A pickle can call whatever it can name (Python documentation, "pickle", "Restricting Globals"). Here it can name an
ordered dict, the storage types, which are mere strings, and a function that makes an immutable record. Offsets, shapes
and strides are checked against the storage when the records become arrays, after the unpickler is done.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import FormatError

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_DTYPES: dict[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


def read_torch_weights(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a checkpoint by name, in the file's order, each a contiguous array of its own.

    Args:
        path: A state dict written by `torch.save` in its old format (not zip).

    Returns:
        Arrays by name; shapes and order of the axes as in PyTorch, `float32[out, in, height, width]` for the kernel of
        a convolution.

    Raises:
        FormatError: where the file is missing, truncated, in another format, or asks for anything but tensors.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path} cannot be read ({error.strerror}). Check the path and its permissions.") from None
    if content.startswith(b"PK"):
        raise FormatError(
            f"{path} is a zip-style PyTorch checkpoint, which is not read here. "
            "Save it with torch.save(..., _use_new_zipfile_serialization=False)."
        )
    try:
        return _parse(content)
    except _UnusableError as error:
        raise FormatError(f"{path} is not a PyTorch checkpoint that can be used: {error}. Fetch it again.") from None
    except Exception as error:  # what a damaged pickle raises is not defined (Python documentation, UnpicklingError)
        raise FormatError(
            f"{path} is damaged or is no old-style PyTorch checkpoint ({type(error).__name__}). Fetch it again."
        ) from None


class _UnusableError(Exception):
    """Why a file is refused, as the middle of a sentence."""


class _Storage(NamedTuple):
    type_name: str
    key: str
    num_elements: int


class _Tensor(NamedTuple):
    """A tensor as the pickle describes it; nothing of it is checked yet, all counts are in elements."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


def _tensor_maker() -> Callable[..., _Tensor]:
    """A function for the pickle, which can set attributes of what it is handed (opcode BUILD): so a new one each time.

    Attributes set on a bound method's `__dict__` would land on the function behind it, for every later file.
    """
    return lambda storage, offset, shape, strides, *_autograd: _Tensor(storage, offset, shape, strides)


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor_maker()
        if module == "torch" and name in _DTYPES:
            return name
        raise _UnusableError(f"it asks for {module}.{name}, which tensors do not need and which is not run")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, type_name, key, _device, num_elements, view = pid
        if kind != "storage" or type_name not in _DTYPES or type(key) is not str or view is not None:
            raise _UnusableError("it describes a storage in an unknown way")
        if type(num_elements) is not int or num_elements < 0:
            raise _UnusableError(f"it says that storage {key} has {num_elements!r} elements")
        return _Storage(type_name, key, num_elements)


def _parse(content: bytes) -> dict[str, NDArray[Any]]:
    stream = io.BytesIO(content)

    def load() -> Any:
        return _RestrictedUnpickler(stream).load()

    if load() != _MAGIC_NUMBER or load() != _PROTOCOL_VERSION:
        raise _UnusableError("its magic number or protocol version is not that of an old-style checkpoint")
    if load()["little_endian"] is not True:
        raise _UnusableError("it was written on a big-endian machine")
    state, keys = load(), load()
    if not isinstance(state, dict):
        raise _UnusableError(f"it holds a {type(state).__name__}, not a state dict")
    tensors = dict(dict.items(state))
    storages = _read_storages(content, stream.tell(), _declared_storages(tensors), keys)
    return {name: _materialise(name, tensor, storages) for name, tensor in tensors.items()}


def _declared_storages(tensors: Mapping[Any, Any]) -> dict[str, _Storage]:
    declared: dict[str, _Storage] = {}
    for name, tensor in tensors.items():
        if type(name) is not str or not isinstance(tensor, _Tensor) or not isinstance(tensor.storage, _Storage):
            raise _UnusableError(f"its entry {name!r:.80} is not a tensor")
        if declared.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise _UnusableError(f"it describes storage {tensor.storage.key} twice and differently")
    return declared


def _read_storages(
    content: bytes, position: int, declared: Mapping[str, _Storage], keys: Any
) -> dict[str, NDArray[Any]]:
    """The storages as flat read-only arrays over `content`, from `position` to the end."""
    if not isinstance(keys, list) or sorted(keys) != sorted(declared):
        raise _UnusableError("the storages that it lists are not those of its tensors")
    storages = {}
    for key in keys:
        dtype, num_elements = _DTYPES[declared[key].type_name], declared[key].num_elements
        start, end = position + 8, position + 8 + num_elements * dtype.itemsize
        if end > len(content):
            raise _UnusableError(f"it is cut short: {end} bytes are needed up to storage {key}, it has {len(content)}")
        if int.from_bytes(content[position:start], "little") != num_elements:
            raise _UnusableError(f"storage {key} does not have the {num_elements} elements that its tensors speak of")
        storages[key] = np.frombuffer(content, dtype, num_elements, start) if num_elements else np.empty(0, dtype)
        position = end
    if position != len(content):
        raise _UnusableError(f"{len(content) - position} bytes follow its last storage")
    return storages


def _materialise(name: str, tensor: _Tensor, storages: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """The tensor as an array of its own, after its view was found to lie inside its storage."""
    flat = storages[tensor.storage.key]
    offset, shape, strides = tensor.offset, tensor.shape, tensor.strides
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
        raise _UnusableError(f"shape {shape!r:.80} and strides {strides!r:.80} of {name} do not fit each other")
    if any(type(count) is not int or count < 0 for count in (offset, *shape, *strides)):
        raise _UnusableError(f"offset, shape or strides of {name} are not whole numbers from 0")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    num_elements = math.prod(shape)
    # A stride of 0 could ask for far more elements than the storage has.
    if num_elements > flat.size or (num_elements and last >= flat.size):
        raise _UnusableError(f"{name} of shape {shape} reaches outside its storage of {flat.size} elements")
    step = flat.dtype.itemsize
    view = np.lib.stride_tricks.as_strided(
        flat[offset:], shape, tuple(step * stride for stride in strides), writeable=False
    )
    return np.array(view, order="C")
