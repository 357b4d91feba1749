"""Prefect's part in the cost of 100,000 scored images, in processor seconds.

    python benchmarks/overhead.py [--rounds 3] [--json overhead.json]

Scoring keeps all processors busy, so what Prefect takes from the images is the processor time that it uses, in the
flow's process and in the server beside it. Both are measured apart and put in relation:

- Prefect: a real flow of 104 tasks that do nothing (100 parts of 1,000 images, and room for the other tasks of a
  scoring) on a running server, submitted as the product submits them. Counted are all processor seconds of the flow's
  process, its imports among them, and those of the server until its record holds the end of every task.
- Images: the plain functions, `score_part` of models/scoring/parts.py, on photographs of 404 x 361 with
  EfficientNet-Lite0 at 160 x 160, decoding and real inference, from files to a part of the table; no Prefect. As fp32
  and, which is the harder case, as the faster int8.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.empty_parts import EmptyRun, run_empty_parts
from benchmarks.photographs import write_photographs
from benchmarks.processes import prefect_server
from benchmarks.side_by_side import Ratio, show, write

TARGET = 0.03
NUM_IMAGES, ROWS_PER_PART, OTHER_TASKS = 100_000, 1000, 4
_IMAGE_SIZE = (160, 160)
_A_PART, _CALIBRATION = 400, 64


def image_cpu_seconds(folder: Path, rounds: int) -> Mapping[str, list[float]]:
    """Processor seconds of one image in each round, by precision."""
    from darkroom.flows.quiet import load_tensorflow

    load_tensorflow()
    from darkroom.models.bundle.bundle import open_bundle
    from darkroom.models.onnx.runtime import OnnxRunner
    from darkroom.models.prediction_table.output import TableOutput
    from darkroom.models.scoring.parts import score_part
    from darkroom.models.scoring.plan import plan_scoring
    from darkroom.models.scoring.request import ScoreRequest
    from tests.bundles import tiny_bundle

    photographs = folder / "photographs"
    write_photographs(photographs, _A_PART * (rounds + 1))
    bundle = open_bundle(tiny_bundle(folder / "bundle", ("cats", "dogs"), _IMAGE_SIZE))
    found: dict[str, list[float]] = {}
    for precision, network in _networks(folder, photographs).items():
        runner, out = OnnxRunner(network, num_threads=1), folder / f"table-{precision}"
        plan_scoring(ScoreRequest(photographs, bundle.folder, TableOutput(out), _A_PART), bundle)
        cpu = []
        for index in range(rounds + 1):
            start = time.process_time()
            score_part(out, index, runner, bundle)
            cpu.append((time.process_time() - start) / _A_PART)
        found[precision] = cpu[1:]  # the first is a warm-up
    return found


def _networks(folder: Path, photographs: Path) -> dict[str, Path]:
    """EfficientNet-Lite0 for two classes, with random weights: its speed does not depend on them."""
    import keras

    from darkroom.data.images.decode import decode
    from darkroom.data.images.pixels.decode_policy import DecodePolicy
    from darkroom.models.networks.architectures import LOGITS_LAYER, with_embeddings
    from darkroom.models.networks.efficientnet_lite import build_backbone
    from darkroom.models.onnx.quantize import quantize
    from darkroom.models.onnx.runtime import export_onnx

    backbone = build_backbone(_IMAGE_SIZE)
    model = keras.Model(backbone.input, keras.layers.Dense(2, name=LOGITS_LAYER)(backbone.output))
    export_onnx(with_embeddings(model), folder / "fp32.onnx")
    files = sorted(photographs.iterdir())[:_CALIBRATION]
    policy = DecodePolicy(image_size=_IMAGE_SIZE)
    failed = quantize(
        folder / "fp32.onnx", folder / "int8.onnx", np.stack([decode(file.read_bytes(), policy) for file in files])
    )
    if failed:
        raise RuntimeError(failed)
    return {"fp32": folder / "fp32.onnx", "int8": folder / "int8.onnx"}


def prefect_cpu_seconds(folder: Path, rounds: int) -> list[EmptyRun]:
    """A flow of as many empty parts in each round."""
    with prefect_server(folder / "prefect") as server:
        run_empty_parts(server, OTHER_TASKS)
        return [run_empty_parts(server, NUM_IMAGES // ROWS_PER_PART + OTHER_TASKS, 1.0) for _ in range(rounds)]


def main() -> int:
    """Parse the command line and print the table; exit status 1 where Prefect takes too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = prefect_cpu_seconds(Path(folder), given.rounds)
        images = image_cpu_seconds(Path(folder), given.rounds)
    prefect = tuple(run.flow_cpu_seconds + run.server_cpu_seconds for run in runs)
    ratios = [
        Ratio(
            name=f"Prefect's share, {NUM_IMAGES:,} images, {precision}",
            ours="Prefect",
            theirs="images",
            unit="CPU s",
            our_rounds=prefect,
            their_rounds=tuple(NUM_IMAGES * each for each in cpu),
            ratio=statistics.median(prefect) / (NUM_IMAGES * statistics.median(cpu)),
            target=TARGET,
            at_most=True,
        )
        for precision, cpu in images.items()
    ]
    show(ratios)
    if given.json:
        rounds = [
            {
                "num_parts": run.num_parts,
                "seconds": run.seconds,
                "whole_seconds": run.whole_seconds,
                "flow_cpu_seconds": run.flow_cpu_seconds,
                "server_cpu_seconds": run.server_cpu_seconds,
            }
            for run in runs
        ]
        write(ratios, given.json, {"image_cpu_seconds": images, "rounds": rounds})
    return int(not all(each.reached for each in ratios))


if __name__ == "__main__":
    sys.exit(main())
