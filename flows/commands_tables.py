"""The commands that show what a model says of a few images, and write a prediction table in another form."""
# ruff: noqa: D103  (what a command does is said in its help, which `python -OO` does not remove)

from __future__ import annotations

from typing import Annotated, Literal

import typer

from darkroom.data.errors import InputError
from darkroom.flows import launch
from darkroom.flows.command import command
from darkroom.flows.quiet import load_tensorflow
from darkroom.flows.shared_options import ScoringModel

A_MODEL_S = "Export of a model"

app = typer.Typer()


@command(app, "Predict a few images: a quick look that writes nothing.", "Pipeline")
def predict(
    how: launch.How,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Image files, or their URLs", show_default=False)
    ],
    model: ScoringModel = None,
) -> None:
    from darkroom.flows.predict import check_images
    from darkroom.flows.predict import predict as predicted
    from darkroom.flows.requested import only_model
    from darkroom.flows.settings import open_workspace, prepare_environment
    from darkroom.models.bundle.imagenet import is_to_be_built

    check_images(images)
    place = open_workspace(how.workspace)
    model = model or only_model(place)
    if is_to_be_built(model, place):
        prepare_environment("CRITICAL")
        load_tensorflow()
    result = predicted(images, model, place)
    how.show(result)
    if not result.num_predicted:
        raise InputError("No image could be predicted: all are quarantined, for the reasons above.")


@command(
    app,
    "Write a model for another runtime; or a prediction table as CSV, JSON lines, a submission or folders of images.",
    "Pipeline",
)
def export(
    how: launch.How,
    table: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|TABLE",
            help="With --to, a model: see evaluate; else a table's folder, or its name in the workspace",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Argument(
            metavar="OUT",
            help="Of a table: a .csv or .jsonl file, or a new folder for the images, by label",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        Literal["savedmodel", "tflite", "openvino", "onnx", "keras"] | None,
        typer.Option(
            metavar="FORM",
            help="Form of a model: savedmodel, tflite, openvino, onnx or keras",
            rich_help_panel=A_MODEL_S,
        ),
    ] = None,
    out_folder: Annotated[
        str | None,
        typer.Option("--out", metavar="FOLDER", help="Folder for the model", rich_help_panel=A_MODEL_S),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET",
            help="Data set on whose validation images the exported model is checked (default: the one that the model "
            "was trained on)",
            rich_help_panel=A_MODEL_S,
        ),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A competition's sample_submission.csv: OUT gets its columns, ids and order"),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Class whose probability a submission's column of numbers takes"),
    ] = None,
    label_numbers: Annotated[
        str | None,
        typer.Option(metavar="LABEL=N,…", help="Number of each class, where a submission's column takes numbers"),
    ] = None,
    fill_missing: Annotated[
        bool,
        typer.Option("--fill-missing", metavar="", help="Keep the sample's value for an id without a prediction"),
    ] = False,
    images: Annotated[str | None, typer.Option(metavar="FOLDER", help="The scored images, if they have moved")] = None,
    link: Annotated[
        bool, typer.Option("--link", metavar="", help="Hard links in place of copies of the images")
    ] = False,
) -> None:
    target = out or out_folder
    if target is None:
        what = "a folder for the model with --out" if to else "OUT: a .csv or .jsonl file, or a folder"
        raise InputError(f"Where to? Give {what}.")
    if to:
        from darkroom.flows.export_model import export_model as flow  # which starts no server where the input is wrong

        with how.prepared(tensorflow=True):
            how.show(flow(table, to, target, dataset, how.workspace))
        return
    from darkroom.flows.export_table import export_table
    from darkroom.flows.settings import open_workspace
    from darkroom.models.prediction_table.submission import Answers

    numbers = dict(pair.strip().rpartition("=")[::2] for pair in label_numbers.split(",")) if label_numbers else None
    if numbers is not None and not all(label and number for label, number in numbers.items()):
        raise InputError("--label-numbers takes LABEL=NUMBER pairs, such as --label-numbers cat=0,dog=1.")
    answers = Answers(positive, numbers, fill_missing)
    how.show(export_table(table, target, sample, answers, images, link, place=open_workspace(how.workspace)))
