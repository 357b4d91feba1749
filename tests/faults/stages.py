"""The stages as processes that can be killed: the plain functions that the tasks call, in their order, under the lock.

Run as a program this is a nursery: it imports the heavy libraries once and forks a child for each run that it is asked
for, so that a run starts in milliseconds. TensorFlow stands a fork as long as only the children use it.

A request is a line of JSON, a list of runs that are started at once; so is the answer, a list of what came of them.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Every call by which a file or a folder appears, vanishes or is made to last.
HOOKED = ("replace", "rename", "link", "unlink", "rmdir", "mkdir", "fsync")


@dataclass(frozen=True)
class Run:
    """One run of a stage, and when it is killed.

    Attributes:
        stage: `ingest`, `features`, `train` or `score`.
        arguments: Of the stage.
        kill_call: The number, from 1, of the hooked call at which it kills itself; None for none.
        kill_before: Before that call is made, or after.
        kill_seconds: When it is killed from outside, counted from its start; None for never.
    """

    stage: str
    arguments: dict[str, str]
    kill_call: int | None = None
    kill_before: bool = True
    kill_seconds: float | None = None


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        exit_status: 0; 1 after an error; -9 where it was killed.
        seconds: How long it ran.
        log: The lines that it logged.
        num_calls: Hooked calls that it made; only of a run that ended by itself.
        result: What the stage returned.
        error: The error's type and text.
    """

    exit_status: int = 0
    seconds: float = 0.0
    log: list[str] = field(default_factory=list)
    num_calls: int = 0
    result: dict[str, int] = field(default_factory=dict)
    error: str = ""


class Nursery:
    """The program below, as its parent sees it."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, __file__]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)

    def run(self, *runs: Run) -> list[Outcome]:
        """Start the runs at once and wait for their ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([asdict(run) for run in runs]) + "\n")
        self._process.stdin.flush()
        return [Outcome(**outcome) for outcome in json.loads(self._process.stdout.readline())]

    def close(self) -> None:
        """End it, and what still runs in it."""
        self._process.communicate()


def ingest(source: str, workspace: str) -> dict[str, int]:
    """120 images and some that cannot be used, in parts of ten."""
    from darkroom.data.files.locks import exclusive
    from darkroom.data.files.provenance import complete_run_record, write_run_record
    from darkroom.data.images.pixels.decode_policy import DecodePolicy
    from darkroom.data.ingest.parts import write_part
    from darkroom.data.ingest.plan import plan_ingest
    from darkroom.data.ingest.publication import publish
    from darkroom.data.ingest.request import IngestRequest, IngestSettings
    from darkroom.data.shards.shards import ShardRules
    from darkroom.data.sources.resolve import resolve
    from darkroom.data.stores.workspace import Workspace

    place = Workspace(Path(workspace))
    settings = IngestSettings(
        name="photos", policy=DecodePolicy(image_size=(24, 24)), shards=ShardRules(rows_per_shard=10)
    )
    with exclusive(place.datasets / settings.name):
        planned = plan_ingest(IngestRequest(resolve(source, place), settings, place))
        if planned.published:
            complete_run_record(planned.published, "ingest", None, {})
            return {"published": 1}
        counts = [write_part(planned.staging, index) for index in range(planned.num_parts)]
        write_run_record(publish(planned.staging, place), "ingest", None, {})
    return {"published": 0, "num_reused": sum(part.reused for part in counts)}


def features(dataset: str) -> dict[str, int]:
    """The features of EfficientNet-Lite0."""
    from darkroom.data.dataset.dataset import open_dataset
    from darkroom.data.files.locks import exclusive
    from darkroom.models.training.features import extract_features, features_folder, prepare_backbone

    opened = open_dataset(Path(dataset))
    with exclusive(features_folder(opened, "efficientnet-lite0", "imagenet")):
        folder = prepare_backbone(opened, "efficientnet-lite0", "imagenet")
        for shard in opened.card.shards:
            if shard.split != "test":
                extract_features(opened, folder, shard.file)
    return {}


