"""A function for each command that works: the same names, arguments, defaults and results, without a terminal.

Each runs the steps of the flow of its name (`darkroom.flows`) as plain Python, by threads of this process: Prefect is
not imported and no server is needed, nor an event loop. Where a run is to be recorded, or worked on by other processes
or a cluster, call the flow itself. Wrong input raises `InputError` and failed work `WorkError`, each with the sentence
that the command would print.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from darkroom._options import (
    THREADS,
    BlessingOptions,
    IngestOptions,
    InspectOptions,
    Reference,
    RunOptions,
    TrainOptions,
    changes_of,
    text_of,
    told_in_a_sentence,
)
from darkroom.data.stores.workspace import name_from
from darkroom.flows.options import MAX_JUDGED

if TYPE_CHECKING:
    import pandas as pd

    from darkroom.data.labels.reading import Reading
    from darkroom.data.settings import DecoderMismatch
    from darkroom.flows.quality import QualityName
    from darkroom.flows.recipe import Recipe
    from darkroom.flows.results import (
        CompareResult,
        EvaluateResult,
        IngestResult,
        InspectResult,
        RunResult,
        TrainResult,
    )
    from darkroom.flows.retrain_result import RetrainResult
    from darkroom.models.settings import Precision


def run(
    recipe: Reference,
    source: Reference | None = None,
    name: str | None = None,
    quality: QualityName | None = None,
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
        quality: `fast`, EfficientNet-Lite0 at 160; `best`, EfficientNet-Lite2 at 260; `balanced` or None, the recipe's
            own network.
        precision: Of scoring: `fp32`, `int8`, or `auto`: int8 where it gave the same answers on validation images.
        max_judged: Images whose labels are checked for the data set's page; 0 checks none.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        options: Settings in place of the recipe's, such as `image_size=160`.
    """
    from darkroom.flows.quality import with_quality
    from darkroom.flows.recipe import load_recipe
    from darkroom.flows.run import run as flow

    with told_in_a_sentence():
        changes = with_quality(quality, _changes(options, RunOptions, "run", name))
        plan = load_recipe(os.fspath(recipe), changes)
    return flow.plain(plan, text_of(source), text_of(workspace), THREADS, precision=precision, max_judged=max_judged)


def retrain(
    recipe: Reference,
    source: Reference | None = None,
    name: str | None = None,
    quality: QualityName | None = None,
    max_judged: int = MAX_JUDGED,
    workspace: Reference | None = None,
    **options: Unpack[RunOptions],
) -> RetrainResult:
    """Ingest new labels, train, and switch to the new version unless it is worse than the one in use.

    Args:
        recipe: A recipe's name, alone or as `recipe:NAME`, a YAML file, or a source.
        source: Images in place of the recipe's own source.
        name: Name of the data set.
        quality: As `run` takes it.
        max_judged: Images whose labels are checked for the data set's page; 0 checks none.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        options: Settings in place of the recipe's, such as `image_size=160`.
    """
    from darkroom.flows.quality import with_quality
    from darkroom.flows.recipe import load_recipe
    from darkroom.flows.retrain import retrain as flow

    with told_in_a_sentence():
        changes = with_quality(quality, _changes(options, RunOptions, "retrain", name))
        plan = load_recipe(os.fspath(recipe), changes)
    return flow.plain(plan, text_of(source), text_of(workspace), THREADS, max_judged=max_judged)


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
    return read(resolve(text, open_workspace(text_of(workspace))), plan.ingest_settings())


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
        text_of(workspace),
        THREADS,
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
    return flow.plain(text, plan.ingest_settings(), text_of(out), max_judged, text_of(workspace), THREADS)


def train(
    dataset: Reference,
    name: str | None = None,
    quality: QualityName | None = None,
    workspace: Reference | None = None,
    **options: Unpack[TrainOptions],
) -> TrainResult:
    """Train a network on a data set and publish it as a model.

    Args:
        dataset: A name (newest version), `name@version`, or a path.
        name: Name of the model; None takes the data set's and the network's.
        quality: As `run` takes it; the data set's images must be large enough.
        workspace: Folder or URL of all results; None takes `DARKROOM_WORKSPACE`, or `./workspace`.
        options: Settings, such as `epochs=20`.
    """
    from darkroom.flows.quality import check_image_size, with_quality
    from darkroom.flows.settings import open_workspace
    from darkroom.flows.train import train as flow

    with told_in_a_sentence():
        check_image_size(quality, os.fspath(dataset), open_workspace(text_of(workspace)))
        changes = with_quality(quality, _changes(options, TrainOptions, "train"))
    settings = _settings({"train": changes.get("train", {})}).train
    named = settings.model_copy(update={"name": name}) if name else settings
    return flow.plain(os.fspath(dataset), named, text_of(workspace), THREADS)


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
    how = (trials, prune_after, retry_failed, text_of(source), max_judged)
    with told_in_a_sentence():
        return flow.plain(os.fspath(recipe), varied, changes, *how, text_of(workspace), THREADS)


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
    part: Any = split  # which the request checks
    return flow.plain(os.fspath(bundle), text_of(dataset), part, rules, text_of(workspace))


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
    return str(write_frame(source, open_workspace(text_of(workspace)).sources)), "frame"
