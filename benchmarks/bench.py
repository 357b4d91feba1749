"""Every side-by-side benchmark, one after the other, in processes of their own; the table and the JSON.

    python benchmarks/bench.py [--only scoring,reading] [--json bench.json]

`make bench` runs this. Nothing else should be running on the machine. The exit status is 1 where a benchmark fails or
a ratio misses its target.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.side_by_side import machine, read, show

# Each takes `--json FILE` and writes it with side_by_side.write.
BENCHMARKS = ("scoring", "embeddings", "ingest", "reading", "training", "overhead", "startup", "memory")
# Of what would take hours in full, a part; by itself each script does all of it.
LESS = {"memory": ("--files", "100000")}


def main() -> int:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(BENCHMARKS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    ratios, details, failed = [], {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only.split(","):
            written = Path(folder) / f"{name}.json"
            script = Path(__file__).with_name(f"{name}.py")
            command = [sys.executable, str(script), "--json", str(written), *LESS.get(name, ())]
            if subprocess.run(command, check=False).returncode not in (
                0,
                1,
            ):
                failed.append(name)
            if written.exists():
                ratios += read(written)
                details[name] = json.loads(written.read_text())["details"]
            else:
                failed.append(name)
    show(ratios)
    if arguments.json:
        rows = [asdict(each) | {"reached": each.reached} for each in ratios]
        arguments.json.write_text(
            json.dumps({"machine": machine(), "ratios": rows, "details": details}, indent=1) + "\n"
        )
    for name in dict.fromkeys(failed):
        print(f"{name} failed: see above.", file=sys.stderr)
    return int(bool(failed) or not all(each.reached for each in ratios))


if __name__ == "__main__":
    sys.exit(main())
