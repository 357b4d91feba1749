"""How long the command takes to begin: `--help`, and `darkroom score` to its first scored image.

    python benchmarks/startup.py [--rounds 5] [--json startup.json]

The first image counts as scored when the first part of the table lies at its place: a folder of one photograph, and
the time of the part's last change less the time at which the process was started, both by the system's clock. The
network is the ready-made EfficientNet-Lite0. The server is one that this script starts with `prefect server start`, on
a free port and with a record of its own; without a server the command starts its own, in a Prefect home that has been
used before. What the very first command in a new home takes stands in the details: it also makes the database.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.photographs import write_photographs
from benchmarks.processes import environment, prefect_server
from benchmarks.side_by_side import Ratio, show, write

HELP_SECONDS, WITH_SERVER_SECONDS, WITHOUT_SERVER_SECONDS = 0.5, 8.0, 15.0
_OTHERS = (
    ("run", "--help"),
    ("ingest", "--help"),
    ("train", "--help"),
    ("compare", "--help"),
    ("evaluate", "--help"),
    ("score", "--help"),
    ("explain", "--help"),
    ("recipes",),
    ("doctor",),
)


def command_seconds(arguments: tuple[str, ...], variables: Mapping[str, str], folder: Path) -> float:
    """From the start to the end of `darkroom` with these arguments."""
    start = time.perf_counter()
    done = subprocess.run(_darkroom(*arguments), env=variables, cwd=folder, capture_output=True, check=False)
    if done.returncode not in (0, 1):  # doctor ends with 1 where something is missing
        raise RuntimeError(done.stderr.decode())
    return time.perf_counter() - start


def first_image_seconds(folder: Path, variables: Mapping[str, str]) -> float:
    """From the start of `darkroom score` to the time at which the first part of its table was there."""
    out = folder / "table"
    shutil.rmtree(out, ignore_errors=True)
    started_ns = time.time_ns()
    command = _darkroom("score", "photographs", "--model", "imagenet", "--out", str(out))
    subprocess.run(command, env=variables, cwd=folder, capture_output=True, check=True)
    return ((out / "part-00000.parquet").stat().st_mtime_ns - started_ns) / 1e9


def _darkroom(*arguments: str) -> list[str]:
    script = Path(sys.executable).with_name("darkroom")
    return [str(script), *arguments] if script.is_file() else [sys.executable, "-m", "darkroom.flows.cli", *arguments]


def measure(folder: Path, rounds: int) -> tuple[list[Ratio], dict[str, float]]:
    """The ratios, and what else was measured."""
    write_photographs(folder / "photographs", 1)
    home = environment(folder / "home")
    # Also builds the network, once; the seconds of the first command are those of a second new home.
    first_image_seconds(folder, home)
    fresh = first_image_seconds(folder, environment(folder / "fresh"))
    helps, with_server, without_server = [], [], []
    with prefect_server(folder / "server") as server:
        first_image_seconds(folder, server.environment)
        for _ in range(rounds):
            helps.append(command_seconds(("--help",), home, folder))
            with_server.append(first_image_seconds(folder, server.environment))
            without_server.append(first_image_seconds(folder, home))
        others = {" ".join(words): command_seconds(words, home, folder) for words in _OTHERS}
    found = [
        _limit("darkroom --help", helps, HELP_SECONDS),
        _limit("darkroom score to the first image, a server running", with_server, WITH_SERVER_SECONDS),
        _limit("darkroom score to the first image, no server", without_server, WITHOUT_SERVER_SECONDS),
    ]
    return found, {"score to the first image in a new Prefect home, no server": fresh, **others}


def _limit(name: str, rounds: list[float], seconds: float) -> Ratio:
    return Ratio(name, "darkroom", "-", "s", tuple(rounds), (), statistics.median(rounds), seconds, at_most=True)


def main() -> int:
    """Parse the command line and print the table; exit status 1 where a start takes too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ratios, others = measure(Path(folder), given.rounds)
    show(ratios)
    for name, value in others.items():
        print(f"{value:6.2f} s  {name}")
    if given.json:
        write(ratios, given.json, {"seconds": others})
    return int(not all(each.reached for each in ratios))


if __name__ == "__main__":
    sys.exit(main())
