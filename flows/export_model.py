"""Flow `export-model`: a bundle in the form of another runtime."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.errors import InputError
from darkroom.data.stores.version_locks import in_use
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.export_model_result import ModelExportResult
from darkroom.flows.settings import open_folder, open_workspace
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.bundle.imagenet import READY_MADE
from darkroom.models.exporting.card import EXPORT_CARD
from darkroom.models.exporting.export import ModelExportRequest, find_export
from darkroom.models.exporting.forms import FormName
from darkroom.tasks import export_model as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.score import find_bundle


@flow(name="export-model", flow_run_name="{bundle} {date}")
def export_model(
    bundle: str, to: FormName, out: str, dataset: str | None = None, workspace: str | None = None
) -> ModelExportResult:
    """Write a model in the form of another runtime, with its calibration, and check it on validation images.

    Args:
        bundle: A name (the blessed version, else the newest), name@newest, name@blessed, name@version, or a path;
            `imagenet`, `imagenet-lite1` and `imagenet-lite2` are ready-made.
        to: The form: savedmodel, tflite, openvino, onnx or keras.
        out: Folder or URL for the model.
        dataset: Whose validation images it is checked on; None takes the data set it was trained on.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    place = open_workspace(workspace)
    found = find_bundle(bundle, place)
    opened = open_bundle(found.folder)
    folder, at = open_folder(out, Path(out), place)
    checked_on = _checked_on(opened, dataset, place)
    request = ModelExportRequest(opened, to, folder, checked_on)
    with in_use(place, found.folder, checked_on.folder if checked_on else None):
        reused = find_export(request) is not None
        card = tasks.export_model(request)
        at.replace(folder, EXPORT_CARD)
    result = ModelExportResult.of(card, folder, found.choice, reused)
    show_result(result.description(), "exported-model", opened.card.name)
    return result


def _checked_on(bundle: Bundle, dataset: str | None, place: Workspace) -> Dataset | None:
    """The data set whose validation images it is checked on; None for a ready-made model, which has none.

    Raises:
        InputError: where there is no such data set.
    """
    if dataset is None and bundle.card.name in READY_MADE and bundle.card.dataset == "imagenet":
        return None
    try:
        return open_dataset(place.find_dataset(dataset or bundle.card.dataset))
    except InputError:
        if dataset:
            raise
        raise InputError(
            f"{bundle.reference} was trained on {bundle.card.dataset}, which is not in {place.reference}: an export is "
            "checked on its validation images. Name a data set of the same image size with --dataset."
        ) from None
