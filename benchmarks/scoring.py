"""Files to labels: a scoring against Keras's reader and `predict`, and against what the machine can do at most.

    python benchmarks/scoring.py [--images ../shared/data/cats_dogs] [--files 4000] [--rounds 9] [--where FOLDER]
        [--json scoring.json]

The network is the transfer bundle that `darkroom ingest` and `darkroom train` make of the images (EfficientNet-Lite0,
160 x 160), kept in `--where` for the next run. The folder that both sides score holds `--files` hard links to them.
Ours is the plain path of a scoring (plan, two parts at a time, table and summary on disk) with the network loaded, as
theirs is loaded; what `darkroom score` takes with all its start-up stands in the details. Theirs is
`image_dataset_from_directory` with prefetch, in batches of 32 or 64, whichever is faster, and `model.predict`. Its
rounds differ: TensorFlow's tuner of the buffers may keep the end of one waiting (`untuned` in
data/dataset/input.py). So there are nine of them, which int8 and fp32 share; what ours is against the best of them
stands in the details.

Labels and accuracy are compared image by image: with Keras on the very pixels that we decode, and, in the details, with
Keras on what its own reader decodes. Accuracy is that on images that were not trained on.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.bench import SCORING_PROFILE
from benchmarks.ingest import shrunk
from benchmarks.processes import environment
from benchmarks.side_by_side import Ratio, milliseconds_each, of_rates, rates_in_turns, seconds, show, write
from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.dataset.manifest import write_table
from darkroom.data.images.decode import decode, decode_with_header
from darkroom.data.parallel import num_cpus
from darkroom.data.stores.folders import image_folder
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.onnx.runtime import Engine, Runner
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.scoring.parts import score_part
from darkroom.models.scoring.plan import plan_scoring
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.rows import Scorer, score_rows
from darkroom.models.scoring.summary import summarize

INT8_RATIO, FP32_RATIO, OF_THE_LIMIT = 5.0, 2.0, 0.90
INT8_SAME, FP32_SAME, ACCURACY_LOST = 0.995, 0.999, 0.003
_NAME = "scoring-benchmark"
_MEASURED_ALONE = 1000


def make_bundle(images: Path, where: Path) -> tuple[Bundle, Path]:
    """The bundle and the folder of its data set, made by the product's own commands where they are not there yet."""
    place = Workspace(where / "workspace")
    command = [sys.executable, "-m", "darkroom.flows.cli"]
    rest = ["--workspace", str(place.root)]
    for what in (["ingest", str(images), "--name", _NAME], ["train", _NAME, "--name", _NAME]):
        subprocess.run([*command, *what, *rest], check=True, env=environment(where / "home"))
    return open_bundle(place.find_model(_NAME)), place.find_dataset(_NAME)


def make_tree(images: Path, where: Path, num_files: int) -> Path:
    """A folder of `num_files` hard links to copies of the images, in their class folders; made once."""
    tree = where / f"tree-{num_files}"
    if (where / f"{tree.name}.done").exists():
        return tree
    shutil.rmtree(tree, ignore_errors=True)
    originals = where / "originals"
    if not originals.exists():
        shutil.copytree(images, originals)
    files = sorted(path for path in originals.rglob("*.jpg"))
    for number, path in enumerate(islice(cycle(files), num_files)):
        link = tree / path.parent.name / f"{number:06d}.jpg"
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, link)
    (where / f"{tree.name}.done").touch()
    return tree


def score(
    tree: Path, bundle: Bundle, runner: Runner, out: Path, engine: Engine = "fp32", embeddings: bool = False
) -> Path:
    """The plain path of a whole scoring, two parts at a time as Prefect's window has them; the table's folder."""
    shutil.rmtree(out, ignore_errors=True)
    request = ScoreRequest(tree, bundle.folder, TableOutput(out), embeddings=embeddings)
    plan = plan_scoring(request, bundle, engine)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda index: score_part(out, index, runner, bundle), range(plan.num_parts)))
    summarize(out, (), "", 1.0, None)
    return out


def keras_labels(model: Any, tree: Path, size: tuple[int, int], batch_size: int) -> NDArray[np.intp]:
    """A class for each file of a folder with class folders, the common way."""
    import keras
    import tensorflow as tf

    files = keras.utils.image_dataset_from_directory(
        tree, image_size=size, batch_size=batch_size, shuffle=False, verbose=False
    )
    logits: NDArray[np.float32] = model.predict(files.prefetch(tf.data.AUTOTUNE), verbose=0)
    return np.asarray(logits.argmax(axis=1), np.intp)


