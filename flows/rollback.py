"""Flow `rollback`: the version of a model that was blessed before scores again."""

from __future__ import annotations

from darkroom.data.stores.workspace import check_name
from darkroom.flows.descriptions import describe
from darkroom.flows.results import BlessingResult
from darkroom.flows.settings import open_workspace
from darkroom.models.bundle.blessed import held
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.evaluation.reporting.report import find_test_report
from darkroom.tasks import blessing as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow


@flow(name="rollback", flow_run_name="{name} {date}")
def rollback(name: str, why: str = "by hand", workspace: str | None = None) -> BlessingResult:
    """Go back to the version of a model that was blessed before the current one; nothing is deleted.

    Args:
        name: The model's name.
        why: The reason, kept in the history.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    place = open_workspace(workspace)
    with held(check_name(name), place):
        card = tasks.roll_back(name, place, why)
    report = find_test_report(open_bundle(place.model(name, card.current)).report_folder)
    result = BlessingResult.of(card, place, report)
    show_result(describe(result), "blessing", card.name)
    return result
