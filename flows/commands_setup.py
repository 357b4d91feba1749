"""The commands about the installation: what comes with it, Prefect's server, and whether all is well."""
# ruff: noqa: D103  (what a command does is said in its help, which `python -OO` does not remove)

from __future__ import annotations

import sys
from typing import Annotated

import typer

from darkroom.flows.command import command
from darkroom.flows.shared_options import Json, Workspace

_PANEL = "Setup"

app = typer.Typer()


@command(app, "Start a Prefect server with its UI: it records all runs, and holds schedules and automations.", _PANEL)
def server(
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on; 0.0.0.0: every network interface (default: 127.0.0.1)",
            show_default=False,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(min=1, max=65535, metavar="PORT", help="Port to listen on (default: 4200)", show_default=False),
    ] = 4200,
) -> None:
    from darkroom.flows.settings import prepare_environment

    prepare_environment("INFO")
    from darkroom.flows.server import serve_operator

    serve_operator(host, port)


@command(app, "List the recipes that come with Darkroom.", _PANEL)
def recipes() -> None:
    from darkroom.flows.recipe import load_recipe, recipe_names

    for name in recipe_names():
        sys.stdout.write(f"{name:20} {load_recipe(f'recipe:{name}').title}\n")


@command(app, "Check what is installed and reachable, and say what to do about what is not.", _PANEL)
def doctor(workspace: Workspace = None, as_json: Json = False) -> None:
    from darkroom.flows.doctor import examine, show_findings
    from darkroom.flows.settings import open_workspace, prepare_environment

    prepare_environment("CRITICAL")
    sys.exit(show_findings(examine(open_workspace(workspace)), as_json))
