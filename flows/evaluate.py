"""Flow `evaluate`: a bundle becomes a report."""

from __future__ import annotations

from darkroom.data.stores.version_locks import in_use
from darkroom.data.stores.workspace import BUNDLE_CARD
from darkroom.flows.descriptions import describe, describe_decision
from darkroom.flows.form_types import Split
from darkroom.flows.metric_tables import metric_tables
from darkroom.flows.requested import evaluate_request
from darkroom.flows.results import EvaluateResult
from darkroom.flows.settings import open_workspace
from darkroom.models.bundle.blessed import held
from darkroom.models.evaluation.evaluate import find_report
from darkroom.models.pages.navigation import REPORT_PAGE
from darkroom.models.settings import BlessingRules
from darkroom.models.training.publish import lacks_profile
from darkroom.tasks import evaluate as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.pages import link_pages


@flow(name="evaluate", flow_run_name="{bundle} {date}")
def evaluate(
    bundle: str,
    dataset: str | None = None,
    split: Split = "test",
    rules: BlessingRules | None = None,
    workspace: str | None = None,
) -> EvaluateResult:
    """Judge a bundle on images that its training never saw; where it is not worse than the blessed one, bless it.

    Args:
        bundle: A name (the blessed version, else the newest), name@newest, name@blessed, name@version, or a path.
        dataset: The data set to evaluate it on; None takes the one it was trained on.
        split: `train`, `validation` or `test`; only the test images decide on the blessing.
        rules: Floors and margins of the blessing.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    place = open_workspace(workspace)
    found = place.choose_model(bundle)
    request = evaluate_request(str(found.folder), dataset, split, rules, place)
    opened = request.bundle
    with in_use(place, opened.folder, request.dataset.folder), held(opened.folder.parent.name, place):
        reused = find_report(request) is not None
        report = tasks.evaluate_bundle(request)
        if lacks_profile(opened, request.dataset):
            tasks.add_profile(request)
        tasks.bless_bundle(opened.folder, report, place)
        place.share(opened.folder, BUNDLE_CARD)
    link_pages(opened.folder, place)
    result = EvaluateResult.of(report, opened.report_folder / REPORT_PAGE, found.choice, reused)
    show_result(describe(result).with_tables(*metric_tables(report.metrics)), "metrics", opened.card.name)
    if report.blessing:
        show_result(describe_decision(opened.reference, report.blessing), "blessing", opened.card.name)
    return result
