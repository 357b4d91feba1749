"""What befalls a nightly run: its process, its worker, its server or the database dies, or its input is wrong.

Each is done to real processes, on the server and with the worker of the folder's conftest.py. This file comes last of
those that share them, since it stops the server.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from PIL import Image
from prefect.events import Event, Resource
from prefect.events.schemas.automations import AutomationCore
from prefect.states import Running

from darkroom.flows.deploying.declared import declared_automations
from tests.datasets import photograph
from tests.processes import ROOT, documented, is_healthy, processes_with, run_command, start, wait_for

Worker = Callable[[], subprocess.Popen[bytes]]

NO_LOG = Path("no.log")
NUM_FILES = 300  # a run of these takes about ten seconds


@pytest.fixture(scope="module")
def pool(environment: dict[str, str], client: Any, scored: tuple[Path, Any]) -> dict[str, UUID]:
    """Deployments of the flows `score` and `score-inbox` for a work pool of these tests, by flow."""
    run_command(["prefect", "work-pool", "create", "survival", "--type", "process"], environment)
    made = {}
    for name in ("score/score-folder", "score-inbox/score-inbox"):
        known = client.read_deployment_by_name(name)
        made[name.partition("/")[0]] = client.create_deployment(
            flow_id=known.flow_id,
            name="survival",
            work_pool_name="survival",
            entrypoint=known.entrypoint,
            pull_steps=known.pull_steps,
            job_variables=known.job_variables,
            parameter_openapi_schema=known.parameter_openapi_schema,
        )
    return made


@pytest.fixture
def start_worker(
    environment: dict[str, str], scored: tuple[Path, Any], pool: dict[str, UUID], tmp_path: Path
) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """A function that starts a worker of that pool."""
    settings = {
        **environment,
        "DARKROOM_CHECKOUT": str(ROOT),
        "DARKROOM_WORKSPACE": str(scored[0].parents[1]),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
    }
    command = documented("prefect worker start")
    command[command.index("--pool") + 1] = "survival"
    started: list[subprocess.Popen[bytes]] = []

    def another() -> subprocess.Popen[bytes]:
        name = f"{tmp_path.name}-{len(started)}"
        started.append(start([*command, "--name", name], settings, tmp_path / f"{name}.log", tmp_path))
        return started[-1]

    yield another
    for worker in started:
        worker.terminate()
    for worker in started:
        worker.wait(30)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that takes a run ten seconds."""
    folder = tmp_path_factory.mktemp("many")
    Image.effect_noise((800, 800), 90).convert("RGB").save(folder / "0000.png", compress_level=1)
    for number in range(1, NUM_FILES):
        (folder / f"{number:04d}.png").hardlink_to(folder / "0000.png")
    return folder


def long_run(client: Any, pool: dict[str, UUID], images: Path, out: Path) -> UUID:
    """Ask for a run of the long folder, and wait until it has written its first part."""
    given = {"folder": str(images), "model": "colours", "out": str(out), "rows_per_part": 10}
    run = client.create_flow_run_from_deployment(pool["score"], parameters=given)
    wait_for((out / "part-00000.parquet").exists, 120, NO_LOG)
    return UUID(str(run.id))


def ended(client: Any, run: UUID, seconds: float = 120) -> Any:
    wait_for(lambda: client.read_flow_run(run).state.is_final(), seconds, NO_LOG)
    return client.read_flow_run(run)


def watched_runs(client: Any, deployment: UUID) -> list[UUID]:
    """Two runs that are Running, and that must give a sign of life every 20 s."""
    given = {"parameters": {"folder": "images", "model": "colours"}, "state": Running()}
    runs = [client.create_flow_run_from_deployment(deployment, **given).id for _ in range(2)]
    (automation,) = [each for each in declared_automations() if each["name"] == "crash-silent-runs"]
    automation["name"], automation["trigger"]["within"] = "watched-runs", 20
    automation["trigger"]["match"] = {"prefect.resource.id": [f"prefect.flow-run.{run}" for run in runs]}
    client.create_automation(AutomationCore.model_validate(automation))
    return runs


