"""How well near copies are told from images that only look alike: precision and recall on made pairs.

    python -m benchmarks.duplicates [--data ../shared/data] [--images 300]

Of each set, some images are changed in six ways and searched for among all images of the set. A found pair of an image
and its own change is right. A pair of two originals may be a copy that the set holds already: those are counted apart,
to be looked at. A last line times the search among a million hashes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import resource
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.parallel import num_cpus, ordered_map
from darkroom.data.quality.duplicates import Images, find_duplicates
from darkroom.data.quality.hash_search import near_hashes
from darkroom.data.quality.perceptual import perceptual_hash, thumbnail

POLICY = DecodePolicy()
NUM_HASHES = 1_000_000


def jpeg(image: Image.Image, quality: int) -> bytes:
    """An image as a JPEG file."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def cropped(image: Image.Image, left: float, right: float) -> bytes:
    """Without these shares of the width at the left and right, and of the height at the top and bottom."""
    width, height = image.size
    box = (round(width * left), round(height * left), width - round(width * right), height - round(height * right))
    return jpeg(image.crop(box), 95)


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "half the size": lambda image: jpeg(image.resize((image.width // 2, image.height // 2)), 90),
    "JPEG quality 40": lambda image: jpeg(image, 40),
    "20 % brighter": lambda image: jpeg(image.point(lambda value: min(255, round(1.2 * value))), 95),
    "cropped by 5 %": lambda image: cropped(image, 0.025, 0.025),
    "5 % off one corner": lambda image: cropped(image, 0.05, 0),
    "5 % off each side": lambda image: cropped(image, 0.05, 0.05),
}


def image_sets(folder: Path) -> Iterator[tuple[str, list[bytes]]]:
    """The files of each set that is there."""
    for name, inside in (("photographs", "cats_dogs"), ("X-rays", "covid19_xray")):
        files = [path for path in sorted((folder / inside).rglob("*")) if path.suffix in (".jpg", ".png")]
        yield name, [path.read_bytes() for path in files]
    for name, archive in (("galaxies", "galaxies_efigi.zip"), ("CIFAR-10, every 5th", "cifar10_train.zip")):
        if (folder / archive).is_file():
            with zipfile.ZipFile(folder / archive) as opened:
                names = [entry for entry in sorted(opened.namelist()) if entry.endswith(".jpg")]
                yield name, [opened.read(entry) for entry in (names[::5] if len(names) > 10_000 else names)]
    from sklearn.datasets import load_digits

    scans = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    digits = []
    for scan in scans:
        stream = io.BytesIO()
        Image.fromarray(scan).save(stream, "PNG")
        digits.append(stream.getvalue())
    yield "digits (8 x 8)", digits


def measure(name: str, files: list[bytes], num_images: int) -> None:
    """Print the rows of one set."""
    times = Counter(files)  # of an image that is there twice, the change could be found as the other one's
    chosen = [index for index in range(0, len(files), max(1, len(files) // num_images)) if times[files[index]] == 1]
    entries = [(f"{index}", data) for index, data in enumerate(files)]
    for index in chosen:
        image = Image.open(io.BytesIO(files[index])).convert("RGB")
        entries += [(f"{index}/{change}", make(image)) for change, make in CHANGES.items()]

    def read(data: bytes) -> tuple[str, bytes, tuple[int, int]]:
        small = thumbnail(Image.fromarray(decode(data, POLICY)))
        return perceptual_hash(small), small.tobytes(), Image.open(io.BytesIO(data)).size

    rows = list(ordered_map(read, (data for _, data in entries), num_cpus(), 256))
    small = np.frombuffer(b"".join(row[1] for row in rows), np.uint8).reshape(-1, 32, 32)
    table = pa.table(
        {
            "path": [path for path, _ in entries],
            "sha256": [hashlib.sha256(data).hexdigest() for _, data in entries],
            "perceptual_hash": [row[0] for row in rows],
            "width": [row[2][0] for row in rows],
            "height": [row[2][1] for row in rows],
            "label": ["" for _ in entries],
            "split": ["train" for _ in entries],
            "place": list(range(len(entries))),
        }
    )
    images = Images.of(table, POLICY.image_size)
    begin = time.perf_counter()
    pairs = find_duplicates(images, lambda places: small[places])
    seconds = time.perf_counter() - begin
    paths = [path.partition("/") for path in images.table["path"].to_pylist()]
    found = [(paths[a], paths[b]) for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)]
    # A change of one original that is like another original is judged; two originals may truly be copies.
    originals = {frozenset((a[0], b[0])) for a, b in found if not a[2] and not b[2]}
    judged = [(a, b) for a, b in found if bool(a[2]) != bool(b[2]) and frozenset((a[0], b[0])) not in originals]
    right = {(a[0], a[2] or b[2]) for a, b in judged if a[0] == b[0]}
    wrong = sum(a[0] != b[0] for a, b in judged)
    precision = f"{len(right) / (len(right) + wrong):.4f}" if right or wrong else "-"
    print(f"| {name} | {len(files):,} | {precision} ({wrong} wrong) |", end="")
    for change in CHANGES:
        print(f" {sum(kind == change for _, kind in right) / len(chosen):.3f} |", end="")
    print(f" {len(originals)} | {seconds:.1f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / ".." / "shared" / "data")
    parser.add_argument("--images", type=int, default=300, help="images of each set that are changed")
    arguments = parser.parse_args()
    print("| set | images | precision |", *(f"recall: {change} |" for change in CHANGES), "pairs of originals | s |")
    print("|---|" + "---|" * (len(CHANGES) + 4))
    for name, files in image_sets(arguments.data):
        if files:
            measure(name, files, arguments.images)
    hashes = np.random.default_rng(0).integers(0, 2**64, NUM_HASHES, dtype=np.uint64)
    begin = time.perf_counter()
    pairs, distance = near_hashes(hashes)
    seconds = time.perf_counter() - begin
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n{NUM_HASHES:,} random hashes: {len(pairs):,} pairs within {distance} bits in {seconds:.0f} s; ", end="")
    print(f"peak memory of this whole run {peak_gib:.2f} GiB")


if __name__ == "__main__":
    main()
