"""What the command line shows: log lines on standard error; a result, as text or JSON, on standard output."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table as Grid
from rich.text import Text

from darkroom.data.progress import Progress, unseen
from darkroom.flows.count_tables import first_rows
from darkroom.flows.descriptions import describe
from darkroom.flows.results import Result, RunResult, ScoreResult, SelfDescribed
from darkroom.models.pages.description import Table

_MAX_ROWS = 20
# A redirected table is as wide as most names need.
_WIDTH = 160


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`, so that a progress bar can keep the lines above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """Never another."""


def show_log_lines(level: int) -> None:
    """Write what Darkroom logs to standard error."""
    handler = _StandardError()
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
    logging.getLogger("darkroom").addHandler(handler)


@contextmanager
def progress_shown(as_json: bool) -> Iterator[Progress]:
    """Gives what shows how far a step is: a bar on standard error, below the log lines, each step after the other.

    Nothing is shown beside JSON, nor where nobody looks: where standard output or standard error is no terminal.
    """
    if as_json or not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield unseen
        return
    # A descriptor of its own: while native libraries load, theirs leads nowhere (quiet.py).
    terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8")
    shown: list[tuple[str, Bar, TaskID]] = []

    def end() -> None:
        while shown:
            shown.pop()[1].stop()

    def show(step: str, done: int, total: int) -> None:
        if shown and shown[0][0] != step:
            end()
        if done < total and not shown:
            columns = (SpinnerColumn(), TextColumn("{task.description:<9}"), BarColumn(), MofNCompleteColumn())
            bar = Bar(*columns, TimeElapsedColumn(), console=Console(file=terminal))
            shown.append((step, bar, bar.add_task(step, total=total)))
            bar.start()
        for _, bar, task in shown:
            bar.update(task, completed=done, total=total)
        if done >= total:
            end()

    try:
        yield show
    finally:
        end()
        terminal.close()


def show(result: Result, as_json: bool) -> None:
    """Print a flow's result on standard output."""
    if as_json:
        sys.stdout.write(result.model_dump_json() + "\n")
        return
    described = describe(result)
    made = result.score if isinstance(result, RunResult) else result
    if isinstance(made, ScoreResult) and "://" not in made.out:
        described = described.with_tables(first_rows(Path(made.out)))
    for row in described.rows:
        sys.stdout.write(f"{row.label:<11}  {_plain(row.text)}\n")
    for remark in described.remarks:
        sys.stdout.write(f"\n{_plain(remark)}\n")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    for table in described.tables:
        sys.stdout.write("\n")
        console.print(_grid(table, len(table.cells) if isinstance(made, SelfDescribed) else _MAX_ROWS))


def _grid(table: Table, max_rows: int) -> Grid:
    """The first rows of a table."""
    grid = Grid(*table.columns, box=None, padding=(0, 2, 0, 0), header_style="bold")
    for row in table.cells[:max_rows]:
        grid.add_row(*(Text(_plain(cell)) for cell in row))
    if len(table.cells) > max_rows:
        grid.add_row("...")
    return grid


def _plain(text: str) -> str:
    """Text that may contain foreign names, without control characters for the terminal."""
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
