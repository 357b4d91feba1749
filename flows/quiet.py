"""TensorFlow's own messages, kept from a terminal on which every line should mean something."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
