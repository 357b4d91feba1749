"""The commands of the pipeline, from a source to a prediction table; each calls the flow of the same name.

What is wrong with the input, and a result that is up to date, is said before anything is started: see `up_to_date.py`.
"""
# ruff: noqa: D103  (what a command does is said in its help, which `python -OO` does not remove)

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from darkroom.data.stores.workspace import name_from
from darkroom.flows import cloud_options as cloud
from darkroom.flows import launch
from darkroom.flows.command import command
from darkroom.flows.inbox_options import (
    ExcludeOption,
    LimitsOption,
    NewOption,
    SettleOption,
    TimeZoneOption,
    WaitOption,
    check_inbox_options,
)
from darkroom.flows.options import (
    BLESSING_OPTIONS,
    INGEST_OPTIONS,
    MAX_JUDGED,
    ROWS_PER_PART,
    TRAIN_OPTIONS,
)
from darkroom.flows.quiet import load_tensorflow, native_messages_hidden
from darkroom.flows.shared_options import (
    A_DATASET,
    OUTPUT,
    QUALITY,
    SCORING,
    Bundle,
    DatasetName,
    DecoderMismatch,
    EmbeddingsOption,
    MaxJudged,
    OtherSource,
    PrecisionOption,
    QualityOption,
    RecipeOrSource,
    ScoringModel,
    Source,
    TopKOption,
)

if TYPE_CHECKING:
    from darkroom.data.ingest.request import IngestSettings

_PANEL = "Pipeline"

app = typer.Typer()


@command(
    app,
    "Run the whole pipeline, from a source to a report and a prediction table.",
    _PANEL,
    {**TRAIN_OPTIONS, **INGEST_OPTIONS, **BLESSING_OPTIONS},
)
def run(
    how: launch.HowInParts,
    recipe: RecipeOrSource,
    changes: dict[str, Any],
    source: OtherSource = None,
    name: DatasetName = None,
    quality: QualityOption = None,
    precision: PrecisionOption = "auto",
    max_judged: MaxJudged = MAX_JUDGED,
) -> None:
    from darkroom.flows.quality import with_quality
    from darkroom.flows.recipe import load_recipe

    with native_messages_hidden():  # to look up a network of Keras loads it
        plan = load_recipe(recipe, with_quality(quality, changes) | ({"name": name} if name else {}))
    workers = how.workers()
    from darkroom.flows import up_to_date

    result = up_to_date.ran(plan, source, how.workspace, precision)
    if result is None:
        with how.prepared(tensorflow=True):
            from darkroom.flows.run import run as flow

            result = flow(plan, source, how.workspace, precision=precision, max_judged=max_judged, **workers)
    how.show(result)


@command(app, "Turn a source into a data set: a manifest, splits and shards.", _PANEL, INGEST_OPTIONS)
def ingest(
    how: launch.HowInParts,
    source: Source,
    changes: dict[str, Any],
    name: DatasetName = None,
    retry_quarantined: Annotated[
        bool,
        typer.Option(
            "--retry-quarantined",
            metavar="",
            help="Read files again that an earlier ingest quarantined",
            rich_help_panel=QUALITY,
        ),
    ] = False,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            metavar="",
            help="Print how the source is read (labels, classes, splits, what is left out) and stop",
        ),
    ] = False,
    max_judged: MaxJudged = MAX_JUDGED,
    decoder_mismatch: DecoderMismatch = None,
) -> None:
    from darkroom.flows.recipe import Recipe

    changes |= {"name": name or name_from(source), "source": source}
    settings = Recipe.model_validate(changes).ingest_settings()
    if plan:
        _show_reading(source, settings, how.workspace, how.as_json)
        return
    workers = how.workers() | {"decoder_mismatch": decoder_mismatch}
    from darkroom.flows import up_to_date

    result = up_to_date.ingested(source, settings, how.workspace)
    if result is None or retry_quarantined:
        with how.prepared(tensorflow=True):
            from darkroom.flows.ingest import ingest as flow

            result = flow(source, settings, retry_quarantined, max_judged, how.workspace, **workers)
    how.show(result)


