"""Run the recipes whose data is at hand, to their end, and write the table of what they reach.

    python benchmarks/recipes.py [--data ../shared/data] [--only digits,cats_dogs] [--json recipes.json]

Each recipe runs as `darkroom run NAME --source COPY` in a process of its own, with a fresh workspace, so that nothing
is taken over from an earlier run. Seconds are of the whole command, from the source to the table of predictions; CPU
seconds beside them, because other programs may be using the machine. `imagenet` is `darkroom score --model imagenet`.
The exit status is 1 where a recipe fails or misses its target.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

# Where a recipe's local copy lies below --data; None: the recipe's own source needs no network.
COPIES = {
    "digits": None,
    "cats_dogs": "cats_dogs",
    "cats_dogs_scratch": "cats_dogs",
    "covid19_xray": "covid19_xray",
    "galaxies": "galaxies_efigi.zip",
    "galaxies_npz": "galaxies_efigi.zip",
    "cifar10": "cifar10_train.zip",
}
IMAGENET = "imagenet"
IMAGENET_TARGET = 0.85
DOMESTIC_CATS = ("Egyptian cat", "Persian cat", "Siamese cat", "tabby", "tiger cat")
_DOGS = slice(151, 269)  # Chihuahua to Mexican hairless, in ImageNet's own order


@dataclass(frozen=True)
class Row:
    """What one recipe came to; `figure` is accuracy on the test images unless `judged_on` says otherwise."""

    recipe: str
    judged_on: str
    target: float
    accuracy: float
    low: float | None
    high: float | None
    macro_f1: float | None
    public: str
    reached: bool
    seconds: float
    cpu_seconds: float


def run_recipe(name: str, source: Path | None, work: Path) -> Row:
    """One recipe, from its source to its table."""
    if name == "galaxies_npz" and source:
        source = course_arrays(source, work)
    given = ["--source", str(source)] if source else []
    result, seconds, cpu_seconds = darkroom(["run", name, *given], work)
    report, targets = result["evaluate"], result["targets"]
    return Row(
        recipe=name,
        judged_on=f"{report['num_images']} {report['split']} images",
        target=targets[0]["target"],
        accuracy=report["accuracy"],
        low=report["accuracy_low"],
        high=report["accuracy_high"],
        macro_f1=report["macro_f1"],
        public=targets[0]["public"],
        reached=all(target["reached"] for target in targets),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
    )


def run_imagenet(source: Path, work: Path) -> Row:
    """The mean, over dogs and cats, of the share whose most likely class is a breed of dog, or a domestic cat."""
    import pyarrow.parquet as pq

    from darkroom.models.bundle.imagenet import class_names

    result, seconds, cpu_seconds = darkroom(["score", str(source), "--model", IMAGENET], work)
    rows = [
        row for part in sorted(Path(result["out"]).glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()
    ]
    kinds = {"dogs": set(class_names()[_DOGS]), "cats": set(DOMESTIC_CATS)}
    right = {
        kind: [row["label"] in names for row in rows if f"/{kind}/" in row["path"]] for kind, names in kinds.items()
    }
    shares = {kind: float(np.mean(hits)) for kind, hits in right.items()}
    accuracy = float(np.mean(list(shares.values())))
    return Row(
        recipe=IMAGENET,
        judged_on=f"{len(rows)} photographs: " + ", ".join(f"{share:.3f} of {kind}" for kind, share in shares.items()),
        target=IMAGENET_TARGET,
        accuracy=accuracy,
        low=None,
        high=None,
        macro_f1=None,
        public="course exercise",
        reached=accuracy >= IMAGENET_TARGET,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
    )


def darkroom(arguments: list[str], work: Path) -> tuple[dict[str, Any], float, float]:
    """The result of a command, and the seconds and CPU seconds that it took."""
    command = [sys.executable, "-m", "darkroom.flows.cli", *arguments, "--workspace", str(work), "--json"]
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, check=True)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), round(seconds, 1), round(cpu_seconds, 1)


def course_arrays(archive: Path, work: Path) -> Path:
    """The galaxies in the course's own form: 1,400 of four kinds, 128 x 128, `data` and one-hot `labels`, as `.npz`."""
    import csv
    import io
    import zipfile

    kinds = ("elliptical", "lenticular", "spiral_early", "spiral_late")
    with zipfile.ZipFile(archive) as opened:
        listed = list(csv.DictReader(io.StringIO(opened.read("labels.csv").decode())))
        chosen = [row for kind in kinds for row in [r for r in listed if r["label"] == kind][:371]][:1400]
        data = np.stack(
            [
                np.asarray(Image.open(io.BytesIO(opened.read(row["file"]))).convert("RGB").resize((128, 128)))
                for row in chosen
            ]
        )
    labels = np.eye(len(kinds), dtype=np.uint8)[[kinds.index(row["label"]) for row in chosen]]
    path = work / "galaxies.npz"
    np.savez_compressed(path, data=data, labels=labels, names=np.array(kinds))
    return path


def show(rows: list[Row]) -> Table:
    """The rows as the README quotes them."""
    table = Table(
        "command", "judged on", "accuracy (95 % interval)", "macro F1", "target", "public", "time", "CPU time"
    )
    for row in rows:
        interval = f" ({row.low:.3f} to {row.high:.3f})" if row.low is not None else ""
        command = f"darkroom run {row.recipe}" if row.recipe != IMAGENET else "darkroom score --model imagenet"
        cells = (
            command,
            row.judged_on,
            f"{row.accuracy:.4f}{interval}",
            "" if row.macro_f1 is None else f"{row.macro_f1:.3f}",
            f"{row.target:g} {'reached' if row.reached else 'missed'}",
            row.public,
            f"{row.seconds:.0f} s",
            f"{row.cpu_seconds:.0f} s",
        )
        table.add_row(*cells)
    return table


def main() -> int:
    """Run, show, and say by the exit status whether every target was reached."""
    names = [*COPIES, IMAGENET]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--only", default=",".join(names), help="Names of recipes, with commas.")
    parser.add_argument("--json", type=Path, help="Write the rows there too.")
    given = parser.parse_args()
    console, rows, failed = Console(width=140), [], []
    for name in given.only.split(","):
        if name not in names:
            parser.error(f"there is no recipe {name!r}: use {', '.join(names)}")
        copy = "cats_dogs" if name == IMAGENET else COPIES[name]
        source = given.data / copy if copy else None
        if source and not source.exists():
            console.print(f"{name}: left out, there is no {source}")
            continue
        with tempfile.TemporaryDirectory(prefix="darkroom-recipes-") as folder:
            work = Path(folder)
            try:
                rows.append(
                    run_imagenet(source, work) if name == IMAGENET and source else run_recipe(name, source, work)
                )
            except subprocess.CalledProcessError as error:
                failed.append(name)
                console.print(f"{name}: failed with exit status {error.returncode}")
        if given.json:
            given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + os.linesep)
    console.print(show(rows))
    return int(bool(failed) or not all(row.reached for row in rows))


if __name__ == "__main__":
    sys.exit(main())
