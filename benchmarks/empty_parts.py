"""A real Prefect flow whose parts do nothing: what a part costs before any image is read.

`run_empty_parts` starts the flow in a process of its own and watches it and the server. The flow submits its parts as
the product's flows do (`tasks/window.py`), with the product's task runner and the options of its tasks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.processes import PrefectServer, cpu_seconds, rss_bytes


@dataclass(frozen=True)
class Sample:
    """The state of things at one moment of a run."""

    seconds: float
    num_recorded: int
    flow_bytes: int
    server_bytes: int


@dataclass(frozen=True)
class EmptyRun:
    """What a flow of `num_parts` empty parts took.

    Attributes:
        num_parts: Parts submitted.
        seconds: Of the parts alone, from the first submission to the last result.
        whole_seconds: From the start of the process to its end, when all is sent to the server.
        recorded_seconds: Until the server's record held the end of every part.
        flow_cpu_seconds: Processor seconds of the flow's process, imports and all.
        server_cpu_seconds: Of the server, until its record was whole.
        rows: Rows that the run added to the server's database, by table.
        database_bytes: What the run added to the size of the database.
        samples: Memory and record while it ran.
    """

    num_parts: int
    seconds: float
    whole_seconds: float
    recorded_seconds: float
    flow_cpu_seconds: float
    server_cpu_seconds: float
    rows: dict[str, int]
    database_bytes: int
    samples: tuple[Sample, ...]


def run_empty_parts(
    server: PrefectServer, num_parts: int, sample_seconds: float = 5.0, told: Callable[[str], None] | None = None
) -> EmptyRun:
    """Run the flow against a server and wait until its record is whole."""
    rows, size, recorded = server.rows(), server.database_bytes(), server.recorded()
    server_cpu, start = cpu_seconds(server.pid), time.monotonic()
    samples: list[Sample] = []
    flow_cpu, whole_seconds = 0.0, 0.0
    with subprocess.Popen(
        [sys.executable, __file__, str(num_parts)], env=server.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        while True:
            try:
                process.wait(sample_seconds if samples else 0.2)
                whole_seconds = whole_seconds or time.monotonic() - start
            except subprocess.TimeoutExpired:
                flow_cpu = cpu_seconds(process.pid)
            held = rss_bytes(process.pid) if process.returncode is None else 0
            done = server.recorded() - recorded
            samples.append(Sample(time.monotonic() - start, done, held, rss_bytes(server.pid)))
            if told:
                told(f"{samples[-1].seconds:6.0f} s  {done} parts recorded, {held / 2**20:.0f} MiB")
            if process.returncode is not None:
                if process.returncode or done >= num_parts:
                    break
                if len(samples) > 12 and len({sample.num_recorded for sample in samples[-12:]}) == 1:
                    break  # what is missing now was lost
                time.sleep(min(sample_seconds, 1.0))
        assert process.stdout is not None
        said = json.loads(process.stdout.read())
    after = server.rows()
    return EmptyRun(
        num_parts=num_parts,
        seconds=said["seconds"],
        whole_seconds=whole_seconds,
        recorded_seconds=samples[-1].seconds,
        flow_cpu_seconds=max(flow_cpu, said["cpu_seconds"]),
        server_cpu_seconds=cpu_seconds(server.pid) - server_cpu,
        rows={name: after[name] - rows.get(name, 0) for name in after if after[name] != rows.get(name, 0)},
        database_bytes=server.database_bytes() - size,
        samples=tuple(samples),
    )


def main(num_parts: int) -> None:
    """The flow itself; prints its figures as JSON."""
    from darkroom.flows.settings import prepare_environment

    prepare_environment("CRITICAL")
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    from darkroom.flows.runners import choose_runner, open_workers
    from darkroom.tasks.retries import machine_failed
    from darkroom.tasks.window import submit_all

    @task(
        task_run_name="part {index}",
        cache_policy=NO_CACHE,
        retries=2,
        retry_delay_seconds=5,
        retry_condition_fn=machine_failed,
    )
    def part(out: Path, index: int, bundle: Path) -> int:
        return index

    @flow(name="empty-parts")
    def empty_parts(work: Path) -> float:
        start = time.perf_counter()
        arguments = ((work, index, work) for index in range(num_parts))
        with open_workers(choose_runner(None, None), work) as workers:
            done = sum(1 for _ in submit_all(workers, part, arguments, num_parts, "parts"))
        if done != num_parts:
            raise RuntimeError(f"{done} of {num_parts} parts came back.")
        return time.perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:
        seconds = empty_parts(Path(folder))
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu_seconds": time.process_time()}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
