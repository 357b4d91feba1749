"""A PostgreSQL of Debian's packages that belongs to the tests: its cluster, its password and its programs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PASSWORD = "pg-Planted-4711"


@dataclass(frozen=True)
class Cluster:
    """One that runs.

    Attributes:
        programs: The folder of `psql`, `pg_dump` and so on.
        port: On 127.0.0.1.
        password_file: Holds the password of the user `darkroom`, who owns the cluster.
    """

    programs: Path
    port: int
    password_file: Path

    def url(self, database: str) -> str:
        """As given to `darkroom server --database`."""
        return f"postgresql://darkroom@127.0.0.1:{self.port}/{database}"

    def query(self, database: str, text: str) -> str:
        """What `psql` prints for a query, without any decoration."""
        return self.run("psql", "--no-psqlrc", "-qAt", "-c", text, self.url(database)).strip()

    def run(self, program: str, *arguments: str) -> str:
        """Run a program of PostgreSQL, which knows the password."""
        return self.shell(subprocess.list2cmdline([program, *arguments]))

    def shell(self, line: str, **variables: str) -> str:
        """Run a line of a shell in which PostgreSQL's programs are found and know the password."""
        environment = {**os.environ, "PGPASSWORD": PASSWORD, "PATH": f"{self.programs}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-ec", line], env={**environment, **variables}, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster without durability, ended afterwards; where no PostgreSQL is installed, the test is skipped."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not installed:
        pytest.skip("no PostgreSQL is installed here (Debian: apt-get install postgresql)")
    programs = installed[-1].parent
    place = Path(tempfile.mkdtemp(prefix="darkroom-postgresql-", dir="/tmp"))
    password_file, data = place / "password", place / "data"
    password_file.write_text(f"{PASSWORD}\n")
    as_owner: list[str] = []
    if os.geteuid() == 0:  # as whom it refuses to run
        as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        for path in (place, password_file):
            shutil.chown(path, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def owner(*command: str | Path) -> None:
        done = subprocess.run([*as_owner, *map(str, command)], cwd=place, capture_output=True, text=True, timeout=300)
        log = place / "log"
        assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.is_file() else "")

    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place} -c fsync=off"
    try:
        owner(
            *(programs / "initdb", "-D", data, "--username=darkroom", "--auth=scram-sha-256", "--no-sync"),
            *("--encoding=UTF8", "--locale=C.UTF-8", f"--pwfile={password_file}"),
        )
        owner(programs / "pg_ctl", "start", "-D", data, "-w", "-t", "120", "-l", place / "log", "-o", options)
        try:
            yield Cluster(programs, port, password_file)
        finally:
            owner(programs / "pg_ctl", "stop", "-D", data, "-m", "immediate")
    finally:
        shutil.rmtree(place, ignore_errors=True)