def _show_reading(source: str, settings: IngestSettings, workspace: str | None, as_json: bool) -> None:
    from darkroom.data.ingest.plan import read_source
    from darkroom.data.sources.resolve import resolve
    from darkroom.flows.settings import open_workspace

    reading = read_source(resolve(source, open_workspace(workspace)), settings)
    lines = [f"{word:9} {said}\n" for word, said in reading.lines()]
    sys.stdout.write(reading.model_dump_json() + "\n" if as_json else "".join(lines))


@command(app, "Train a network on a data set and publish it as a model.", _PANEL, TRAIN_OPTIONS)
def train(
    how: launch.HowInParts,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help=A_DATASET, show_default=False)],
    changes: dict[str, Any],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the model (default: DATASET-ARCHITECTURE)")
    ] = None,
    quality: QualityOption = None,
) -> None:
    from darkroom.flows.quality import check_image_size, with_quality
    from darkroom.flows.recipe import NetworkSettings
    from darkroom.flows.settings import open_workspace
    from darkroom.models.networks.architectures import describe

    check_image_size(quality, dataset, open_workspace(how.workspace))
    settings = NetworkSettings.model_validate({"train": with_quality(quality, changes).get("train", {})}).train
    with native_messages_hidden():  # to look up a network of Keras loads it
        describe(settings.model, settings.weights)  # or it says which there are
    settings = settings.model_copy(update={"name": name}) if name else settings
    workers = how.workers()
    from darkroom.flows import up_to_date

    result = up_to_date.trained(dataset, settings, how.workspace)
    if result is None:
        with how.prepared(tensorflow=True):
            from darkroom.flows.train import train as flow

            result = flow(dataset, settings, how.workspace, **workers)
    how.show(result)


@command(
    app,
    "Evaluate a model on held-out images, and approve it for scoring if it is good enough.",
    _PANEL,
    BLESSING_OPTIONS,
)
def evaluate(
    how: launch.How,
    bundle: Bundle,
    changes: dict[str, Any],
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="DATASET", help="A data set (default: the one that the model was trained on)"),
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test"],
        typer.Option(metavar="train|validation|test", help="Split to evaluate on (default: test)", show_default=False),
    ] = "test",
) -> None:
    from darkroom.flows.recipe import NetworkSettings

    rules = NetworkSettings.model_validate(changes).blessing
    from darkroom.flows import up_to_date

    result = up_to_date.evaluated(bundle, dataset, split, rules, how.workspace)
    if result is None:
        with how.prepared(tensorflow=True):
            from darkroom.flows.evaluate import evaluate as flow

            result = flow(bundle, dataset, split, rules, how.workspace)
    how.show(result)


@command(
    app,
    "Show what a network looks at: heat maps, activations, filters, and what activates its classes and channels.",
    _PANEL,
)
def explain(
    how: launch.How,
    bundle: Bundle,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Image files, or their URLs")],
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET",
            help="Data set searched for highly activating images (default: the one that the model was trained on)",
        ),
    ] = None,
    max_searched: Annotated[
        int,
        typer.Option(min=0, metavar="INTEGER", help="Images to search; 0: none (default: 1000)", show_default=False),
    ] = 1000,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Folder for the pictures (default: in the model's report)", rich_help_panel=OUTPUT
        ),
    ] = None,
) -> None:
    from darkroom.flows import up_to_date

    result = up_to_date.explained(bundle, images, out, dataset, max_searched, how.workspace)
    if result is None:
        with how.prepared(tensorflow=True):
            from darkroom.flows.explain import explain as flow

            result = flow(bundle, images, out, dataset, max_searched, how.workspace)
    how.show(result)


