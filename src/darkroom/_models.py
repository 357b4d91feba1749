"""A function for each command that uses a trained model: see `_work.py`, which has those that make one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from darkroom._options import THREADS, Reference, ServiceOptions, text_of

if TYPE_CHECKING:
    from darkroom.data.settings import DecoderMismatch
    from darkroom.flows.export_model_result import ModelExportResult
    from darkroom.flows.inbox_result import InboxResult
    from darkroom.flows.results import BlessingResult, ExplainResult, ExportResult, ScoreResult
    from darkroom.flows.versus_result import VersusResult
    from darkroom.models.exporting.forms import FormName
    from darkroom.models.prediction_table.schema import TopK
    from darkroom.models.scoring.exported_file import TableFormat
    from darkroom.models.settings import Precision


def versus(
    bundle: Reference,
    table: Reference,
    means: Mapping[str, str] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    workspace: Reference | None = None,
    label_separator: str | None = None,
) -> VersusResult:
    """Compare an evaluated model with a table of other answers: a cloud recognition API's, or a person's.

    Args:
        bundle: A model: a name (the blessed version, else the newest), `name@newest`, `name@blessed`, `name@version`,
            or a path.
        table: A CSV, or its URL, of paths and labels; the most confident label of an image first.
        means: The table's words for classes, where they differ, such as `{"Feline": "cats"}`.
        path_column: The column of paths, where its name is unusual.
        label_column: The column of labels, where its name is unusual.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        label_separator: What separates several labels in a cell; None where it is to be recognised.
    """
    from darkroom.flows.versus import versus as flow

    place, meant = text_of(workspace), dict(means or {})
    return flow.plain(os.fspath(bundle), os.fspath(table), meant, path_column, label_column, label_separator, place)


def promote(
    bundle: Reference,
    why: str = "by hand",
    workspace: Reference | None = None,
    unevaluated: bool = False,
    force: bool = False,
) -> BlessingResult:
    """Bless a version of a model by hand: it is what `NAME@blessed` means from now on.

    Args:
        bundle: `name@version`, `name@newest`, a path in the workspace, or a name of which there is one version.
        why: The reason, kept in the history.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        unevaluated: Bless a version that was never evaluated on test images; without it that is an error.
        force: Bless a version that its evaluation refused; without it that is an error.
    """
    from darkroom.flows.promote import promote as flow

    return flow.plain(os.fspath(bundle), why, text_of(workspace), unevaluated, force)


def rollback(name: str, why: str = "by hand", workspace: Reference | None = None) -> BlessingResult:
    """Go back to the version of a model that was blessed before; nothing is deleted.

    Args:
        name: The model's name.
        why: The reason, kept in the history.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
    """
    from darkroom.flows.rollback import rollback as flow

    return flow.plain(name, why, text_of(workspace))


def explain(
    bundle: Reference,
    images: Sequence[Reference],
    out: Reference | None = None,
    dataset: Reference | None = None,
    max_searched: int = 1000,
    workspace: Reference | None = None,
) -> ExplainResult:
    """Show what a network looks at: heat maps, activations, filters, and what activates its classes and channels.

    Args:
        bundle: A model: a name (the blessed version, else the newest), `name@newest`, `name@blessed`, `name@version`,
            or a path.
        images: Image files, or their URLs.
        out: Folder or URL for the pictures; None takes a folder in the model's report.
        dataset: Data set searched for highly activating images; None takes the one that the model was trained from.
        max_searched: Images searched; 0 searches none.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
    """
    from darkroom.flows.explain import explain as flow

    files = [os.fspath(image) for image in images]
    return flow.plain(os.fspath(bundle), files, text_of(out), text_of(dataset), max_searched, text_of(workspace))


@overload
def score(
    folder: Reference | Sequence[Reference],
    model: Reference,
    out: Reference | None = None,
    rows_per_part: int = 1000,
    retry_quarantined: bool = False,
    precision: Precision = "auto",
    embeddings: bool = False,
    decoder_mismatch: DecoderMismatch | None = None,
    workspace: Reference | None = None,
    rescore: bool = False,
    top_k: TopK = 5,
    format: TableFormat = "parquet",
    new: Literal[False] = False,
    exclude: str | None = None,
    settle_seconds: float | None = None,
    time_zone: str | None = None,
    wait_seconds: float | None = None,
    limits: Reference | Mapping[str, Any] | None = None,
    **options: Unpack[ServiceOptions],
) -> ScoreResult: ...


@overload
def score(
    folder: Reference | Sequence[Reference],
    model: Reference,
    out: Reference | None = None,
    rows_per_part: int = 1000,
    retry_quarantined: bool = False,
    precision: Precision = "auto",
    embeddings: bool = False,
    decoder_mismatch: DecoderMismatch | None = None,
    workspace: Reference | None = None,
    rescore: bool = False,
    top_k: TopK = 5,
    format: TableFormat = "parquet",
    *,
    new: Literal[True],
    exclude: str | None = None,
    settle_seconds: float | None = None,
    time_zone: str | None = None,
    wait_seconds: float | None = None,
    limits: Reference | Mapping[str, Any] | None = None,
    **options: Unpack[ServiceOptions],
) -> InboxResult: ...


def score(
    folder: Reference | Sequence[Reference],
    model: Reference,
    out: Reference | None = None,
    rows_per_part: int = 1000,
    retry_quarantined: bool = False,
    precision: Precision = "auto",
    embeddings: bool = False,
    decoder_mismatch: DecoderMismatch | None = None,
    workspace: Reference | None = None,
    rescore: bool = False,
    top_k: TopK = 5,
    format: TableFormat = "parquet",  # noqa: A002 -- as the option is called
    new: bool = False,
    exclude: str | None = None,
    settle_seconds: float | None = None,
    time_zone: str | None = None,
    wait_seconds: float | None = None,
    limits: Reference | Mapping[str, Any] | None = None,
    **options: Unpack[ServiceOptions],
) -> ScoreResult | InboxResult:
    """Score every file of a folder, or some files: one row for each, in a table of Parquet parts (docs/scoring.md).

    Args:
        folder: The images, in a folder or at a URL, subfolders too; or an image file, or several.
        model: A name (the blessed version, else the newest), `name@newest`, `name@blessed`, `name@version`, or a path;
            `imagenet`, `imagenet-lite1` and `imagenet-lite2` are ready-made; a service is `cloud:google-vision`, say.
        out: Folder or URL for the table; None takes `scores/` in the workspace.
        rows_per_part: Files in one part of the table.
        retry_quarantined: Try files again that an earlier run quarantined.
        precision: `fp32`, `int8`, or `auto`: int8 where it gave the same answers as fp32 on validation images.
        embeddings: Add the column `embedding`.
        decoder_mismatch: Where the model or an earlier run had a decoder that gives other pixels: `warn`, or `strict`,
            which refuses; None takes `DARKROOM_DECODER_MISMATCH`, or `warn`.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        rescore: Replace a table that another version of a model made; without it such a table is an error. With `new`,
            add this version's rows to those that are there.
        new: Score only what is new since the last run, into a table that grows night by night (docs/inbox.md).
        exclude: With `new`, patterns of paths to leave out, such as `raw/*,*.xml`.
        settle_seconds: With `new`, files changed within so many seconds wait for the next run; None takes
            `DARKROOM_SETTLE_SECONDS`, or 60.
        time_zone: With `new`, says which night it is; None takes `DARKROOM_TIME_ZONE`, or the machine's own.
        wait_seconds: With `new`, how long to wait for another run on the same table; None takes
            `DARKROOM_WAIT_SECONDS`, or 300.
        limits: What the run may be like: a YAML file, or limits by name, such as `{"max_unfamiliar": 0.1}`. Beyond one
            that says `then: fail`, a `WorkError` is raised after the table is whole (docs/watching.md).
        top_k: Classes that a row keeps, the most likely first: a number, or `all`.
        format: `csv` or `jsonl` writes the whole table also as a file beside its folder; `parquet` its parts alone.
        options: Of a recognition service, as the command has them: `word_map`, `classes`, `max_cost` and others;
            nothing is sent without `yes=True`.
    """
    from darkroom.flows.cloud_options import PREFIX, score_in_python
    from darkroom.flows.inbox_options import check_inbox_options
    from darkroom.models.watching.limits import read_limits

    within = read_limits(limits if limits is None or isinstance(limits, Mapping) else os.fspath(limits))
    if os.fspath(model).startswith(PREFIX) or options:
        how: dict[str, Any] = {"out": text_of(out), "rows_per_part": rows_per_part, "rescore": rescore, "top_k": top_k}
        how |= {"retry_quarantined": retry_quarantined, "format": format, "workspace": text_of(workspace)}
        how["limits"] = limits
        return score_in_python(_paths(folder), os.fspath(model), options, how)

    of_inbox: dict[str, Any] = {
        "exclude": exclude,
        "settle_seconds": settle_seconds,
        "time_zone": time_zone,
        "wait_seconds": wait_seconds,
    }
    whole = {"top_k": top_k != 5, "format": format != "parquet", "retry_quarantined": retry_quarantined}
    check_inbox_options(new, of_inbox, whole)
    if new:
        from darkroom.flows.score_inbox import score_inbox
        from darkroom.flows.scoring_input import one_folder

        return score_inbox.plain(
            one_folder(_paths(folder)),
            os.fspath(model),
            text_of(out),
            rows_per_part,
            rescore,
            precision=precision,
            embeddings=embeddings,
            workspace=text_of(workspace),
            runner=THREADS,
            decoder_mismatch=decoder_mismatch,
            **of_inbox,
            limits=within,
        )
    from darkroom.flows.score import score as flow

    return flow.plain(
        _paths(folder),
        os.fspath(model),
        text_of(out),
        rows_per_part,
        retry_quarantined=retry_quarantined,
        precision=precision,
        embeddings=embeddings,
        workspace=text_of(workspace),
        runner=THREADS,
        decoder_mismatch=decoder_mismatch,
        rescore=rescore,
        top_k=top_k,
        format=format,
        limits=within,
    )


def export(
    table: Reference,
    out: Reference | None = None,
    to: FormName | None = None,
    dataset: Reference | None = None,
    sample: Reference | None = None,
    positive: str | None = None,
    label_numbers: Mapping[str, str] | None = None,
    fill_missing: bool = False,
    images: Reference | None = None,
    link: bool = False,
    workspace: Reference | None = None,
) -> ExportResult | ModelExportResult:
    """Write a model for another runtime; or a prediction table as CSV, JSON lines, a Kaggle submission or folders.

    Args:
        table: The table's folder, or its name in the workspace's scores; with `to` a model, as `evaluate` takes it.
        out: A `.csv` or `.jsonl` file, or a new folder for the images; with `to` a folder for the model.
        to: The form of a model: `savedmodel`, `tflite`, `openvino`, `onnx` or `keras` (docs/export.md).
        dataset: On whose validation images the exported model is checked; None takes the one it was trained on.
        sample: A competition's `sample_submission.csv`, whose columns, ids and order `out` gets.
        positive: The class whose probability a submission's column of numbers takes.
        label_numbers: The number of each class, where that column takes class numbers.
        fill_missing: Keep the sample's value for an id without a prediction.
        images: The scored images, if they have moved.
        link: Hard links in place of copies of the images.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.

    Raises:
        InputError: where `out` is missing, or what is asked for cannot be written there.
        WorkError: where the exported model does not answer as the model does.
    """
    from darkroom.data.errors import InputError

    if out is None:
        raise InputError("Where to? Give `out`: a file or a folder.")
    if to is not None:
        from darkroom.flows.export_model import export_model

        return export_model.plain(os.fspath(table), to, os.fspath(out), text_of(dataset), text_of(workspace))
    from darkroom.flows.export_table import export_table
    from darkroom.flows.settings import open_workspace
    from darkroom.models.prediction_table.submission import Answers

    answers = Answers(positive, label_numbers, fill_missing)
    place = open_workspace(text_of(workspace))
    return export_table(os.fspath(table), os.fspath(out), text_of(sample), answers, text_of(images), link, place=place)


def _paths(given: Reference | Sequence[Reference]) -> str | list[str]:
    """A path, or several, as text."""
    return os.fspath(given) if isinstance(given, (str, os.PathLike)) else [os.fspath(each) for each in given]
