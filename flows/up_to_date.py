"""What is up to date: a flow's result where nothing is left to do for it, and what is wrong with its input.

A command asks here before it starts Prefect's server or loads TensorFlow. Each function looks where the flow of the
same command would look, by the same functions, and changes nothing; None means that the flow has work to do. What lies
in an object store is left to the flow, which also brings there what an earlier run could not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.errors import InputError
from darkroom.data.figures import fraction
from darkroom.data.files.names import RUN_RECORD
from darkroom.data.images.decoder_fingerprint import Decoder, decoder
from darkroom.data.ingest.plan import find_dataset
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.sources.resolve import at_hand
from darkroom.data.stores.folders import Images
from darkroom.data.stores.storage import Url, place_from
from darkroom.data.stores.workspace import BUNDLE_CARD, INSPECTION_CARD, Workspace
from darkroom.flows.options import MAX_JUDGED, ROWS_PER_PART
from darkroom.flows.recipe import Recipe
from darkroom.flows.requested import evaluate_request, explain_request
from darkroom.flows.results import (
    BlessingResult,
    EvaluateResult,
    ExplainResult,
    IngestResult,
    InspectResult,
    RunResult,
    ScoreResult,
    TrainResult,
    targets_of,
)
from darkroom.flows.retrain_result import RetrainResult
from darkroom.flows.settings import default_table, local_copy, open_folder, open_table, open_workspace, training_cluster
from darkroom.models.bundle.blessed import blessed_reference, is_in_workspace, read_blessed
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.bundle.imagenet import find_bundle, is_to_be_built
from darkroom.models.explaining.techniques.maximally_activating import MAX_SEARCHED
from darkroom.models.pages.navigation import EXPLAIN_FOLDER
from darkroom.models.prediction_table.schema import TOP_K, TopK
from darkroom.models.scoring.exported_file import TableFormat, check_form, form_path, has_form
from darkroom.models.scoring.finished import find_table
from darkroom.models.scoring.plan import refuse_other_table
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.settings import BlessingRules, Precision, TrainSettings
from darkroom.models.training.model_version import published_bundle


def ingested(source: str, settings: IngestSettings, workspace: str | None) -> IngestResult | None:
    """What `ingest` would return; None where it has work to do.

    Args:
        source: As given on the command line.
        settings: Of the ingest.
        workspace: As `open_workspace` takes it.

    Raises:
        SourceError: where there is no such source.
    """
    place = open_workspace(workspace)
    found = at_hand(source, place)
    if found is None or place.mirror:
        return None
    folder = find_dataset(IngestRequest(found, settings, place))
    if folder is None or not all((folder / name).is_file() for name in (INSPECTION_CARD, RUN_RECORD)):
        return None
    return IngestResult.of(open_dataset(folder).card, folder, found, reused=True, num_known=0)


def inspected(
    source: str, settings: IngestSettings, out: str | None, max_judged: int, workspace: str | None
) -> InspectResult | None:
    """What `inspect` would give; raises SourceError where there is no such source."""
    from darkroom.models.inspecting.dataset_page import find_inspection  # which loads what draws

    place = open_workspace(workspace)
    found, rules = at_hand(source, place), settings.for_inspection()
    folder, at = open_folder(out, place.inspection(rules.name), place)
    if found is None or at.mirror:
        return None
    done = find_inspection(found, rules, folder, inspect_command(source, max_judged))
    return InspectResult.of(done, folder, reused=True) if done else None


def trained(dataset: str, settings: TrainSettings, workspace: str | None) -> TrainResult | None:
    """What `train` would return; None where it has work to do.

    Args:
        dataset: A name (newest version), `name@version`, or a path.
        settings: Of the training.
        workspace: As `open_workspace` takes it.

    Raises:
        InputError: where there is no such data set.
    """
    place = open_workspace(workspace)
    opened = open_dataset(place.find_dataset(dataset))
    if place.mirror or training_cluster():
        return None
    folder = published_bundle(opened, settings, place)
    if folder is None or not (folder / RUN_RECORD).is_file():
        return None
    return TrainResult.of(open_bundle(folder).card, folder, reused=True)


def evaluated(
    bundle: str, dataset: str | None, split: str, rules: BlessingRules, workspace: str | None
) -> EvaluateResult | None:
    """What `evaluate` would return; None where it has work to do.

    Args:
        bundle: A model: a name, `name@version`, `name@blessed`, or a path.
        dataset: A data set; None takes the one that the model was trained on.
        split: `train`, `validation` or `test`.
        rules: Of the blessing.
        workspace: As `open_workspace` takes it.

    Raises:
        InputError: where there is no such model or data set.
    """
    from darkroom.models.evaluation.evaluate import find_report  # which loads what draws
    from darkroom.models.pages.navigation import REPORT_PAGE
    from darkroom.models.training.publish import lacks_profile

    place = open_workspace(workspace)
    found = place.choose_model(bundle)
    request = evaluate_request(str(found.folder), dataset, split, rules, place)
    opened = request.bundle
    if place.mirror or lacks_profile(opened, request.dataset):
        return None
    if not _is_same_decoder(opened, request.dataset.card.decoder):
        return None
    report = find_report(request)
    if report is None or (report.blessing and report.blessing.blessed and not _is_blessed(opened, place)):
        return None
    return EvaluateResult.of(report, opened.report_folder / REPORT_PAGE, found.choice, reused=True)


def explained(
    bundle: str, images: Sequence[str], out: str | None, dataset: str | None, max_searched: int, workspace: str | None
) -> ExplainResult | None:
    """What `explain` would return; None where it has work to do.

    Args:
        bundle: A model: a name, `name@version`, `name@blessed`, or a path.
        images: Files, or their URLs.
        out: Folder or URL for the pictures; None takes one in the model's report.
        dataset: Searched for activating images; None takes the one that the model was trained on.
        max_searched: Images searched.
        workspace: As `open_workspace` takes it.

    Raises:
        InputError: where there is no such model, image or data set.
    """
    from darkroom.models.explaining.explain import find_explained  # which loads what draws

    place = open_workspace(workspace)
    found = place.choose_model(bundle)
    folder = found.folder
    files = [local_copy(image) for image in images if isinstance(place_from(image), Path)]
    if len(files) < len(images):
        return None
    request, at = explain_request(folder, files, out, dataset, max_searched, place)
    if place.mirror or at.mirror or not _is_same_decoder(request.bundle, decoder()):
        return None
    done = find_explained(request)
    return ExplainResult.of(done, request.bundle.reference, found.choice) if done else None


def promoted(bundle: str, unevaluated: bool, force: bool, workspace: str | None) -> BlessingResult | None:
    """What `promote` would give where the version is blessed already.

    Raises:
        InputError: where there is no such version; where a name has several, and none is named; where it was never
            evaluated on test images and `unevaluated` is not given; and where its evaluation refused it and `force` is
            not given.
    """
    from darkroom.models.evaluation.reporting.report import find_test_report

    place = open_workspace(workspace)
    opened = open_bundle(named_version(bundle, place))
    name, version = opened.folder.parent.name, opened.folder.name
    if not is_in_workspace(opened.folder, place):
        return None  # the flow refuses it
    report, before = find_test_report(opened.report_folder), read_blessed(place, name)
    if before and before.current == version:
        return BlessingResult.of(before, place, report, already=True)
    if report is None and not unevaluated:
        raise InputError(
            f"{name}@{version} was never evaluated on test images. Evaluate it with: darkroom evaluate "
            f"{name}@{version}, or approve it all the same with --unevaluated."
        )
    if report and report.blessing and not report.blessing.blessed and not force:
        raise InputError(
            f"The evaluation of {name}@{version} refused it: {report.blessing.why}. Approve it all the same with "
            "--force."
        )
    return None


def named_version(bundle: str, place: Workspace) -> Path:
    """The version of a model that a person means to bless: none is taken that he may not have thought of.

    Raises:
        InputError: where there is no such version, or only a name is given that has several; each is then named with
            its figures.
    """
    from darkroom.models.inventory.entries import judged, reference, versions

    found = place.choose_model(bundle, bare="newest").folder
    name = found.parent.name
    folders = versions(place, place.models, BUNDLE_CARD, name)
    if len(folders) <= 1 or name != bundle.removeprefix("./").rstrip("/"):
        return found
    said = []
    for folder in folders:
        found_out = judged(place, folder)
        figures = f"accuracy {fraction(found_out.evaluated.accuracy)}, " if found_out.evaluated else ""
        said.append(f"{reference(folder)} ({figures}{found_out.verdict})")
    raise InputError(f"{name} has {len(folders)} versions. Name one, or give {name}@newest: {'; '.join(said)}.")


def scored(
    images: Images,
    model: str,
    out: str | None,
    rows_per_part: int,
    dataset: str | None = None,
    precision: Precision = "auto",
    embeddings: bool = False,
    workspace: str | None = None,
    rescore: bool = False,
    top_k: TopK = TOP_K,
    form: TableFormat = "parquet",
) -> ScoreResult | None:
    """What `score` would return; None where it has work to do.

    Args:
        images: The images, as `images_given` finds them.
        model: A name, `name@version`, `name@blessed`, a path, or `imagenet`.
        out: Folder or URL for the table; None takes one in the workspace.
        rows_per_part: Files per part of the table.
        dataset: Data set whose test images alone are scored; None scores all.
        precision: `fp32`, `int8` or `auto`.
        embeddings: With the column `embedding`.
        workspace: As `open_workspace` takes it.
        rescore: Replace a table that another version of a model made.
        top_k: Classes that a row keeps, a number or `all`.
        form: The form in which the table is wanted as well.

    Raises:
        InputError: where there is no such folder or model, or no table can be written there.
    """
    place = open_workspace(workspace)
    if is_to_be_built(model, place):
        return None
    found = find_bundle(model, place)
    bundle = open_bundle(found.folder)
    if isinstance(images, Url):
        return None
    request = ScoreRequest(
        folder=images,
        bundle=bundle.folder,
        out=open_table(out, default_table(images, bundle.folder, place), place),
        chosen=found.choice,
        rescore=rescore,
        rows_per_part=rows_per_part,
        dataset=place.find_dataset(dataset) if dataset else None,
        precision=precision,
        embeddings=embeddings,
        top_k=top_k,
    )
    if request.out.mirror or not _is_same_decoder(bundle, decoder()):
        return None
    refuse_other_table(request, bundle.reference)
    check_form(request.out, form)
    summary = find_table(request, bundle)
    if summary is None or not has_form(request.out.paths, form, summary):
        return None
    exported = str(form_path(request.out.paths, form)) if form != "parquet" else None
    of_this_run = {"rows_reused": summary.num_files, "images_per_second": None, "chosen": found.choice}
    return ScoreResult.of(summary.model_copy(update=of_this_run), request.out.reference, images, exported)


def ran(plan: Recipe, source: str | None, workspace: str | None, precision: Precision = "auto") -> RunResult | None:
    """What `run` would return; None where it has work to do.

    Args:
        plan: The recipe.
        source: Images in place of the recipe's own; None for these.
        workspace: As `open_workspace` takes it.
        precision: Of scoring.

    Raises:
        SourceError: where there is no such source.
    """
    steps = _first_steps(plan, source, workspace)
    if steps is None:
        return None
    data, bundle, report = steps
    from darkroom.models.explaining.explain import choose_examples

    examples = [str(Path(data.source_folder) / path) for path in choose_examples(open_bundle(Path(bundle.folder)))]
    if not all(Path(example).is_file() for example in examples):
        return None
    out = str(Path(report.report).parent / EXPLAIN_FOLDER)
    pictures = explained(bundle.bundle, examples, out, None, MAX_SEARCHED, workspace)
    images, judged = data.new_images or data.source_folder, None if data.new_images else data.dataset
    table = scored(place_from(images), bundle.bundle, None, ROWS_PER_PART, judged, precision, workspace=workspace)
    if pictures is None or table is None:
        return None
    return RunResult(
        ingest=data, train=bundle, evaluate=report, explain=pictures, score=table, targets=targets_of(plan, report)
    )


def retrained(plan: Recipe, source: str | None, workspace: str | None) -> RetrainResult | None:
    """What `retrain` would return; None where it has work to do. Arguments and errors as those of `ran`."""
    steps = _first_steps(plan, source, workspace)
    if steps is None:
        return None
    data, bundle, report = steps
    now = blessed_reference(open_workspace(workspace), bundle.bundle.partition("@")[0])
    return RetrainResult(ingest=data, train=bundle, evaluate=report, before=now, now=now)


def _first_steps(
    plan: Recipe, source: str | None, workspace: str | None
) -> tuple[IngestResult, TrainResult, EvaluateResult] | None:
    """The steps that `run` and `retrain` have in common; None where one of them has work to do."""
    data = ingested(source or plan.source, plan.ingest_settings(), workspace)
    bundle = trained(data.dataset, plan.train, workspace) if data else None
    report = evaluated(bundle.bundle, data.dataset, "test", plan.blessing, workspace) if data and bundle else None
    return (data, bundle, report) if data and bundle and report else None


def inspect_command(source: str, max_judged: int) -> str:
    """The command line that the page of a source says it is from."""
    return f"darkroom inspect {source}" + (f" --max-judged {max_judged}" if max_judged != MAX_JUDGED else "")


def _is_same_decoder(bundle: Bundle, used: Decoder | None) -> bool:
    """Whether there is nothing to warn of: what the flow says of another decoder is its own affair."""
    return used is None or bundle.card.decoder is None or used.is_same(bundle.card.decoder)


def _is_blessed(bundle: Bundle, place: Workspace) -> bool:
    card = read_blessed(place, bundle.folder.parent.name)
    return card is not None and card.current == bundle.folder.name
