"""Flow `versus`: a bundle beside the answers of a cloud recognition API, or of anybody else."""

from __future__ import annotations

from darkroom.data.stores.version_locks import in_use
from darkroom.data.stores.workspace import BUNDLE_CARD
from darkroom.flows.descriptions import describe
from darkroom.flows.settings import local_copy, open_workspace
from darkroom.flows.versus_result import VersusResult
from darkroom.models.evaluation.versus import AnswerTable
from darkroom.tasks import evaluate as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow


@flow(name="versus", flow_run_name="{bundle} {date}")
def versus(
    bundle: str,
    table: str,
    means: dict[str, str] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    label_separator: str | None = None,
    workspace: str | None = None,
) -> VersusResult:
    """Compare a bundle, on the images that it was evaluated on, with a table of other answers to them.

    Args:
        bundle: A name (the blessed version, else the newest), name@newest, name@blessed, name@version, or a path;
            evaluated before.
        table: A CSV, or its URL, with a column of paths and one of labels, the surest label of an image first.
        means: The table's words for classes, where they are others.
        path_column: Of the table, where it has no usual name.
        label_column: Of the table, where it has no usual name; several names, separated by commas, are one column of 0
            and 1 for each label.
        label_separator: Of several labels in a cell; None where it is to be recognised.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    place = open_workspace(workspace)
    found = place.choose_model(bundle)
    with in_use(place, found.folder):
        answers = AnswerTable(local_copy(table), means or {}, path_column, label_column, label_separator)
        compared = tasks.compare_with_table(found.folder, answers)
        place.share(found.folder, BUNDLE_CARD)
    result = VersusResult.of(compared, found.choice)
    show_result(describe(result), "versus", found.folder.parent.name)
    return result
