"""The fuzzer of the decoder: `python -m tests.fuzz --minutes 10`, or `make fuzz MINUTES=10`.

A worker process makes image files (the corpus with bytes changed, and images of any kind, size and mode, some with a
header that does not fit) and decodes each by a random policy. Anything but pixels of the size asked for or an
`ImageError` is a find: another exception, a process that dies, a line on standard error, more seconds or memory than
are promised. A find is written to `tests/finds/`, where `tests/test_fuzz.py` decodes it ever after. The same seed makes
the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import secrets
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from darkroom.data.errors import ImageError
from darkroom.data.images.decode import decode, read_header
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from tests.corpus import small_files

FINDS = Path(__file__).parent / "finds"
_CASES = 3000
_MAX_BYTES = 4 * 2**30  # 2 GiB for the image, and the interpreter with its libraries
_MAX_SECONDS = 20
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 20_000, 100_000_000)
_KINDS: dict[str, tuple[str, ...]] = {
    "PNG": ("1", "L", "LA", "I;16", "P", "RGB", "RGBA"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "LA", "I;16", "I", "F", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "GIF": ("1", "L", "P", "RGB"),
    "WEBP": ("L", "RGB", "RGBA"),
    "AVIF": ("RGB", "RGBA"),
    "PPM": ("1", "L", "I;16", "RGB"),
}
_COMPRESSIONS = (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "group3", "group4", "jpeg", "zstd", "lzma")


def case(rng: np.random.Generator, files: list[bytes]) -> tuple[bytes, DecodePolicy]:
    """A file and how it is decoded."""
    data = made(rng) if rng.random() < 0.4 else files[int(rng.integers(len(files)))]
    for _ in range(int(rng.integers(0, 4))):
        data = changed(rng, data, files)
    if data.startswith(b"\x89PNG") and rng.random() < 0.7:
        data = with_sums(data)
    return data, any_policy(rng)


def any_policy(rng: np.random.Generator) -> DecodePolicy:
    sides = [int(rng.choice((8, 9, 31, 32, 160, 300, 1000))) for _ in range(2)]
    windows: tuple[Any, ...] = ("auto", "auto", "full", "file", (0, 4095), (-1024, 3071))
    return DecodePolicy(
        image_size=(sides[0], sides[1]),
        resize=str(rng.choice(("stretch", "pad", "crop"))),  # type: ignore[arg-type]
        interpolation=str(rng.choice(("nearest", "box", "bilinear", "bicubic", "lanczos"))),  # type: ignore[arg-type]
        apply_exif_rotation=bool(rng.integers(2)),
        scaled_jpeg=bool(rng.integers(2)),
        window=windows[int(rng.integers(len(windows)))],
    )


def made(rng: np.random.Generator) -> bytes:
    """An image of any kind, mode and shape."""
    kind = str(rng.choice(list(_KINDS)))
    mode = str(rng.choice(_KINDS[kind]))
    longest = 16_000 if kind in ("WEBP", "AVIF") else 60_000
    shapes = ((1, 1), (1, longest), (longest, 1), (3, 2000), (7, 5), (64, 64), (333, 217))
    width, height = shapes[int(rng.integers(len(shapes)))]
    if kind == "AVIF":
        width, height = min(width, 400), min(height, 400)  # its encoder is slow
    values = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if mode in ("I;16", "I", "F"):
        image = Image.fromarray((values[..., 0].astype(np.int64) * 257 - 100).clip(0).astype(np.uint16))
        image = image if mode == "I;16" else image.convert("I").convert(mode)
    else:
        image = Image.fromarray(values).convert("RGB" if mode == "LAB" else mode)
    options: dict[str, Any] = {}
    if kind == "TIFF":
        options["compression"] = _COMPRESSIONS[int(rng.integers(len(_COMPRESSIONS)))]
    if kind == "JPEG":
        options = {"progressive": bool(rng.integers(2)), "quality": int(rng.integers(1, 100))}
    if kind in ("JPEG", "PNG", "TIFF", "WEBP") and rng.random() < 0.3:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = int(rng.integers(0, 10))
    stream = io.BytesIO()
    try:
        image.save(stream, kind, **options)
    except (OSError, ValueError, KeyError, RuntimeError, struct.error):  # a mode that the compression does not take
        return b"II*\0"
    return stream.getvalue()


def changed(rng: np.random.Generator, data: bytes, files: list[bytes]) -> bytes:
    """A file with bytes changed, its header most of all."""
    if len(data) < 4:
        return data
    spoiled = bytearray(data)
    reach = len(data) if rng.random() < 0.5 else min(len(data), 200)
    place, how = int(rng.integers(reach)), int(rng.integers(7))
    if how == 0:
        spoiled[place] ^= 1 << int(rng.integers(8))
    elif how == 1:
        spoiled[place] = int(rng.integers(256))
    elif how == 2:
        form = str(rng.choice(("<H", ">H", "<I", ">I", "B")))
        size = struct.calcsize(form)
        number = int(rng.choice(_EXTREMES)) & (256**size - 1)
        spoiled[place : place + size] = struct.pack(form, number)
    elif how == 3:
        del spoiled[place:]
    elif how == 4:
        end = place + int(rng.integers(1, 200))
        spoiled[place:place] = spoiled[place:end] * int(rng.integers(1, 20))
    elif how == 5:
        del spoiled[place : place + int(rng.integers(1, 50))]
    else:
        other = files[int(rng.integers(len(files)))]
        spoiled[place:] = other[min(place, len(other)) :]
    return bytes(spoiled)


def with_sums(data: bytes) -> bytes:
    """A PNG whose CRCs fit what it holds, so that what was changed reaches the decoder."""
    mended, place = bytearray(data), 8
    while place + 12 <= len(mended):
        end = place + 8 + int.from_bytes(mended[place : place + 4], "big")
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(mended[place + 4 : end]))
        place = end + 4
    return bytes(mended)


def fault(data: bytes, policy: DecodePolicy) -> str | None:
    """What is wrong with how a file is decoded; None where nothing is. Gives no answer where the process dies."""
    begun, said = time.process_time(), _num_said()
    try:
        read_header(data)
        pixels = decode(data, policy)
        if pixels.shape != (*policy.image_size, 3) or pixels.dtype != np.uint8:
            return f"pixels of {pixels.shape} and {pixels.dtype}"
    except ImageError:
        pass
    except BaseException as error:  # every kind counts
        return f"{type(error).__name__}: {error}"
    seconds = time.process_time() - begun
    if seconds > _MAX_SECONDS:
        return f"{seconds:.0f} seconds"
    return "a line on standard error" if _num_said() != said else None


def _num_said() -> int:
    """Bytes on standard error, which is a file; without those of LibRaw, which rawpy cannot keep quiet."""
    sys.stderr.flush()
    said = os.pread(2, os.fstat(2).st_size, 0).splitlines()
    return sum(len(line) for line in said if not line.startswith(b"unknown file: "))


def work(seed: int, num_cases: int, folder: Path) -> None:
    """Decode as many files, and write a line of JSON for each find; `folder/current` is the one in work."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    files, ends = small_files(), Counter[str]()
    for number in range(num_cases):
        data, policy = case(np.random.default_rng((seed, number)), files)
        (folder / "current").write_bytes(data)
        (folder / "policy").write_text(policy.model_dump_json(), encoding="utf-8")
        # The alarm ends a decoder that hangs, in C too.
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 2 * _MAX_SECONDS, resource.RLIM_INFINITY))
        wrong = fault(data, policy)
        ends["find" if wrong else "ok"] += 1
        if wrong:
            sys.stdout.write(json.dumps({"find": keep(data, policy), "what": wrong}) + "\n")
            sys.stdout.flush()
    sys.stdout.write(json.dumps(ends) + "\n")


