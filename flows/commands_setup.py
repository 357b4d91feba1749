"""The commands about the installation: what comes with it, Prefect's server, and whether all is well."""
# ruff: noqa: D103  (what a command does is said in its help, which `python -OO` does not remove)

from __future__ import annotations

import sys
from typing import Annotated

import typer

from darkroom.flows.command import command
from darkroom.flows.shared_options import A_MODEL, Json, Workspace

_PANEL = "Setup"
NIGHT = "Nightly run"

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
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="PostgreSQL database of its record, as postgresql://USER@HOST/NAME; its password goes into "
            "DARKROOM_DATABASE_PASSWORD or the file that DARKROOM_DATABASE_PASSWORD_FILE names (default: what "
            "DARKROOM_DATABASE says, else SQLite in PREFECT_HOME)",
            show_default=False,
        ),
    ] = None,
) -> None:
    from darkroom.flows.settings import prepare_environment

    prepare_environment("INFO")
    from darkroom.flows.server import serve_operator

    serve_operator(host, port, database)


@command(
    app,
    "Put work pool, deployments, schedules and automations on the Prefect server; repeating it changes nothing.",
    _PANEL,
)
def deploy(
    inbox: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|URL",
            help="Score what is new in this inbox every night; a path of the worker's machine",
            rich_help_panel=NIGHT,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help=f"{A_MODEL}; for --inbox", rich_help_panel=NIGHT)
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="HH:MM", help="When the night's run starts (default: 02:00)", rich_help_panel=NIGHT),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="Time zone, such as Europe/Berlin (default: UTC)", rich_help_panel=NIGHT),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder or URL of the inbox's table (default: in the worker's workspace)",
            rich_help_panel=NIGHT,
        ),
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Send a message for each run that has failed, crashed or is late: to a webhook, or a URL of Apprise "
            "such as mailtos:// or slack:// (default: DARKROOM_NOTIFY)",
        ),
    ] = None,
    keep_runs: Annotated[
        str | None, typer.Option(metavar="DAYS", help="Remove ended runs from Prefect's record, such as after 30d")
    ] = None,
    as_json: Json = False,
) -> None:
    from darkroom.flows.settings import prepare_environment

    prepare_environment("CRITICAL")
    from darkroom.flows import deploy as flow
    from darkroom.flows import launch
    from darkroom.flows.server import reachable

    night, days = flow.planned_night(inbox, model, at, timezone, out), flow.kept_days(keep_runs)
    with reachable(None):
        launch.show(flow.deploy(night, notify, days, timezone or "UTC"), as_json)


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
