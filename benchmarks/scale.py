"""What it takes to score 10 million and a billion images, computed from unit costs that this script measures.

    python benchmarks/scale.py [--shards 10000] [--overhead overhead.json] [--write docs/scale.md] [--json scale.json]

Measured are, each small: an image (as `benchmarks/overhead.py` measures it, or as its JSON says), a file in the plan, a
row of the table, a part in the summary; and the scheduler, by a real Prefect flow of `--shards` parts that do nothing,
on a server of its own with SQLite. All else is arithmetic. `--shards 1000` gives a quick look; 10,000 are the parts of
10 million images. `--costs scale.json` computes the document anew from what an earlier run wrote with `--json`.
Requests to an object store are counted from what the code does, not measured.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.empty_parts import EmptyRun, Sample, run_empty_parts
from benchmarks.growth import make_pictures, make_tiny_bundle, make_tree, peak_bytes
from benchmarks.processes import prefect_server
from benchmarks.side_by_side import machine

SIZES = (10_000_000, 1_000_000_000)
ROWS_PER_PART = 1000
MEMORY_LIMIT_BYTES = int(1.5 * 2**30)
_SMALL, _LARGE, _TABLE = 20_000, 120_000, 5_000
_DAY_SECONDS = 24 * 3600
_FEW_PARTS = 1000
# A store is listed by pages of so many names; each image is read once; a part is its table and its note.
_LISTED_A_REQUEST, _READS_AN_IMAGE, _WRITES_A_PART = 1000, 1, 2
_MOST_NAMED_PARTS = 100_000


@dataclass(frozen=True)
class FileCosts:
    """Of one file, besides its decoding and inference.

    Attributes:
        plan_seconds: Listing it and writing it into the plan; of a core, as all seconds here.
        plan_memory_bytes: What it adds to the peak while the plan is made, where all files lie in one folder.
        plan_bytes: On disk, in `plan.parquet`.
        row_bytes: On disk, in the table.
        summary_seconds: Counting its row, and the hash of its part, at the end.
    """

    plan_seconds: float
    plan_memory_bytes: float
    plan_bytes: float
    row_bytes: float
    summary_seconds: float


@dataclass(frozen=True)
class Costs:
    """All that the document is computed from; the images' seconds are of one core.

    `parts` are so few that the server's record keeps up; `burst` are all of them.
    """

    image_cpu_seconds: dict[str, float]
    file: FileCosts
    parts: EmptyRun
    burst: EmptyRun

    @property
    def recorded_a_second(self) -> float:
        """Task runs that the server writes into its record in a second."""
        return self.parts.num_parts / self.parts.recorded_seconds

    @property
    def rows_a_part(self) -> float:
        return sum(self.parts.rows.values()) / self.parts.num_parts

    @property
    def database_bytes_a_part(self) -> float:
        return self.parts.database_bytes / self.parts.num_parts

    @property
    def part_cpu_seconds(self) -> float:
        """Of Prefect, for one part: its flow's process and its server."""
        return (self.parts.flow_cpu_seconds + self.parts.server_cpu_seconds) / self.parts.num_parts


@dataclass(frozen=True)
class Limit:
    """Something that ends, at so many images, and what to do then."""

    num_images: int
    what: str
    remedy: str


def limits(costs: Costs, cores: int) -> list[Limit]:
    """What stops first, second, ... as folders grow, in that order."""
    speed = cores / min(costs.image_cpu_seconds.values())
    within_a_day = int(speed * _DAY_SECONDS)
    recorded_a_day = int(costs.recorded_a_second * _DAY_SECONDS * ROWS_PER_PART)
    found = [
        Limit(
            within_a_day,
            f"the processors of one machine: {within_a_day / 1e6:,.0f} million images per day on {cores} cores",
            "more machines: a Dask or Ray cluster, or one folder per machine",
        ),
        Limit(
            int(MEMORY_LIMIT_BYTES / costs.file.plan_memory_bytes),
            "planning holds the file names of one folder in memory, "
            f"{costs.file.plan_memory_bytes:,.0f} bytes per file: 1.5 GiB for this many in a single folder",
            "subfolders: only one folder's names are in memory at a time",
        ),
        Limit(
            recorded_a_day,
            f"one Prefect server with SQLite records {costs.recorded_a_second:.0f} parts per second: "
            f"{recorded_a_day / 1e6:,.0f} million images per day, however many machines work",
            "`--rows-per-part 10000`, or PostgreSQL and Redis under the server",
        ),
        Limit(
            _MOST_NAMED_PARTS * ROWS_PER_PART,
            "part names have five digits: from 100,000 parts on they no longer sort in row order",
            "`--rows-per-part 10000`",
        ),
    ]
    return sorted(found, key=lambda limit: limit.num_images)


