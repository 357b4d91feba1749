"""Flow `promote`: a version of a model scores from now on, by hand."""

from __future__ import annotations

from darkroom.flows.descriptions import describe
from darkroom.flows.results import BlessingResult
from darkroom.flows.settings import open_workspace
from darkroom.models.bundle.blessed import held
from darkroom.tasks import blessing as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow


@flow(name="promote", flow_run_name="{bundle}")
def promote(bundle: str, why: str = "by hand", workspace: str | None = None) -> BlessingResult:
    """Bless a version of a model, whatever its comparison with the blessed one said.

    Args:
        bundle: A name (newest version), name@version, or a path in the workspace.
        why: The reason, kept in the history.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    place = open_workspace(workspace)
    folder = place.find_model(bundle)
    with held(folder.parent.name, place):
        card = tasks.promote(folder, place, why)
    result = BlessingResult.of(card, place)
    show_result(describe(result), "blessing", card.name)
    return result
