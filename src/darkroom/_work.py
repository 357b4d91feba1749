"""A function for each command that works: the same names, arguments, defaults and results, without a terminal.

Each runs the steps of the flow of its name (`darkroom.flows`) as plain Python, by threads of this process: Prefect is
not imported and no server is needed, nor an event loop. Where a run is to be recorded, or worked on by other processes
or a cluster, call the flow itself. Wrong input raises `InputError` and failed work `WorkError`, each with the sentence
that the command would print.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack

from darkroom._options import (
    BlessingOptions,
    IngestOptions,
    InspectOptions,
    RunOptions,
    TrainOptions,
    changes_of,
    told_in_a_sentence,
)
from darkroom.data.stores.workspace import name_from
from darkroom.flows.options import MAX_JUDGED

if TYPE_CHECKING:
    import pandas as pd

    from darkroom.data.labels.reading import Reading
    from darkroom.data.settings import DecoderMismatch
    from darkroom.flows.recipe import Recipe
    from darkroom.flows.results import (
        BlessingResult,
        CompareResult,
        EvaluateResult,
        ExplainResult,
        ExportResult,
        IngestResult,
        InspectResult,
        RunResult,
        ScoreResult,
        TrainResult,
        VersusResult,
    )
    from darkroom.models.settings import Precision

# A path or URL; of data sets and models a name too.
Reference = str | os.PathLike[str]
_THREADS: Literal["threads"] = "threads"


def run(
    recipe: Reference,
    source: Reference | None = None,
    name: str | None = None,
    precision: Precision = "auto",
    max_judged: int = MAX_JUDGED,
    workspace: Reference | None = None,
    **options: Unpack[RunOptions],
) -> RunResult:
    """The whole pipeline: ingest, train, evaluate, explain, and score the test images.

    Args:
        recipe: A recipe's name, alone or as `recipe:NAME`, a YAML file, or a source.
        source: Images in place of the recipe's own source.
        name: Name of the data set.
        precision: Of scoring: `fp32`, `int8`, or `auto`: int8 where it gave the same answers on validation images.
        max_judged: Images whose labels are checked for the data set's page; 0 checks none.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        options: Settings in place of the recipe's, such as `image_size=160`.
    """
    from darkroom.flows.recipe import load_recipe
    from darkroom.flows.run import run as flow

    with told_in_a_sentence():
        plan = load_recipe(os.fspath(recipe), _changes(options, RunOptions, "run", name))
    return flow.plain(plan, _text(source), _text(workspace), _THREADS, precision=precision, max_judged=max_judged)


def read_source(
    source: Reference | pd.DataFrame, workspace: Reference | None = None, **options: Unpack[InspectOptions]
) -> Reading:
    """How a source would be read: its labels, classes and splits, and what is left out; no image is decoded.

    Args:
        source: A folder, an archive, the URL of either, `kaggle:owner/dataset` or `sample:NAME`; or a frame, as
            `ingest` takes it.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        options: Settings, such as `labels_from="top-folder"`.

    Raises:
        InputError: where the source can be read in two ways, or not at all.
    """
    from darkroom.data.ingest.plan import read_source as read
    from darkroom.data.sources.resolve import resolve
    from darkroom.flows.settings import open_workspace

    text, name = _folder_and_name(source, workspace)
    plan = _settings(_changes(options, InspectOptions, "read_source"), name, text)
    return read(resolve(text, open_workspace(_text(workspace))), plan.ingest_settings())


def ingest(
    source: Reference | pd.DataFrame,
    name: str | None = None,
    retry_quarantined: bool = False,
    max_judged: int = MAX_JUDGED,
    decoder_mismatch: DecoderMismatch | None = None,
    workspace: Reference | None = None,
    **options: Unpack[IngestOptions],
) -> IngestResult:
    """Turn a source into a data set: a manifest, splits and shards.

    Args:
        source: A folder, an archive, the URL of either, `kaggle:owner/dataset` or `sample:NAME`; or a frame with a row
            per image: a column of paths, bytes, Pillow images or arrays, one of labels, perhaps one of splits.
        name: Name of the data set; None takes the source's, and `frame` for a frame.
        retry_quarantined: Read files again that an earlier ingest quarantined, though they look unchanged.
        max_judged: Images whose labels are judged on the data set's page; 0 judges none.
        decoder_mismatch: Where an earlier ingest had a decoder that gives other pixels: `warn`, or `strict`, which
            refuses; None takes `DARKROOM_DECODER_MISMATCH`, or `warn`.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        options: Settings, such as `image_size=160`.
    """
    from darkroom.flows.ingest import ingest as flow

    text, its_name = _folder_and_name(source, workspace)
    plan = _settings(_changes(options, IngestOptions, "ingest"), name or its_name, text)
    return flow.plain(
        text,
        plan.ingest_settings(),
        retry_quarantined,
        max_judged,
        _text(workspace),
        _THREADS,
        decoder_mismatch=decoder_mismatch,
    )


def inspect(
    source: Reference,
    name: str | None = None,
    out: Reference | None = None,
    max_judged: int = MAX_JUDGED,
    workspace: Reference | None = None,
    **options: Unpack[InspectOptions],
) -> InspectResult:
    """Look over a source before it is ingested: a page of outliers, duplicates and suspected label errors.

    Args:
        source: As `ingest` takes it.
        name: Name on the page; None takes the source's.
        out: Folder or URL for the page; None takes `inspections/<name>` in the workspace.
        max_judged: Images whose labels are checked for the page; 0 checks none.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        options: Settings, such as `image_size=160`.
    """
    from darkroom.flows.inspect_source import inspect as flow

    text = os.fspath(source)
    plan = _settings(_changes(options, InspectOptions, "inspect"), name or name_from(text), text)
    return flow.plain(text, plan.ingest_settings(), _text(out), max_judged, _text(workspace), _THREADS)


def train(
    dataset: Reference,
    name: str | None = None,
    workspace: Reference | None = None,
    **options: Unpack[TrainOptions],
) -> TrainResult:
    """Train a network on a data set and publish it as a model.

    Args:
        dataset: A name (newest version), `name@version`, or a path.
        name: Name of the model; None takes the data set's and the network's.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        options: Settings, such as `epochs=20`.
    """
    from darkroom.flows.train import train as flow

    settings = _settings(_changes(options, TrainOptions, "train")).train
    named = settings.model_copy(update={"name": name}) if name else settings
    return flow.plain(os.fspath(dataset), named, _text(workspace), _THREADS)


def compare(
    recipe: Reference,
    vary: Mapping[str, Sequence[Any]],
    trials: int | None = None,
    prune_after: int = 5,
    retry_failed: bool = False,
    source: Reference | None = None,
    name: str | None = None,
    max_judged: int = MAX_JUDGED,
    workspace: Reference | None = None,
    **options: Unpack[RunOptions],
) -> CompareResult:
    """Train a recipe with every combination of some settings; the best on validation becomes a model.

    Args:
        recipe: A recipe's name, alone or as `recipe:NAME`, a YAML file, or a source.
        vary: The values to try by setting, such as `{"optimizer": ["adam", "sgd"]}`.
        trials: Draw this many combinations at random; None takes all.
        prune_after: Epochs before a poor trial can be stopped; 0 stops none.
        retry_failed: Run failed trials again.
        source: Images in place of the recipe's own source.
        name: Name of the data set.
        max_judged: Images whose labels are checked for the data set's page; 0 checks none.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        options: Settings in place of the recipe's, the same in all trials.
    """
    from darkroom.flows.compare import compare as flow

    varied = {setting.replace("_", "-"): [str(value) for value in values] for setting, values in vary.items()}
    changes = _changes(options, RunOptions, "compare", name)
    how = (trials, prune_after, retry_failed, _text(source), max_judged)
    with told_in_a_sentence():
        return flow.plain(os.fspath(recipe), varied, changes, *how, _text(workspace), _THREADS)


def evaluate(
    bundle: Reference,
    dataset: Reference | None = None,
    split: str = "test",
    workspace: Reference | None = None,
    **options: Unpack[BlessingOptions],
) -> EvaluateResult:
    """Evaluate a model on images that training never saw; where it is not worse than the blessed one, bless it.

    Args:
        bundle: A model: a name (the blessed version, else the newest), `name@newest`, `name@blessed`, `name@version`,
            or a path.
        dataset: A data set; None takes the one that it was trained from.
        split: `train`, `validation` or `test`; only the test images decide on the blessing.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        options: Thresholds, such as `min_accuracy=0.9`.
    """
    from darkroom.flows.evaluate import evaluate as flow

    rules = _settings(_changes(options, BlessingOptions, "evaluate")).blessing
    return flow.plain(os.fspath(bundle), _text(dataset), split, rules, _text(workspace))


def versus(
    bundle: Reference,
    table: Reference,
    means: Mapping[str, str] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    workspace: Reference | None = None,
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
    """
    from darkroom.flows.versus import versus as flow

    meant = dict(means or {})
    return flow.plain(os.fspath(bundle), os.fspath(table), meant, path_column, label_column, _text(workspace))