def file_costs(where: Path) -> FileCosts:
    """Plans of two sizes, each of a single folder and in a process of its own; of seconds and memory the difference,
    without what is there for no file at all. Rows and summary are those of a small table of files that all differ."""
    small, large = (_in_a_process("--plan", make_tree(where, count, count), where) for count in (_SMALL, _LARGE))
    table = _in_a_process("--table", make_pictures(where / "table", _TABLE), where)
    files = _LARGE - _SMALL
    return FileCosts(
        plan_seconds=(large["seconds"] - small["seconds"]) / files,
        plan_memory_bytes=(large["peak_bytes"] - small["peak_bytes"]) / files,
        plan_bytes=large["plan_bytes"] / _LARGE,
        row_bytes=table["row_bytes"],
        summary_seconds=table["summary_seconds"],
    )


def _in_a_process(what: str, tree: Path, where: Path) -> dict[str, float]:
    command = [sys.executable, __file__, what, str(tree), str(where)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def plan_here(tree: Path, where: Path) -> dict[str, float]:
    """List a tree and write its plan."""
    from darkroom.models.bundle.bundle import open_bundle
    from darkroom.models.prediction_table.output import TableOutput
    from darkroom.models.scoring.plan import plan_scoring
    from darkroom.models.scoring.request import ScoreRequest

    bundle, out = open_bundle(where / "bundle"), TableOutput(where / f"plan-{tree.name}")
    start = time.process_time()
    plan_scoring(ScoreRequest(tree, bundle.folder, out, ROWS_PER_PART), bundle)
    seconds, size = time.process_time() - start, out.paths.planned_files.stat().st_size
    return {"seconds": seconds, "peak_bytes": peak_bytes(), "plan_bytes": size}


def table_here(tree: Path, where: Path) -> dict[str, float]:
    """Score a tree, and count its rows."""
    from darkroom.models.prediction_table.output import TableOutput
    from darkroom.models.scoring.parts import open_runner, score_part
    from darkroom.models.scoring.plan import plan_scoring
    from darkroom.models.scoring.request import ScoreRequest
    from darkroom.models.scoring.summary import summarize

    runner, bundle = open_runner(where / "bundle")
    out = where / f"table-{tree.name}"
    plan = plan_scoring(ScoreRequest(tree, bundle.folder, TableOutput(out), ROWS_PER_PART), bundle)
    for index in range(plan.num_parts):
        score_part(out, index, runner, bundle)
    start = time.process_time()
    summary = summarize(out, (), "", 0.0, None)
    seconds = (time.process_time() - start) / plan.num_files
    return {"summary_seconds": seconds, "row_bytes": sum(part.bytes for part in summary.parts) / plan.num_files}


def document(costs: Costs, command: str) -> str:
    """`docs/scale.md`."""
    facts = machine()
    cores = int(facts["cores"])
    head = "| | " + " | ".join(f"{size / 1e6:,.0f} million images" for size in SIZES) + " |"
    rows = [[name, *(text(size) for size in SIZES)] for name, text in _lines(costs)]
    found = limits(costs, cores)
    lines = [
        "# Scaling beyond one machine",
        "",
        f"The cost of scoring many images, computed by `{command}`",
        f"from unit costs measured on one machine: {facts['processor']}, {cores} cores, {facts['memory_gib']} GiB;",
        f"Python {facts['python']}, Prefect {facts['prefect']} with SQLite, ONNX Runtime {facts['onnxruntime']}. Other",
        "programs may have been running. The images are photographs of 404 x 361, the network is EfficientNet-Lite0 at",
        "160 x 160, and a part has 1,000 rows.",
        "",
        head,
        "|---|" + "---|" * len(SIZES),
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        "## Limits",
        "",
        "In the order in which a growing folder reaches them:",
        "",
        "| images | limit | remedy |",
        "|---|---|---|",
        *(f"| {limit.num_images / 1e6:,.0f} million | {limit.what} | {limit.remedy} |" for limit in found),
        "",
        *(
            fill(f"- **{size / 1e6:,.0f} million**: {_first(found, size)}.", 118, subsequent_indent="  ")
            for size in SIZES
        ),
        "",
        "## Unit costs",
        "",
        "Milliseconds are CPU time of one core.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {text} |" for name, text in _units(costs)),
        "",
        "## The scheduler",
        "",
        f"Empty parts, submitted as scoring submits its own, {costs.burst.num_parts:,} in one flow:",
        f"{costs.burst.num_parts / costs.burst.seconds:.0f} per second finished, and the server recorded",
        f"{_recorded(costs.burst) / costs.burst.recorded_seconds:.1f} per second; at the end its record held",
        f"{_recorded(costs.burst):,} of them.",
        "Prefect's server queues 10,000 events, three per task, and drops the rest.",
        "A real part takes seconds, so one machine never reaches this limit; if it did, the UI would be incomplete,",
        "not the prediction table. Memory during the run:",
        "",
        "| parts recorded | flow, MiB | server, MiB |",
        "|---|---|---|",
        *_memory(costs.burst),
        "",
        "Object store requests are counted from the code: one page of a listing has 1,000 names, each",
        "image is read once, and each part is written as its table and its note.",
    ]
    return "\n".join(lines) + "\n"


