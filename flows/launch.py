"""How a command comes to its flow: the environment, Prefect's server, TensorFlow; and how its result is shown.

What is imported here is imported for every command: all that is heavy stays inside the functions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from darkroom.flows.quiet import load_tensorflow


@contextmanager
def prepared(verbose: bool, *, tensorflow: bool) -> Iterator[None]:
    """Set up what a flow needs before Prefect and TensorFlow are imported; they load while Prefect's server starts.

    Args:
        verbose: Show Prefect's log.
        tensorflow: Load TensorFlow.
    """
    from darkroom.flows.settings import prepare_environment

    prepare_environment("INFO" if verbose else "CRITICAL")
    from darkroom.flows.server import reachable, start_server

    server = start_server()
    if tensorflow:
        load_tensorflow()
    from darkroom.flows.terminal import show_log_lines

    if not verbose:  # Prefect's console shows these lines too
        show_log_lines(logging.INFO)
    if server:
        server.wait()
    with reachable(server), server.watched() if server else nullcontext():
        yield


def workers(runner: str | None, address: str | None) -> dict[str, Any]:
    """The parameters `runner` and `address` of a flow, checked before anything starts.

    Args:
        runner: As for `darkroom.flows.runners.choose_runner`.
        address: As for `darkroom.flows.runners.choose_runner`.
    """
    from darkroom.flows.runners import choose_runner

    choose_runner(runner, address)
    return {"runner": runner, "address": address}


def show(result: Any, as_json: bool) -> None:
    """Print a flow's result."""
    from darkroom.flows.terminal import show

    show(result, as_json)
