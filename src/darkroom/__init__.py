"""Darkroom: batch image classification with Prefect and Keras.

What `__all__` lists is the Python interface, described in docs/python.md: models and data sets to work with, and a
function for each command that works. A name is imported when it is first used, so that `import darkroom` itself takes
no time and loads no library.

The code lives in four rooms, `darkroom.data`, `darkroom.models`, `darkroom.tasks` and `darkroom.flows`. In a checkout
they are the folders of these names at its root, linked from here: see docs/architecture.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkroom._dataset import Dataset, load_dataset
    from darkroom._images import decode
    from darkroom._inventory import clean, history, list_workspace
    from darkroom._labelling import label_next
    from darkroom._model import Model, load_model
    from darkroom._models import explain, export, promote, rollback, score, versus
    from darkroom._work import compare, evaluate, ingest, inspect, read_source, retrain, run, train
    from darkroom.data.errors import DarkroomError, ImageError, InputError, WorkError
    from darkroom.data.images.pixels.decode_policy import DecodePolicy

    __version__: str

_MODULE_OF = {
    "Dataset": "darkroom._dataset",
    "load_dataset": "darkroom._dataset",
    "decode": "darkroom._images",
    **dict.fromkeys(("explain", "export", "promote", "rollback", "score", "versus"), "darkroom._models"),
    **dict.fromkeys(("clean", "history", "list_workspace"), "darkroom._inventory"),
    "label_next": "darkroom._labelling",
    "Model": "darkroom._model",
    "load_model": "darkroom._model",
    "DarkroomError": "darkroom.data.errors",
    "ImageError": "darkroom.data.errors",
    "InputError": "darkroom.data.errors",
    "WorkError": "darkroom.data.errors",
    "DecodePolicy": "darkroom.data.images.decode",
}

__all__ = [
    "DarkroomError",
    "Dataset",
    "DecodePolicy",
    "ImageError",
    "InputError",
    "Model",
    "WorkError",
    "clean",
    "compare",
    "decode",
    "evaluate",
    "explain",
    "export",
    "history",
    "ingest",
    "inspect",
    "label_next",
    "list_workspace",
    "load_dataset",
    "load_model",
    "promote",
    "read_source",
    "retrain",
    "rollback",
    "run",
    "score",
    "train",
    "versus",
]


def __getattr__(name: str) -> Any:
    """A name of the interface, imported when it is asked for; `__version__` is that of the installed package."""
    if name == "__version__":
        from importlib.metadata import version

        return version("darkroom-flows")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_MODULE_OF.get(name, "darkroom._work")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *(name for name in globals() if name.startswith("__"))})