def _lines(costs: Costs) -> list[tuple[str, Callable[[int], str]]]:
    """Each line of the table: its name, and its text for a number of images."""
    fp32, int8 = costs.image_cpu_seconds["fp32"], costs.image_cpu_seconds["int8"]
    file = costs.file

    def parts(size: int) -> int:
        return math.ceil(size / ROWS_PER_PART)

    def machines(size: int) -> str:
        each = [math.ceil(size * seconds / 2 / _DAY_SECONDS) for seconds in (int8, fp32)]
        return f"{each[0]:,} with int8, {each[1]:,} with fp32"

    return [
        ("parts, and Prefect tasks", lambda size: f"{parts(size):,}"),
        ("core hours, int8 and fp32", lambda size: f"{size * int8 / 3600:,.0f} and {size * fp32 / 3600:,.0f}"),
        ("2-core machines to finish in a day", machines),
        ("Prefect, core hours", lambda size: f"{parts(size) * costs.part_cpu_seconds / 3600:,.1f}"),
        (
            "Prefect's database, rows and size",
            lambda size: (
                f"{parts(size) * costs.rows_a_part / 1e6:,.2f} million, "
                f"{parts(size) * costs.database_bytes_a_part / 2**30:,.2f} GiB"
            ),
        ),
        (
            "hours for one server with SQLite to record them",
            lambda size: f"{parts(size) / costs.recorded_a_second / 3600:,.1f}",
        ),
        ("plan: minutes to list the files and write it", lambda size: f"{size * file.plan_seconds / 60:,.1f}"),
        (
            "plan: peak memory, all files in one folder",
            lambda size: f"{size * file.plan_memory_bytes / 2**30:,.1f} GiB",
        ),
        ("plan: `plan.parquet`", lambda size: f"{size * file.plan_bytes / 2**30:,.2f} GiB"),
        ("summary: minutes", lambda size: f"{size * file.summary_seconds / 60:,.1f}"),
        ("table", lambda size: f"{size * file.row_bytes / 2**30:,.1f} GiB"),
        ("object store requests: list", lambda size: f"{math.ceil(size / _LISTED_A_REQUEST):,}"),
        ("object store requests: read", lambda size: f"{size * _READS_AN_IMAGE:,}"),
        ("object store requests: write", lambda size: f"{parts(size) * _WRITES_A_PART:,}"),
    ]


