"""The console log of a run that a worker has started; `prefect.yaml` names it in the environment of each run."""

from __future__ import annotations

import logging
from contextlib import suppress

from prefect.logging.handlers import PrefectConsoleHandler


class WorkerConsole(PrefectConsoleHandler):
    """Prefect's console handler, which outlives the worker that reads it.

    A run writes its console log to a pipe whose reader is the worker. Where the worker is killed, Rich ends the process
    at the next line; here the line is lost, and the run goes on. The log in the UI does not pass through the pipe.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, if anybody reads.

        Args:
            record: The record.
        """
        with suppress(SystemExit):  # Rich writes no more after the first one
            super().emit(record)