def num_waits(home: Path) -> int:
    """How many of the watched runs the server waits for a sign of life of."""
    with sqlite3.connect(home / "prefect.db") as database:
        waits = (
            "SELECT count(*) FROM automation_bucket JOIN automation ON automation.id = automation_id "
            "WHERE automation.name = 'watched-runs'"
        )
        return int(database.execute(waits).fetchone()[0])


def give_sign_of_life(client: Any, run: UUID) -> None:
    sign = Event(
        occurred=datetime.now(UTC),
        event="prefect.flow-run.heartbeat",
        resource=Resource({"prefect.resource.id": f"prefect.flow-run.{run}"}),
    )
    client._client.post("/events", json=[sign.model_dump(mode="json")]).raise_for_status()


def kill_run(run: UUID) -> None:
    for process in processes_with(f"PREFECT__FLOW_RUN_ID={run}"):
        os.kill(process, signal.SIGKILL)


def is_whole(out: Path) -> bool:
    """Whether a table of the long folder holds each file once."""
    return sorted(pd.read_parquet(out)["path"]) == [f"{number:04d}.png" for number in range(NUM_FILES)]


def test_a_run_outlives_its_worker_and_one_that_is_killed_crashes_and_is_done_by_the_next(
    client: Any, pool: dict[str, UUID], start_worker: Worker, images: Path, tmp_path: Path
) -> None:
    worker = start_worker()
    first = long_run(client, pool, images, tmp_path / "first")
    kill_run(first)
    crashed = ended(client, first)
    assert crashed.state.is_crashed()
    assert 0 < len(list((tmp_path / "first").glob("part-*.parquet"))) < NUM_FILES / 10
    assert not (tmp_path / "first.summary.json").exists()

    second = long_run(client, pool, images, tmp_path / "second")
    worker.kill()
    again = client.create_flow_run_from_deployment(pool["score"], parameters=crashed.parameters).id
    assert ended(client, second).state.is_completed()
    assert is_whole(tmp_path / "second")
    assert client.read_flow_run(again).state.is_scheduled()  # no worker is left to take it
    start_worker()
    assert ended(client, again).state.is_completed()
    assert is_whole(tmp_path / "first")


