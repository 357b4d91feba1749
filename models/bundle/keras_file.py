"""What a `model.keras` may hold: Keras's own layers, of those that classify images, and their weights.

The file may come from somebody else. Keras's safe mode refuses layers that hold code, but makes any other class of
Keras, some of which read files or load programs, and its weights (HDF5) may lie in other files. So it is looked through
first.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from darkroom.data.errors import FormatError

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = [_CONFIG, "metadata.json", _WEIGHTS]
_MAX_CONFIG_BYTES = 32 * 2**20
_MAX_CONFIG_VALUES = 2_000_000
_MAX_WEIGHTS = 100_000
# Of these modules anything: they hold rules for numbers.
_PLAIN_MODULES = ("keras.initializers", "keras.regularizers", "keras.constraints")
# Of the others only these, which are found in Darkroom's networks and those of keras.applications, or are like them.
_CLASSES = {
    None: "__keras_tensor__ __tensor__ __slice__ __ellipsis__",
    "keras": "DTypePolicy Functional Sequential",
    "keras.layers": "Activation Add Average AveragePooling2D BatchNormalization Concatenate Conv2D Cropping2D Dense "
    "DepthwiseConv2D Dropout ELU Flatten GlobalAveragePooling2D GlobalMaxPooling2D GroupNormalization Identity "
    "InputLayer LayerNormalization LeakyReLU MaxPooling2D Maximum Minimum Multiply Normalization PReLU Permute ReLU "
    "Rescaling Reshape SeparableConv2D Softmax SpatialDropout2D Subtract UpSampling2D ZeroPadding2D",
    "keras.src.applications.inception_resnet_v2": "CustomScaleLayer",
    "keras.src.models.functional": "Functional",
    "keras.src.models.sequential": "Sequential",
    "keras.src.ops.core": "Cast",
    "keras.src.ops.numpy": "Add Concatenate Divide Flip GetItem Mean Multiply Stack Subtract Transpose TrueDivide",
}


def check_keras_file(path: Path) -> None:
    """Refuse a file with other members than Keras's, or with a class that is not one of these layers.

    Raises:
        FormatError: where it is such a file, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            reason = next(_wrong_members(archive), None) or next(_wrong_classes(_config(archive)), None)
    except Exception as error:  # zipfile raises nearly anything
        reason = f"it cannot be read ({' '.join(str(error).split())[:200]})"
    if reason:
        raise FormatError(f"{path} is refused: {reason}. Train again, or restore the folder.")


def check_keras_weights(path: Path) -> None:
    """Refuse weights that do not lie in the file itself, as large as they say.

    Raises:
        FormatError: where there are such, or the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            reason = _wrong_weights(archive.read(_WEIGHTS))
    except Exception as error:
        reason = f"its weights cannot be read ({' '.join(str(error).split())[:200]})"
    if reason:
        raise FormatError(f"{path} is refused: {reason}. Train again, or restore the folder.")


def _wrong_members(archive: zipfile.ZipFile) -> Iterator[str]:
    members = archive.infolist()
    if sorted(info.filename for info in members) != _MEMBERS:
        yield f"it does not hold {', '.join(_MEMBERS)} and nothing else"
        return
    if any(info.compress_type != zipfile.ZIP_STORED for info in members):
        yield "it is compressed, which Keras does not do"
    if archive.getinfo(_CONFIG).file_size > _MAX_CONFIG_BYTES:
        yield f"its {_CONFIG} has more than {_MAX_CONFIG_BYTES >> 20} MiB"


def _config(archive: zipfile.ZipFile) -> Any:
    data = archive.read(_CONFIG)
    if sum(map(data.count, (b",", b"[", b"{"))) > _MAX_CONFIG_VALUES:
        raise ValueError(f"its {_CONFIG} holds more than {_MAX_CONFIG_VALUES:,} values")
    return from_json(data)


def _wrong_classes(config: Any) -> Iterator[str]:
    """Classes that are not to be made, wherever the configuration names them."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            if "class_name" in value and not _is_known(value.get("module"), value["class_name"]):
                found = f"{value.get('module')}.{value['class_name']}" if value.get("module") else value["class_name"]
                yield f"it holds {str(found)[:100]!r}, which networks of Darkroom do not"


def _is_known(module: Any, name: Any) -> bool:
    if not isinstance(name, str) or not (module is None or isinstance(module, str)):
        return False
    return (module in _PLAIN_MODULES and name.isalnum()) or name in _CLASSES.get(module, "").split()


def _wrong_weights(data: bytes) -> str | None:
    """What is wrong with the weights. HDF5 itself reads them from memory: h5py aborts where a Python file fails."""
    import h5py  # type: ignore[import-untyped]

    num_seen = num_bytes = 0
    with h5py.File(h5py.h5f.open_file_image(data)) as file:
        waiting = [file]
        while waiting:
            group = waiting.pop()
            for name in group:
                num_seen += 1
                if num_seen > _MAX_WEIGHTS:
                    return f"it holds more than {_MAX_WEIGHTS:,} weights"
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    return f"its weights {name[:80]!r} are a link"
                found = group[name]
                if isinstance(found, h5py.Group):
                    waiting.append(found)
                elif not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
                    return f"its weights {name[:80]!r} lie in another file"
                else:
                    num_bytes += found.nbytes
    if num_bytes > len(data):
        return f"its weights are {num_bytes:,} bytes in a file of {len(data):,}"
    return None
