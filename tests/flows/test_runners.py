"""Threads, processes and a Dask cluster give the same bytes, whatever happens to those that work.

The cluster is a real scheduler and worker processes of their own, as an operator would start them. Ray is tested where
it is installed. Flows and tasks travel to the workers with all that they refer to: those of the tests refer to little.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from darkroom.data.errors import SettingError, WorkError
from darkroom.data.files.lease import Lease, working_under
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.shards.shards import ShardRules
from darkroom.data.stores.table_paths import TablePaths
from darkroom.flows import runners
from darkroom.flows.doctor import examine
from darkroom.flows.ingest import ingest
from darkroom.flows.results import ScoreResult
from darkroom.flows.runners import Runner, choose_runner, open_workers
from darkroom.flows.score import score
from darkroom.models.bundle.bundle import open_bundle
from darkroom.tasks.score import score_part, share_network
from darkroom.tasks.window import submit_all
from tests.bundles import tiny_bundle
from tests.scoring import plan

ROOT = Path(__file__).parents[2]
LABELS = ["amber", "blue"]
NUM_PARTS = 6
SETTINGS = IngestSettings(
    name="photos", policy=DecodePolicy(image_size=(24, 24)), shards=ShardRules(rows_per_shard=10), leaks="keep"
)


@dataclass
class Cluster:
    """A Dask scheduler, and worker processes with one thread each."""

    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *words: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        environment |= {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PREFECT_HOME": str(self.folder / "prefect")}
        environment |= {"PREFECT_LOGGING_EXTRA_LOGGERS": "darkroom", "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-m", "dask", *words, "--host", "127.0.0.1", "--no-dashboard"]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def start_worker(self, name: str) -> None:
        """Without a nanny, which would start a killed one again."""
        scheduler = str(self.folder / "scheduler.json")
        self.start(name, "worker", "--scheduler-file", scheduler, "--nthreads", "1", "--no-nanny", "--name", name)

    def signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    @property
    def address(self) -> str:
        return str(json.loads((self.folder / "scheduler.json").read_text())["address"])

    def at_work(self, client: Any) -> set[str]:
        """The names of the workers that have a part."""
        names = {address: worker["name"] for address, worker in client.scheduler_info()["workers"].items()}
        return {names[address] for address, keys in client.processing().items() if keys and address in names}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("dask"))
    try:
        scheduler_file = started.folder / "scheduler.json"
        started.start("scheduler", "scheduler", "--port", "0", "--scheduler-file", str(scheduler_file))
        wait_for(scheduler_file.is_file)
        for name in ("first", "second"):
            started.start_worker(name)
        yield started
    finally:
        started.end()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 images that take a while to decode, and a file that is none."""
    folder = tmp_path_factory.mktemp("source") / "photos"
    random = np.random.default_rng(0)
    for number in range(30):
        path = folder / LABELS[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = random.integers(0, 256, (500, 500, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, compress_level=1)
    (folder / "blue/broken.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny/1", LABELS, (24, 24))


@pytest.fixture(scope="module")
def table(prefect_server: str, photos: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What threads make of them."""
    out = tmp_path_factory.mktemp("threads") / "table"
    assert scored(photos, bundle, out, runner="threads").num_parts == NUM_PARTS
    return out


def scored(photos: Path, bundle: Path, out: Path, **runner: Any) -> ScoreResult:
    result = score(str(photos), str(bundle), str(out), rows_per_part=6, workspace=str(out.parent), **runner)
    assert isinstance(result, ScoreResult)
    return result


def parts_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*.parquet"))}


def left_over(folder: Path) -> list[Path]:
    """Temporary files, leases among them."""
    return [path for path in folder.rglob("*") if ".tmp-" in path.name]


def wait_for(happened: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_processes_give_the_table_of_threads(photos: Path, bundle: Path, table: Path, tmp_path: Path) -> None:
    assert scored(photos, bundle, tmp_path / "table", runner="processes").rows_reused == 0
    assert parts_of(tmp_path / "table") == parts_of(table)
    assert left_over(tmp_path) == []


def test_a_dask_cluster_gives_the_data_set_of_threads(
    prefect_server: str, cluster: Cluster, photos: Path, tmp_path: Path
) -> None:
    ours = ingest(str(photos), SETTINGS, max_judged=0, workspace=str(tmp_path / "threads"), runner="threads")
    theirs = ingest(
        str(photos), SETTINGS, max_judged=0, workspace=str(tmp_path / "dask"), runner="dask", address=cluster.address
    )
    assert theirs.dataset == ours.dataset
    files = [path.relative_to(ours.folder) for path in sorted(Path(ours.folder).glob("shards/*"))]
    assert len(files) >= 4
    for file in [*files, Path("manifest.parquet"), Path("dataset.json")]:
        assert Path(theirs.folder, file).read_bytes() == Path(ours.folder, file).read_bytes(), file
    assert left_over(tmp_path / "dask") == []


def test_a_worker_is_killed_in_mid_part_and_one_joins_late_and_every_part_is_done_once(
    cluster: Cluster, photos: Path, bundle: Path, table: Path, tmp_path: Path
) -> None:
    """Both workers are halted as soon as they have a part, so that the late one has to take parts to be waited for."""
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as client, ThreadPoolExecutor(1) as beside:
        wait_for(lambda: len(client.scheduler_info()["workers"]) == 2)
        run = beside.submit(scored, photos, bundle, tmp_path / "table", runner="dask", address=cluster.address)
        wait_for(lambda: cluster.at_work(client) == {"first", "second"} or run.done())
        for name in ("first", "second"):
            cluster.signal(name, signal.SIGSTOP)
        assert cluster.at_work(client) == {"first", "second"}
        begun = len(parts_of(tmp_path / "table"))
        cluster.signal("second", signal.SIGKILL)
        wait_for(lambda: cluster.at_work(client) == {"first"})
        cluster.start_worker("late")
        wait_for(lambda: "late" in cluster.at_work(client))
        wait_for(lambda: len(parts_of(tmp_path / "table")) > begun)
        cluster.signal("first", signal.SIGCONT)
        result = run.result()
    assert (result.num_files, result.rows_reused) == (31, 0)
    assert parts_of(tmp_path / "table") == parts_of(table)
    assert left_over(tmp_path) == []
    assert task_runs("score part") == {
        f"score part {index + 1} of {NUM_PARTS}": "COMPLETED" for index in range(NUM_PARTS)
    }


def task_runs(prefix: str) -> dict[str, str]:
    """State by name of the task runs of the newest run of `score`; two of a name are an error."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        wanted = FlowFilter(name=FlowFilterName(any_=["score"]))
        (run,) = client.read_flow_runs(flow_filter=wanted, sort=FlowRunSort.START_TIME_DESC, limit=1)
        found: dict[str, str] = {}

        def all_ended() -> bool:  # workers report in batches
            runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
            parts = [each for each in runs if each.name.startswith(prefix)]
            found.update({each.name: str(each.state_type.value) for each in parts if each.state_type})
            assert len(found) == len(parts)
            return len(found) == NUM_PARTS and set(found.values()) == {"COMPLETED"}

        wait_for(all_ended, 30)
    return found


def test_two_workers_that_do_the_same_part_at_once_leave_it_as_one_does(
    cluster: Cluster, photos: Path, bundle: Path, table: Path, tmp_path: Path
) -> None:
    """Dask gives a part to another worker when it believes the first one dead, which may still be at work."""
    out = tmp_path / "table"
    shutil.copytree(table, out)
    plan(photos, open_bundle(bundle), out, rows_per_part=6)
    (out / "part-00000.parquet").unlink()

    address = cluster.address

    @flow
    def four_times() -> list[Any]:
        with open_workers(choose_runner("dask", address), TablePaths(out).work) as workers:
            network = share_network(bundle, "fp32")
            futures = [workers.submit(score_part, (out, 0, 1, network)) for _ in range(4)]
            return [future.result() for future in futures]

    assert [(done.index, done.num_rows) for done in four_times()] == [(0, 6)] * 4
    assert parts_of(out) == parts_of(table)
    assert left_over(tmp_path) == []


def test_a_part_that_fails_on_a_cluster_fails_the_run_with_its_sentence_and_stops_the_others(
    prefect_server: str, cluster: Cluster, tmp_path: Path
) -> None:
    """The others would go on for minutes: they end with the lease, and before the block that holds the lock does."""

    address = cluster.address

    @task(cache_policy=NO_CACHE)
    def work(number: int, lease: Lease | None = None) -> None:
        from darkroom.data.errors import CountError
        from darkroom.data.parallel import ordered_map

        with working_under(lease):
            if number == 1:
                while not (tmp_path / "begun").is_file():
                    time.sleep(0.01)
                raise CountError("Part 1 is short.")
            (tmp_path / "begun").touch()
            try:
                for _ in ordered_map(lambda _: time.sleep(0.1), range(3000), 1, 2):
                    pass
            finally:
                (tmp_path / "ended").touch()

    @flow
    def parts() -> None:
        with open_workers(choose_runner("dask", address), tmp_path) as workers:
            list(submit_all(workers, work, ((number,) for number in (1, 0)), 2, "test"))

    with pytest.raises(Exception, match=r"^Part 1 is short\.$") as caught:
        parts()
    assert type(caught.value).__name__ == "CountError"
    assert (tmp_path / "ended").exists()
    assert left_over(tmp_path) == []


def test_a_worker_process_that_is_killed_ends_the_run_with_a_sentence(prefect_server: str, tmp_path: Path) -> None:
    @task(cache_policy=NO_CACHE)
    def work(number: int, lease: Lease | None = None) -> int:
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    @flow
    def parts() -> None:
        with open_workers(Runner("processes", None, 1), tmp_path) as workers:
            list(submit_all(workers, work, ((number,) for number in range(9)), 9, "test"))

    with pytest.raises(WorkError, match=r"^A worker process died .*set DARKROOM_MAX_WORKERS lower than 1"):
        parts()
    assert left_over(tmp_path) == []


ORPHANS = """
import sys, time
from pathlib import Path
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from darkroom.flows.runners import Runner, open_workers

@task(cache_policy=NO_CACHE)
def work(file, lease=None):
    import os, time
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)

@flow
def parts():
    with open_workers(Runner("processes", None, 1), Path(sys.argv[1])) as workers:
        workers.submit(work, (sys.argv[1] + "/pid",)).result()

if __name__ == "__main__":
    parts()
"""


def test_worker_processes_end_with_a_run_that_is_killed(prefect_server: str, tmp_path: Path) -> None:
    (tmp_path / "orphans.py").write_text(ORPHANS)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PREFECT_API_URL": prefect_server}
    command = [sys.executable, str(tmp_path / "orphans.py"), str(tmp_path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text() != "")
        worker = int((tmp_path / "pid").read_text())
        os.kill(worker, 0)
        process.kill()
    wait_for(lambda: not is_alive(worker), 10)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
    except OSError:
        return False


@pytest.mark.parametrize(
    ("kind", "address", "said"),
    [
        ("best", None, "--runner takes threads, processes, dask or ray, not 'best'."),
        ("threads", "tcp://127.0.0.1:9", "--address is that of a Dask or Ray cluster, and the runner is threads."),
        ("dask", None, "The runner dask needs the address of a cluster: give --address, such as tcp://host:8786"),
        ("dask", "somewhere", "--address: 'somewhere' is not the address of a cluster. Write it as tcp://host:8786."),
        ("dask", "tcp://host:port", "--address: 'tcp://host:port' is not the address of a cluster."),
        ("dask", "tcp://127.0.0.1:9", "No dask cluster answers at tcp://127.0.0.1:9 (Connection refused). Start it"),
    ],
)
def test_a_runner_that_cannot_work_is_refused_in_one_sentence(kind: str, address: str | None, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        choose_runner(kind, address)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_an_extra_that_is_not_installed_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "find_spec", lambda name: None)
    for kind in ("dask", "ray"):
        with pytest.raises(SettingError, match=rf"not installed: python -m pip install 'darkroom-flows\[{kind}\]'$"):
            choose_runner(kind, "tcp://127.0.0.1:9")


def test_somebody_who_answers_and_is_no_dask_scheduler_is_told_within_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "_TIMEOUT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        runner, begun = choose_runner("dask", address), time.monotonic()
        with (
            pytest.raises(SettingError, match=rf"^{address} is no dask cluster .*: it does not answer as one\."),
            open_workers(runner, tmp_path),
        ):
            pytest.fail("opened")
    assert time.monotonic() - begun < 10
    assert list(tmp_path.iterdir()) == []


def test_the_environment_chooses_where_the_parameters_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_runner(None, None) == Runner("threads", None, 2)
    monkeypatch.setenv("DARKROOM_RUNNER", "processes")
    monkeypatch.setenv("DARKROOM_RUNNER_ADDRESS", "tcp://127.0.0.1:9")
    monkeypatch.setenv("DARKROOM_MAX_WORKERS", "7")
    assert choose_runner(None, None) == Runner("processes", None, 7)
    assert choose_runner("threads", None) == Runner("threads", None, 7)
    with pytest.raises(SettingError, match=r"^No dask cluster answers at tcp://127\.0\.0\.1:9 "):
        choose_runner("dask", None)


def test_the_doctor_names_the_runner_and_says_whether_it_is_there(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from darkroom.data.stores.workspace import Workspace
    from darkroom.flows import doctor

    for check in ("_gpu", "_weights", "_kaggle"):  # which take seconds
        monkeypatch.setattr(doctor, check, lambda: doctor.Finding(subject="other", status="ok", found=""))

    def found() -> tuple[str, str]:
        (finding,) = [each for each in examine(Workspace(tmp_path)).findings if each.subject == "runner"]
        return finding.status, finding.found

    assert found() == ("ok", "2 threads execute parts, each with all of the processors")
    monkeypatch.setenv("DARKROOM_RUNNER", "dask")
    monkeypatch.setenv("DARKROOM_RUNNER_ADDRESS", cluster.address)
    assert found() == ("ok", f"dask at {cluster.address}, 2 parts at once")
    monkeypatch.setenv("DARKROOM_RUNNER_ADDRESS", "tcp://127.0.0.1:9")
    status, said = found()
    assert status == "missing"
    assert said.startswith("No dask cluster answers at tcp://127.0.0.1:9 ")


@pytest.fixture
def ray_address(tmp_path: Path) -> Iterator[str]:
    """A Ray cluster of two processors, which ends with the process that holds it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
    command += [
        f"--port={port}",
        "--node-ip-address=127.0.0.1",
        "--include-dashboard=false",
        "--disable-usage-stats",
        f"--temp-dir=/tmp/ray-{port}",
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment |= {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PREFECT_HOME": str(tmp_path / "prefect")}
    with (tmp_path / "ray.log").open("wb") as log:
        started = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: "now block" in (tmp_path / "ray.log").read_text() or started.poll() is not None)
        assert started.poll() is None, (tmp_path / "ray.log").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        shutil.rmtree(f"/tmp/ray-{port}", ignore_errors=True)


@pytest.mark.skipif(find_spec("ray") is None or find_spec("prefect_ray") is None, reason="ray is not installed")
def test_a_ray_cluster_gives_the_table_of_threads(
    photos: Path, bundle: Path, table: Path, ray_address: str, tmp_path: Path
) -> None:
    result = scored(photos, bundle, tmp_path / "table", runner="ray", address=ray_address)
    assert result.rows_reused == 0
    assert parts_of(tmp_path / "table") == parts_of(table)
    assert left_over(tmp_path / "table") == []
