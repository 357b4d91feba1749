"""What listing, planning, the duplicate search and score planning cost at a million files: seconds and peak memory.

    python benchmarks/growth.py [--files 1000000] [--folder 100000] [--where /tmp/growth] [--json growth.json]

Each stage runs in a process of its own: the scan and a whole ingest on `--folder` files in one folder, the rest on
`--files` files in folders of 1,000, all hard links to a few hundred small pictures. The peak is the kernel's own figure
(`VmHWM`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

LIMIT_BYTES = int(1.5 * 2**30)


def make_tree(where: Path, num_files: int, a_folder: int) -> Path:
    """Folders of `a_folder` hard links to small pictures; made once."""
    return link_tree(where, make_pictures(where / "pictures"), num_files, a_folder)


def make_pictures(folder: Path, num_files: int = 400) -> Path:
    """PNG files of 8 x 8 pixels, no two the same."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(num_files):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number:05d}.png")
    return folder


def link_tree(where: Path, pictures: Path, num_files: int, a_folder: int) -> Path:
    """Folders of `a_folder` hard links to pictures, under two class folders; made once."""
    tree = where / f"tree-{num_files}-{a_folder}"
    done = where / f"{tree.name}.done"
    if done.exists():
        return tree
    targets = sorted(pictures.iterdir())
    for start in range(0, num_files, a_folder):
        folder = tree / ("cats", "dogs")[start // a_folder % 2] / f"{start:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(start, min(start + a_folder, num_files)):
            target = targets[number % len(targets)]
            link = folder / f"{number:08d}{target.suffix}"
            if not link.exists():
                os.link(target, link)
    done.touch()
    return tree


def make_tiny_bundle(folder: Path) -> None:
    """A network of one layer for images of 160 x 160, made by a process of its own: this one holds no TensorFlow."""
    script = (
        "import sys; from pathlib import Path; from tests.bundles import tiny_bundle; "
        "tiny_bundle(Path(sys.argv[1]), ('cats', 'dogs'), (160, 160))"
    )
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", script, str(folder)], cwd=root, check=True, stderr=subprocess.DEVNULL)


def scan(tree: Path, work: Path) -> int:
    """List a folder."""
    from darkroom.data.stores.listing import list_files

    return len(list_files(tree))


def plan_ingest(tree: Path, work: Path) -> int:
    """List, label, plan the splits and the parts."""
    from darkroom.data.ingest.plan import plan_ingest, read_plan
    from darkroom.data.ingest.request import IngestRequest, IngestSettings
    from darkroom.data.labels.rules import LabelRules
    from darkroom.data.sources.resolve import resolve
    from darkroom.data.stores.workspace import Workspace

    workspace = Workspace(work / f"workspace-{time.time_ns()}")
    settings = IngestSettings(name="growth", labels=LabelRules(source="filename", pattern=r"(?P<label>[0-9])\.png$"))
    return read_plan(plan_ingest(IngestRequest(resolve(str(tree), workspace), settings, workspace)).staging).num_files


def draw_splits(tree: Path, work: Path) -> int:
    """Draw a split for as many content hashes as the tree has files."""
    from darkroom.data.splits.splits import SplitPlan, SplitRules

    plan = SplitPlan.of({None}, SplitRules())
    num_files = int(tree.name.split("-")[1])
    return sum(plan.split(f"{number:064x}", None) in ("train", "validation", "test") for number in range(num_files))


def find_duplicates(tree: Path, work: Path) -> int:
    """Search as many hashes as the tree has files for copies: random ones, and one in a hundred a near copy."""
    import pyarrow as pa

    from darkroom.data.quality.duplicates import Images, find_duplicates

    num_files = int(tree.name.split("-")[1])
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, num_files, dtype=np.uint64)
    copies = random.choice(num_files, num_files // 100, replace=False)
    hashes[copies] = hashes[(copies + 1) % num_files] ^ np.uint64(0b1001)
    some = random.integers(0, 256, (1000, 32, 32), dtype=np.uint8)
    splits = np.array(["train", "train", "train", "validation", "test"])[random.integers(0, 5, num_files)]
    manifest = pa.table(
        {
            "path": [f"{number:09d}.png" for number in range(num_files)],
            "sha256": [f"{number:064x}" for number in range(num_files)],
            "label": np.where(random.integers(0, 2, num_files), "cats", "dogs"),
            "split": splits,
            "perceptual_hash": [f"{value:016x}" for value in hashes.tolist()],
            "width": np.full(num_files, 400, np.int32),
            "height": np.full(num_files, 400, np.int32),
            "place": np.arange(num_files),
        }
    )
    find_duplicates(Images.of(manifest, (160, 160)), lambda places: some[places % 1000])
    return num_files


def ingest(tree: Path, work: Path) -> int:
    """Ingest a folder: decode, hash, shard, search for copies, publish."""
    from darkroom.data.dataset.dataset import open_dataset
    from darkroom.data.images.pixels.decode_policy import DecodePolicy
    from darkroom.data.ingest.parts import write_part
    from darkroom.data.ingest.plan import plan_ingest
    from darkroom.data.ingest.publication import publish
    from darkroom.data.ingest.request import IngestRequest, IngestSettings
    from darkroom.data.labels.rules import LabelRules
    from darkroom.data.sources.resolve import resolve
    from darkroom.data.stores.workspace import Workspace

    workspace = Workspace(work / f"workspace-{time.time_ns()}")
    rules = LabelRules(source="filename", pattern=r"(?P<label>[0-9])\.png$")
    settings = IngestSettings(name="growth", labels=rules, policy=DecodePolicy(image_size=(8, 8)), leaks="keep")
    plan = plan_ingest(IngestRequest(resolve(str(tree), workspace), settings, workspace))
    for index in range(plan.num_parts):
        write_part(plan.staging, index)
    return open_dataset(publish(plan.staging, workspace)).card.num_files


def plan_scoring(tree: Path, work: Path) -> int:
    """List a folder to score and write the plan."""
    from darkroom.models.bundle.bundle import open_bundle
    from darkroom.models.prediction_table.output import TableOutput
    from darkroom.models.scoring.plan import plan_scoring
    from darkroom.models.scoring.request import ScoreRequest

    request = ScoreRequest(tree, work / "bundle", TableOutput(work / f"scores-{time.time_ns()}"))
    return plan_scoring(request, open_bundle(request.bundle)).num_files


STAGES: dict[str, Callable[[Path, Path], int]] = {
    "scan": scan,
    "plan_ingest": plan_ingest,
    "draw_splits": draw_splits,
    "find_duplicates": find_duplicates,
    "plan_scoring": plan_scoring,
}
ONE_FOLDER: dict[str, Callable[[Path, Path], int]] = {"scan": scan, "ingest": ingest}


def run_stage(name: str, tree: Path, work: Path) -> None:
    """One stage in this process; prints its figures as JSON."""
    started = time.monotonic()
    count = (STAGES | ONE_FOLDER)[name](tree, work)
    seconds = time.monotonic() - started
    sys.stdout.write(json.dumps({"files": count, "seconds": seconds, "peak_bytes": peak_bytes()}) + "\n")


def peak_bytes() -> int:
    """The most memory that this process has held; `ru_maxrss` would count what its parent held before `exec`."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def main() -> int:
    """Run all stages, print the table; exit status 1 where a peak passes the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--folder", type=int, default=100_000)
    parser.add_argument("--where", type=Path, default=Path("/tmp/growth"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--stage", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        run_stage(given.stage[0], Path(given.stage[1]), given.where)
        return 0
    one = make_tree(given.where, given.folder, given.folder)
    many = make_tree(given.where, given.files, 1000)
    from tests.bundles import tiny_bundle

    shutil.rmtree(given.where / "bundle", ignore_errors=True)
    tiny_bundle(given.where / "bundle", ("cats", "dogs"), (16, 16))
    jobs = [*((name, one) for name in ONE_FOLDER), *((name, many) for name in STAGES)]
    table = Table("stage", "files", "seconds", "peak MiB", "limit MiB", box=None)
    results = []
    for name, tree in jobs:
        command = [sys.executable, __file__, "--where", str(given.where), "--stage", name, str(tree)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        results.append({"stage": name, "tree": tree.name, **found})
        cells = (f"{found['files']:,}", f"{found['seconds']:.1f}", f"{found['peak_bytes'] / 2**20:.0f}")
        table.add_row(name, *cells, f"{LIMIT_BYTES / 2**20:.0f}")
    Console().print(table)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return int(any(result["peak_bytes"] > LIMIT_BYTES for result in results))


if __name__ == "__main__":
    sys.exit(main())
