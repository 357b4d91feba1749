"""How the parts of a flow are executed: by threads or processes of this machine, or an existing Dask or Ray cluster.

A flow's parameters `runner` and `address` say it, or DARKROOM_RUNNER and DARKROOM_RUNNER_ADDRESS where they are not
given. Whoever works writes the same bytes. Tasks get paths, never pixels, so a cluster needs a file system that its
machines share, and this environment on its scheduler and all its workers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import parent_process
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args
from urllib.parse import urlsplit

from darkroom.data.errors import SettingError, WorkError
from darkroom.data.figures import listed
from darkroom.data.files.lease import grant
from darkroom.data.parallel import num_cpus
from darkroom.flows.settings import RunnerKind, Settings
from darkroom.tasks.decorators import is_plain, log_to_prefect
from darkroom.tasks.window import PlainWorkers, Workers

_NUM_THREADS = 2  # a part keeps all processors busy, and a second one while the first is read or written
_TIMEOUT_SECONDS = 10
_PACKAGE = {"dask": "prefect_dask", "ray": "prefect_ray"}
_EXAMPLE = {"dask": "tcp://host:8786", "ray": "ray://host:10001"}
_START = {
    "dask": "Start it with 'dask scheduler' and, on each machine, 'dask worker ADDRESS --nworkers auto --nthreads 1'",
    "ray": "Start it with 'ray start --head' and, on each other machine, 'ray start --address HOST:6379'",
}


@dataclass(frozen=True)
class Runner:
    """How the parts of a flow are executed.

    Attributes:
        kind: `threads`, `processes`, `dask` or `ray`.
        address: Of the cluster; None on this machine.
        max_workers: Threads or processes at once, on this machine.
    """

    kind: RunnerKind
    address: str | None
    max_workers: int


def choose_runner(kind: str | None, address: str | None) -> Runner:
    """The runner as given, or as the environment says.

    Args:
        kind: `threads`, `processes`, `dask` or `ray`; None takes `DARKROOM_RUNNER`.
        address: Of the cluster; None takes `DARKROOM_RUNNER_ADDRESS`.

    Raises:
        SettingError: where an extra is not installed, an address is missing, wrong, or not answering within ten
            seconds, or the runner needs Prefect and the run is a plain one.
    """
    runner = configured_runner(kind, address)
    if is_plain() and runner.kind != "threads":
        raise SettingError(
            f"The runner {runner.kind} needs Prefect. Pass runner='threads', or call the flow of the same name in "
            "darkroom.flows."
        )
    if runner.address:
        _check_installed(runner.kind)
        _check_answers(runner.kind, runner.address)
    return runner


def configured_runner(kind: str | None, address: str | None) -> Runner:
    """The same, without checking what is installed or reachable.

    Args:
        kind: As for `choose_runner`.
        address: As for `choose_runner`.

    Raises:
        SettingError: where the kind is unknown, or an address is missing or out of place.
    """
    settings = Settings()
    if kind is not None and kind not in get_args(RunnerKind):
        raise SettingError(f"--runner takes {listed(get_args(RunnerKind))}, not {kind!r}.")
    chosen: RunnerKind = kind or settings.runner  # type: ignore[assignment]
    if chosen in ("threads", "processes"):
        if address:
            raise SettingError(
                f"--address is that of a Dask or Ray cluster, and the runner is {chosen}. Give --runner."
            )
        return Runner(chosen, None, settings.max_workers or (_NUM_THREADS if chosen == "threads" else num_cpus()))
    place = address or settings.runner_address
    if not place:
        raise SettingError(
            f"The runner {chosen} needs the address of a cluster: give --address, such as {_EXAMPLE[chosen]}, or set "
            f"DARKROOM_RUNNER_ADDRESS. {_START[chosen]}."
        )
    return Runner(chosen, place, settings.max_workers or 1)


def open_workers(runner: Runner, folder: Path) -> AbstractContextManager[Workers | PlainWorkers]:
    """Start or reach the workers of a run; after the block, none of them works for it any more.

    Args:
        runner: How the parts are executed.
        folder: The folder that the run has locked.

    Raises:
        SettingError: where a cluster is of another kind.
        WorkError: where workers died, with the parts that they had begun.
    """
    opened = {"threads": _threads, "processes": _processes, "dask": _dask, "ray": _ray}
    return opened[runner.kind](runner, folder)


def open_threads(max_workers: int) -> AbstractContextManager[Workers | PlainWorkers]:
    """Threads of this process for the parts of a run, wherever those of other runs are.

    Args:
        max_workers: Parts at once.
    """
    return _threads(Runner(kind="threads", address=None, max_workers=max_workers), Path())


@contextmanager
def _threads(runner: Runner, folder: Path) -> Iterator[Workers | PlainWorkers]:
    if is_plain():
        with ThreadPoolExecutor(runner.max_workers, thread_name_prefix="part") as pool:
            yield PlainWorkers(pool, runner.max_workers)
        return
    from prefect.task_runners import ThreadPoolTaskRunner

    threads: Any = ThreadPoolTaskRunner(max_workers=runner.max_workers)
    with threads:
        yield Workers(threads, lambda: runner.max_workers)


@contextmanager
def _processes(runner: Runner, folder: Path) -> Iterator[Workers]:
    from concurrent.futures.process import BrokenProcessPool

    from prefect.task_runners import ProcessPoolTaskRunner

    number = runner.max_workers
    pool = ProcessPoolTaskRunner(max_workers=number, initializer=_begin_process)
    try:
        with grant(folder, max(1, num_cpus() // number)) as lease, pool as processes:
            yield Workers(processes, lambda: number, lease)
    except BrokenProcessPool:
        raise WorkError(
            "A worker process died in the middle of a part, because a decoder crashed or memory ran out. Run the same "
            "command again to resume: it quarantines a file that crashes its decoder. If memory ran out, set "
            f"DARKROOM_MAX_WORKERS lower than {number} first."
        ) from None


def _begin_process() -> None:
    """In a worker process: Ctrl-C is its parent's to answer, who tells it to stop; without a parent it ends."""
    log_to_prefect()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)