def _units(costs: Costs) -> list[tuple[str, str]]:
    parts, file = costs.parts, costs.file
    return [
        *(
            (f"one image, {precision}", f"{each * 1e3:.2f} ms")
            for precision, each in costs.image_cpu_seconds.items()
        ),
        ("one part, Prefect in the flow's process", f"{parts.flow_cpu_seconds / parts.num_parts * 1e3:.1f} ms"),
        ("one part, Prefect's server", f"{parts.server_cpu_seconds / parts.num_parts * 1e3:.1f} ms"),
        ("parts submitted and finished per second", f"{parts.num_parts / parts.seconds:.0f}"),
        ("parts recorded per second", f"{costs.recorded_a_second:.1f}"),
        ("one part in the database", f"{costs.rows_a_part:.1f} rows, {costs.database_bytes_a_part / 1024:.1f} KiB"),
        ("one file in the plan", f"{file.plan_seconds * 1e6:.0f} us, {file.plan_memory_bytes:,.0f} bytes of memory, "
         f"{file.plan_bytes:.0f} bytes on disk"),
        ("one row of the table", f"{file.row_bytes:.0f} bytes"),
        ("one row in the summary", f"{file.summary_seconds * 1e6:.1f} us"),
    ]  # fmt: skip


def _first(found: Sequence[Limit], size: int) -> str:
    met = [limit for limit in found if limit.num_images < size]
    if not met:
        return f"below every limit; the first would be: {found[0].what}"
    rest = "; then, ".join(limit.what for limit in met[1:])
    return f"first, {met[0].what}" + (f"; then, {rest}" if rest else "")


def _memory(parts: EmptyRun) -> list[str]:
    """The state at each fifth of the record."""
    running = [sample for sample in parts.samples if sample.flow_bytes]
    if not running:
        return []
    places = sorted({round(share * (len(running) - 1)) for share in (0.2, 0.4, 0.6, 0.8, 1.0)})
    return [
        f"| {running[place].num_recorded:,} | {running[place].flow_bytes / 2**20:.0f} | "
        f"{running[place].server_bytes / 2**20:.0f} |"
        for place in places
    ]


def _recorded(run: EmptyRun) -> int:
    return run.samples[-1].num_recorded


def image_costs(given: Path | None) -> dict[str, float]:
    """Processor seconds of an image by precision, from the JSON of `benchmarks/overhead.py`, or measured."""
    if given:
        rounds = json.loads(given.read_text())["details"]["image_cpu_seconds"]
    else:
        from benchmarks.overhead import image_cpu_seconds

        with tempfile.TemporaryDirectory() as folder:
            rounds = image_cpu_seconds(Path(folder), 2)
    return {precision: statistics.median(each) for precision, each in rounds.items()}


def measured_costs(shards: int, overhead: Path | None) -> Costs:
    """All unit costs, measured now."""
    images = image_costs(overhead)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_tiny_bundle(work / "bundle")
        files = file_costs(work)
        with prefect_server(work / "prefect") as server:
            run_empty_parts(server, 4)
            parts = run_empty_parts(server, min(shards, _FEW_PARTS))
            burst = run_empty_parts(server, shards, 10.0, lambda line: print(line, file=sys.stderr, flush=True))
    return Costs(images, files, parts, burst)


def read_costs(path: Path) -> Costs:
    """Unit costs that an earlier run wrote with `--json`."""
    found = json.loads(path.read_text())["costs"]
    runs = []
    for name in ("parts", "burst"):
        samples = tuple(Sample(**sample) for sample in found[name].pop("samples"))
        runs.append(EmptyRun(**found[name], samples=samples))
    return Costs(found["image_cpu_seconds"], FileCosts(**found["file"]), *runs)


def main() -> None:
    """Parse the command line, measure, and print or write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--overhead", type=Path, help="JSON of benchmarks/overhead.py, in place of measuring images")
    parser.add_argument("--costs", type=Path, help="JSON of an earlier run, in place of measuring at all")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plan", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--table", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plan or given.table:
        print(json.dumps(plan_here(*given.plan) if given.plan else table_here(*given.table)))
        return
    costs = read_costs(given.costs) if given.costs else measured_costs(given.shards, given.overhead)
    text = document(costs, f"python benchmarks/scale.py --shards {costs.burst.num_parts} --write docs/scale.md")
    print(text)
    if given.write:
        given.write.write_text(text)
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "costs": asdict(costs)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
