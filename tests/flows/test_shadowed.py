"""Commands started in a folder that holds modules of every name that could be mistaken for ours, or for a library's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.bundles import tiny_bundle
from tests.datasets import COLOURS, ingest, write_images

DARKROOM = Path(sys.executable).with_name("darkroom")
MODULES = ("data", "tasks", "numpy", "darkroom", "prefect", "keras", "site", "json", "uvicorn")
PACKAGES = ("flows", "models")

pytestmark = pytest.mark.skipif(not DARKROOM.is_file(), reason="the command is not installed beside this Python")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder; nothing is written into it."""
    folder = tmp_path / "somebodys"
    folder.mkdir()
    for name in MODULES:
        (folder / f"{name}.py").write_text('raise RuntimeError("shadowed")')
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text('raise RuntimeError("shadowed")')
    before = sorted(folder.rglob("*"))
    yield folder
    assert sorted(folder.rglob("*")) == before


def darkroom(
    *arguments: str | Path, folder: Path, home: Path, api: str | None = None
) -> subprocess.CompletedProcess[str]:
    """The command, started in `folder`; with a server of its own, unless `api` names one."""
    environment = {**os.environ, "PREFECT_HOME": str(home), "DARKROOM_WORKSPACE": str(home.parent / "workspace")}
    environment |= {"PREFECT_API_URL": api} if api else {}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(DARKROOM), *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "shadowed" not in done.stdout + done.stderr
    return done


def test_a_command_starts_its_server_and_says_what_is_wrong_with_its_arguments(
    folder: Path, empty_record: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    shutil.copy(empty_record, tmp_path / "home")
    tiny_bundle(tmp_path / "workspace/models/tiny/1", sorted(COLOURS), (32, 32))
    done = darkroom("promote", "tiny@1", "--unevaluated", folder=folder, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert "tiny@1" in done.stdout
    done = darkroom("promote", "nothing@1", folder=folder, home=tmp_path / "home")
    assert done.returncode == 2, done.stderr
    assert "nothing" in done.stderr


def test_the_workers_of_a_training_start(prefect_server: str, folder: Path, tmp_path: Path) -> None:
    dataset = ingest(write_images(tmp_path / "images"), tmp_path / "workspace")
    words = ("--architecture", "starter", "--weights", "none", "--epochs", "1", "--batch-size", "12", "--workers", "2")
    done = darkroom("train", dataset.folder, *words, folder=folder, home=tmp_path / "home", api=prefect_server)
    assert done.returncode == 0, done.stderr
    assert "2 workers, 2 on this machine" in done.stderr


@pytest.mark.parametrize("runner", ["processes", "dask"])
def test_what_scores_the_parts_of_a_folder_starts(
    prefect_server: str, folder: Path, tmp_path: Path, runner: str
) -> None:
    images = write_images(tmp_path / "images") / "test"
    bundle = tiny_bundle(tmp_path / "models" / "tiny" / "1", sorted(COLOURS), (32, 32))
    words: list[str | Path] = [images, "--model", bundle, "--out", tmp_path / "scored"]
    words += ["--rows-per-part", "5", "--runner", runner]
    home = tmp_path / "home"
    if runner == "dask":
        pytest.importorskip("prefect_dask")
        with dask_cluster(tmp_path) as address:
            done = darkroom("score", *words, "--address", address, folder=folder, home=home, api=prefect_server)
    else:
        done = darkroom("score", *words, folder=folder, home=home, api=prefect_server)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "scored").glob("part-*.parquet"))) > 1


@contextmanager
def dask_cluster(place: Path) -> Iterator[str]:
    """A scheduler and a worker, started elsewhere, as an operator does; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    with ExitStack() as stack:
        for words in (
            ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
            ["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"],
        ):
            command = [str(DARKROOM.with_name("dask")), *words]
            environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
            with (place / f"{words[0]}.log").open("wb") as log:
                process = subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield address
