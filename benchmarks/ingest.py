"""Image files to shards: an ingest against img2dataset and against the loop over Pillow that people write.

    python benchmarks/ingest.py [--images ../shared/data/cats_dogs/train] [--files 2000] [--rounds 5]
        [--json ingest.json]

All sides make images of 160 x 160 from the same local files, once as PNG and once as JPEG of quality 95 (ours and the
loop's with full chroma, OpenCV's with a quarter of it, which is less work). img2dataset 1.47 reads them by `file://`
and writes Parquet, as ours does for this comparison; it crops the centre (it cannot stretch), decodes and resizes with
OpenCV, does not look at EXIF and, like ours, hashes the files. It has a process a core. The loop opens, converts,
resizes, saves and writes TFRecord, in one process. Ours also finds copies, hashes pictures, measures quality, checks
and publishes; all of that is counted. PNG is what shards hold unless told otherwise. With JPEG the loop's work is
nearly all in libjpeg-turbo, as ours is, so there is little that could be done in a third of the time: the details
say what an image's time is spent on, on both sides.

Two figures each. By the clock: images a second and core, ours and img2dataset's on all cores, the loop's on one. By
processor time: images for a second of it, in all processes. Ours has a process a core too, as `--runner processes` has;
threads, the default, wait for each other's Python. Start-up is left out on all sides: ours is in processes that have
worked before, the loop in this one; img2dataset's clock is that of its own `_stats.json` (from the first shard's start
to the last one's end), and its processor time that of all files less that of a run of a shard a process.

img2dataset's pins clash with ours, so it is installed into an environment of its own, kept in the folder for temporary
files. Without `--images`, and without the shared photographs, the files are made.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.bench import INGEST_PROFILE
from benchmarks.photographs import write_photographs
from benchmarks.side_by_side import Ratio, in_turns, milliseconds_each, show, write
from darkroom.data.images.decode import decode
from darkroom.data.images.formats.turbojpeg import decode_plain_jpeg, shrink_by
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.pixels.encode import encode_jpeg
from darkroom.data.ingest.parts import write_part
from darkroom.data.ingest.plan import plan_ingest
from darkroom.data.ingest.publication import publish
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.parallel import CPU_SHARE, num_cpus
from darkroom.data.quality.perceptual import perceptual_hash, thumbnail
from darkroom.data.quality.pixel_statistics import pixel_statistics
from darkroom.data.shards.shards import ShardRules
from darkroom.data.sources.resolve import resolve
from darkroom.data.stores.listing import read_file
from darkroom.data.stores.workspace import Workspace

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared/data/cats_dogs/train"
IMG2DATASET, LOOP = 2.0, 3.0
VERSION = "1.47.0"
SIDE = 160
QUALITY = 95
FILES_A_SHARD = 250  # of either side
_MEASURED_ALONE = 1000

# Run by the Python of its own environment: images, quality, urls, output folder, processes, files a shard.
_THEIRS = """
import json, resource, sys
from img2dataset import download
if __name__ == "__main__":
    encoding, quality, urls, output, processes, files_a_shard = sys.argv[1:]
    download(url_list=urls, input_format="txt", output_folder=output, output_format="parquet", image_size=160,
             resize_mode="center_crop", encode_format=encoding, encode_quality=int(quality), extract_exif=False,
             processes_count=int(processes), thread_count=8, number_sample_per_shard=int(files_a_shard))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps(sum(each.ru_utime + each.ru_stime for each in used)), file=sys.stderr)
