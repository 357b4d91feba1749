"""Every side-by-side benchmark, one after the other, in processes of their own; the table, the JSON and the page.

    python benchmarks/bench.py [--only scoring,reading] [--json bench.json] [--write docs/benchmarks.md]

`make bench` runs this. Nothing else should be running on the machine. With `--only`, what the JSON holds of the other
benchmarks is kept, if it was measured on this machine with these libraries. The exit status is 1 where a benchmark
fails or a ratio misses its target.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.side_by_side import Ratio, described, from_json, machine, markdown, show

# Each takes `--json FILE` and writes it with side_by_side.write.
BENCHMARKS = ("scoring", "embeddings", "ingest", "reading", "training", "overhead", "startup", "memory")
# Of what would take hours in full, a part; by itself each script does all of it.
LESS = {"memory": ("--files", "100000")}
SCORING_PROFILE = "milliseconds an image, one thread, int8"
INGEST_PROFILE = "milliseconds an image, one thread, JPEG to JPEG: darkroom, Pillow loop"


def main() -> int:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(BENCHMARKS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path, help="the table as a page of Markdown; its notes stay")
    arguments = parser.parse_args()
    found, failed = {}, []
    if arguments.json and arguments.json.exists():
        kept = json.loads(arguments.json.read_text())
        found = {name: written for name, written in kept.items() if written["machine"] == machine()}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only.split(","):
            written = Path(folder) / f"{name}.json"
            script = Path(__file__).with_name(f"{name}.py")
            command = [sys.executable, str(script), "--json", str(written), *LESS.get(name, ())]
            status = subprocess.run(command, check=False).returncode
            if written.exists():
                found[name] = json.loads(written.read_text())
            if status not in (0, 1) or not written.exists():
                failed.append(name)
            if arguments.json:  # after each: an hour of measuring is not lost with the last of them
                arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    ratios = [ratio for name in BENCHMARKS if name in found for ratio in from_json(found[name])]
    show(ratios)
    if arguments.write:
        profiles = (detail(found, "scoring", SCORING_PROFILE), detail(found, "ingest", INGEST_PROFILE))
        arguments.write.write_text(page(ratios, *profiles, notes_of(arguments.write)))
    for name in failed:
        print(f"{name} failed: see above.", file=sys.stderr)
    return int(bool(failed) or not all(each.reached for each in ratios))


def detail(found: dict[str, Any], benchmark: str, name: str) -> dict[str, Any]:
    """What a benchmark wrote beside its ratios; nothing where it was not run."""
    details: dict[str, Any] = found.get(benchmark, {}).get("details", {}).get(name, {})
    return details


def notes_of(page: Path) -> str:
    """What people wrote below the tables of an earlier page; it stays."""
    _, heading, notes = (page.read_text() if page.exists() else "").partition("\n## Notes\n")
    return heading + notes


def page(ratios: list[Ratio], scoring: dict[str, float], ingest: dict[str, Sequence[float]], notes: str) -> str:
    """The page of Markdown."""
    lines = [f"| {what} | {ms:.3f} | {ms / sum(scoring.values()):.0%} |" for what, ms in scoring.items()]
    rows = [f"| {what} | {ours:.3f} | {loop:.3f} |" for what, (ours, loop) in ingest.items()]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `python benchmarks/bench.py --write docs/benchmarks.md`, which `make bench` runs. Each row is",
            "one run of a script in `benchmarks/`, whose docstring describes the other side. Both sides took turns;",
            "figures are medians, and only the ratios carry over to another machine.",
            "",
            f"Measured on {described(machine())}.",
            "",
            *markdown(ratios),
            "",
            "## Where the time goes",
            "",
            "Scoring with int8 on one thread, photographs of 404 x 361 resized to 160 x 160:",
            "",
            "| what | ms | share |",
            "|---|---|---|",
            *lines,
            "",
            "Ingest to JPEG shards, milliseconds per image, compared with a Pillow loop. Each line is measured alone",
            "on one thread; the last is the rest of the total CPU time of an ingest that uses all cores:",
            "",
            "| what | darkroom | Pillow loop |",
            "|---|---|---|",
            *rows,
            notes,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
