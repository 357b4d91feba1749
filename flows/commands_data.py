"""The commands that look at images before a network is trained on them."""
# ruff: noqa: D103  (what a command does is said in its help, which `python -OO` does not remove)

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from darkroom.data.stores.workspace import name_from
from darkroom.flows import launch
from darkroom.flows.command import command
from darkroom.flows.options import INSPECT_OPTIONS, MAX_JUDGED
from darkroom.flows.quiet import load_tensorflow
from darkroom.flows.shared_options import (
    A_DATASET,
    A_MODEL_OR_READY_MADE,
    OUTPUT,
    MaxJudged,
    Source,
    Workspace,
)

_PANEL = "Data"

app = typer.Typer()


@command(
    app,
    "Inspect a source before it is ingested: a page of outliers, duplicates and likely label errors.",
    _PANEL,
    INSPECT_OPTIONS,
)
def inspect(
    how: launch.HowInParts,
    source: Source,
    changes: dict[str, Any],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name on the page (default: the source's)")] = None,
    max_judged: MaxJudged = MAX_JUDGED,
    out: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Folder for the page (default: in the workspace)", rich_help_panel=OUTPUT),
    ] = None,
) -> None:
    from darkroom.flows.recipe import Recipe

    changes |= {"name": name or name_from(source), "source": source}
    settings = Recipe.model_validate(changes).ingest_settings()
    workers = how.workers()
    from darkroom.flows import up_to_date

    result = up_to_date.inspected(source, settings, out, max_judged, how.workspace)
    if result is None:
        with how.prepared(tensorflow=True):
            from darkroom.flows.inspect_source import inspect as flow

            result = flow(source, settings, out, max_judged, how.workspace, **workers)
    how.show(result)


@command(app, "Choose what to label next in a folder of photographs, and write the page to label it on.", _PANEL)
def label_next(
    how: launch.HowInParts,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The images; subfolders too", show_default=False)],
    model: Annotated[
        str,
        typer.Option(metavar="MODEL", help=f"{A_MODEL_OR_READY_MADE}", show_default=False),
    ],
    budget: Annotated[
        int, typer.Option(metavar="INTEGER", help="Images to choose (default: 200)", show_default=False)
    ] = 200,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for the page and the table (default: in the workspace's labelling)",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    workers = how.workers()
    from darkroom.flows.settings import open_workspace
    from darkroom.models.bundle.imagenet import READY_MADE
    from darkroom.models.labelling.next_images import check_budget

    check_budget(budget)
    if model not in READY_MADE:
        open_workspace(how.workspace).find_model(model)
    with how.prepared(tensorflow=True):
        from darkroom.flows.label_next import label_next as flow

        result = flow(folder, model, budget, out, how.workspace, **workers)
    how.show(result)


@command(app, "Show what an augmentation does, as a picture.", _PANEL)
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
    from darkroom.data.images.pixels.augment import augmentation_by_name
    from darkroom.flows.settings import open_workspace, prepare_environment

    opened, policy = open_dataset(open_workspace(workspace).find_dataset(dataset)), augmentation_by_name(augment)
    prepare_environment("CRITICAL")
    load_tensorflow()
    write_preview(opened, policy, Path(out))
    sys.stdout.write(f"{Path(out).resolve()}\n")
