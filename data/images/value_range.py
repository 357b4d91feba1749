"""Whether a source's images of 16 bits fill the range that they are read over, looked at before the first is stored.

X-rays and microscopes give 10 to 14 bits, CT scanners values below 0, and their files seldom say so. Read from 0 to
65535 they are nearly black or cut off, and a network is trained on that without a word.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from darkroom.data.errors import ImageError, InputError
from darkroom.data.images.measuring import has_deep_values, measure
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.pixels.window import FULL, Bounds, Measured
from darkroom.data.stores.listing import read_file

# Formats of 8 bits, whose files need not be opened.
_EIGHT_BITS = (".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".heic", ".heif", ".avif")
_MAX_OPENED = 200
_MAX_MEASURED = 32
_MAX_CPU_SECONDS = 600
# Of the full range: the brightest pixel of all is then below 32 of 255.
_SMALL_SHARE = 1 / 8
# A stray pixel below 0 is no sign of a signed file.
_MIN_NEGATIVE = 0.01


def check_value_range(folder: Path, paths: Iterable[str], policy: DecodePolicy) -> None:
    """Refuse images of 16 bits that fill only a small part of the range, unless the policy says how they are meant.

    Args:
        folder: The source's.
        paths: Of the images that have a label, as the operating system knows them, in an order that mixes classes; the
            first 200 that may have more than 8 bits are opened, and the first 32 that have are measured.
        policy: How they would be decoded.

    Raises:
        InputError: which says both readings, and the option that chooses one.
    """
    if policy.window != "auto":
        return
    found = _measured(folder, paths, policy)
    if not found:
        return
    low, high = min(each.low for each in found), max(each.high for each in found)
    black, white = min(each.full[0] for each in found), max(each.full[1] for each in found)
    if (black, white) != FULL:  # DICOM without a window
        if not 0 < high - low < _SMALL_SHARE * (white - black):
            return
        would_be, window = "they would be nearly of one grey", f"{math.floor(low)},{math.ceil(high)}"
    elif sum(each.negative for each in found) / len(found) >= _MIN_NEGATIVE:
        would_be, window = "those below 0 would be black", f"{math.floor(low)},{math.ceil(high)}"
    elif 0 < high < _SMALL_SHARE * FULL[1]:
        would_be, window = "they would be nearly black", f"0,{2 ** math.ceil(high).bit_length() - 1}"
    else:
        return
    stated = "--window file for the range that each file states, " if all(each.stated for each in found) else ""
    raise InputError(
        f"The 16-bit images of {folder} hold values from {low:.0f} to {high:.0f} ({len(found)} looked at): read over "
        f"the full range, {black:.0f} to {white:.0f}, {would_be}. Choose --window {window} (black,white), "
        f"{stated}or --window full for the full range."
    )


def range_remark(folder: Path, paths: Iterable[str], policy: DecodePolicy) -> str:
    """A sentence where most images of 16 bits in a folder do not fit the range that a model reads them over; "" else.

    One does not fit where a quarter of its values would be white, or all are below a sixteenth of the range.

    Args:
        folder: Where they lie.
        paths: As for `check_value_range`, in an arbitrary order.
        policy: The model's. Where its window is `full` or `file`, nothing is looked at.
    """
    if policy.window in ("full", "file"):
        return ""
    found = [each for each in _measured(folder, paths, policy) if each.high > each.low]  # a blank image tells nothing
    unlike = [each for each in found if not each.fits(_bounds(each, policy))]
    if 2 * len(unlike) <= len(found):
        return ""
    low, high = min(each.low for each in unlike), max(each.high for each in unlike)
    black, white = _bounds(unlike[0], policy)
    return (
        f"{len(unlike)} of {len(found)} 16-bit images looked at hold values from {low:.0f} to {high:.0f}, and the "
        f"model, trained with --window {_option(policy)}, reads {black:.0f} as black and {white:.0f} as white: its "
        "answers for such images mean little. Score images like those that it was trained on, or train on such images."
    )


def _bounds(measured: Measured, policy: DecodePolicy) -> Bounds:
    return policy.window if isinstance(policy.window, tuple) else measured.full


def _option(policy: DecodePolicy) -> str:
    return ",".join(map(str, policy.window)) if isinstance(policy.window, tuple) else policy.window


def _measured(folder: Path, paths: Iterable[str], policy: DecodePolicy) -> list[Measured]:
    """The values of the first images of more than 8 bits, as far as they can be decoded."""
    candidates = (path for path in paths if not path.lower().endswith(_EIGHT_BITS))
    opened = islice(candidates, _MAX_OPENED)
    deep = list(islice((path for path in opened if _is_deep(folder, path, policy)), _MAX_MEASURED))
    if not deep:
        return []
    # In a process of its own: no file that a decoder dies of may end an ingest before it has a row for it.
    asked = json.dumps({"folder": os.fspath(folder), "paths": deep, "policy": policy.model_dump(mode="json")})
    answered = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-m", __name__],
        input=asked.encode("utf-8", "surrogatepass"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    ).stdout.splitlines(keepends=True)
    return [Measured(**json.loads(line)) for line in answered if line.endswith(b"\n")]


def _is_deep(folder: Path, path: str, policy: DecodePolicy) -> bool:
    try:
        return has_deep_values(read_file(folder, path, policy.max_bytes))
    except ImageError:
        return False


def main() -> None:
    """Write a line of JSON for each file that standard input names."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_SECONDS, _MAX_CPU_SECONDS))
    asked = json.loads(sys.stdin.buffer.read())
    policy = DecodePolicy.model_validate(asked["policy"])
    for path in asked["paths"]:
        with suppress(ImageError):
            found = measure(read_file(Path(asked["folder"]), path, policy.max_bytes), policy)
            sys.stdout.write(json.dumps(vars(found)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
