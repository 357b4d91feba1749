"""How many planted wrong labels the list of suspected label errors finds, and how much of it is right.

    python -m benchmarks.label_errors [--data ../shared/data/cats_dogs] [--share 0.03] [--seeds 3]

All cats and dogs at 160 x 160; `--share` of the labels are turned round, anew for each seed. The labels that the set
was published with count as right, though a few of them are not.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.parallel import num_cpus, ordered_map
from darkroom.models.inspecting.label_errors import Judged, export_judge, find_label_errors
from darkroom.models.onnx.runtime import OnnxRunner

_BATCH = 64


def main() -> None:
    """Print precision and recall for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cats_dogs"))
    parser.add_argument("--share", type=float, default=0.03)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    files = sorted(options.data.rglob("*.jpg"))
    labels = LabelMap.of(path.parent.name for path in files)
    truth = np.array([labels.index(path.parent.name) for path in files], np.int32)
    features = _features(files)
    names = tuple(str(path.relative_to(options.data)) for path in files)
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        planted = rng.choice(len(files), round(options.share * len(files)), replace=False)
        given = truth.copy()
        given[planted] = (given[planted] + rng.integers(1, len(labels.names), len(planted))) % len(labels.names)
        start = time.perf_counter()
        found = find_label_errors(Judged(features, given, names, names), labels)
        seconds = time.perf_counter() - start
        hits = len({error.path for error in found.suspected} & {names[row] for row in planted})
        print(
            f"seed {seed}: {len(planted)} planted among {len(files)}, {found.num_suspected} suspected, "
            f"precision {hits / max(1, found.num_suspected):.3f}, recall {hits / max(1, len(planted)):.3f}, "
            f"{seconds:.1f} s"
        )


def _features(files: list[Path]) -> NDArray[np.float32]:
    policy = DecodePolicy()
    with TemporaryDirectory() as folder:
        export_judge(Path(folder) / "backbone.onnx")
        runner = OnnxRunner(Path(folder) / "backbone.onnx")
    pixels = ordered_map(lambda path: decode(path.read_bytes(), policy), files, num_cpus(), window=2 * _BATCH)
    batches = ([next(pixels) for _ in range(min(_BATCH, len(files) - at))] for at in range(0, len(files), _BATCH))
    return np.concatenate([runner(np.stack(batch)) for batch in batches])


if __name__ == "__main__":
    main()
