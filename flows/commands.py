"""The commands of `darkroom`: each is a thin call of the flow of the same name, with the same parameters."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darkroom.data.errors import InputError
from darkroom.data.stores.workspace import name_from
from darkroom.flows.options import (
    BLESSING_OPTIONS,
    INGEST_OPTIONS,
    INSPECT_OPTIONS,
    MAX_JUDGED,
    TRAIN_OPTIONS,
    settings_command,
)
from darkroom.flows.quiet import load_tensorflow, native_messages_hidden
from darkroom.flows.shared_options import (
    A_MODEL,
    Address,
    Bundle,
    DecoderMismatch,
    Json,
    MaxJudged,
    PrecisionOption,
    Runner,
    Verbose,
    Workspace,
)

if TYPE_CHECKING:
    from darkroom.flows.recipe import Recipe

app = typer.Typer(
    name="darkroom",
    help="From a folder of photographs to a trained network, an honest report and a table of predictions.",
    epilog="Exit status: 0 done; 1 the work failed; 2 the arguments or the input are wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@settings_command(app, {**TRAIN_OPTIONS, **INGEST_OPTIONS, **BLESSING_OPTIONS})
def run(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE|SOURCE", help="A recipe, a YAML file, or a source.")],
    changes: dict[str, Any],
    source: Annotated[str | None, typer.Option(help="Images in place of the recipe's own source.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data set.")] = None,
    precision: PrecisionOption = "auto",
    max_judged: MaxJudged = MAX_JUDGED,
    workspace: Workspace = None,
    runner: Runner = None,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """All of it, from a source to a report and a table."""
    from darkroom.flows.recipe import load_recipe

    with native_messages_hidden():  # to look up a network of Keras loads it
        plan = load_recipe(recipe, changes | ({"name": name} if name else {}))
    workers = _workers(runner, address)
    _prepare(verbose, tensorflow=True)
    from darkroom.flows.run import run as flow

    _show(flow(plan, source, workspace, precision=precision, max_judged=max_judged, **workers), as_json)


@settings_command(app, INGEST_OPTIONS)
def ingest(
    source: Annotated[str, typer.Argument(help="A folder, a .zip/.tar archive, kaggle:owner/dataset, or sample:NAME.")],
    changes: dict[str, Any],
    name: Annotated[str | None, typer.Option(help="Name of the data set. [default: the source's]")] = None,
    retry_quarantined: Annotated[
        bool, typer.Option("--retry-quarantined", help="Read files again that an earlier ingest set aside.")
    ] = False,
    max_judged: MaxJudged = MAX_JUDGED,
    decoder_mismatch: DecoderMismatch = None,
    workspace: Workspace = None,
    runner: Runner = None,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Turn a source into a data set: a manifest, splits and shards."""
    plan = _settings(changes, name or name_from(source), source)
    workers = _workers(runner, address) | {"decoder_mismatch": decoder_mismatch}
    _prepare(verbose, tensorflow=True)
    from darkroom.flows.ingest import ingest as flow

    _show(flow(source, plan.ingest_settings(), retry_quarantined, max_judged, workspace, **workers), as_json)


