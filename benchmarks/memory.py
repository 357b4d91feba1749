"""Memory while a folder of many files is scored: flat, and under a limit, whatever the number of files.

    python benchmarks/memory.py [--files 1000000] [--pictures tiny|photographs] [--where FOLDER] [--json memory.json]

The folder is a tree of hard links: to 400 pictures of 8 x 8 pixels, or with `--pictures photographs` to 2,000
photographs of 404 x 361. The real flow `score` runs over it in parts of 1,000, with a Prefect server; inference alone
is stubbed (it gives the same logits for every image). Every few seconds, and so every minute too, the memory of the
flow's process and of its children is read, and that of the server. The slope is a line fitted to the flow's memory
from the time at which a fifth of the parts was done: before that come the listing, in one burst, and the caches.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.growth import link_tree, make_pictures, make_tiny_bundle
from benchmarks.photographs import write_photographs
from benchmarks.processes import PrefectServer, prefect_server, rss_bytes
from benchmarks.side_by_side import Ratio, show, write

LIMIT_GIB = 1.5
GROWTH_LIMIT = 1.1
_NUM_PHOTOGRAPHS = 2000
_SETTLED = 0.2


@dataclass(frozen=True)
class Sample:
    """Memory at one moment; `num_parts` of the table were written by then."""

    seconds: float
    num_parts: int
    flow_mib: float
    server_mib: float


def score_stubbed(tree: Path, bundle: Path, out: Path) -> None:
    """The flow in this process, with a network that does nothing."""
    from darkroom.flows.settings import prepare_environment

    prepare_environment("CRITICAL")
    from darkroom.flows.score import score
    from darkroom.models.bundle.bundle import Bundle, open_bundle
    from darkroom.models.scoring import parts as plain

    class Nothing:
        """Takes the place of a network."""

        def __init__(self, num_labels: int) -> None:
            self._num_labels = num_labels

        def __call__(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return np.zeros((len(images), self._num_labels), np.float32)

    def open_runner(folder: Path, *_: Any, **__: Any) -> tuple[Nothing, Bundle]:
        opened = open_bundle(folder)
        return Nothing(len(opened.card.labels)), opened

    plain.open_runner = open_runner  # type: ignore[assignment]
    score(str(tree), str(bundle), str(out), workspace=str(out.parent))


def watch(tree: Path, work: Path, server: PrefectServer, every_seconds: float) -> list[Sample]:
    """Run the flow in a process of its own and read its memory until it ends."""
    out, samples = work / "table", []
    command = [sys.executable, __file__, "--stubbed", str(tree), str(work / "bundle"), str(out)]
    start = time.monotonic()
    with subprocess.Popen(command, env=server.environment) as process:
        while process.poll() is None:
            try:
                process.wait(every_seconds)
            except subprocess.TimeoutExpired:
                num_parts = sum(1 for _ in out.glob("part-*.parquet"))
                held, served = rss_bytes(process.pid) / 2**20, rss_bytes(server.pid) / 2**20
                samples.append(Sample(round(time.monotonic() - start, 1), num_parts, round(held, 1), round(served, 1)))
    if process.returncode:
        raise RuntimeError(f"scoring ended with status {process.returncode}")
    return samples


def slope_mib(samples: list[Sample], num_parts: int) -> float:
    """MiB that the flow grows by for 100,000 files, once a fifth of the parts is done."""
    settled = [sample for sample in samples if sample.num_parts >= _SETTLED * num_parts]
    if len(settled) < 3:
        raise RuntimeError(f"{len(settled)} samples are too few for a slope: give more files.")
    return float(np.polyfit([s.num_parts for s in settled], [s.flow_mib for s in settled], 1)[0]) * 100


def ratios(samples: list[Sample], num_parts: int) -> list[Ratio]:
    """The peak, and the last fifth beside the second one."""
    held = tuple(sample.flow_mib / 1024 for sample in samples)
    peak = max(held)
    early = [s.flow_mib for s in samples if _SETTLED * num_parts <= s.num_parts < 2 * _SETTLED * num_parts]
    late = [s.flow_mib for s in samples if s.num_parts >= (1 - _SETTLED) * num_parts]
    growth = float(np.median(late) / np.median(early))
    name = f"memory while scoring {num_parts * 1000:,} files"
    return [
        Ratio(f"{name}: peak", "darkroom", "-", "GiB", (peak,), (), peak, LIMIT_GIB, at_most=True),
        Ratio(
            f"{name}: last fifth / second fifth",
            "last",
            "second",
            "MiB",
            tuple(late),
            tuple(early),
            growth,
            GROWTH_LIMIT,
            at_most=True,
        ),
    ]


def main() -> int:
    """Parse the command line and print the table; exit status 1 where memory passes a limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--pictures", choices=("tiny", "photographs"), default="tiny")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two samples")
    parser.add_argument("--where", type=Path, help="a folder for the tree, kept; else a temporary one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--stubbed", nargs=3, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stubbed:
        score_stubbed(*given.stubbed)
        return 0
    with tempfile.TemporaryDirectory(dir=given.where) as folder:
        work = Path(folder)
        pictures = (given.where or work) / f"pictures-{given.pictures}"
        if given.pictures == "tiny":
            make_pictures(pictures)
        elif not pictures.exists():
            write_photographs(pictures, _NUM_PHOTOGRAPHS)
        tree = link_tree(given.where or work, pictures, given.files, 1000)
        make_tiny_bundle(work / "bundle")
        with prefect_server(work / "prefect") as server:
            samples = watch(tree, work, server, given.every)
            rows = server.rows()
        shutil.rmtree(work / "table")
    num_parts = -(-given.files // 1000)
    found, slope = ratios(samples, num_parts), slope_mib(samples, num_parts)
    show(found)
    print(f"slope: {slope:+.2f} MiB for 100,000 files; {samples[-1].seconds:.0f} s in all")
    if given.json:
        details = {
            "files": given.files,
            "pictures": given.pictures,
            "slope_mib_per_100000_files": slope,
            "server_rows": rows,
            "samples": [asdict(sample) for sample in samples],
        }
        write(found, given.json, details)
    return int(not all(each.reached for each in found))


if __name__ == "__main__":
    sys.exit(main())
