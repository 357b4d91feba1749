"""docs/operations.md: its steps of backing up and restoring, run as they stand."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from darkroom.models.bundle.bundle import open_bundle
from tests.bundles import tiny_bundle
from tests.processes import documented


def run(first_words: str, folder: Path, **variables: Path) -> None:
    """Run a line of the page in a folder, with its variables set."""
    words = documented(first_words, "operations.md")
    for name, value in variables.items():
        words = [word.replace(f"${name}", str(value)) for word in words]
    subprocess.run(words, cwd=folder, check=True)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_workspace_is_restored_as_it_was(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    bundle = tiny_bundle(workspace / "models/colours/1", ["amber", "blue"], (32, 32))
    (workspace / "scores/night").mkdir(parents=True)
    (workspace / "scores/night/part-00000.parquet").write_bytes(b"rows")
    before = files_of(workspace)
    run("tar --create", tmp_path, DARKROOM_WORKSPACE=workspace)
    shutil.rmtree(workspace)
    workspace.mkdir()
    run("tar --extract", tmp_path, DARKROOM_WORKSPACE=workspace)
    assert files_of(workspace) == before
    assert list(open_bundle(bundle).card.labels) == ["amber", "blue"]


def test_the_servers_sqlite_is_backed_up_while_somebody_writes_and_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "prefect"
    home.mkdir()
    with closing(sqlite3.connect(home / "prefect.db")) as server:
        server.execute("PRAGMA journal_mode = WAL")
        server.execute("CREATE TABLE flow_run (id INTEGER)")
        server.executemany("INSERT INTO flow_run VALUES (?)", [(number,) for number in range(100)])
        server.commit()
        server.execute("INSERT INTO flow_run VALUES (100)")  # not committed yet: not in the backup
        program, database, statement = documented("sqlite3", "operations.md")
        assert (program, database) == ("sqlite3", "$PREFECT_HOME/prefect.db")
        with closing(sqlite3.connect(home / "prefect.db")) as other:
            monkeypatch.chdir(tmp_path)
            other.execute(statement)
    for name in ("prefect.db", "prefect.db-wal", "prefect.db-shm"):
        (home / name).unlink(missing_ok=True)
    run("cp prefect-backup.db", tmp_path, PREFECT_HOME=home)
    with closing(sqlite3.connect(home / "prefect.db")) as restored:
        assert restored.execute("SELECT count(*) FROM flow_run").fetchone() == (100,)
        assert restored.execute("PRAGMA integrity_check").fetchone() == ("ok",)
