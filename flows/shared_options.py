"""Options and arguments that several commands have in common, and the groups that help sorts options into."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

EXECUTION = "Execution"
OUTPUT = "Output"
SCORING = "Scoring"
QUALITY = "Data quality"

A_MODEL = "A model: a name (the blessed version, else the newest), name@newest, name@blessed, name@version, or a path"
A_MODEL_OR_READY_MADE = f"{A_MODEL}; imagenet is ready-made, 1,000 classes, as are imagenet-lite1 and imagenet-lite2"
A_DATASET = "A data set: a name (newest version), name@version, or a path"
A_SOURCE = "A folder, a .zip/.tar archive, the URL of either, kaggle:owner/dataset, or sample:NAME"

Bundle = Annotated[str, typer.Argument(metavar="MODEL", help=f"{A_MODEL}", show_default=False)]
Source = Annotated[str, typer.Argument(metavar="SOURCE", help=f"{A_SOURCE}", show_default=False)]
RecipeOrSource = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE|SOURCE",
        help="A recipe: its name, recipe:NAME or a YAML file; or a source: see ingest",
        show_default=False,
    ),
]
OtherSource = Annotated[
    str | None, typer.Option("--source", metavar="SOURCE", help="Images to use in place of the recipe's own source")
]
DatasetName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Name of the data set (default: the source's)")
]
QualityOption = Annotated[
    Literal["fast", "balanced", "best"] | None,
    typer.Option(
        "--quality",
        metavar="fast|balanced|best",
        help="Architecture and image size by one word: fast, EfficientNet-Lite0 at 160; best, EfficientNet-Lite2 at "
        "260; balanced, the recipe's own (default: balanced)",
        show_default=False,
    ),
]
Why = Annotated[
    str, typer.Option(metavar="TEXT", help="The reason, kept in the history (default: by hand)", show_default=False)
]

Workspace = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|URL",
        help="Folder or URL of all results (default: DARKROOM_WORKSPACE, or ./workspace)",
        rich_help_panel=OUTPUT,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", metavar="", help="Print the result as one JSON object", rich_help_panel=OUTPUT)
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", metavar="", help="Show Prefect's log, and the traceback of a failure", rich_help_panel=OUTPUT
    ),
]
Runner = Annotated[
    str | None,
    typer.Option(
        metavar="threads|processes|dask|ray",
        help="How parts are executed (default: DARKROOM_RUNNER, or threads)",
        rich_help_panel=EXECUTION,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Address of a Dask or Ray cluster, such as tcp://host:8786 (default: DARKROOM_RUNNER_ADDRESS)",
        rich_help_panel=EXECUTION,
    ),
]
MaxJudged = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="INTEGER",
        help="Images whose labels are checked for the page of the data set; 0: none (default: 10,000)",
        show_default=False,
        rich_help_panel=QUALITY,
    ),
]
PrecisionOption = Annotated[
    Literal["auto", "fp32", "int8"],
    typer.Option(
        metavar="auto|fp32|int8",
        help="Precision of inference: fp32, int8, or auto: int8 if it agrees with fp32 on validation (default: auto)",
        show_default=False,
        rich_help_panel=SCORING,
    ),
]
ScoringModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help=f"{A_MODEL_OR_READY_MADE} (default: the only one in the workspace)",
    ),
]


def _top_k(given: Any) -> Any:
    """A number, or what else was given: what is no number is refused with the request."""
    return int(given) if str(given).isdecimal() else given


TopKOption = Annotated[
    int,  # or "all": Typer takes no union
    typer.Option(
        "--top-k",
        parser=_top_k,
        metavar="INTEGER|all",
        help="Most likely classes that a row keeps (default: 5)",
        show_default=False,
        rich_help_panel=SCORING,
    ),
]
EmbeddingsOption = Annotated[
    bool,
    typer.Option(
        "--embeddings",
        metavar="",
        help="Add the input of the network's last layer as a column",
        rich_help_panel=SCORING,
    ),
]
DecoderMismatch = Annotated[
    Literal["warn", "strict"] | None,
    typer.Option(
        metavar="warn|strict",
        help="What to do where earlier work had a decoder that gives other pixels: warn, and do it again, or refuse "
        "(default: DARKROOM_DECODER_MISMATCH, or warn)",
        rich_help_panel=QUALITY,
    ),
]