def test_two_workers_share_what_is_due_and_overlapping_nights_double_nothing(
    client: Any, pool: dict[str, UUID], start_worker: Worker, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for number in range(40):
        Image.fromarray(photograph("blue", number)).save(inbox / f"{number:02d}.png")
    given = {"folder": str(inbox), "model": "colours", "out": str(tmp_path / "out"), "settle_seconds": 0}
    runs = [client.create_flow_run_from_deployment(pool["score-inbox"], parameters=given).id for _ in range(3)]
    start_worker()
    start_worker()
    found = [ended(client, run) for run in runs]
    assert [run.state.name for run in found] == ["Completed"] * 3
    assert [run.run_count for run in found] == [1] * 3
    assert sorted(pd.read_parquet(tmp_path / "out")["path"]) == [f"{number:02d}.png" for number in range(40)]


def test_what_is_wrong_with_a_night_ends_it_failed_with_a_sentence_that_names_it(
    client: Any, pool: dict[str, UUID], scored: tuple[Path, Any], start_worker: Worker, tmp_path: Path
) -> None:
    models, inbox = scored[0].parents[1] / "models", tmp_path / "inbox"
    inbox.mkdir()
    Image.fromarray(photograph("blue", 0)).save(inbox / "0.png")
    half = models / "half/1"
    shutil.copytree(models / "colours/1", half)
    network = half / "model.onnx"
    network.write_bytes(network.read_bytes()[:-100])
    (tmp_path / "file").write_text("")
    good = {"folder": str(inbox), "model": "colours", "out": str(tmp_path / "out"), "settle_seconds": 0}
    wrong = {
        "no such model": ({"model": "colors"}, "colors"),
        "half copied": ({"model": "half"}, str(network)),
        "no such inbox": ({"folder": str(tmp_path / "gone")}, str(tmp_path / "gone")),
        "not a folder": ({"out": str(tmp_path / "file/out")}, str(tmp_path / "file")),
    }
    asked = {
        name: client.create_flow_run_from_deployment(pool["score-inbox"], parameters={**good, **given}).id
        for name, (given, _) in wrong.items()
    }
    start_worker()
    for name, run in asked.items():
        found = ended(client, run)
        assert found.state.is_failed(), name
        assert wrong[name][1] in found.state.message, found.state.message
        assert "Traceback" not in found.state.message
    assert not (tmp_path / "out").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_is_read_only_or_full_fails_the_night_and_an_inbox_that_is_not_there_takes_no_row(
    client: Any, pool: dict[str, UUID], start_worker: Worker, disk: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    names = [f"{number:02d}.png" for number in range(20)]
    for number, name in enumerate(names):
        Image.fromarray(photograph("blue", number)).save(inbox / name)
    out = disk / "out"
    given = {"folder": str(inbox), "model": "colours", "out": str(out), "settle_seconds": 0}

    def night() -> Any:
        return ended(client, client.create_flow_run_from_deployment(pool["score-inbox"], parameters=given).id)

    def remount(option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)

    start_worker()
    remount("ro")
    found = night()
    assert found.state.is_failed()
    assert str(disk) in found.state.message
    assert "Read-only file system" in found.state.message
    remount("rw")

    ballast = disk / "ballast"
    with ballast.open("wb") as stream:
        free = os.statvfs(disk)
        os.posix_fallocate(stream.fileno(), 0, free.f_bavail * free.f_frsize)
    found = night()
    assert found.state.is_failed()
    assert "isk full" in found.state.message
    assert str(disk) in found.state.message
    ballast.unlink()

    assert night().state.is_completed()
    assert sorted(pd.read_parquet(out)["path"]) == names
    for name in names:  # the mount is gone, its folder is there
        (inbox / name).unlink()
    assert night().state.is_completed()
    assert sorted(pd.read_parquet(out)["path"]) == names


def test_a_run_goes_on_when_its_server_is_killed_and_when_the_database_is_locked(
    environment: dict[str, str],
    client: Any,
    home: Path,
    pool: dict[str, UUID],
    start_worker: Worker,
    processes: list[subprocess.Popen[bytes]],
    images: Path,
    tmp_path: Path,
) -> None:
    """The last of this file: the server that was killed has left its log unfinished."""
    start_worker()
    run = long_run(client, pool, images, tmp_path / "out")
    alive, dead = watched_runs(client, pool["score"])

    def both_are_waited_for() -> bool:
        for each in (alive, dead):
            give_sign_of_life(client, each)
        return num_waits(home) == 2

    wait_for(both_are_waited_for, 120, NO_LOG)
    server = processes[0]
    os.killpg(server.pid, signal.SIGKILL)
    server.wait(30)
    time.sleep(21)  # both waits are over
    processes[0] = start(server.args, environment, home / "server-again.log", home)  # type: ignore[arg-type]
    wait_for(lambda: is_healthy(environment["PREFECT_API_URL"]), 120, home / "server-again.log")

    def dead_is_found() -> bool:
        give_sign_of_life(client, alive)
        return bool(client.read_flow_run(dead).state.is_crashed())

    wait_for(dead_is_found, 180, home / "server-again.log")
    assert client.read_flow_run(alive).state.is_running()
    assert ended(client, run).state.is_completed()
    assert is_whole(tmp_path / "out")

    second = long_run(client, pool, images, tmp_path / "second")
    with sqlite3.connect(home / "prefect.db", isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        time.sleep(15)
        database.execute("ROLLBACK")
    assert ended(client, second).state.is_completed()
    assert is_whole(tmp_path / "second")
