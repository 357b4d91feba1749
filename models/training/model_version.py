"""The version of a model: a hash of the data set's version and all training settings, known before anything is trained.

The same data set and settings give the same version, so that nothing is trained twice.
"""

from __future__ import annotations

from pathlib import Path

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.files.atomic import remove_folder
from darkroom.data.files.hashing import content_version
from darkroom.data.stores.workspace import BUNDLE_CARD, Workspace, check_name
from darkroom.models.settings import TrainSettings

# Raised whenever the same data set and settings would give another network.
CODE_VERSION = 3


def bundle_name(dataset: Dataset, settings: TrainSettings) -> str:
    """The bundle's name: as set, or made of the data set's and the architecture's.

    Args:
        dataset: What it is trained on.
        settings: Of the training.

    Raises:
        SettingError: where the name cannot be a folder.
    """
    return check_name(settings.name or f"{dataset.card.name}-{settings.model}")


def bundle_version(dataset: Dataset, settings: TrainSettings) -> str:
    """The version that a data set and settings give, 12 hex digits.

    Args:
        dataset: What is trained on.
        settings: Of the training.
    """
    return content_version(CODE_VERSION, dataset.reference, settings.model_dump(mode="json"))


def staging_folder(dataset: Dataset, settings: TrainSettings, workspace: Workspace) -> Path:
    """The folder of a training's state until its bundle is complete.

    Args:
        dataset: What is trained on.
        settings: Of the training.
        workspace: Where the bundle goes.
    """
    folder = workspace.models / bundle_name(dataset, settings)
    return folder / f".staging-{bundle_version(dataset, settings)}"


def published_bundle(dataset: Dataset, settings: TrainSettings, workspace: Workspace) -> Path | None:
    """The bundle's folder, where an earlier run on the same data set and settings published it; otherwise None.

    The state of its training is removed, in case that run was killed before it could.

    Args:
        dataset: What is trained on.
        settings: Of the training.
        workspace: Where the bundle goes.
    """
    folder = workspace.model(bundle_name(dataset, settings), bundle_version(dataset, settings))
    workspace.fetch(folder, BUNDLE_CARD)
    if not (folder / BUNDLE_CARD).is_file():
        return None
    remove_folder(staging_folder(dataset, settings, workspace))
    return folder
