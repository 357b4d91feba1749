"""Processes beside a benchmark: a Prefect server with a record of its own, and what processes use of the machine."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

ROOT = Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class PrefectServer:
    """A running `prefect server start`."""

    port: int
    home: Path
    pid: int

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that uses it."""
        return environment(self.home) | {"PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api"}

    def rows(self) -> dict[str, int]:
        """Rows of each of its tables that has any."""
        with closing(sqlite3.connect(f"file:{self.home / 'prefect.db'}?mode=ro", uri=True, timeout=60)) as database:
            names = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
            counts = {name: database.execute(f'select count(*) from "{name}"').fetchone()[0] for name in names}
        return {name: count for name, count in sorted(counts.items()) if count}

    def recorded(self) -> int:
        """Task runs in its record that are completed."""
        with closing(sqlite3.connect(f"file:{self.home / 'prefect.db'}?mode=ro", uri=True, timeout=60)) as database:
            return int(database.execute("select count(*) from task_run where state_type = 'COMPLETED'").fetchone()[0])

    def database_bytes(self) -> int:
        """Size of its database, with what is not yet written back to it."""
        return sum(path.stat().st_size for path in self.home.glob("prefect.db*"))


def environment(home: Path) -> dict[str, str]:
    """The variables of a process with a Prefect home of its own, and nothing of the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DARKROOM_"))}
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "WARNING"}
    return kept | quiet | {"PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT / "src")}


@contextmanager
def prefect_server(home: Path) -> Iterator[PrefectServer]:
    """`prefect server start` on a free port of this machine, as a user would start it, and stopped at the end."""
    home.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--no-ui"]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*start, "--port", str(port)], env=environment(home), stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(process, port)
        yield PrefectServer(port, home, process.pid)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    while process.poll() is None:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/api/health")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            time.sleep(0.2)
    raise RuntimeError(f"prefect server start ended with status {process.returncode}")


def tree(pid: int) -> list[int]:
    """A process and all that came from it, as long as they live."""
    found, waiting = [], [pid]
    while waiting:
        each = waiting.pop()
        found.append(each)
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                waiting += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def rss_bytes(pid: int) -> int:
    """Memory that a process and all that came from it hold now; what they share is counted for each."""
    total = 0
    for each in tree(pid):
        try:
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
    return total


def cpu_seconds(pid: int) -> float:
    """Processor seconds of a process, of its living children, and of those that it has waited for."""
    total = 0.0
    for each in tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(ticks) for ticks in fields[11:15]) / _TICKS
    return total
