"""Prefect's API for one command: whom it is started for, and when it ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prefect.settings import PREFECT_API_URL, temporary_settings

from darkroom.data.errors import WorkError
from darkroom.flows import server
from darkroom.flows.server_absence import Attendance
from tests.bundles import tiny_bundle

ROOT = Path(__file__).parents[2]
A_COMMAND = """
import os, sys, time
from darkroom.flows.settings import prepare_environment
prepare_environment("CRITICAL")
from darkroom.flows.server import start_server
start_server().wait()
from prefect.settings import get_current_settings
print(get_current_settings().api.url, flush=True)
time.sleep(100)
"""


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_where_a_server_is_set_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert server.start_server() is None


def test_it_outlives_an_interrupt_of_the_terminal_and_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    environment.pop("PREFECT_API_URL", None)
    command = subprocess.Popen(
        [sys.executable, "-c", A_COMMAND],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert command.stdout is not None
        port = int(command.stdout.readline().rpartition(":")[2].removesuffix("/api\n"))
        children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
        assert len(children) == 1
        assert os.getpgid(int(children[0])) != os.getpgid(command.pid)  # Ctrl-C goes to all of a group
        assert answers(port)
    finally:
        os.killpg(command.pid, signal.SIGKILL)
        command.wait()
    deadline = time.monotonic() + 60
    while answers(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not answers(port)


def test_a_home_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PREFECT_HOME": str(home), "PYTHONWARNINGS": "ignore"}
    environment.pop("PREFECT_API_URL", None)
    tiny_bundle(tmp_path / "bundle", ["amber", "blue"], (32, 32))
    (tmp_path / "images").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "a.png")
    command = [sys.executable, "-m", "darkroom.flows.cli", "score", "images", "--model", "bundle"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Not a directory" in done.stderr
    assert "InputError" not in done.stderr
    assert f"Its record is in {home}: set PREFECT_HOME to a folder that can be written to." in done.stderr


@pytest.mark.parametrize(
    ("code", "cause", "remedy"),
    [
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL", "memory runs out"),
        ("raise ImportError('no uvicorn')", "no uvicorn", "darkroom doctor"),
        ("raise OSError(28, 'No space left on device')", "No space left", "Free space"),
        ("raise PermissionError(13, 'Permission denied', '/x')", "Permission denied", "set PREFECT_HOME"),
    ],
    ids=["killed", "broken", "disk-full", "refused"],
)
def test_why_a_server_ended_is_said_with_what_to_do(code: str, cause: str, remedy: str, tmp_path: Path) -> None:
    with (tmp_path / "said").open("w+b") as said:
        process = subprocess.Popen([sys.executable, "-c", code], stderr=said)
        ours = server.OwnServer(process, 9, said, 1.0, tmp_path / "home")
        process.wait()
        with pytest.raises(WorkError) as caught:
            ours.wait()
        text = str(caught.value)
        assert cause in text
        assert remedy in text
        assert "PREFECT_API_URL names" not in text
        with pytest.raises(WorkError, match=cause), server.reachable(ours):
            raise RuntimeError("Failed to reach API at http://127.0.0.1:9/api")


A_COMMAND_THAT_LOSES_ITS_SERVER = """
import subprocess, sys, tempfile, time
from pathlib import Path
from darkroom.flows.server import OwnServer
process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
with OwnServer(process, 9, tempfile.TemporaryFile(), 1.0, Path("home")).watched():
    process.kill()
    time.sleep(100)
"""


def test_a_command_that_loses_its_server_ends_in_seconds_and_says_why(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", A_COMMAND_THAT_LOSES_ITS_SERVER]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 1
    assert "SIGKILL" in done.stderr
    assert "Start the same command again" in done.stderr


def test_a_server_that_the_user_has_set_is_named_where_it_cannot_be_reached() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}),
        pytest.raises(WorkError, match=r"http://127\.0\.0\.1:1/api.*unset PREFECT_API_URL"),
        server.reachable(None),
    ):
        raise RuntimeError("Failed to reach API at http://127.0.0.1:1/api")


def test_another_failure_is_not_laid_to_the_server() -> None:
    with pytest.raises(ZeroDivisionError), server.reachable(None):
        raise ZeroDivisionError


TWO_WRITERS = """
import asyncio
from uuid import uuid4
from prefect.server.database import provide_database_interface
from prefect.server.schemas.core import Flow
from prefect.server import models
if {ours}:
    from darkroom.flows.server import use_write_transactions
    use_write_transactions()
db = provide_database_interface()

async def write(name):
    async with db.session_context(begin_transaction=True) as session:
        await models.flows.create_flow(session=session, flow=Flow(name=name))

async def read_then_write():
    async with db.session_context(begin_transaction=True) as session:
        await models.flows.read_flow(session=session, flow_id=uuid4())
        other = asyncio.create_task(write("other"))
        await asyncio.sleep(1)
        await models.flows.create_flow(session=session, flow=Flow(name="ours"))
    await other

async def main():
    await read_then_write()
    async with db.session_context() as session:
        print(sorted(flow.name for flow in await models.flows.read_flows(session=session)))

asyncio.run(main())
"""


@pytest.mark.parametrize("ours", [False, True], ids=["prefect's", "ours"])
def test_a_transaction_that_reads_before_it_writes_waits_for_other_writers(
    empty_record: Path, tmp_path: Path, ours: bool
) -> None:
    """With Prefect's own transactions it does not, so there are others: where it does one day, remove them."""
    (tmp_path / "home").mkdir()
    shutil.copy(empty_record, tmp_path / "home")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "home")}
    script = TWO_WRITERS.format(ours=ours)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    if ours:
        assert done.stdout == "['other', 'ours']\n", done.stderr
    else:
        assert "database is locked" in done.stderr


def test_a_server_was_away_where_it_has_not_looked_for_long_and_where_the_clock_was_set() -> None:
    """What it then does is seen on a real one in test_deployment_survival.py."""
    attendance = Attendance(away_seconds=60)
    assert attendance.was_away(1000)  # it has just started
    attendance.last_look = 1000
    assert [attendance.was_away(now) for now in (1000, 1005, 1060)] == [False] * 3
    assert [attendance.was_away(now) for now in (1061, 9999, 999)] == [True] * 3
