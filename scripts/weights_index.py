"""Where each tensor lies in the published weights: `models/networks/weights/*.json`, one file per network.

    python scripts/weights_index.py [--check]

The packages hold checkpoints of PyTorch, which are pickles. A pickle is a program, so Darkroom reads none. This script
reads them once, and writes down the place, the shape and the strides of every tensor, with the checkpoint's size and
SHA-256. From there on the numbers are taken from the very bytes of the installed package, by these places, once their
hash is found to be the known one. `--check` writes nothing and fails where a file would change.

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
and strides are checked against the storage after the unpickler is done.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import json
import math
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from darkroom.data.errors import FormatError
from darkroom.models.networks.pretrained_weights import PUBLISHED, index_path

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
# Bytes of an element of each type of storage.
_SIZES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}


class Place(NamedTuple):
    """Where a tensor lies.

    Attributes:
        type_name: Of its storage, such as `FloatStorage`.
        offset: Of its first element, in bytes from the start of the file.
        shape: In PyTorch's order of the axes.
        strides: In elements.
    """

    type_name: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_places(path: Path) -> dict[str, Place]:
    """Where the tensors of a checkpoint lie, by name, in the file's order.

    Args:
        path: A state dict written by `torch.save` in its old format (not zip).

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
        if module == "torch" and name in _SIZES:
            return name
        raise _UnusableError(f"it asks for {module}.{name}, which tensors do not need and which is not run")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, type_name, key, _device, num_elements, view = pid
        if kind != "storage" or type_name not in _SIZES or type(key) is not str or view is not None:
            raise _UnusableError("it describes a storage in an unknown way")
        if type(num_elements) is not int or num_elements < 0:
            raise _UnusableError(f"it says that storage {key} has {num_elements!r} elements")
        return _Storage(type_name, key, num_elements)


def _parse(content: bytes) -> dict[str, Place]:
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
    storages = _declared_storages(tensors)
    starts = _find_storages(content, stream.tell(), storages, keys)
    return {name: _place(name, tensor, starts[tensor.storage.key]) for name, tensor in tensors.items()}


def _declared_storages(tensors: Mapping[Any, Any]) -> dict[str, _Storage]:
    declared: dict[str, _Storage] = {}
    for name, tensor in tensors.items():
        if type(name) is not str or not isinstance(tensor, _Tensor) or not isinstance(tensor.storage, _Storage):
            raise _UnusableError(f"its entry {name!r:.80} is not a tensor")
        if declared.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise _UnusableError(f"it describes storage {tensor.storage.key} twice and differently")
    return declared


def _find_storages(content: bytes, position: int, declared: Mapping[str, _Storage], keys: Any) -> dict[str, int]:
    """Where the elements of each storage begin, from `position` to the end of the file."""
    if not isinstance(keys, list) or sorted(keys) != sorted(declared):
        raise _UnusableError("the storages that it lists are not those of its tensors")
    starts = {}
    for key in keys:
        num_elements = declared[key].num_elements
        start, end = position + 8, position + 8 + num_elements * _SIZES[declared[key].type_name]
        if end > len(content):
            raise _UnusableError(f"it is cut short: {end} bytes are needed up to storage {key}, it has {len(content)}")
        if int.from_bytes(content[position:start], "little") != num_elements:
            raise _UnusableError(f"storage {key} does not have the {num_elements} elements that its tensors speak of")
        starts[key], position = start, end
    if position != len(content):
        raise _UnusableError(f"{len(content) - position} bytes follow its last storage")
    return starts


def _place(name: str, tensor: _Tensor, start: int) -> Place:
    """The place of a tensor, after its view was found to lie inside its storage, which begins at `start`."""
    storage, offset, shape, strides = tensor
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
        raise _UnusableError(f"shape {shape!r:.80} and strides {strides!r:.80} of {name} do not fit each other")
    if any(type(count) is not int or count < 0 for count in (offset, *shape, *strides)):
        raise _UnusableError(f"offset, shape or strides of {name} are not whole numbers from 0")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    num_elements = math.prod(shape)
    # A stride of 0 could ask for far more elements than the storage has.
    if num_elements > storage.num_elements or (num_elements and last >= storage.num_elements):
        raise _UnusableError(f"{name} of shape {shape} reaches outside its storage of {storage.num_elements} elements")
    return Place(storage.type_name, start + offset * _SIZES[storage.type_name], shape, strides)


def index_text(network: str) -> str:
    """The index of a network's weights, as its file holds it: a line for each tensor of 32-bit floats.

    Args:
        network: One of `PUBLISHED`.

    Raises:
        FormatError: where the installed checkpoint cannot be used.
        PackageNotFoundError: where its package is not installed.
    """
    package, file = PUBLISHED[network]
    installed = importlib.metadata.distribution(package)
    path = Path(str(installed.locate_file(file)))
    content = path.read_bytes()
    head = {
        "package": package,
        "version": installed.version,
        "file": file,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "dtype": "<f4",
    }
    facts = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    # What is left out counts the batches of the training.
    tensors = [
        f"  {json.dumps(name)}: {json.dumps([place.offset, place.shape, place.strides])}"
        for name, place in read_places(path).items()
        if place.type_name == "FloatStorage"
    ]
    return "\n".join(["{", *facts, ' "tensors": {', ",\n".join(tensors), " }", "}"]) + "\n"


def main() -> int:
    """Write the index of every network, or check it; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a file would change")
    check, changed = parser.parse_args().check, 0
    for network in PUBLISHED:
        path, text = index_path(network), index_text(network)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            changed += 1
            sys.stdout.write(f"{path} {'differs' if check else 'is written'}\n")
            if not check:
                path.write_text(text, encoding="utf-8")
    return int(check and changed > 0)


if __name__ == "__main__":
    sys.exit(main())