def promote(
    bundle: Reference, why: str = "by hand", workspace: Reference | None = None, unevaluated: bool = False
) -> BlessingResult:
    """Bless a version of a model by hand: it is what `NAME@blessed` means from now on.

    Args:
        bundle: A model: a name (the newest version), `name@version`, or a path in the workspace.
        why: The reason, kept in the history.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        unevaluated: Bless a version that was never evaluated on test images; without it that is an error.
    """
    from darkroom.flows.promote import promote as flow

    return flow.plain(os.fspath(bundle), why, _text(workspace), unevaluated)


def rollback(name: str, why: str = "by hand", workspace: Reference | None = None) -> BlessingResult:
    """Go back to the version of a model that was blessed before; nothing is deleted.

    Args:
        name: The model's name.
        why: The reason, kept in the history.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
    """
    from darkroom.flows.rollback import rollback as flow

    return flow.plain(name, why, _text(workspace))


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
    return flow.plain(os.fspath(bundle), files, _text(out), _text(dataset), max_searched, _text(workspace))


def score(
    folder: Reference,
    model: Reference,
    out: Reference | None = None,
    rows_per_part: int = 1000,
    retry_quarantined: bool = False,
    precision: Precision = "auto",
    embeddings: bool = False,
    decoder_mismatch: DecoderMismatch | None = None,
    workspace: Reference | None = None,
    rescore: bool = False,
) -> ScoreResult:
    """Score every file of a folder: one row for each, in a table of Parquet parts (docs/scoring.md).

    Args:
        folder: The images, in a folder or at a URL; subfolders too.
        model: A name (the blessed version, else the newest), `name@newest`, `name@blessed`, `name@version`, or a path;
            `imagenet` is ready-made.
        out: Folder or URL for the table; None takes `scores/` in the workspace.
        rows_per_part: Files in one part of the table.
        retry_quarantined: Try files again that an earlier run quarantined.
        precision: `fp32`, `int8`, or `auto`: int8 where it gave the same answers as fp32 on validation images.
        embeddings: Add the column `embedding`.
        decoder_mismatch: Where the model or an earlier run had a decoder that gives other pixels: `warn`, or `strict`,
            which refuses; None takes `DARKROOM_DECODER_MISMATCH`, or `warn`.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        rescore: Replace a table that another version of a model made; without it such a table is an error.
    """
    from darkroom.flows.score import score as flow

    return flow.plain(
        os.fspath(folder),
        os.fspath(model),
        _text(out),
        rows_per_part,
        retry_quarantined=retry_quarantined,
        precision=precision,
        embeddings=embeddings,
        workspace=_text(workspace),
        runner=_THREADS,
        decoder_mismatch=decoder_mismatch,
        rescore=rescore,
    )