@settings_command(app, INSPECT_OPTIONS)
def inspect(
    source: Annotated[str, typer.Argument(help="A folder, a .zip/.tar archive, kaggle:owner/dataset, or sample:NAME.")],
    changes: dict[str, Any],
    name: Annotated[str | None, typer.Option(help="Name on the page. [default: the source's]")] = None,
    out: Annotated[str | None, typer.Option(help="Folder for the page. [default: in the workspace]")] = None,
    max_judged: MaxJudged = MAX_JUDGED,
    workspace: Workspace = None,
    runner: Runner = None,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Look over a source before it is ingested: a page of what stands out, copies and suspected label errors."""
    plan = _settings(changes, name or name_from(source), source)
    workers = _workers(runner, address)
    _prepare(verbose, tensorflow=True)
    from darkroom.flows.examine import inspect as flow

    _show(flow(source, plan.ingest_settings(), out, max_judged, workspace, **workers), as_json)


@settings_command(app, TRAIN_OPTIONS)
def train(
    dataset: Annotated[str, typer.Argument(help="A data set: a name (newest version), name@version, or a path.")],
    changes: dict[str, Any],
    name: Annotated[str | None, typer.Option(help="Name of the model. [default: DATASET-NETWORK]")] = None,
    workspace: Workspace = None,
    runner: Runner = None,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train a network on a data set and publish it as a bundle."""
    with native_messages_hidden():
        settings = _settings(changes).train
    workers = _workers(runner, address)
    _prepare(verbose, tensorflow=True)
    from darkroom.flows.train import train as flow

    named = settings.model_copy(update={"name": name}) if name else settings
    _show(flow(dataset, named, workspace, **workers), as_json)


@settings_command(app, {**TRAIN_OPTIONS, **INGEST_OPTIONS, **BLESSING_OPTIONS})
def compare(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE|SOURCE", help="A recipe, a YAML file, or a source.")],
    changes: dict[str, Any],
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION=VALUE,VALUE", help="An option and the values to try. Repeatable."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Draw so many combinations at random. [default: all of them]")
    ] = None,
    prune_after: Annotated[
        int, typer.Option(min=0, help="Epochs before a trial can be stopped as hopeless; 0: none is.")
    ] = 5,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Make trials again that failed.")] = False,
    source: Annotated[str | None, typer.Option(help="Images in place of the recipe's own source.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data set.")] = None,
    max_judged: MaxJudged = MAX_JUDGED,
    workspace: Workspace = None,
    runner: Runner = None,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train a recipe with every combination of some settings; the best on validation becomes a model."""
    from darkroom.flows.variations import parse_vary, variations

    settings, options = changes | ({"name": name} if name else {}), parse_vary(vary or [])
    with native_messages_hidden():
        variations(recipe, options, settings)  # what is wrong is said before anything starts
    workers = _workers(runner, address)
    _prepare(verbose, tensorflow=True)
    from darkroom.flows.compare import compare as flow

    chosen = (trials, prune_after, retry_failed, source, max_judged)
    _show(flow(recipe, options, settings, *chosen, workspace, **workers), as_json)


@settings_command(app, BLESSING_OPTIONS)
def evaluate(
    bundle: Bundle,
    changes: dict[str, Any],
    dataset: Annotated[str | None, typer.Argument(help="A data set. [default: the one it was trained from]")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    workspace: Workspace = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Judge a model on images that training never saw; where it is not worse than the blessed one, bless it."""
    rules = _settings(changes).blessing
    _prepare(verbose, tensorflow=True)
    from darkroom.flows.evaluate import evaluate as flow

    _show(flow(bundle, dataset, split, rules, workspace), as_json)


@app.command()
def versus(
    bundle: Bundle,
    table: Annotated[str, typer.Argument(help="A CSV, or its URL, of paths and labels; the surest label first.")],
    means: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD=CLASS", help="The table's word for a class, where it is another. Repeatable."),
    ] = None,
    path_column: Annotated[str | None, typer.Option(help="The column of paths, where its name is unusual.")] = None,
    label_column: Annotated[str | None, typer.Option(help="The column of labels, where its name is unusual.")] = None,
    workspace: Workspace = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compare an evaluated model with a table of other answers: a cloud recognition API's, or a person's."""
    meant = dict(pair.partition("=")[::2] for pair in means or [])
    if not all(word and label for word, label in meant.items()):
        raise InputError("--means takes WORD=CLASS, such as --means Feline=cats.")
    _prepare(verbose, tensorflow=False)
    from darkroom.flows.versus import versus as flow

    _show(flow(bundle, table, meant, path_column, label_column, workspace), as_json)


@app.command()
def promote(
    bundle: Bundle,
    why: Annotated[str, typer.Option(help="The reason, kept in the history.")] = "by hand",
    workspace: Workspace = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Bless a version of a model by hand: it is what NAME@blessed means from now on."""
    _prepare(verbose, tensorflow=False)
    from darkroom.flows.promote import promote as flow

    _show(flow(bundle, why, workspace), as_json)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    why: Annotated[str, typer.Option(help="The reason, kept in the history.")] = "by hand",
    workspace: Workspace = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Go back to the version of a model that was blessed before; nothing is deleted."""
    _prepare(verbose, tensorflow=False)
    from darkroom.flows.rollback import rollback as flow

    _show(flow(name, why, workspace), as_json)


@app.command()
def explain(
    bundle: Bundle,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Image files.")],
    out: Annotated[str | None, typer.Option(help="Folder for the pictures. [default: in the model's report]")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Where exciting images are looked for. [default: the one it was trained from]")
    ] = None,
    max_searched: Annotated[int, typer.Option(min=0, help="Images looked through for those; 0: none.")] = 1000,
    workspace: Workspace = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show what a network looks at: heat maps, activations, filters, what its classes and channels answer to."""
    _prepare(verbose, tensorflow=True)
    from darkroom.flows.explain import explain as flow

    _show(flow(bundle, images, out, dataset, max_searched, workspace), as_json)


