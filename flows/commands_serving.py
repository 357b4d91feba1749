"""The command that makes a model a web service."""
# ruff: noqa: D103  (what a command does is said in its help, which `python -OO` does not remove)

from __future__ import annotations

from typing import Annotated

import typer

from darkroom.flows.command import command
from darkroom.flows.shared_options import Bundle, Workspace

_PANEL = "Pipeline"
_LIMITS = "Limits"

app = typer.Typer()


def _limit(help_text: str, default: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(
        min=1, metavar="INTEGER", help=f"{help_text} (default: {default})", rich_help_panel=_LIMITS
    )
    return found


@command(app, "Serve a model over HTTP: images in, rows of the prediction table out; with a page to try it.", _PANEL)
def serve(
    model: Bundle,
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
        typer.Option(
            min=0,
            max=65535,
            metavar="PORT",
            help="Port to listen on; 0: any free one (default: 8000)",
            show_default=False,
        ),
    ] = 8000,
    api_keys: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="API keys, one per line; callers need one (default: DARKROOM_API_KEYS)"),
    ] = None,
    is_open: Annotated[
        bool, typer.Option("--open", metavar="", help="Let other machines call without an API key")
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="auto|fp32|int8",
            help="Precision of the network (default: auto)",
        ),
    ] = None,
    max_images: Annotated[int | None, _limit("Images in one request", "64")] = None,
    max_request_bytes: Annotated[int | None, _limit("Bytes of one request", "32 MiB")] = None,
    max_held_bytes: Annotated[int | None, _limit("Bytes of all requests at once", "256 MiB")] = None,
    max_waiting: Annotated[int | None, _limit("Images waiting for the network", "256")] = None,
    workspace: Workspace = None,
) -> None:
    from darkroom.flows.serve import Listening, read_keys
    from darkroom.flows.serve import serve as run
    from darkroom.flows.settings import prepare_environment
    from darkroom.models.serving.settings import ServeSettings

    prepare_environment("CRITICAL")
    limits = {
        "max_images": max_images,
        "max_request_bytes": max_request_bytes,
        "max_held_bytes": max_held_bytes,
        "max_waiting": max_waiting,
        "precision": precision,
    }
    settings = ServeSettings.model_validate({name: value for name, value in limits.items() if value is not None})
    run(model, workspace, Listening(host, port, read_keys(api_keys), is_open), settings)
