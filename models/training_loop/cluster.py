"""The workers that train one network together: how they are addressed, started, watched and stopped.

Each runs `worker.py`. The one who starts them trains nothing: it reads the chief's epochs from its output, and finds
the state on disk, as after a run that was killed. A worker ends when its starter does, however that ends.
"""

from __future__ import annotations

import logging
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from darkroom.data.errors import InputError, WorkError
from darkroom.data.figures import count
from darkroom.models.bundle.bundle import EpochLog
from darkroom.models.settings import TrainSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """The workers of one training.

    Attributes:
        addresses: `host:port` of every worker; the first is the chief, who keeps the state and whose run publishes.
        here: The workers that this run starts, by their position in `addresses`.
    """

    addresses: tuple[str, ...]
    here: tuple[int, ...]

    @property
    def has_chief(self) -> bool:
        """Whether this run starts the chief."""
        return 0 in self.here


class Work(BaseModel):
    """The instructions for a worker.

    Attributes:
        addresses: Of all workers.
        worker: Its position among them.
        place: Its position among those of its machine, with which it shares the processors.
        num_here: How many these are.
        dataset: The data set's folder.
        settings: Of the training.
        staging: The folder of the state of all stages.
        stage: The stage's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    addresses: tuple[str, ...]
    worker: int
    place: int
    num_here: int
    dataset: Path
    settings: TrainSettings
    staging: Path
    stage: str


class Answer(BaseModel):
    """A line from a worker.

    Attributes:
        epoch: A finished epoch, or None.
        error: The sentence with which it failed, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: EpochLog | None = None
    error: str | None = None


def local_cluster(num_workers: int) -> Cluster:
    """All workers on this machine, on ports that are free now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(num_workers)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return Cluster(tuple(f"127.0.0.1:{opened.getsockname()[1]}" for opened in sockets), tuple(range(num_workers)))


def run_workers(
    cluster: Cluster, dataset: Path, settings: TrainSettings, staging: Path, stage: str
) -> Iterator[EpochLog]:
    """Start this run's workers for one stage; yields the chief's epochs as they finish.

    Args:
        cluster: All workers, and which of them this run starts.
        dataset: The data set's folder.
        settings: Of the training.
        staging: The folder of the state of all stages; each worker's messages go to `<stage>/worker-<n>.log` in it.
        stage: The stage's name.

    Raises:
        InputError, WorkError: what a worker failed with; or which one died, where its output is, and what to do.
    """
    folder = staging / stage
    folder.mkdir(parents=True, exist_ok=True)
    answers: queue.SimpleQueue[tuple[int, Answer | None]] = queue.SimpleQueue()
    with ExitStack() as stack:
        running: dict[int, subprocess.Popen[str]] = {}
        for place, worker in enumerate(cluster.here):
            work = Work(
                addresses=cluster.addresses, worker=worker, place=place, num_here=len(cluster.here),
                dataset=dataset.resolve(), settings=settings, staging=staging.resolve(), stage=stage,
            )  # fmt: skip
            process = _start(work, _log(folder, worker))
            stack.callback(_end, process)
            running[worker] = process
            threading.Thread(target=_listen, args=(worker, process, answers), daemon=True).start()
        logger.info("%s: %s, %d on this machine.", stage, count(len(cluster.addresses), "worker"), len(running))
        while running:
            worker, answer = answers.get()
            if answer is None:
                status = running.pop(worker).wait()
                if status:
                    raise WorkError(_died(worker, len(cluster.addresses), status, _log(folder, worker)))
            elif answer.error is not None:
                raise (InputError if running[worker].wait() == InputError.exit_status else WorkError)(answer.error)
            elif answer.epoch is not None:
                yield answer.epoch


def _log(folder: Path, worker: int) -> Path:
    return folder / f"worker-{worker}.log"


def _start(work: Work, log: Path) -> subprocess.Popen[str]:
    """A worker with its messages in `log`; it reads nothing, but ends when its input does."""
    with log.open("w", encoding="utf-8") as messages:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", "darkroom.models.training_loop.worker", work.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
        )


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdin:
        process.stdin.close()


def _listen(worker: int, process: subprocess.Popen[str], answers: queue.SimpleQueue[tuple[int, Answer | None]]) -> None:
    """Forward the lines of a worker, then None when it ends."""
    try:
        for line in process.stdout or ():
            answers.put((worker, Answer.model_validate_json(line)))
    except ValueError:
        logger.debug("Worker %d ended in the middle of a line.", worker)
    answers.put((worker, None))


def _died(worker: int, num_workers: int, status: int, log: Path) -> str:
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return (
        f"Worker {worker} of {num_workers} {how} before training finished; its log is {log}. Run the same "
        "command again to resume after the last complete epoch."
    )
