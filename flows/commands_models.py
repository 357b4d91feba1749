"""The commands that compare models and decide which version scores."""
# ruff: noqa: D103  (what a command does is said in its help, which `python -OO` does not remove)

from __future__ import annotations

from typing import Annotated, Any

import typer

from darkroom.data.errors import InputError
from darkroom.data.stores.workspace import NEWEST
from darkroom.flows import launch
from darkroom.flows.command import command
from darkroom.flows.options import BLESSING_OPTIONS, INGEST_OPTIONS, MAX_JUDGED, TRAIN_OPTIONS
from darkroom.flows.quiet import native_messages_hidden
from darkroom.flows.shared_options import (
    Bundle,
    DatasetName,
    MaxJudged,
    OtherSource,
    QualityOption,
    RecipeOrSource,
    Why,
)

_PANEL = "Models"

app = typer.Typer()


@command(
    app,
    "Train a recipe with every combination of some settings; the best on validation becomes a model.",
    _PANEL,
    {**TRAIN_OPTIONS, **INGEST_OPTIONS, **BLESSING_OPTIONS},
)
def compare(
    how: launch.HowInParts,
    recipe: RecipeOrSource,
    changes: dict[str, Any],
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION=VALUE,VALUE", help="An option and the values to try; repeatable"),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, metavar="INTEGER", help="Number of combinations, drawn at random (default: all of them)"),
    ] = None,
    prune_after: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="INTEGER",
            help="Stop poor trials early, after this many epochs; 0: never (default: 5)",
            show_default=False,
        ),
    ] = 5,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", metavar="", help="Repeat trials that failed")] = False,
    source: OtherSource = None,
    name: DatasetName = None,
    max_judged: MaxJudged = MAX_JUDGED,
) -> None:
    from darkroom.flows.variations import parse_vary, variations

    settings, options = changes | ({"name": name} if name else {}), parse_vary(vary or [])
    with native_messages_hidden():
        planned = variations(recipe, options, settings)  # what is wrong is said before anything starts
    workers = how.workers()
    from darkroom.data.sources.resolve import at_hand
    from darkroom.flows.settings import open_workspace

    at_hand(source or planned[0].recipe.source, open_workspace(how.workspace))
    chosen = (trials, prune_after, retry_failed, source, max_judged)
    with how.prepared(tensorflow=True):
        from darkroom.flows.compare import compare as flow

        result = flow(recipe, options, settings, *chosen, how.workspace, **workers)
    how.show(result)


@command(
    app,
    "Ingest new labels, train, and switch to the new version unless it is worse than the one in use.",
    _PANEL,
    {**TRAIN_OPTIONS, **INGEST_OPTIONS, **BLESSING_OPTIONS},
)
def retrain(
    how: launch.HowInParts,
    recipe: RecipeOrSource,
    changes: dict[str, Any],
    source: OtherSource = None,
    name: DatasetName = None,
    quality: QualityOption = None,
    max_judged: MaxJudged = MAX_JUDGED,
) -> None:
    from darkroom.flows.quality import with_quality
    from darkroom.flows.recipe import load_recipe

    with native_messages_hidden():
        plan = load_recipe(recipe, with_quality(quality, changes) | ({"name": name} if name else {}))
    workers = how.workers()
    from darkroom.flows import up_to_date

    result = up_to_date.retrained(plan, source, how.workspace)
    if result is None:
        with how.prepared(tensorflow=True):
            from darkroom.flows.retrain import retrain as flow

            result = flow(plan, source, how.workspace, max_judged=max_judged, **workers)
    how.show(result)


@command(app, "Compare an evaluated model with a table of other answers: those of a cloud API, or of a person.", _PANEL)
def versus(
    how: launch.How,
    bundle: Bundle,
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="A CSV file, or its URL, of paths and labels; an image's most likely label first",
            show_default=False,
        ),
    ],
    means: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD=CLASS", help="What the table calls a class, if not by its name; repeatable"),
    ] = None,
    path_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of paths in the table (default: recognised by its name)")
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of labels in the table, or names of columns of 0 and 1 (default: recognised by its name)",
        ),
    ] = None,
    label_separator: Annotated[
        str | None,
        typer.Option(
            metavar="MARK", help="What separates the labels in a cell, of a multi-label model (default: recognised)"
        ),
    ] = None,
) -> None:
    meant = dict(pair.partition("=")[::2] for pair in means or [])
    if not all(word and label for word, label in meant.items()):
        raise InputError("--means takes WORD=CLASS, such as --means Feline=cats.")
    _check_model(bundle, how.workspace)
    from darkroom.flows.settings import local_copy

    local_copy(table)
    with how.prepared(tensorflow=False):
        from darkroom.flows.versus import versus as flow

        result = flow(bundle, table, meant, path_column, label_column, label_separator, how.workspace)
    how.show(result)


@command(app, "Approve a version of a model for scoring by hand: NAME@blessed means that version from now on.", _PANEL)
def promote(
    how: launch.How,
    bundle: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A version of a model: name@version, name@newest, a path, or a name that has one version",
            show_default=False,
        ),
    ],
    why: Why = "by hand",
    unevaluated: Annotated[
        bool,
        typer.Option("--unevaluated", metavar="", help="Approve a version that was never evaluated on test images"),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Approve a version that its evaluation refused")
    ] = False,
) -> None:
    from darkroom.flows import up_to_date

    result = up_to_date.promoted(bundle, unevaluated, force, how.workspace)
    if result is None:
        with how.prepared(tensorflow=False):
            from darkroom.flows.promote import promote as flow

            result = flow(bundle, why, how.workspace, unevaluated, force)
    how.show(result)


@command(app, "Return to the version of a model that was approved before; nothing is deleted.", _PANEL)
def rollback(
    how: launch.How,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model's name", show_default=False)],
    why: Why = "by hand",
) -> None:
    _check_model(f"{name}@{NEWEST}", how.workspace)
    with how.prepared(tensorflow=False):
        from darkroom.flows.rollback import rollback as flow

        result = flow(name, why, how.workspace)
    how.show(result)


def _check_model(reference: str, workspace: str | None) -> None:
    """Raises InputError where there is no such model, before anything is started."""
    from darkroom.flows.settings import open_workspace

    open_workspace(workspace).find_model(reference)