@app.command()
def score(
    folder: Annotated[str, typer.Argument(help="The images; subfolders too.")],
    model: Annotated[str, typer.Option(help=f"{A_MODEL} 'imagenet' is ready-made, 1,000 classes.")],
    out: Annotated[str | None, typer.Option(help="Folder for the table. [default: in the workspace's scores]")] = None,
    rows_per_part: Annotated[int, typer.Option(min=1, help="Files in one part of the table.")] = 1000,
    retry_quarantined: Annotated[
        bool, typer.Option("--retry-quarantined", help="Try files again that an earlier run set aside.")
    ] = False,
    precision: PrecisionOption = "auto",
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Add the features that the last layer decides by as a column.")
    ] = False,
    decoder_mismatch: DecoderMismatch = None,
    workspace: Workspace = None,
    runner: Runner = None,
    address: Address = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Score every file of a folder: one row for each."""
    workers = _workers(runner, address) | {"decoder_mismatch": decoder_mismatch}
    _prepare(verbose, tensorflow=False)
    from darkroom.flows.score import score as flow
    from darkroom.flows.settings import open_workspace
    from darkroom.models.bundle.imagenet import READY_MADE, is_built

    if model == READY_MADE and not is_built(open_workspace(workspace)):
        load_tensorflow()

    how: dict[str, Any] = {"retry_quarantined": retry_quarantined, "precision": precision, "embeddings": embeddings}
    _show(flow(folder, model, out, rows_per_part, workspace=workspace, **how, **workers), as_json)


@app.command()
def preview(
    dataset: Annotated[str, typer.Argument(help="A data set: a name (newest version), name@version, or a path.")],
    augment: Annotated[str, typer.Option(help="An augmentation: none, light, standard, strong or scans.")] = "standard",
    out: Annotated[str, typer.Option(help="The PNG file.")] = "augmentation.png",
    workspace: Workspace = None,
) -> None:
    """Show what an augmentation does, as a picture."""
    _prepare(False, tensorflow=True)
    from darkroom.data.dataset.dataset import open_dataset, write_preview
    from darkroom.data.images.augment import augmentation_by_name
    from darkroom.flows.settings import open_workspace

    opened = open_dataset(open_workspace(workspace).find_dataset(dataset))
    write_preview(opened, augmentation_by_name(augment), Path(out))
    sys.stdout.write(f"{Path(out).resolve()}\n")


@app.command()
def server(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all of the machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 4200,
) -> None:
    """Start a Prefect server with its UI: the record of all runs, their schedules and automations."""
    from darkroom.flows.settings import prepare_environment

    prepare_environment("INFO")
    from darkroom.flows.server import serve_operator

    serve_operator(host, port)


@app.command()
def recipes() -> None:
    """List the recipes that come with Darkroom."""
    from darkroom.flows.recipe import load_recipe, recipe_names

    for name in recipe_names():
        sys.stdout.write(f"{name:20} {load_recipe(name).title}\n")


@app.command()
def doctor(workspace: Workspace = None, as_json: Json = False) -> None:
    """What is installed and reachable, and what is not."""
    from darkroom.flows.doctor import examine, show_findings
    from darkroom.flows.settings import open_workspace, prepare_environment

    prepare_environment("CRITICAL")

    sys.exit(show_findings(examine(open_workspace(workspace)), as_json))


def _prepare(verbose: bool, tensorflow: bool) -> None:
    """All that has to be set before Prefect and TensorFlow are imported; they load while Prefect's server starts."""
    from darkroom.flows.settings import prepare_environment

    prepare_environment("INFO" if verbose else "CRITICAL")
    from darkroom.flows.server import start_server

    wait_for_server = start_server()
    if tensorflow:
        load_tensorflow()
    from darkroom.flows.terminal import show_log_lines

    if not verbose:  # Prefect's console shows these lines too
        show_log_lines(logging.INFO)
    wait_for_server()


def _workers(runner: str | None, address: str | None) -> dict[str, Any]:
    """Those parameters of a flow; what is wrong with them is said before anything starts."""
    from darkroom.flows.runners import choose_runner

    choose_runner(runner, address)
    return {"runner": runner, "address": address}


def _settings(changes: dict[str, Any], name: str = "unused", source: str = "") -> Recipe:
    """The settings that options stand for, with defaults for all others."""
    from darkroom.flows.recipe import Recipe

    return Recipe.model_validate({**changes, "name": name, "source": source})


def _show(result: Any, as_json: bool) -> None:
    from darkroom.flows.terminal import show

    show(result, as_json)
