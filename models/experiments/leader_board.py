"""The leader board of an experiment with several networks: how accurate each is, and what scoring with it costs."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.stores.workspace import Workspace
from darkroom.models.experiments.experiment import ExperimentPlan, NetworkCost, TrialRow, ranked
from darkroom.models.networks.architectures import build_scratch, flip_averaged
from darkroom.models.onnx.runtime import OnnxRunner, export_onnx
from darkroom.models.settings import TrainSettings

logger = logging.getLogger(__name__)

_BATCH, _NUM_ROUNDS = 16, 3


@dataclass(frozen=True)
class Leader:
    """A network by its best trial.

    Attributes:
        row: That trial.
        cost: What scoring costs.
        is_on_the_line: Whether no faster network is as accurate: it lies on the Pareto line.
    """

    row: TrialRow
    cost: NetworkCost
    is_on_the_line: bool


@dataclass(frozen=True)
class _Network:
    """What decides the cost of scoring."""

    architecture: str
    image_size: tuple[int, int]
    num_classes: int
    flip_average: bool

    def said(self) -> str:
        mirrored = ", flip-averaged" if self.flip_average else ""
        return f"{self.architecture}, {self.image_size[0]} x {self.image_size[1]}{mirrored}"


def with_costs(plan: ExperimentPlan, rows: Sequence[TrialRow], workspace: Workspace) -> list[TrialRow]:
    """The rows with what scoring costs, measured once for each network; as they are where all have the same one.

    Args:
        plan: What the trials are.
        rows: Those that have ended.
        workspace: Where the data sets are.
    """
    datasets = {name: open_dataset(workspace.find_dataset(name)) for name in {trial.dataset for trial in plan.trials}}
    networks = {trial.number: _network(trial.settings, datasets[trial.dataset]) for trial in plan.trials}
    if len({networks[row.number] for row in rows}) < 2:
        return list(rows)
    complete = {networks[row.number] for row in rows if row.status == "complete"}
    costs = {network: _measured(network) for network in sorted(complete, key=_Network.said)}
    return [row.model_copy(update={"cost": costs.get(networks[row.number])}) for row in rows]


def leader_board(rows: Iterable[TrialRow]) -> list[Leader]:
    """Each network by its best trial, the most accurate first, of equals the fastest; [] where no costs were measured.

    Args:
        rows: The trials.
    """
    best: dict[str, TrialRow] = {}
    for row in ranked(rows):
        if row.status == "complete" and row.cost:
            best.setdefault(row.cost.network, row)
    known = [(row, row.cost) for row in best.values() if row.cost]
    found, fastest = list[Leader](), 0.0
    for row, cost in sorted(known, key=lambda pair: (-(pair[0].accuracy or 0), -pair[1].images_per_second)):
        found.append(Leader(row, cost, cost.images_per_second > fastest))
        fastest = max(fastest, cost.images_per_second)
    return found


def _network(settings: TrainSettings, dataset: Dataset) -> _Network:
    size = dataset.card.policy.image_size
    return _Network(settings.model, size, len(dataset.labels), settings.flip_average)


def _measured(network: _Network) -> NetworkCost:
    """Scoring with a network of this kind, with random weights: the best of three rounds after a first run."""
    model = build_scratch(network.architecture, network.image_size, network.num_classes, 0.0)
    images = np.random.default_rng(0).integers(0, 256, (_BATCH, *network.image_size, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(flip_averaged(model) if network.flip_average else model, path)
        runner, rounds = OnnxRunner(path, num_threads=1), list[float]()
        for _ in range(_NUM_ROUNDS):
            started = time.perf_counter()
            runner(images)
            rounds.append(time.perf_counter() - started)
        size = path.stat().st_size
    cost = NetworkCost(
        network=network.said(), images_per_second=round(_BATCH / min(rounds), 1), megabytes=round(size / 1e6, 2)
    )
    logger.info("%s: %.0f images/s on one processor, %.1f MB", cost.network, cost.images_per_second, cost.megabytes)
    return cost
