"""Tasks of the train flow."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.files.lease import Lease, working_under
from darkroom.data.files.provenance import complete_run_record, write_run_record
from darkroom.data.stores.workspace import Workspace
from darkroom.models.settings import TrainSettings
from darkroom.models.training import features, model_version, multi_machine, publish, train
from darkroom.models.training_loop.cluster import Cluster
from darkroom.models.training_loop.stage import TrainRequest
from darkroom.tasks.decorators import run_id, task
from darkroom.tasks.progress import watcher


@task()
def find_bundle(dataset: Path, settings: TrainSettings, workspace: Workspace) -> Path | None:
    """The bundle of an earlier run on the same data set and settings; None where there is none."""
    folder = model_version.published_bundle(open_dataset(dataset), settings, workspace)
    if folder:
        complete_run_record(folder, "train", run_id(), settings.model_dump(mode="json"))
    return folder


@task()
def prepare_backbone(dataset: Path, settings: TrainSettings) -> Path:
    """Export the frozen backbone whose features are cached."""
    return features.prepare_backbone(open_dataset(dataset), settings.model, settings.weights)


@task(task_run_name="features of {shard}")
def extract_features(dataset: Path, folder: Path, shard: str, lease: Lease | None = None) -> features.FeatureCounts:
    """Compute the features of one shard that no other version of the data set has."""
    with working_under(lease):
        return features.extract_features(open_dataset(dataset), folder, shard)


@task()
def finish_features(dataset: Path, folder: Path, counts: list[features.FeatureCounts]) -> None:
    """Log how many images were computed and how many reused."""
    features.finish_features(open_dataset(dataset), folder, counts)


@task()
def train_network(
    dataset: Path,
    settings: TrainSettings,
    feature_folder: Path | None,
    workspace: Workspace,
    cluster: Cluster | None = None,
) -> Path:
    """Train, calibrate, export and publish the bundle."""
    opened = open_dataset(dataset)
    staging = model_version.staging_folder(opened, settings, workspace)
    trained = train.train_network(TrainRequest(opened, settings, staging, feature_folder, cluster=cluster))
    folder = publish.publish_bundle(opened, settings, trained, workspace, watcher())
    write_run_record(folder, "train", run_id(), settings.model_dump(mode="json"))
    return folder


@task()
def join_training(dataset: Path, settings: TrainSettings, cluster: Cluster, workspace: Workspace) -> Path:
    """Take part in the training that another machine leads, and wait for its bundle."""
    return multi_machine.join_training(open_dataset(dataset), settings, cluster, workspace)
