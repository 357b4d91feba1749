"""Training on several machines: the part of a run that is not the chief's.

All of them see the same workspace. The chief's run holds the bundle's lock, prepares the training and publishes; the
others start their workers, which wait for the chief's, and then find the bundle that it made.
"""

from __future__ import annotations

import logging
from pathlib import Path

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import SettingError, WorkError
from darkroom.data.files.locks import exclusive
from darkroom.data.stores.workspace import Workspace
from darkroom.models.settings import TrainSettings
from darkroom.models.training.model_version import bundle_name, published_bundle, staging_folder
from darkroom.models.training.train import shared_stage
from darkroom.models.training_loop.cluster import Cluster, run_workers
from darkroom.models.training_loop.stage import image_stage
from darkroom.models.training_loop.state import read_history
from darkroom.models.training_loop.techniques.early_stopping import is_over

logger = logging.getLogger(__name__)


def open_cluster(named: tuple[tuple[str, ...], int] | None, workspace: Workspace) -> Cluster | None:
    """The cluster that this machine belongs to; None where it trains alone.

    Args:
        named: The addresses of all machines, the chief's first, and this one's index.
        workspace: Where the state of the training is.

    Raises:
        SettingError: where the machines would not see the same state.
    """
    if named is None:
        return None
    if workspace.mirror:
        raise SettingError(
            f"Machines that train together need a shared folder, but {workspace.mirror.url} is copied to each of them. "
            "Set --workspace to a folder on a shared file system."
        )
    addresses, index = named
    return Cluster(addresses, (index,))


def with_workers_of(cluster: Cluster, settings: TrainSettings) -> TrainSettings:
    """The settings for as many workers as the cluster has.

    Args:
        cluster: The workers of the training.
        settings: Of the training.

    Raises:
        SettingError: where another number of workers is set.
    """
    num_workers = len(cluster.addresses)
    if settings.workers not in (1, num_workers):
        raise SettingError(f"--workers is {settings.workers}, but TF_CONFIG lists {num_workers}. Leave out --workers.")
    return TrainSettings.model_validate(settings.model_dump() | {"workers": num_workers})


def join_training(dataset: Dataset, settings: TrainSettings, cluster: Cluster, workspace: Workspace) -> Path:
    """Take part in the chief's training; returns the folder of its bundle.

    Args:
        dataset: The same on all machines.
        settings: The same on all machines, for as many workers as the cluster has.
        cluster: Without the chief among `here`.
        workspace: The folder that all machines see.

    Raises:
        WorkError: where a worker of this machine failed, or the chief's run published nothing.
    """
    stage = shared_stage(settings)
    done = published_bundle(dataset, settings, workspace)
    if done is None and stage is not None:
        staging = staging_folder(dataset, settings, workspace)
        most = image_stage(stage, dataset, settings).epochs
        if not is_over(read_history(staging / stage), most, settings.patience):
            for _ in run_workers(cluster, dataset.folder, settings, staging, stage):
                pass
    name = bundle_name(dataset, settings)
    with exclusive(workspace.models / name):  # the chief's run lets go of it once the bundle is whole
        done = published_bundle(dataset, settings, workspace)
    if done is None:
        raise WorkError(
            f"The chief of the cluster published no {name}. See its log, then start all machines again: training "
            "resumes after the last complete epoch."
        )
    return done