"""


@dataclass(frozen=True)
class Cost:
    """Of an image, in seconds: by the clock, and of processor time."""

    wall: float
    cpu: float


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=SHARED)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    spawn = get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(num_cpus(), spawn) as workers:
        place = Path(folder)
        source = write_source(place / "source", arguments.images, arguments.files)
        files = sorted(path for path in source.rglob("*") if path.is_file())
        python = environment()
        ratios = []
        for encoding in ("png", "jpeg"):
            sides: dict[str, Callable[[], Cost]] = {
                "parquet": partial(ours, workers, source, len(files), "parquet", encoding, place),
                "img2dataset": partial(theirs, python, files, encoding, place),
                "tfrecord": partial(ours, workers, source, len(files), "tfrecord", encoding, place),
                "loop": partial(loop, files, encoding, place),
            }
            costs = in_turns({name: partial(on_a_written_disk, run) for name, run in sides.items()}, arguments.rounds)
            cores = num_cpus()
            for other, format_name, label, their_cores, target in (
                ("img2dataset", "Parquet", f"img2dataset {VERSION}", cores, IMG2DATASET),
                ("loop", "TFRecord", "Pillow loop", 1, LOOP),
            ):
                labels = (f"darkroom, {format_name}", f"{label}, {format_name}")
                pair = (costs[format_name.lower()], costs[other])
                ratios += compare(f"{encoding.upper()}: ingest, {label}", *pair, labels, (cores, their_cores), target)
        whole = [statistics.median(cost.cpu for cost in costs[side]) * 1e3 for side in ("tfrecord", "loop")]
        profile = stages(files[:_MEASURED_ALONE], *whole)
    show(ratios)
    show_stages(profile)
    if arguments.json:
        details = {"files": arguments.files, "rounds": arguments.rounds, INGEST_PROFILE: profile}
        write(ratios, arguments.json, details)
    return int(not all(each.reached for each in ratios))


def write_source(folder: Path, images: Path, num_files: int) -> Path:
    """Two class folders of different files: links to those of `images`, or photographs that are made."""
    found = sorted(path for path in images.rglob("*.jpg"))[:num_files] if images.is_dir() else []
    if not found:
        write_photographs(folder / "made", num_files)
        found = sorted((folder / "made").glob("*.jpg"))
    for number, path in enumerate(found):
        target = folder / "classes" / ("even", "odd")[number % 2] / f"{number:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return folder / "classes"


def environment() -> Path:
    """The Python of an environment with img2dataset, made once."""
    folder = Path(tempfile.gettempdir()) / f"darkroom-benchmark-img2dataset-{VERSION}"
    python = folder / "bin" / "python"
    if not (folder / "whole").exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"img2dataset=={VERSION}"], check=True)
        (folder / "whole").touch()
    return python


def on_a_written_disk(run: Callable[[], Cost]) -> Cost:
    """The cost, once others' files are on the disk: ours flushes its own, and would wait for theirs."""
    os.sync()
    return run()


def compare(
    name: str,
    ours: Sequence[Cost],
    theirs: Sequence[Cost],
    labels: tuple[str, str],
    cores: tuple[int, int],
    target: float,
) -> list[Ratio]:
    """The two ratios of one pair."""
    sides = list(zip((ours, theirs), cores, strict=True))
    clock = [[1 / each.wall / number for each in side] for side, number in sides]
    processor = [[1 / each.cpu for each in side] for side, _ in sides]
    found = []
    for unit, (mine, others) in (("images/s per core", clock), ("images/s per CPU second", processor)):
        ratio = statistics.median(mine) / statistics.median(others)
        found.append(Ratio(name, *labels, unit, tuple(mine), tuple(others), ratio, target))
    return found


def ours(workers: Executor, source: Path, num_files: int, shard_format: str, encoding: str, place: Path) -> Cost:
    """An ingest from the listing to the published data set, a part a process."""
    workspace = Workspace(place / "workspace")
    shards = ShardRules.model_validate(
        {
            "format": shard_format,
            "images": encoding,
            "jpeg_quality": QUALITY,
            "rows_per_shard": FILES_A_SHARD,
        }
    )
    settings = IngestSettings.model_validate({"name": "b", "shards": shards, "policy": {"image_size": (SIDE, SIDE)}})
    wall, cpu = time.perf_counter(), time.process_time()
    planned = plan_ingest(IngestRequest(resolve(str(source), workspace), settings, workspace))
    parts = sum(workers.map(partial(part_cpu_seconds, planned.staging), range(planned.num_parts)))
    publish(planned.staging, workspace)
    cost = Cost((time.perf_counter() - wall) / num_files, (time.process_time() - cpu + parts) / num_files)
    shutil.rmtree(workspace.root)
    return cost


def part_cpu_seconds(staging: Path, index: int) -> float:
    """Write a part on one processor; the seconds of it that this took."""
    before = time.process_time()
    token = CPU_SHARE.set(1)
    write_part(staging, index)
    CPU_SHARE.reset(token)
    return time.process_time() - before


def theirs(python: Path, files: list[Path], encoding: str, place: Path) -> Cost:
    """img2dataset on all files, less what it takes to start."""
    few = num_cpus() * 8
    start = _img2dataset(python, files[:few], encoding, place)[1]
    wall, cpu = _img2dataset(python, files, encoding, place)
    return Cost(wall / len(files), (cpu - start) / (len(files) - few))


