"""The commands that say what a workspace holds, and that make room in it."""
# ruff: noqa: D103  (what a command does is said in its help, which `python -OO` does not remove)

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from darkroom.data.errors import InputError
from darkroom.flows import launch
from darkroom.flows.command import command
from darkroom.flows.shared_options import Json, Workspace

_PANEL = "Workspace"

app = typer.Typer()


@command(app, "List the data sets, models and prediction tables of a workspace, and what made what.", _PANEL)
def list(  # noqa: A001  (the command's name)
    what: Annotated[
        Literal["all", "datasets", "models", "scores"],
        typer.Argument(metavar="[datasets|models|scores]", help="Only these (default: all)", show_default=False),
    ] = "all",
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    from darkroom.flows.inventory import list_entries

    launch.show(list_entries(what, workspace), as_json)


@command(app, "Show every version of a model, its figures, and which one was in use when.", _PANEL)
def history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model's name", show_default=False)],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    from darkroom.flows.inventory import history as show

    launch.show(show(name, workspace), as_json)


@command(app, "Remove old versions of data sets and models that nothing depends on; tables always stay.", _PANEL)
def clean(
    how: launch.How,
    keep: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="INTEGER",
            help="How many of the newest versions of each name to keep (default: 3)",
            show_default=False,
        ),
    ] = 3,
    caches: Annotated[
        bool,
        typer.Option(
            "--caches",
            metavar="",
            help="Also remove cached features, and unpacked or downloaded sources, which are restored when needed",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="List what would be removed, and remove nothing")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Remove without asking first")] = False,
) -> None:
    from darkroom.flows.inventory import clean as flow

    planned = flow.plain(keep, caches, True, how.workspace)
    if dry_run or not planned.removals:
        how.show(planned)
        return
    if not yes:
        if how.as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise InputError(
                "The terminal is not interactive: confirm with --yes, or list what would go with --dry-run."
            )
        how.show(planned)
        typer.confirm("\nRemove these?", abort=True)
    with how.prepared(tensorflow=False):
        result = flow(keep, caches, False, how.workspace)
    how.show(result)
