"""Flow `promote`: a version of a model scores from now on, by hand."""

from __future__ import annotations

from darkroom.flows.descriptions import describe
from darkroom.flows.results import BlessingResult
from darkroom.flows.settings import open_workspace
from darkroom.flows.up_to_date import named_version, promoted
from darkroom.models.bundle.blessed import held
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.evaluation.reporting.report import find_test_report
from darkroom.tasks import blessing as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow


@flow(name="promote", flow_run_name="{bundle} {date}")
def promote(
    bundle: str, why: str = "by hand", workspace: str | None = None, unevaluated: bool = False, force: bool = False
) -> BlessingResult:
    """Bless a version of a model, whatever its comparison with the blessed one said.

    Args:
        bundle: name@version, name@newest, a path in the workspace, or a name of which there is one version.
        why: The reason, kept in the history.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
        unevaluated: Bless a version that was never evaluated on test images; without it that is an error.
        force: Bless a version that its evaluation refused; without it that is an error.
    """
    place = open_workspace(workspace)
    folder = named_version(bundle, place)
    with held(folder.parent.name, place):
        if done := promoted(str(folder), unevaluated, force, workspace):
            return done
        card = tasks.promote(folder, place, why)
    result = BlessingResult.of(card, place, find_test_report(open_bundle(folder).report_folder))
    show_result(describe(result), "blessing", card.name)
    return result