@command(app, "Score every file of a folder, or some files: one row per file.", _PANEL)
def score(
    how: launch.HowInParts,
    folder: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FOLDER|FILE", help="The images: a folder, subfolders too, or files", show_default=False
        ),
    ] = None,
    files: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="A text file of paths, one per line, in place of FOLDER; -: standard input"),
    ] = None,
    model: ScoringModel = None,
    precision: PrecisionOption = "auto",
    embeddings: EmbeddingsOption = False,
    top_k: TopKOption = 5,
    retry_quarantined: Annotated[
        bool,
        typer.Option(
            "--retry-quarantined",
            metavar="",
            help="Read files again that an earlier run quarantined",
            rich_help_panel=SCORING,
        ),
    ] = False,
    rescore: Annotated[
        bool,
        typer.Option(
            "--rescore",
            metavar="",
            help="Replace the rows of a table that another version of a model made; with --new, add to them",
            rich_help_panel=SCORING,
        ),
    ] = False,
    new: NewOption = False,
    exclude: ExcludeOption = None,
    settle_seconds: SettleOption = None,
    time_zone: TimeZoneOption = None,
    wait_seconds: WaitOption = None,
    rows_per_part: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="INTEGER",
            help="Files per part of the table (default: 1000)",
            show_default=False,
            rich_help_panel=SCORING,
        ),
    ] = ROWS_PER_PART,
    decoder_mismatch: DecoderMismatch = None,
    limits: LimitsOption = None,
    word_map: cloud.WordMapOption = None,
    service_model: cloud.ServiceModelOption = None,
    classes: cloud.ClassesOption = None,
    price: cloud.PriceOption = None,
    token_price: cloud.TokenPriceOption = None,
    max_requests: cloud.MaxRequestsOption = None,
    max_cost: cloud.MaxCostOption = None,
    yes: cloud.YesOption = False,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Folder for the table (default: in the workspace's scores)", rich_help_panel=OUTPUT
        ),
    ] = None,
    format: Annotated[  # noqa: A002 -- as the option is called
        Literal["parquet", "csv", "jsonl"],
        typer.Option(
            metavar="parquet|csv|jsonl",
            help="Write the whole table also as a file beside its folder of Parquet parts (default: parquet alone)",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = "parquet",
) -> None:
    of_cloud = cloud.CloudOptions(word_map, service_model, classes, price, token_price, max_requests, max_cost, yes)
    if (model or "").startswith(cloud.PREFIX):
        cloud.score_by_service(
            folder,
            files,
            str(model),
            how,
            of_cloud,
            {
                "out": out,
                "rows_per_part": rows_per_part,
                "rescore": rescore,
                "top_k": top_k,
                "retry_quarantined": retry_quarantined,
                "format": format,
                "limits": limits,
            },
        )
        return
    of_cloud.check_unused()
    workers = how.workers() | {"decoder_mismatch": decoder_mismatch}
    from darkroom.flows import scoring_input, up_to_date
    from darkroom.flows.requested import only_model
    from darkroom.flows.settings import open_workspace
    from darkroom.models.bundle.imagenet import is_to_be_built
    from darkroom.models.prediction_table.schema import TOP_K, check_top_k
    from darkroom.models.watching.limits import read_limits

    check_top_k(top_k)
    within = read_limits(limits)
    kind: dict[str, Any] = {
        "precision": precision,
        "embeddings": embeddings,
        "rescore": rescore,
        "top_k": top_k,
        "workspace": how.workspace,
    }
    of_inbox: dict[str, Any] = {
        "exclude": exclude,
        "settle_seconds": settle_seconds,
        "time_zone": time_zone,
        "wait_seconds": wait_seconds,
    }
    whole = {"files": files is not None, "top_k": top_k != TOP_K, "format": format != "parquet"}
    check_inbox_options(new, of_inbox, whole | {"retry_quarantined": retry_quarantined})
    if new:
        place = open_workspace(how.workspace)
        inbox, model = scoring_input.one_folder(folder), model or only_model(place)
        del kind["top_k"]
        with how.prepared(tensorflow=False):
            if is_to_be_built(model, place):
                load_tensorflow()
            from darkroom.flows.score_inbox import score_inbox

            with how.shown_beyond_limits():
                night = score_inbox(inbox, model, out, rows_per_part, **kind, **of_inbox, **workers, limits=within)
            how.show(night)
        return
    with scoring_input.given(folder, files) as given:
        place = open_workspace(how.workspace)
        model = model or only_model(place)
        result = up_to_date.scored(given.images, model, out, rows_per_part, form=format, **kind)
        if result is None or retry_quarantined or limits:
            with how.prepared(tensorflow=False):
                if is_to_be_built(model, place):
                    load_tensorflow()
                from darkroom.flows.score import score as flow

                kind |= {"files": given.files, "format": format, "retry_quarantined": retry_quarantined}
                with how.shown_beyond_limits():
                    result = flow(given.folder, model, out, rows_per_part, **kind, **workers, limits=within)
    how.show(result)