@contextmanager
def _dask(runner: Runner, folder: Path) -> Iterator[Workers]:
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from prefect.utilities.asyncutils import run_coro_as_sync
    from prefect_dask import DaskTaskRunner

    cluster = DaskTaskRunner(address=runner.address, client_kwargs={"timeout": _TIMEOUT_SECONDS})
    with grant(folder, 1) as lease, cluster:
        try:
            run_coro_as_sync(_shake_hands(str(runner.address)))
            client = cluster.client
        except (OSError, ValueError) as error:
            raise SettingError(_no_cluster(runner, error)) from None
        with _in_a_sentence(runner, KilledWorker, CancelledError):
            yield Workers(cluster, lambda: sum(client.nthreads().values()), lease)


async def _shake_hands(address: str) -> None:
    """Dask's own client would wait forever for a greeting from what is not a scheduler."""
    from distributed.comm import connect
    from distributed.security import Security

    connection = connect(address, **Security().get_connection_args("client"))
    opened = await asyncio.wait_for(connection, _TIMEOUT_SECONDS)
    await opened.close()


@contextmanager
def _ray(runner: Runner, folder: Path) -> Iterator[Workers]:
    import ray
    from prefect_ray import RayTaskRunner

    cluster = RayTaskRunner(address=runner.address, init_kwargs={"log_to_driver": False, "logging_level": "ERROR"})
    with grant(folder, 1) as lease:
        try:
            cluster.__enter__()
        except (OSError, RuntimeError, ValueError) as error:
            raise SettingError(_no_cluster(runner, error)) from None
        try:
            with _in_a_sentence(runner, ray.exceptions.RayError):
                yield Workers(cluster, lambda: int(ray.cluster_resources().get("CPU", 0)), lease)
        finally:
            cluster.__exit__(None, None, None)


def num_cluster_slots(runner: Runner) -> int:
    """How many parts a cluster can work on at once.

    Raises:
        SettingError: where there is no such cluster.
    """
    with TemporaryDirectory() as folder, open_workers(runner, Path(folder)) as workers:
        return workers.num_slots()


@contextmanager
def _in_a_sentence(runner: Runner, *died: type[BaseException]) -> Iterator[None]:
    """What a cluster reports in place of a part's result, said to the person who ran the command."""
    name = f"The {runner.kind} cluster at {runner.address}"
    again = "Then run the same command again to resume."
    install = f"Install this environment on its scheduler and all its workers. {again}"
    try:
        yield
    except died as error:
        said = f"gave a part up: {_first_line(error)}. Look at the logs and the memory of its workers. {again}"
    except ImportError as error:
        said = f"lacks what the parts need: {_first_line(error)}. {install}"
    except RuntimeError as error:
        if "deserialization" in str(error):
            said = f"cannot read what it is given. {install}"
        elif "Failed to reach API" in str(error):
            said = (
                f"has workers that do not reach Prefect's server ({_first_line(error)}). Start one that they reach "
                "with 'darkroom server --host 0.0.0.0', and set PREFECT_API_URL to its address in the network, as "
                f"http://host:4200/api. {again}"
            )
        else:
            raise
    else:
        return
    raise WorkError(f"{name} {said}")


def _no_cluster(runner: Runner, error: Exception) -> str:
    said = "it does not answer as one" if isinstance(error, TimeoutError) else _first_line(error)
    return (
        f"{runner.address} is no {runner.kind} cluster that can be used from here: {said}. Give another with --address "
        f"or DARKROOM_RUNNER_ADDRESS, such as {_EXAMPLE[runner.kind]}."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _check_installed(kind: str) -> None:
    if find_spec(_PACKAGE[kind]) is None:
        raise SettingError(
            f"The runner {kind} needs {_PACKAGE[kind].replace('_', '-')}, which is not installed: "
            f"python -m pip install 'darkroom-flows[{kind}]'"
        )


def _check_answers(kind: str, address: str) -> None:
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise SettingError(f"--address: {address!r} is not the address of a cluster. Write it as {_EXAMPLE[kind]}.")
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS).close()
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        raise SettingError(
            f"No {kind} cluster answers at {address} ({why}). {_START[kind]}, or give another with --address or "
            "DARKROOM_RUNNER_ADDRESS."
        ) from None
