"""`darkroom server --database postgresql://…` on a real PostgreSQL: what is wrong, several runs at once, a backup."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from tests.bundles import tiny_bundle
from tests.command_line import darkroom
from tests.datasets import photograph
from tests.postgresql import PASSWORD, Cluster, cluster
from tests.processes import documented, is_healthy, start, wait_for

NUM_RUNS, NUM_FILES, ROWS_PER_PART = 3, 60, 5


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Cluster]:
    with cluster() as running:
        running.query("postgres", "CREATE DATABASE darkroom")
        yield running


@pytest.fixture(scope="module")
def environment(postgresql: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An operator's shell, beside a server whose record is in that PostgreSQL; the server's log is in its home."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DARKROOM_"))},
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "DARKROOM_DATABASE_PASSWORD_FILE": str(postgresql.password_file),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = documented("darkroom server --database")
    command[command.index("--database") + 1] = postgresql.url("darkroom")
    server = start([*command, "--port", str(port)], variables, home / "server.log", home)
    try:
        wait_for(lambda: is_healthy(variables["PREFECT_API_URL"]), 300, home / "server.log")
        yield variables
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.parametrize(
    ("database", "password", "said"),
    [
        ("darkroom", "another-Planted-word", ("password authentication failed", "DARKROOM_DATABASE_PASSWORD")),
        ("elsewhere", PASSWORD, ('database "elsewhere" does not exist', "createdb")),
    ],
    ids=["password", "database"],
)
def test_what_is_wrong_with_the_database_is_one_sentence_without_the_password(
    postgresql: Cluster, tmp_path: Path, database: str, password: str, said: tuple[str, ...]
) -> None:
    url = postgresql.url(database)
    variables = {"PREFECT_HOME": str(tmp_path), "DARKROOM_DATABASE_PASSWORD": password}
    done = darkroom("server", "--database", url, folder=tmp_path, **variables)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"The PostgreSQL database {database} at 127.0.0.1:{postgresql.port} cannot be used" in done.stderr
    assert all(words in done.stderr for words in said), done.stderr
    assert password not in done.stderr


@pytest.mark.timeout(900)
def test_runs_at_once_on_postgresql_lose_no_task_run_and_a_backup_holds_them_all(
    postgresql: Cluster, environment: dict[str, str], tmp_path: Path
) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", ["amber", "blue", "green"], (32, 32))
    images = tmp_path / "images"
    images.mkdir()
    for number in range(NUM_FILES):
        Image.fromarray(photograph("blue", number)).save(images / f"{number:02d}.png")
    command = ["darkroom", "score", str(images), "--model", str(bundle), "--rows-per-part", str(ROWS_PER_PART), "--out"]
    runs = [
        start([*command, str(tmp_path / f"out-{number}")], environment, tmp_path / f"{number}.log", tmp_path)
        for number in range(NUM_RUNS)
    ]
    for number, run in enumerate(runs):
        assert run.wait(400) == 0, (tmp_path / f"{number}.log").read_text()
        assert len(pd.read_parquet(tmp_path / f"out-{number}")) == NUM_FILES

    ended = "SELECT state_type, count(*) FROM {} GROUP BY 1"
    assert postgresql.query("darkroom", ended.format("flow_run")) == f"COMPLETED|{NUM_RUNS}"
    parts = "SELECT count(*) FROM task_run WHERE state_type = 'COMPLETED' AND name LIKE 'score%' GROUP BY flow_run_id"
    counts = Counter(postgresql.query("darkroom", parts).split())
    assert counts == {str(NUM_FILES // ROWS_PER_PART): NUM_RUNS}
    assert {line.partition("|")[0] for line in postgresql.query("darkroom", ended.format("task_run")).split()} == {
        "COMPLETED"
    }

    home = Path(environment["PREFECT_HOME"])
    logs = [home / "server.log", *tmp_path.glob("*.log"), postgresql.password_file.with_name("log")]
    assert [log for log in logs if PASSWORD in log.read_text()] == []
    assert PASSWORD not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout

    def counted(database: str) -> dict[str, Any]:
        tables = ("flow", "flow_run", "task_run", "artifact", "automation")
        return {name: postgresql.query(database, f"SELECT count(*) FROM {name}") for name in tables}

    for words in ("pg_dump", "createdb --owner darkroom restored", "pg_restore"):
        line = " ".join(documented(words, "operations.md"))
        postgresql.shell(
            line.replace("$DATABASE", postgresql.url("darkroom")).replace("$RESTORED", postgresql.url("restored")),
            PGHOST="127.0.0.1",
            PGPORT=str(postgresql.port),
            PGUSER="darkroom",
            HOME=str(tmp_path),
        )
    assert counted("restored") == counted("darkroom")
