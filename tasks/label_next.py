"""Tasks of the label-next flow."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.errors import InputError
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.labelling import next_images
from darkroom.models.labelling.next_images import NextImages
from darkroom.tasks.decorators import task


@task()
def check_model(bundle: Path) -> None:
    """Refuse a model that cannot say what to label next, before anything is scored."""
    next_images.check_model(open_bundle(bundle))


@task()
def choose_next(out: Path, bundle: Path, workspace: Workspace, budget: int) -> NextImages:
    """Choose the images and write the page and the table."""
    opened = open_bundle(bundle)
    reference = opened.card.dataset
    newest = _dataset_of(reference.partition("@")[0], workspace)
    return next_images.choose_next(out, opened, _dataset_of(reference, workspace), budget, newest)


def _dataset_of(reference: str, workspace: Workspace) -> Dataset | None:
    """The data set that a model was trained on, where the workspace has it."""
    try:
        return open_dataset(workspace.find_dataset(reference))
    except InputError:
        return None
