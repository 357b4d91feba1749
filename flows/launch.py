"""How a command comes to its flow: the environment, Prefect's server, TensorFlow; and how its result is shown.

What is imported here is imported for every command: all that is heavy stays inside the functions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from darkroom.flows.quiet import load_tensorflow

# What the first bar shows: Prefect's server and TensorFlow take seconds.
_START = "start"


@contextmanager
def prepared(verbose: bool, as_json: bool, *, tensorflow: bool) -> Iterator[None]:
    """Set up what a flow needs before Prefect and TensorFlow are imported; they load while Prefect's server starts.

    Args:
        verbose: Show Prefect's log.
        as_json: The result will be JSON, beside which no progress is shown.
        tensorflow: Load TensorFlow.
    """
    from darkroom.flows.settings import prepare_environment

    prepare_environment("INFO" if verbose else "CRITICAL")
    from darkroom.flows.terminal import progress_shown, show_log_lines

    with progress_shown(as_json) as progress:
        progress(_START, 0, 1)
        from darkroom.flows.server import reachable, start_server

        server = start_server()
        if tensorflow:
            load_tensorflow()
        if not verbose:  # Prefect's console shows these lines too
            show_log_lines(logging.INFO)
        if server:
            server.wait()
        from darkroom.tasks.progress import watched_by

        with reachable(server), server.watched() if server else nullcontext(), watched_by(progress):
            progress(_START, 1, 1)
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


@dataclass(frozen=True)
class How:
    """The options of every command that starts a flow: where results are, and how they are shown."""

    workspace: str | None
    as_json: bool
    verbose: bool

    def prepared(self, *, tensorflow: bool) -> AbstractContextManager[None]:
        """See `prepared`."""
        return prepared(self.verbose, self.as_json, tensorflow=tensorflow)

    def show(self, result: Any) -> None:
        """Print a flow's result."""
        show(result, self.as_json)

    @contextmanager
    def shown_beyond_limits(self) -> Iterator[None]:
        """Print the result of a run that its limits fail, too: its table is whole."""
        from darkroom.data.errors import LimitError

        try:
            yield
        except LimitError as error:
            if error.result is not None:
                self.show(error.result)
            raise


@dataclass(frozen=True)
class HowInParts(How):
    """The same of a flow that is executed in parts, and by whom."""

    runner: str | None
    address: str | None

    def workers(self) -> dict[str, Any]:
        """See `workers`."""
        return workers(self.runner, self.address)
