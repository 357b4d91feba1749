"""Options and arguments that several commands have in common."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Workspace = Annotated[
    str | None, typer.Option(help="Folder or URL of all results. [default: DARKROOM_WORKSPACE, or ./workspace]")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's own log, and where a failure arose.")]
Runner = Annotated[
    str | None,
    typer.Option(
        metavar="threads|processes|dask|ray", help="Who works on the parts. [default: DARKROOM_RUNNER, or threads]"
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="Of a Dask or Ray cluster, such as tcp://host:8786. [default: DARKROOM_RUNNER_ADDRESS]"),
]
MaxJudged = Annotated[int, typer.Option(min=0, help="Images whose labels are judged on the page; 0: none.")]
PrecisionOption = Annotated[
    Literal["auto", "fp32", "int8"],
    typer.Option(help="fp32, int8, or auto: int8 where it gave the same answers as fp32 on validation images."),
]
DecoderMismatch = Annotated[
    Literal["warn", "strict"] | None,
    typer.Option(
        help="Where earlier work had a decoder that gives other pixels. [default: DARKROOM_DECODER_MISMATCH, or warn]",
    ),
]
A_MODEL = "A model: a name (newest version), name@version, name@blessed, or a path."
Bundle = Annotated[str, typer.Argument(help=A_MODEL)]
