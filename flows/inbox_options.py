"""The options of `darkroom score` that belong to --new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from darkroom.data.errors import SettingError
from darkroom.flows.shared_options import QUALITY

INBOX = "Inbox"

NewOption = Annotated[
    bool,
    typer.Option(
        "--new",
        metavar="",
        help="Score only what is new since the last run, into a table that grows night by night",
        rich_help_panel=INBOX,
    ),
]
ExcludeOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN,…",
        help="Paths to leave out, such as 'raw/*,*.xml'; hidden files and unfinished downloads always are",
        rich_help_panel=INBOX,
    ),
]
SettleOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Files changed within so many seconds wait for the next run (default: DARKROOM_SETTLE_SECONDS, or 60)",
        rich_help_panel=INBOX,
    ),
]
TimeZoneOption = Annotated[
    str | None,
    typer.Option(
        metavar="ZONE",
        help="Says which night it is, such as Europe/Berlin (default: DARKROOM_TIME_ZONE, or the machine's own)",
        rich_help_panel=INBOX,
    ),
]
WaitOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="How long to wait for another run on the same table (default: DARKROOM_WAIT_SECONDS, or 300)",
        rich_help_panel=INBOX,
    ),
]
LimitsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="A YAML file of limits on a run, such as max_unfamiliar: 0.1, each of which warns or fails it",
        rich_help_panel=QUALITY,
    ),
]


def check_inbox_options(new: bool, of_inbox: Mapping[str, Any], of_folder: Mapping[str, bool]) -> None:
    """Refuse options that do not go with `--new`, or not without it.

    Args:
        new: Whether it was given.
        of_inbox: The options that belong to it, by parameter; None where they were not given.
        of_folder: The options that belong to a table that is made as a whole, and whether they were given.

    Raises:
        SettingError: naming the option.
    """
    other = next((name for name, given in of_folder.items() if given), None)
    if new and other:
        raise SettingError(f"--{other.replace('_', '-')} does not go with --new, whose table grows. Give one of them.")
    given = [name for name, value in of_inbox.items() if value is not None]
    if given and not new:
        raise SettingError(f"--{given[0].replace('_', '-')} goes with --new. Give both, or neither.")
