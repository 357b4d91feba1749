"""The service against batch scoring: images a second, the time to an answer at half of that, and an overload.

    python benchmarks/serving.py [--images ../shared/data/cats_dogs] [--files 1000] [--rounds 5] [--where FOLDER]
        [--json serving.json] [--overload-minutes 10]

Bundle and files are those of `benchmarks/scoring.py`, in the same `--where`. `darkroom serve` runs in a process of its
own, and so do its callers, on the same processors: what they cost is in the figure. Throughput: 32 callers that each
send one image and wait for the answer. Time to the answer: images that arrive evenly, at half of that rate, whether or
not earlier ones are answered. Overload: more callers than may wait, for `--overload-minutes`, and what the service's
memory is after a tenth of that time and at its end.
"""

from __future__ import annotations

import http.client
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.scoring import make_bundle, make_tree, parse, score
from benchmarks.side_by_side import Ratio, in_turns, seconds, show, write

TARGET, MAX_P99_MS, MAX_GROWTH_MIB = 0.8, 150.0, 32.0
_CALLERS, _OVERLOAD_CALLERS = 32, 128
_BOUNDARY = "image-of-the-benchmark"
_KIND = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


def body_of(path: Path) -> bytes:
    """A form with one image."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{path.name}"\r\n\r\n'
    return head.encode() + path.read_bytes() + f"\r\n--{_BOUNDARY}--\r\n".encode()


def ask(connection: http.client.HTTPConnection, body: bytes) -> int:
    """The status of one answer."""
    connection.request("POST", "/v1/predict", body, _KIND)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def call_in_turns(port: int, paths: Sequence[Path], num_callers: int, until: float = 0.0) -> Counter[int]:
    """Callers that each send one image after the other: all paths once, or, with `until`, on and on until that time."""
    waiting = cycle(paths) if until else iter(paths)
    taking, statuses = threading.Lock(), Counter[int]()

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while not until or time.time() < until:
            with taking:
                path = next(waiting, None)
            if path is None:
                return
            status = ask(connection, body_of(path))
            with taking:
                statuses[status] += 1
            if status == 429:
                time.sleep(0.2)  # Retry-After asks for more

    callers = [threading.Thread(target=work) for _ in range(num_callers)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return statuses


def call_evenly(port: int, paths: Sequence[Path], rate: float) -> list[float]:
    """Milliseconds from when each image was due to its answer, at `rate` images a second."""
    connections = threading.local()
    began = time.perf_counter() + 0.2

    def one(number: int, path: Path) -> float:
        if not hasattr(connections, "mine"):
            connections.mine = http.client.HTTPConnection("127.0.0.1", port)
        due = began + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        ask(connections.mine, body_of(path))
        return (time.perf_counter() - due) * 1000

    with ThreadPoolExecutor(_CALLERS) as pool:
        return list(pool.map(one, range(len(paths)), paths))


def in_a_process(*words: str) -> str:
    """Run this file as a caller; what it prints."""
    done = subprocess.run([sys.executable, __file__, "--call", *words], check=True, capture_output=True, text=True)
    return done.stdout


def main_of_caller(kind: str, port: str, tree: str, amount: str) -> None:
    """A process that only calls."""
    paths = sorted(Path(tree).rglob("*.jpg"))
    if kind == "turns":
        statuses = call_in_turns(int(port), paths, _CALLERS)
        assert set(statuses) == {200}, statuses
    elif kind == "evenly":
        times = call_evenly(int(port), list(islice(cycle(paths), 1000)), float(amount))
        sys.stdout.write(" ".join(f"{np.percentile(times, share):.1f}" for share in (50, 95, 99)))
    else:
        statuses = call_in_turns(int(port), paths, _OVERLOAD_CALLERS, time.time() + float(amount))
        sys.stdout.write(f"{statuses[200]} {statuses[429]} {sum(statuses.values())}")


@contextmanager
def serving(bundle: Path, *words: str) -> Iterator[tuple[int, int]]:
    """The port and the process that decodes and predicts."""
    command = [sys.executable, "-m", "darkroom.flows.cli", "serve", str(bundle), "--port", "0", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = re.search(r":(\d+) ", process.stderr.readline())
        assert found
        child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        try:
            yield int(found[1]), int(child)
        finally:
            process.terminate()


def resident_mib(pid: int) -> float:
    """Memory of a process."""
    found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def overload(bundle: Path, tree: Path, minutes: float) -> str:
    """What an overload did, in a sentence; its growth is the last number but one."""
    with serving(bundle, "--max-waiting", "64") as (port, pid), ThreadPoolExecutor(1) as pool:
        called = pool.submit(in_a_process, "overload", str(port), str(tree), str(minutes * 60))
        time.sleep(minutes * 6)
        early = resident_mib(pid)
        answered, refused, total = map(int, called.result().split())
        late = resident_mib(pid)
    assert answered + refused == total
    return (
        f"{minutes:g} min of overload: {answered} answered, {refused} refused with 429, nothing else; memory "
        f"{early:.0f} MiB after a tenth, {late:.0f} MiB at the end"
    )


def main() -> int:
    """Measure and print the table."""
    if sys.argv[1:2] == ["--call"]:
        main_of_caller(*sys.argv[2:])
        return 0
    minutes = 0.0
    if "--overload-minutes" in sys.argv:
        at = sys.argv.index("--overload-minutes")
        minutes = float(sys.argv[at + 1])
        del sys.argv[at : at + 2]
    arguments = parse(__doc__, rounds=5)
    bundle, _ = make_bundle(arguments.images, arguments.where)
    tree = make_tree(arguments.images, arguments.where, arguments.files)
    engine = bundle.engine("auto")
    runner = bundle.runner(engine, num_threads=1)
    with serving(bundle.folder) as (port, _):
        call = partial(in_a_process, "turns", str(port), str(tree), "0")
        in_a_process("evenly", str(port), str(tree), "1e9")  # to warm up
        sides = {
            "served": partial(seconds, call),
            "batch": partial(seconds, partial(score, tree, bundle, runner, arguments.where / "table-serving", engine)),
        }
        served, batch = in_turns(sides, arguments.rounds).values()
        ours, theirs = (tuple(arguments.files / each for each in found) for found in (served, batch))
        rate = statistics.median(ours)
        middle, most, p99 = map(float, in_a_process("evenly", str(port), str(tree), str(rate / 2)).split())
    ratios = [
        Ratio(
            f"serving, {engine}", "service", "batch", "images/s", ours, theirs, rate / statistics.median(theirs), TARGET
        ),
        Ratio("p99 at half the rate", "ms", "limit", "ms", (p99,), (MAX_P99_MS,), p99 / MAX_P99_MS, 1.0, at_most=True),
    ]
    show(ratios)
    sys.stdout.write(f"At {rate / 2:.0f} images/s: median {middle} ms, p95 {most} ms, p99 {p99} ms\n")
    if minutes:
        sys.stdout.write(overload(bundle.folder, tree, minutes) + "\n")
    if arguments.json:
        write(ratios, arguments.json)
    return int(not all(each.reached for each in ratios))


if __name__ == "__main__":
    sys.exit(main())