def train(dataset: str, workspace: str) -> dict[str, int]:
    """Four epochs of the smallest network, from scratch, with dropout and augmentation."""
    from darkroom.data.dataset.dataset import open_dataset
    from darkroom.data.files.locks import exclusive
    from darkroom.data.files.provenance import complete_run_record, write_run_record
    from darkroom.data.stores.workspace import Workspace
    from darkroom.models.settings import TrainSettings
    from darkroom.models.training.model_version import bundle_name, published_bundle, staging_folder
    from darkroom.models.training.publish import publish_bundle
    from darkroom.models.training.train import train_network
    from darkroom.models.training_loop.stage import TrainRequest

    place, opened = Workspace(Path(workspace)), open_dataset(Path(dataset))
    settings = TrainSettings(model="starter", weights="none", epochs=4, batch_size=12, learning_rate=1e-3, seed=3)
    with exclusive(place.models / bundle_name(opened, settings)):
        done = published_bundle(opened, settings, place)
        if done:
            complete_run_record(done, "train", None, {})
            return {"published": 1}
        trained = train_network(TrainRequest(opened, settings, staging_folder(opened, settings, place)))
        write_run_record(publish_bundle(opened, settings, trained, place), "train", None, {})
    return {"published": 0}


def score(folder: str, bundle: str, out: str) -> dict[str, int]:
    """The same files in parts of ten."""
    from darkroom.models.prediction_table.output import TableOutput
    from darkroom.models.scoring.request import ScoreRequest
    from darkroom.models.scoring.score import score

    request = ScoreRequest(Path(folder), Path(bundle), TableOutput(Path(out)), rows_per_part=10)
    return {"num_reused": score(request).rows_reused}


STAGES: dict[str, Callable[..., dict[str, int]]] = {
    "ingest": ingest,
    "features": features,
    "train": train,
    "score": score,
}


class _Lines(logging.Handler):
    def __init__(self, tell: Callable[..., None]) -> None:
        super().__init__(logging.INFO)
        self.emit = lambda record: tell(log=record.getMessage())  # type: ignore[method-assign]


def _child(run: Run, pipe: int) -> None:
    """Run a stage and tell what happens, line by line; what was told before a kill is not lost."""

    def tell(**said: Any) -> None:
        os.write(pipe, json.dumps(said).encode() + b"\n")

    num_calls = 0

    def hooked(original: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        nonlocal num_calls
        num_calls += 1
        chosen = num_calls == run.kill_call
        if chosen and run.kill_before:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return original(*arguments, **options)
        finally:
            if chosen:
                os.kill(os.getpid(), signal.SIGKILL)

    for name in HOOKED:
        setattr(os, name, partial(hooked, getattr(os, name)))
    logging.getLogger("darkroom").setLevel(logging.INFO)
    logging.getLogger("darkroom").addHandler(_Lines(tell))
    status = 0
    try:
        tell(result=STAGES[run.stage](**run.arguments))
    except Exception as error:
        tell(error=f"{type(error).__name__}: {error}")
        status = 1
    tell(num_calls=num_calls)
    os._exit(status)


def _run_all(runs: list[Run]) -> list[Outcome]:
    started = time.monotonic()
    children: dict[int, tuple[int, Run, Outcome, bytearray]] = {}
    outcomes = []
    with selectors.DefaultSelector() as waiting:
        for run in runs:
            ours, theirs = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(ours)
                _child(run, theirs)
            os.close(theirs)
            waiting.register(ours, selectors.EVENT_READ)
            outcomes.append(Outcome())
            children[ours] = (child, run, outcomes[-1], bytearray())
        while children:
            for key, _ in waiting.select(0.002):
                child, _, outcome, told = children[key.fd]
                said = os.read(key.fd, 65536)
                told += said
                if not said:
                    outcome.exit_status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                    outcome.seconds = time.monotonic() - started
                    for line in told.splitlines():
                        for name, value in json.loads(line).items():
                            if name == "log":
                                outcome.log.append(value)
                            else:
                                setattr(outcome, name, value)
                    waiting.unregister(key.fd)
                    os.close(key.fd)
                    del children[key.fd]
            for child, run, _, _ in children.values():
                if run.kill_seconds is not None and time.monotonic() - started >= run.kill_seconds:
                    os.kill(child, signal.SIGKILL)
    return outcomes


def _main() -> None:
    import onnxruntime.quantization  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import tensorflow  # noqa: F401

    import darkroom.models.networks.efficientnet_lite
    import darkroom.models.scoring.parts
    import darkroom.models.scoring.score
    import darkroom.models.training.publish
    import darkroom.models.training.train  # noqa: F401

    gc.freeze()  # or each child would search all of it for garbage, and copy it to do so
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    for request in sys.stdin:
        outcomes = _run_all([Run(**run) for run in json.loads(request)])
        answers.write(json.dumps([asdict(outcome) for outcome in outcomes]) + "\n")
        answers.flush()


if __name__ == "__main__":
    _main()
