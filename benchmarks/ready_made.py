"""The ready-made networks on photographs of pets: how often the most likely class is of the right animal, and how fast.

    python benchmarks/ready_made.py [--photographs ../shared/data/cats_dogs/validation] [--threads 2]

The folder holds `cats/` and `dogs/`. Right is a breed of dog on dogs, and one of the five domestic cats on cats; lynxes
and other big cats do not count. The accuracy is that of all photographs, with its 95 % interval (Wilson). Images/s are
of ONNX Runtime alone, fp32, the best of three rounds over 64 decoded images.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

NETWORKS = (
    ("efficientnet-lite0", 160),
    ("efficientnet-lite0", 224),
    ("efficientnet-lite1", 240),
    ("efficientnet-lite2", 260),
)
DOGS, DOMESTIC_CATS = range(151, 269), range(281, 286)  # of ImageNet's 1,000 classes, in ImageNet's own order
_BATCH = 16


def measure(network: str, side: int, photographs: Path, threads: int) -> tuple[list[bool], float, float]:
    """Whether each photograph is right, images/s, and the MB of the network."""
    from darkroom.data.images.decode import decode
    from darkroom.data.images.pixels.decode_policy import DecodePolicy
    from darkroom.models.networks.efficientnet_lite import build_classifier, load_pretrained
    from darkroom.models.onnx.runtime import OnnxRunner, export_onnx

    model, policy = build_classifier((side, side), network), DecodePolicy(image_size=(side, side))
    load_pretrained(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, path)
        runner, size = OnnxRunner(path, threads), path.stat().st_size / 1e6
    right = []
    for kind, classes in (("cats", DOMESTIC_CATS), ("dogs", DOGS)):
        files = sorted((photographs / kind).glob("*.jpg"))
        for start in range(0, len(files), _BATCH):
            images = np.stack([decode(file.read_bytes(), policy) for file in files[start : start + _BATCH]])
            right += np.isin(runner(images).argmax(axis=1), classes).tolist()
    batch = np.stack([images[0]] * 64)
    rounds = []
    for _ in range(3):
        started = time.perf_counter()
        runner(batch)
        rounds.append(len(batch) / (time.perf_counter() - started))
    return right, max(rounds), size


def main() -> None:
    """Measure each, and print the table."""
    from darkroom.models.measures.intervals import wilson_interval

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pets = Path(__file__).parents[2] / "shared" / "data" / "cats_dogs" / "validation"
    parser.add_argument("--photographs", type=Path, default=pets)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    table = Table("network", "image size", "right", "accuracy (95 % interval)", "images/s", "MB")
    for network, side in NETWORKS:
        right, speed, size = measure(network, side, given.photographs, given.threads)
        interval = wilson_interval(sum(right), len(right))
        shares = f"{sum(right) / len(right):.3f} ({interval.low:.3f} to {interval.high:.3f})"
        table.add_row(network, f"{side}", f"{sum(right)} of {len(right)}", shares, f"{speed:.0f}", f"{size:.1f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
