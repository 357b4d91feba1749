"""Two ways to do the same work, timed in turns in one run, and their ratio beside its target.

A benchmark gives `Ratio`s. Only the ratio carries over to another machine, so both sides run in alternation, round by
round, and each ratio is that of the medians; the rates of every round are kept beside it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

T = TypeVar("T")
_LIBRARIES = ("tensorflow", "keras", "onnxruntime", "pillow", "numpy", "pyarrow", "prefect")


@dataclass(frozen=True)
class Ratio:
    """One comparison: what is compared, the figures of each round, and the ratio that is asked for.

    Attributes:
        name: What is measured, in a few words.
        ours, theirs: What each side is.
        unit: Of the figures, such as `images/s` or `s`.
        our_rounds, their_rounds: A figure a round.
        ratio: So that larger is better for us: ours over theirs for rates, theirs over ours for seconds or bytes. Of a
            share (Prefect's part in a run), the share itself.
        target: What it should be.
        at_most: The ratio should not be above the target, rather than not below it.
    """

    name: str
    ours: str
    theirs: str
    unit: str
    our_rounds: tuple[float, ...]
    their_rounds: tuple[float, ...]
    ratio: float
    target: float
    at_most: bool = False

    @property
    def reached(self) -> bool:
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target


def compare_rates(
    name: str,
    target: float,
    amount: int,
    ours: tuple[str, Callable[[], object]],
    theirs: tuple[str, Callable[[], object]],
    rounds: int = 3,
    unit: str = "images/s",
) -> Ratio:
    """Time two ways of working through `amount` things in turns."""
    rates = rates_in_turns(amount, dict((ours, theirs)), rounds)
    return of_rates(name, target, rates, ours[0], theirs[0], unit)


def rates_in_turns(amount: int, sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, ...]]:
    """Things a second of each side, one a round."""
    times = in_turns({name: partial(seconds, work) for name, work in sides.items()}, rounds)
    return {name: tuple(amount / each for each in found) for name, found in times.items()}


def in_turns(sides: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, tuple[T, ...]]:
    """What each side gives, once a round; the first round is a warm-up and not counted."""
    found = [{name: run() for name, run in sides.items()} for _ in range(1 + rounds)]
    return {name: tuple(given[name] for given in found[1:]) for name in sides}


def of_rates(
    name: str, target: float, rates: Mapping[str, tuple[float, ...]], ours: str, theirs: str, unit: str = "images/s"
) -> Ratio:
    """The comparison of two sides whose rates are known."""
    ratio = statistics.median(rates[ours]) / statistics.median(rates[theirs])
    return Ratio(name, ours, theirs, unit, rates[ours], rates[theirs], ratio, target)


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def milliseconds_each(work: Callable[[Any], object], things: Sequence[Any]) -> float:
    """Of the clock, for one thing: the mean over all."""
    return seconds(lambda: [work(thing) for thing in things]) / len(things) * 1e3


def machine() -> dict[str, str]:
    """What it was measured on: processor, cores, memory, Python and libraries."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory_gib": f"{memory:.1f}",
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def show(ratios: Sequence[Ratio]) -> None:
    """The table on standard output."""
    table = Table(title="side by side, medians")
    for column in ("what", "ours", "the other", "unit", "ratio", "target", ""):
        table.add_column(column, overflow="fold")
    for each in ratios:
        table.add_row(*_cells(each), "reached" if each.reached else "MISSED")
    Console(width=160).print(table)


def write(ratios: Sequence[Ratio], path: Path, details: Any = None) -> None:
    """The same as JSON, with the machine and whatever else a benchmark wants to keep."""
    rows = [asdict(each) | {"reached": each.reached} for each in ratios]
    path.write_text(json.dumps({"machine": machine(), "ratios": rows, "details": details}, indent=1) + "\n")


def from_json(written: dict[str, Any]) -> list[Ratio]:
    """Ratios of what `write` wrote."""
    ratios = []
    for row in written["ratios"]:
        rounds = {side: tuple(row[side]) for side in ("our_rounds", "their_rounds")}
        ratios.append(Ratio(**{key: value for key, value in row.items() if key != "reached"} | rounds))
    return ratios


def markdown(ratios: Sequence[Ratio]) -> list[str]:
    """The table as lines of Markdown."""
    lines = ["| what | ours | the other | unit | ratio | target |", "|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(_cells(each))}{'' if each.reached else ', **missed**'} |" for each in ratios]
    return lines


def described(facts: dict[str, str]) -> str:
    """The machine and its libraries in a sentence's words."""
    libraries = ", ".join(f"{name} {facts[name]}" for name in _LIBRARIES)
    return (
        f"{facts['cores']} cores ({facts['processor']}), {facts['memory_gib']} GiB of memory, "
        f"Python {facts['python']}, {libraries}"
    )


def _cells(each: Ratio) -> tuple[str, ...]:
    """What both tables say of a ratio, up to its target."""
    return (
        each.name,
        f"{each.ours}: {_median(each.our_rounds)}",
        f"{each.theirs}: {_median(each.their_rounds)}" if each.their_rounds else each.theirs,
        each.unit,
        f"{each.ratio:.3g}",
        f"at {'most' if each.at_most else 'least'} {each.target:g}",
    )


def _median(rounds: Sequence[float]) -> str:
    median = statistics.median(rounds)
    return f"{median:,.0f}" if median >= 1000 else f"{median:.3g}"


def in_a_process(script: Path, *arguments: str) -> str:
    """Run a benchmark's script in a process of its own; its standard output."""
    done = subprocess.run([sys.executable, str(script), *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
