"""SIGINT and SIGTERM to the real command: it stops within seconds, and the same command goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.bundles import tiny_bundle
from tests.faults.stages import ROOT

LABELS = ["amber", "blue", "green"]
STOPS_WITHIN_SECONDS = 15


@dataclass(frozen=True)
class Command:
    """A `darkroom` command, and the file that shows that a first part of its work is done."""

    flow: str
    arguments: list[str]
    first_part: str
    goes_on: str


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """480 images of 900 x 900, each other by a few pixels: seconds of work that decoding threads do."""
    folder = tmp_path_factory.mktemp("source") / "photos"
    slope = np.linspace(0, 160, 900, dtype=np.uint8)
    for number in range(480):
        pixels = np.zeros((900, 900, 3), np.uint8)
        pixels[..., number % 3] = slope[:, None] + number % 90
        pixels[: 1 + number, :8] = 255
        path = folder / LABELS[number % 3] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, compress_level=1)
    return folder


@pytest.fixture
def commands(photos: Path, dataset: Path, tmp_path: Path) -> dict[str, Command]:
    bundle = tiny_bundle(tmp_path / "tiny" / "1", LABELS, (24, 24))
    return {
        "score": Command(
            "score",
            [str(photos), "--model", str(bundle), "--out", str(tmp_path / "out"), "--rows-per-part", "60"],
            "out/part-00000.parquet",
            "480 files scored",
        ),
        "ingest": Command(
            "ingest",
            [
                str(photos),
                "--name",
                "photos",
                "--image-size",
                "24",
                "--rows-per-shard",
                "60",
                "--leaks",
                "keep",
                "--max-judged",
                "0",
            ],
            "workspace/datasets/photos/.staging-*/parts/00000",
            "Resuming the ingest of photos",
        ),
        "train": Command(
            "train",
            [str(dataset), "--architecture", "cifar4", "--epochs", "12", "--patience", "12", "--batch-size", "4"],
            "workspace/models/*/.staging-*/scratch/history.json",
            "scratch: resuming after epoch",
        ),
    }


def start(command: Command, api: str, place: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PREFECT_API_URL": api}
    words = [sys.executable, "-m", "darkroom.flows.cli", command.flow, *command.arguments]
    words += ["--workspace", str(place / "workspace"), "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=ROOT, env=environment, start_new_session=True, preexec_fn=hear_sigint, **pipes)


def hear_sigint() -> None:
    """A shell starts what it puts into the background with SIGINT ignored, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 180) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def slowdown(process: subprocess.Popen[str], begun: float) -> float:
    """How much slower a process has run than alone on the machine: seconds since it began for each of CPU time."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    worker = children[0] if children else process.pid  # the command works in a child of its own
    fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
    cpu_seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return max(1.0, (time.monotonic() - begun) / cpu_seconds)


def state_of_the_last_run(flow: str) -> str:
    """The name of the state in which Prefect has the newest run of a flow."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])), sort=FlowRunSort.START_TIME_DESC, limit=1
        )
    return str(run.state_name)


@pytest.mark.parametrize(
    ("flow", "number"),
    [("score", signal.SIGINT), ("score", signal.SIGTERM), ("ingest", signal.SIGTERM), ("train", signal.SIGINT)],
)
def test_a_signal_stops_the_command_in_seconds_and_the_same_command_goes_on(
    prefect_server: str, commands: dict[str, Command], tmp_path: Path, flow: str, number: signal.Signals
) -> None:
    command, begun = commands[flow], time.monotonic()
    process = start(command, prefect_server, tmp_path)
    wait_for(lambda: any(tmp_path.glob(command.first_part)), process)
    limit = STOPS_WITHIN_SECONDS * slowdown(process, begun)
    process.send_signal(number)
    asked = time.monotonic()
    said = process.communicate(timeout=120)[1]
    assert time.monotonic() - asked < limit, said
    assert process.returncode == 128 + number, said
    assert "darkroom: stopped. " in said
    assert "Traceback" not in said
    assert state_of_the_last_run(flow) in {"Crashed", "Cancelled"}

    again = start(command, prefect_server, tmp_path)
    result, said = again.communicate(timeout=180)
    assert again.returncode == 0, said
    assert command.goes_on in said
    assert state_of_the_last_run(flow) == "Completed"
    if flow == "score":
        assert 60 <= json.loads(result)["rows_reused"] < 480
    assert not [path for path in tmp_path.rglob("*") if ".tmp-" in path.name]