def limit(tree: Path, bundle: Bundle, runner: Runner) -> float:
    """Images a second at most: of the time to read, hash and decode one, alone, and to run one with all cores busy."""
    folder, policy, cores = image_folder(tree), bundle.card.policy, num_cpus()
    names = [entry.os_path for entry in islice(folder.iter_files(), _MEASURED_ALONE)]

    def decode_all() -> list[NDArray[np.uint8]]:
        pixels = []
        for name in names:
            data = folder.read_file(name, policy.max_bytes)
            hashlib.sha256(data).hexdigest()
            pixels.append(decode_with_header(data, policy).pixels)
        return pixels

    images = np.stack(decode_all())  # the same few again and again would stay in a core's cache
    with ThreadPoolExecutor(cores) as pool:
        decoding = seconds(decode_all) / len(names)
        inference = seconds(lambda: list(pool.map(runner, [images] * cores))) / len(images)
    return cores / (decoding + inference)


def share_of_limit(tree: Path, bundle: Bundle, runner: Runner, out: Path, num_files: int, rounds: int) -> Ratio:
    """A whole scoring's images a second over the machine's own limit, in turns."""
    ours, limits = [], []
    for _ in range(rounds):
        limits.append(limit(tree, bundle, runner))
        ours.append(num_files / seconds(lambda: score(tree, bundle, runner, out)))
    ratio = statistics.median(ours) / statistics.median(limits)
    name = "scoring int8, share of the cores' limit"
    alone = "cores / (read, hash, decode + inference), measured alone"
    return Ratio(name, "darkroom", alone, "images/s", tuple(ours), tuple(limits), ratio, OF_THE_LIMIT)


def agreement(
    images: Path, dataset: Path, bundle: Bundle, model: Any, runners: dict[str, Runner]
) -> tuple[list[Ratio], dict[str, Any]]:
    """Labels and accuracy, image by image; and beside Keras's own reader."""
    card, opened = bundle.card, open_dataset(dataset)
    held_out = {path for split in ("validation", "test") for path in opened.paths(split)}
    files = [row for row in opened.manifest("path", "label", "status").to_pylist() if row["status"] == "ok"]
    pixels = np.stack([decode((images / row["path"]).read_bytes(), card.policy) for row in files])
    truth = np.array([card.labels.index(row["label"]) for row in files])
    new = np.array([row["path"] in held_out for row in files])
    theirs = np.argmax(model.predict(pixels, batch_size=32, verbose=0), axis=1)
    ratios, details = [], {"accuracy on the same pixels": float((theirs == truth)[new].mean())}
    for name, runner in runners.items():
        ours = np.argmax(runner(pixels), axis=1)
        same, lost = float((ours == theirs).mean()), float((theirs == truth)[new].mean() - (ours == truth)[new].mean())
        target = INT8_SAME if name == "int8" else FP32_SAME
        what = (f"{len(files)} images", "Keras on the same pixels", "share")
        ratios.append(Ratio(f"same label, {name}", *what, (same,), (), same, target))
        ratios.append(Ratio(f"accuracy lost, {name}", *what, (lost,), (), lost, ACCURACY_LOST, at_most=True))
        details[f"accuracy {name}"] = float((ours == truth)[new].mean())
        details[f"same label as with Keras's own reader, {name}"] = float(
            (ours == _own_reader(model, images, files, card.policy.image_size)).mean()
        )
    return ratios, details


def _own_reader(model: Any, images: Path, files: list[dict[str, Any]], size: tuple[int, int]) -> NDArray[np.intp]:
    import tensorflow as tf

    def read(path: Any) -> Any:  # as image_dataset_from_directory does
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.ensure_shape(tf.image.resize(image, size, method="bilinear"), (*size, 3))

    paths = tf.data.Dataset.from_tensor_slices([str(images / row["path"]) for row in files])
    logits: NDArray[np.float32] = model.predict(paths.map(read, num_parallel_calls=2).batch(32), verbose=0)
    return np.asarray(logits.argmax(axis=1), np.intp)


