"""Darkroom: batch image classification with Prefect and Keras.

The code lives in four rooms, `darkroom.data`, `darkroom.models`, `darkroom.tasks` and `darkroom.flows`. In a checkout
they are the folders of these names at its root, linked from here: see docs/architecture.md.
"""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """`__version__`, read from the installed package when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("darkroom-flows")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
