"""The commands that look at images before a network is trained on them."""
# ruff: noqa: D103  (what a command does is said in its help, which `python -OO` does not remove)

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from darkroom.data.stores.workspace import name_from
from darkroom.flows import launch
from darkroom.flows.options import INSPECT_OPTIONS, MAX_JUDGED, settings_command
from darkroom.flows.quiet import load_tensorflow
from darkroom.flows.shared_options import (
    A_DATASET,
    OUTPUT,
    Address,
    Json,
    MaxJudged,
    Runner,
    Source,
    Verbose,
    Workspace,
)

_PANEL = "Data"

app = typer.Typer()


@settings_command(
    app,
    INSPECT_OPTIONS,
    "Inspect a source before it is ingested: a page of outliers, duplicates and likely label errors.",
    _PANEL,
)
def inspect(
    source: Source,
    changes: dict[str, Any],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name on the page (default: the source's)")] = None,
    max_judged: MaxJudged = MAX_JUDGED,
    out: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Folder for the page (default: in the workspace)", rich_help_panel=OUTPUT),
    ] = None,
    workspace: Workspace = None,
    runner: Runner = None,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    from darkroom.flows.recipe import Recipe

    changes |= {"name": name or name_from(source), "source": source}
    settings = Recipe.model_validate(changes).ingest_settings()
    workers = launch.workers(runner, address)
    from darkroom.data.sources.resolve import at_hand
    from darkroom.flows.settings import open_workspace

    at_hand(source, open_workspace(workspace))  # or it says that there is no such source
    with launch.prepared(verbose, tensorflow=True):
        from darkroom.flows.inspect_source import inspect as flow

        result = flow(source, settings, out, max_judged, workspace, **workers)
    launch.show(result, as_json)


@app.command(help="Show what an augmentation does, as a picture.", rich_help_panel=_PANEL)
def preview(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help=A_DATASET, show_default=False)],
    augment: Annotated[
        str,
        typer.Option(
            metavar="none|light|standard|strong|scans", help="Augmentation (default: standard)", show_default=False
        ),
    ] = "standard",
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="PNG file to write (default: augmentation.png)",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = "augmentation.png",
    workspace: Workspace = None,
) -> None:
    from darkroom.data.dataset.dataset import open_dataset, write_preview
    from darkroom.data.images.augment import augmentation_by_name
    from darkroom.flows.settings import open_workspace, prepare_environment

    opened, policy = open_dataset(open_workspace(workspace).find_dataset(dataset)), augmentation_by_name(augment)
    prepare_environment("CRITICAL")
    load_tensorflow()
    write_preview(opened, policy, Path(out))
    sys.stdout.write(f"{Path(out).resolve()}\n")