def stages(tree: Path, bundle: Bundle, runner: Runner, out: Path) -> dict[str, float]:
    """Milliseconds an image of one thread by what they are spent on."""
    folder, policy = image_folder(tree), bundle.card.policy
    names = [entry.os_path for entry in islice(folder.iter_files(), _MEASURED_ALONE)]
    height, width = policy.image_size

    found = {"read": milliseconds_each(lambda name: folder.read_file(name, policy.max_bytes), names)}
    contents = [folder.read_file(name, policy.max_bytes) for name in names]
    found["hash"] = milliseconds_each(lambda data: hashlib.sha256(data).hexdigest(), contents)
    jpeg = milliseconds_each(partial(shrunk, size=(width, height)), contents)
    whole = milliseconds_each(partial(decode, policy=policy), contents)
    found |= {"header, JPEG": jpeg, "orientation, checks, resize": max(0.0, whole - jpeg)}
    pixels = np.stack([decode(data, policy) for data in contents])
    found["inference"] = seconds(lambda: runner(pixels)) / len(names) * 1e3
    files = [{"path": name, "os_path": name.encode(), "reason": None} for name in names]
    rows = seconds(lambda: list(score_rows(files, folder, Scorer(runner, bundle, num_threads=1)))) / len(names) * 1e3
    found["rows, and the rest"] = max(0.0, rows - sum(found.values()))
    score(tree, bundle, runner, out)
    table = pq.read_table(out / "part-00000.parquet")
    found["write"] = seconds(lambda: write_table(out / "again.parquet", table)) / table.num_rows * 1e3
    return found


def whole_command(tree: Path, bundle: Bundle, out: Path, num_files: int) -> dict[str, float]:
    """`darkroom score` from its start to its end, with the server that it starts for itself; images a second."""
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "darkroom.flows.cli",
        "score",
        str(tree),
        "--model",
        str(bundle.folder),
        "--out",
        str(out),
    ]
    start = time.perf_counter()
    subprocess.run(command, check=True, env=environment(out.parent / "home"), capture_output=True)
    took = time.perf_counter() - start
    return {"seconds": took, "images/s": num_files / took}


def parse(description: str | None, rounds: int) -> argparse.Namespace:
    """The command line: images, files, rounds, json, and the folder where, which is made."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cats_dogs")
    parser.add_argument("--files", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--where", type=Path, default=Path(tempfile.gettempdir()) / "darkroom-scoring-benchmark")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not arguments.images.is_dir():
        parser.error(f"{arguments.images} is no folder; give class folders of photographs with --images")
    arguments.where.mkdir(parents=True, exist_ok=True)
    return arguments


def main() -> int:
    """Measure and print the tables."""
    arguments = parse(__doc__, rounds=9)
    where: Path = arguments.where
    bundle, dataset = make_bundle(arguments.images, where)
    tree, out = make_tree(arguments.images, where, arguments.files), where / "table"
    runners = {name: bundle.runner(name, num_threads=1) for name in ("int8", "fp32")}  # type: ignore[arg-type]
    model, size = bundle.keras_model(), bundle.card.policy.image_size
    # What TensorFlow and Keras have made: a look through it takes a quarter of a second, in whichever round it falls.
    gc.freeze()

    # The faster of the two for Keras, each after a run that builds its graph.
    small = make_tree(arguments.images, where, min(arguments.files, 1000))
    times = {}
    for batch_size in (32, 64):
        keras_labels(model, small, size, batch_size)
        times[batch_size] = seconds(partial(keras_labels, model, small, size, batch_size))
    batch_size = min(times, key=times.__getitem__)

    theirs = f"keras, batches of {batch_size}"
    sides = {f"darkroom {name}": partial(score, tree, bundle, runner, out) for name, runner in runners.items()}
    keras_side = partial(keras_labels, model, tree, size, batch_size)
    rates = rates_in_turns(arguments.files, {**sides, theirs: keras_side}, arguments.rounds)
    ratios = [
        of_rates(f"scoring {name}", target, rates, f"darkroom {name}", theirs)
        for name, target in (("int8", INT8_RATIO), ("fp32", FP32_RATIO))
    ]
    best_round = {each.name: statistics.median(each.our_rounds) / max(each.their_rounds) for each in ratios}
    ratios.append(share_of_limit(tree, bundle, runners["int8"], out, arguments.files, arguments.rounds))
    same, details = agreement(arguments.images, dataset, bundle, model, runners)
    ratios += same
    details["times as fast as Keras's best round"] = best_round
    details[SCORING_PROFILE] = stages(tree, bundle, runners["int8"], out)
    details["darkroom score, start-up and Prefect's own server included"] = whole_command(
        tree, bundle, out, arguments.files
    )
    show(ratios)
    table = Table("what", "figure", title="details")
    for name, figure in details.items():
        for part, value in figure.items() if isinstance(figure, dict) else [("", figure)]:
            table.add_row(f"{name}: {part}" if part else name, f"{value:.4g}")
    Console(width=140).print(table)
    if arguments.json:
        write(ratios, arguments.json, details)
    return int(not all(each.reached for each in ratios))


if __name__ == "__main__":
    sys.exit(main())