def export(
    table: Reference,
    out: Reference,
    sample: Reference | None = None,
    positive: str | None = None,
    label_numbers: Mapping[str, str] | None = None,
    fill_missing: bool = False,
    images: Reference | None = None,
    link: bool = False,
    workspace: Reference | None = None,
) -> ExportResult:
    """Write a prediction table as CSV, JSON lines or a Kaggle submission, or sort its images into folders by label.

    Args:
        table: The table's folder, or its name in the workspace's scores.
        out: A `.csv` or `.jsonl` file, or a new folder for the images.
        sample: A competition's `sample_submission.csv`, whose columns, ids and order `out` gets.
        positive: The class whose probability a submission's column of numbers takes.
        label_numbers: The number of each class, where that column takes class numbers.
        fill_missing: Keep the sample's value for an id without a prediction.
        images: The scored images, if they have moved.
        link: Hard links in place of copies of the images.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
    """
    from darkroom.flows.export_table import export_table
    from darkroom.flows.settings import open_workspace
    from darkroom.models.prediction_table.submission import Answers

    answers = Answers(positive, label_numbers, fill_missing)
    place = open_workspace(_text(workspace))
    return export_table(os.fspath(table), os.fspath(out), _text(sample), answers, _text(images), link, place=place)


def _text(given: Reference | None) -> str | None:
    return None if given is None else os.fspath(given)


def _changes(options: Any, known: type[Any], function: str, name: str | None = None) -> dict[str, Any]:
    return changes_of(options, known, function) | ({"name": name} if name else {})


def _settings(changes: dict[str, Any], name: str = "unused", source: str = "") -> Recipe:
    """The settings that keyword arguments stand for, with defaults for all others."""
    from darkroom.flows.recipe import Recipe

    with told_in_a_sentence():
        return Recipe.model_validate({**changes, "name": name, "source": source})


def _folder_and_name(source: Reference | pd.DataFrame, workspace: Reference | None) -> tuple[str, str]:
    """A source as text, and a name for its data set; a frame becomes a folder of the workspace's sources."""
    from darkroom.data.sources.frames import write_frame
    from darkroom.flows.settings import open_workspace

    if isinstance(source, str | os.PathLike):
        return os.fspath(source), name_from(os.fspath(source))
    return str(write_frame(source, open_workspace(_text(workspace)).sources)), "frame"
