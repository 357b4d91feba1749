"""Flow `train`: a data set becomes a model bundle."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.files.locks import exclusive
from darkroom.data.stores.version_locks import in_use
from darkroom.data.stores.workspace import BUNDLE_CARD
from darkroom.flows.descriptions import describe, epochs_table
from darkroom.flows.results import TrainResult
from darkroom.flows.runners import Runner, choose_runner, open_workers
from darkroom.flows.settings import RunnerKind, open_workspace, training_cluster
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.networks.architectures import describe as describe_network
from darkroom.models.settings import TrainSettings
from darkroom.models.training.features import features_folder
from darkroom.models.training.model_version import bundle_name
from darkroom.models.training.multi_machine import open_cluster, with_workers_of
from darkroom.tasks import train as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.window import submit_all


@flow(name="train", flow_run_name="{dataset} {date}")
def train(
    dataset: str,
    settings: TrainSettings | None = None,
    workspace: str | None = None,
    runner: RunnerKind | None = None,
    address: str | None = None,
) -> TrainResult:
    """Train a network on a data set and publish it as a bundle.

    Args:
        dataset: A name (newest version), name@version, or a path.
        settings: The network and how it is trained.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
        runner: Who computes features: threads, processes, dask or ray; None takes DARKROOM_RUNNER, or threads.
        address: Of the Dask or Ray cluster; None takes DARKROOM_RUNNER_ADDRESS.
    """
    place, workers = open_workspace(workspace), choose_runner(runner, address)
    folder = place.find_dataset(dataset)
    rules, cluster = settings or TrainSettings(), open_cluster(training_cluster(), place)
    if cluster:
        rules = with_workers_of(cluster, rules)
    opened = open_dataset(folder)
    if cluster and not cluster.has_chief:
        with in_use(place, folder):
            joined = tasks.join_training(folder, rules, cluster, place)
        return _shown(joined, reused=False)
    with in_use(place, folder), exclusive(place.models / bundle_name(opened, rules)):
        done = tasks.find_bundle(folder, rules, place)
        bundle = done
        if bundle is None:
            features = cached_features(opened, rules, workers)
            bundle = tasks.train_network(folder, rules, features, place, cluster)
        place.share(bundle, BUNDLE_CARD)
    return _shown(bundle, reused=done is not None)


def _shown(bundle: Path, reused: bool) -> TrainResult:
    """The result, shown on the run with the training's epochs."""
    card = open_bundle(bundle).card
    result = TrainResult.of(card, bundle, reused)
    show_result(describe(result).with_tables(epochs_table(card.history)), "training", card.name)
    return result


def cached_features(dataset: Dataset, rules: TrainSettings, workers: Runner) -> Path | None:
    """The folder of the features that the network is trained on, computed where missing; None where it needs none.

    Args:
        dataset: The data set.
        rules: Of the training.
        workers: How features are computed.
    """
    if not describe_network(rules.model, rules.weights).pretrained:
        return None
    folder = features_folder(dataset, rules.model, rules.weights)
    with exclusive(folder), open_workers(workers, folder) as pool:  # other models share them
        features = tasks.prepare_backbone(dataset.folder, rules)
        shards = [shard.file for shard in dataset.card.shards if shard.split != "test"]
        arguments = ((dataset.folder, features, shard) for shard in shards)
        counts = list(submit_all(pool, tasks.extract_features, arguments, len(shards), "features"))
        tasks.finish_features(dataset.folder, features, counts)
    return features
