"""The command line: its groups of commands, in the order in which help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from darkroom.flows import (
    commands_data,
    commands_inventory,
    commands_models,
    commands_pipeline,
    commands_serving,
    commands_setup,
    commands_tables,
)
from darkroom.flows.command import HELP, Group

_DISTRIBUTION = "darkroom-flows"
_LIBRARIES = ("prefect", "tensorflow", "keras", "onnxruntime", "pillow", "numpy", "pyarrow")

app = typer.Typer(
    name="darkroom",
    cls=Group,
    help="From a folder of photographs to a trained network, an honest report and a table of predictions.",
    epilog="Exit status: 0 done; 1 the work failed; 2 the arguments or the input are wrong.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    suggest_commands=False,  # cli.py has a better ear
    context_settings=HELP,
)
_GROUPS = (
    commands_pipeline,
    commands_tables,
    commands_serving,
    commands_data,
    commands_models,
    commands_inventory,
    commands_setup,
)
for group in _GROUPS:
    app.add_typer(group.app)


def _show_versions(wanted: bool) -> None:
    """Print the versions that a report of a fault needs, without importing TensorFlow or Prefect."""
    if not wanted:
        return
    import platform
    from importlib.metadata import PackageNotFoundError, version

    typer.echo(f"darkroom {version(_DISTRIBUTION)}")
    typer.echo(f"python {platform.python_version()}")
    for name in _LIBRARIES:
        try:
            typer.echo(f"{name} {version(name)}")
        except PackageNotFoundError:
            typer.echo(f"{name} is not installed")
    try:
        from darkroom.data.images.decoder_fingerprint import decoder

        typer.echo(f"decoder {decoder().fingerprint}")
    except ImportError as error:
        typer.echo(f"decoder cannot be loaded: {error}")
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            is_eager=True,
            callback=_show_versions,
            help="Show the versions of Darkroom, of Python and its main libraries, and of the decoder, and exit",
        ),
    ] = False,
) -> None:
    """Options before the command's name."""
