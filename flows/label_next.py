"""Flow `label-next`: what to label next in a folder of photographs, and the page to label it on."""

from __future__ import annotations

from darkroom.data.files.locks import exclusive
from darkroom.data.stores.storage import place_from
from darkroom.flows.form_types import AtLeastOne
from darkroom.flows.label_next_result import LabelNextResult
from darkroom.flows.score import score
from darkroom.flows.settings import RunnerKind, open_folder, open_workspace, table_name
from darkroom.models.labelling.next_images import NEXT_CSV, PREDICTIONS, check_budget
from darkroom.tasks import label_next as tasks
from darkroom.tasks.decorators import flow
from darkroom.tasks.score import find_bundle


@flow(name="label-next", flow_run_name="{folder} {date}")
def label_next(
    folder: str,
    model: str,
    budget: AtLeastOne = 200,
    out: str | None = None,
    workspace: str | None = None,
    runner: RunnerKind | None = None,
    address: str | None = None,
) -> LabelNextResult:
    """Score a folder and choose the images whose labels would teach the model most.

    Args:
        folder: Required. The images, in a folder or at a URL; subfolders too.
        model: A model: a name (the blessed version, else the newest), name@newest, name@blessed, name@version, or a
            path; `imagenet`, `imagenet-lite1` and `imagenet-lite2` are ready-made.
        budget: Images to choose.
        out: Folder or URL for `label.html` and `next.csv`; None takes one in the workspace's
            `labelling`, named after folder and model.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
        runner: Who works on the parts: threads, processes, dask or ray; None takes DARKROOM_RUNNER, or threads.
        address: Of the Dask or Ray cluster; None takes DARKROOM_RUNNER_ADDRESS.
    """
    check_budget(budget)
    place = open_workspace(workspace)
    images, bundle = place_from(folder), find_bundle(model, place).folder
    tasks.check_model(bundle)
    target, at = open_folder(out, place.labelling(table_name(images, bundle)), place)
    predictions = str(target / PREDICTIONS)
    score(
        folder,
        str(bundle),
        predictions,
        embeddings=True,
        workspace=workspace,
        runner=runner,
        address=address,
        rescore=True,
    )
    with exclusive(target):
        found = tasks.choose_next(target, bundle, place, budget)
    at.replace(target, NEXT_CSV)
    return LabelNextResult.of(found, target)
