"""A Prefect server and a worker, started as docs/prefect.md says, for all tests of this folder that need them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.bundles import tiny_bundle
from tests.datasets import photograph
from tests.planted_secrets import SECRETS
from tests.processes import documented, is_healthy, processes_of, run_command, start, wait_for


@pytest.fixture(scope="package")
def home(empty_record: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Prefect home of their own; every process that is started here, and its children, has it in its environment."""
    place = tmp_path_factory.mktemp("prefect")
    shutil.copy(empty_record, place)
    return place


@pytest.fixture(scope="package")
def processes(home: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """What is started here is ended here: asked first, the worker before its server; then whatever is left."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in reversed(started):
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for left in processes_of(home):
        os.kill(left, signal.SIGKILL)


@pytest.fixture(scope="package")
def environment(home: Path, processes: list[subprocess.Popen[bytes]]) -> dict[str, str]:
    """The environment of an operator's shell, with a server running and all deployed to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DARKROOM_"))},
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        **SECRETS,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    server = [*documented("darkroom server"), "--port", str(port)]
    processes.append(start(server, environment, home / "server.log", home))
    wait_for(lambda: is_healthy(environment["PREFECT_API_URL"]), 120, home / "server.log")
    run_command(documented("darkroom deploy"), environment)
    return environment


@pytest.fixture(scope="package")
def client(environment: dict[str, str]) -> Iterator[Any]:
    """A client of that server."""
    from prefect.client.orchestration import SyncPrefectClient

    auth = environment["PREFECT_API_AUTH_STRING"]
    with SyncPrefectClient(environment["PREFECT_API_URL"], auth_string=auth) as opened:
        yield opened


@pytest.fixture(scope="package")
def scored(
    environment: dict[str, str],
    client: Any,
    processes: list[subprocess.Popen[bytes]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Any]:
    """A run of the deployment `score-folder`, done by a worker that was started elsewhere; its table and its record.

    Its folder is given as a path that begins where the worker was started.
    """
    place = tmp_path_factory.mktemp("work")
    workspace, elsewhere = place / "workspace", place / "elsewhere"
    images = elsewhere / "images"
    (images / "blue").mkdir(parents=True)
    for number in range(11):
        Image.fromarray(photograph("blue", number)).save(images / "blue" / f"{number:02d}.png")
    (images / "broken.jpg").write_text("This is no photograph.")
    bundle = tiny_bundle(workspace / "models/colours/1", ["amber", "blue", "green"], (32, 32))
    log = place / "worker.log"
    settings = {**environment, "DARKROOM_WORKSPACE": str(workspace)}
    processes.append(start(documented("prefect worker start"), settings, log, elsewhere))
    deployment = client.read_deployment_by_name("score/score-folder")
    run = client.create_flow_run_from_deployment(
        deployment.id, parameters={"folder": "images", "model": "colours", "rows_per_part": 5}
    )
    wait_for(lambda: (state := client.read_flow_run(run.id).state) is not None and state.is_final(), 120, log)
    run = client.read_flow_run(run.id)
    assert run.state.is_completed(), log.read_text()
    return workspace / "scores" / f"images-{bundle.parent.name}-{bundle.name}", run