def _img2dataset(python: Path, files: list[Path], encoding: str, place: Path) -> tuple[float, float]:
    """Seconds from the first shard's start to the last one's end, and of processor time."""
    urls, output = place / "urls.txt", place / "img2dataset"
    urls.write_text("\n".join(path.as_uri() for path in files))
    # A PNG's quality is its level of compression.
    encode, quality = ("png", 1) if encoding == "png" else ("jpg", QUALITY)
    given = [encode, *map(str, (quality, urls, output, num_cpus(), FILES_A_SHARD))]
    done = subprocess.run([str(python), "-c", _THEIRS, *given], check=True, capture_output=True, text=True)
    stats = [json.loads(path.read_text()) for path in output.glob("*_stats.json")]
    if sum(each["successes"] for each in stats) != len(files):
        raise SystemExit(f"img2dataset made {sum(each['successes'] for each in stats)} of {len(files)} images.")
    shutil.rmtree(output)
    wall = max(each["end_time"] for each in stats) - min(each["start_time"] for each in stats)
    return wall, float(done.stderr.strip().splitlines()[-1])


def loop(files: list[Path], encoding: str, place: Path) -> Cost:
    """What the guides show: open, convert, resize, save, write; one process, one thread."""
    import tensorflow as tf

    wall, cpu = time.perf_counter(), time.process_time()
    with tf.io.TFRecordWriter(str(place / "loop.tfrecord")) as writer:
        for path in files:
            with Image.open(path) as image:
                small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            stream = io.BytesIO()
            if encoding == "png":
                small.save(stream, "PNG")
            else:
                small.save(stream, "JPEG", quality=QUALITY, subsampling=0)
            label = int(path.parent.name == "odd")
            feature = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[stream.getvalue()])),
                "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return Cost((time.perf_counter() - wall) / len(files), (time.process_time() - cpu) / len(files))


def shrunk(data: bytes, size: tuple[int, int]) -> None:
    """Decode a plain JPEG to no less than `size` (width, height), as ours does before it resizes."""
    with Image.open(io.BytesIO(data)) as image:
        decode_plain_jpeg(data, image, shrink_by(image.size, size))


def stages(files: Sequence[Path], whole: float, loop_whole: float) -> dict[str, tuple[float, float]]:
    """What the time of an image goes to, with JPEG shards: ours, and the loop's.

    Args:
        files: JPEGs.
        whole: Milliseconds of processor time that an image of ours took in all.
        loop_whole: The same of the loop.
    """
    policy = DecodePolicy(image_size=(SIDE, SIDE))

    def opened(data: bytes) -> Image.Image:
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")

    def resized(image: Image.Image) -> Image.Image:
        return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)

    contents = [path.read_bytes() for path in files]
    pixels = [decode(data, policy) for data in contents]
    ready = [Image.fromarray(each) for each in pixels]
    large = [opened(data) for data in contents]
    small = [resized(image) for image in large]
    jpeg = milliseconds_each(partial(shrunk, size=(SIDE, SIDE)), contents)
    found = {
        "read": (
            milliseconds_each(lambda path: read_file(path.parent, path.name, policy.max_bytes), files),
            milliseconds_each(Path.read_bytes, files),
        ),
        "header and JPEG, ours downscaling while decoding": (jpeg, milliseconds_each(opened, contents)),
        "checks and resize": (
            max(0.0, milliseconds_each(partial(decode, policy=policy), contents) - jpeg),
            milliseconds_each(resized, large),
        ),
        "encode": (
            milliseconds_each(partial(encode_jpeg, quality=QUALITY), ready),
            milliseconds_each(lambda image: image.save(io.BytesIO(), "JPEG", quality=QUALITY, subsampling=0), small),
        ),
        "hash of the file": (milliseconds_each(lambda data: hashlib.sha256(data).hexdigest(), contents), 0.0),
        "quality": (milliseconds_each(partial(pixel_statistics, policy=policy), pixels), 0.0),
        "copy into Pillow": (milliseconds_each(Image.fromarray, pixels), 0.0),
        "thumbnail and its hash": (milliseconds_each(lambda image: perceptual_hash(thumbnail(image)), ready), 0.0),
    }
    sums = [sum(side) for side in zip(*found.values(), strict=True)]
    rest = (max(0.0, whole - sums[0]), max(0.0, loop_whole - sums[1]))
    return found | {"records, manifest, duplicates, publication, and the rest": rest}


def show_stages(profile: dict[str, tuple[float, float]]) -> None:
    """The profile on standard output."""
    table = Table("what", "darkroom", "Pillow loop", title=INGEST_PROFILE)
    for what, sides in profile.items():
        table.add_row(what, *(f"{value:.3f}" for value in sides))
    Console(width=140).print(table)


if __name__ == "__main__":
    sys.exit(main())