def keep(data: bytes, policy: DecodePolicy) -> str:
    """Write a find among the others; gives its name."""
    name = hashlib.sha256(data).hexdigest()[:12]
    FINDS.mkdir(exist_ok=True)
    (FINDS / name).write_bytes(data)
    (FINDS / f"{name}.json").write_text(policy.model_dump_json() + "\n", encoding="utf-8")
    return name


def run(seed: int, num_cases: int) -> Iterator[dict[str, Any]]:
    """The finds of one worker, and at its end the number of its files."""
    with tempfile.TemporaryDirectory() as scratch, (Path(scratch) / "stderr").open("w+b") as said:
        command = [sys.executable, "-m", "tests.fuzz", "--worker", str(seed), str(num_cases), scratch]
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=said, check=False)
        yield from map(json.loads, ended.stdout.splitlines())
        if ended.returncode and (Path(scratch) / "current").exists():
            policy = DecodePolicy.model_validate_json((Path(scratch) / "policy").read_text(encoding="utf-8"))
            name = keep((Path(scratch) / "current").read_bytes(), policy)
            last = (Path(scratch) / "stderr").read_text(errors="replace")[-300:]
            yield {"find": name, "what": f"the process ended with {ended.returncode}: {last}"}


def main() -> int:
    parser = argparse.ArgumentParser(description="Decode changed images until the time is over")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--worker", nargs=3, metavar=("SEED", "CASES", "FOLDER"))
    given = parser.parse_args()
    if given.worker:
        work(int(given.worker[0]), int(given.worker[1]), Path(given.worker[2]))
        return 0
    ends, until, seed = Counter[str](), time.monotonic() + 60 * given.minutes, given.seed
    while time.monotonic() < until:
        for told in run(seed, _CASES):
            if "find" in told and "what" in told:
                sys.stdout.write(f"seed {seed}: tests/finds/{told['find']}: {told['what']}\n")
                ends["finds"] += 1
            else:
                ends.update(told)
        seed += 1
        sys.stdout.write(f"{sum(ends.values())} files, {ends['finds']} finds\n")
        sys.stdout.flush()
    return 1 if ends["finds"] else 0


if __name__ == "__main__":
    sys.exit(main())
