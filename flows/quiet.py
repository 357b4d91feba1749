"""TensorFlow's own messages, kept from a terminal on which every line should mean something."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


@contextmanager
def native_messages_hidden() -> Iterator[None]:
    """Hide what native libraries write to file descriptor 2 while they load; Python's own messages still appear."""
    shown, hidden = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    python_stderr = sys.stderr
    with os.fdopen(os.dup(shown), "w", buffering=1) as stream:
        os.dup2(hidden, 2)
        sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = python_stderr
            os.dup2(shown, 2)
            os.close(shown)
            os.close(hidden)


def load_tensorflow() -> None:
    """Import TensorFlow, without the lines that it prints on every start."""
    with native_messages_hidden():
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.constant(0)
    for noisy in ("tf2onnx", "absl", "tensorflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def hide_tensorflow_messages() -> None:
    """Let the first import of TensorFlow in this process, whenever it comes, be as quiet as `load_tensorflow`."""
    if "tensorflow" not in sys.modules and not any(isinstance(each, _QuietTensorFlow) for each in sys.meta_path):
        sys.meta_path.insert(0, _QuietTensorFlow())


class _QuietTensorFlow(MetaPathFinder):
    """Finds TensorFlow once, with a loader that hides what its native libraries write."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_quietly(module: ModuleType) -> None:
            with native_messages_hidden():
                load(module)
                module.config.list_physical_devices()

        spec.loader.exec_module = load_quietly  # type: ignore[method-assign]
        return spec
