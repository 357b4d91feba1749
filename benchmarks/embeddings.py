"""What the column of embeddings costs: a scoring with it beside the same scoring without.

    python benchmarks/embeddings.py [--images ../shared/data/cats_dogs] [--files 4000] [--rounds 5] [--where FOLDER]
        [--json embeddings.json]

Bundle and files are those of `benchmarks/scoring.py`, in the same `--where`; both sides are the plain path of a whole
scoring, plan, parts, table and summary on disk, with the network loaded. The ratio is that of the seconds.
"""

from __future__ import annotations

import os
import statistics
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.scoring import make_bundle, make_tree, parse, score
from benchmarks.side_by_side import Ratio, in_turns, seconds, show, write
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.onnx.runtime import Engine

TARGET = 1.05


def compare(tree: Path, bundle: Bundle, engine: Engine, out: Path, rounds: int) -> Ratio:
    """Seconds with and without, in turns."""
    runner = bundle.runner(engine, num_threads=1)

    def timed(embeddings: bool) -> float:
        return seconds(lambda: score(tree, bundle, runner, out, engine, embeddings))

    ours, theirs = in_turns({"with": partial(timed, True), "without": partial(timed, False)}, rounds).values()
    ratio = statistics.median(ours) / statistics.median(theirs)
    return Ratio(f"embeddings, {engine}", "with", "without", "s", ours, theirs, ratio, TARGET, at_most=True)


def main() -> int:
    """Measure and print the table."""
    arguments = parse(__doc__, rounds=5)
    bundle, _ = make_bundle(arguments.images, arguments.where)
    tree = make_tree(arguments.images, arguments.where, arguments.files)
    out = arguments.where / "table-embeddings"
    engines: tuple[Engine, ...] = ("int8", "fp32")
    ratios = [compare(tree, bundle, engine, out, arguments.rounds) for engine in engines]
    show(ratios)
    if arguments.json:
        write(ratios, arguments.json)
    return int(not all(each.reached for each in ratios))


if __name__ == "__main__":
    sys.exit(main())
