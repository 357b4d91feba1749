"""Images of 16 bits that fill little of the range: an ingest asks how they are meant."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.data.errors import InputError
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.value_range import range_remark
from darkroom.data.ingest.plan import plan_ingest
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.stores.workspace import Workspace
from tests.folders import source_of


def planned(tmp_path: Path, window: Any = "auto", **files: np.ndarray[Any, Any]) -> Any:
    """Plan an ingest of these pictures, half of each class."""
    for number, (name, values) in enumerate(files.items()):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    policy = DecodePolicy(image_size=(8, 8), window=window)
    settings = IngestSettings(name="t", policy=policy)
    return plan_ingest(IngestRequest(source_of(tmp_path / "photos"), settings, Workspace(tmp_path / "workspace")))


def values(low: int, high: int, seed: int = 0, kind: Any = np.uint16) -> np.ndarray[Any, Any]:
    made = np.random.default_rng(seed).integers(low, high, (8, 8)).astype(kind)
    made[0, 0] = high
    return made


def test_twelve_bits_in_16_stop_an_ingest_with_the_window_to_choose(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--window 0,4095.*--window full"):
        planned(tmp_path, one=values(0, 4000), two=values(0, 3000))
    assert not list((tmp_path / "workspace").rglob("plan.json"))


@pytest.mark.parametrize("window", ["full", "file", (0, 4095)])
def test_a_window_that_was_chosen_is_not_asked_about(tmp_path: Path, window: Any) -> None:
    assert planned(tmp_path, window, one=values(0, 4000), two=values(0, 3000)).num_parts == 1


def test_values_below_zero_stop_an_ingest_with_both_ends(tmp_path: Path) -> None:
    signed = {name: values(-1000, 3071, seed, np.int32) for seed, name in enumerate(("one", "two"))}
    signed["one"][1, 1] = -1024
    with pytest.raises(InputError, match="--window -1024,3071"):
        planned(tmp_path, **signed)


def test_one_bright_image_shows_that_the_full_range_is_meant(tmp_path: Path) -> None:
    assert planned(tmp_path, one=values(0, 4000), two=values(0, 60_000)).num_parts == 1


def test_black_images_and_images_of_8_bits_are_not_asked_about(tmp_path: Path) -> None:
    black, dark = np.zeros((8, 8), np.uint16), np.full((8, 8, 3), 3, np.uint8)
    assert planned(tmp_path, one=black, two=black, three=dark, four=dark).num_parts == 1


def test_damaged_images_are_left_to_their_rows(tmp_path: Path) -> None:
    folder = tmp_path / "photos" / "a"
    folder.mkdir(parents=True)
    Image.fromarray(values(0, 4000)).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:60])
    assert planned(tmp_path, one=values(0, 60_000), two=values(0, 60_000)).num_parts == 1


TWELVE, SIXTEEN = (0, 4000), (0, 60_000)


@pytest.mark.parametrize(
    ("window", "ranges", "said"),
    [
        ((0, 4095), [SIXTEEN] * 3, "3 of 3 "),
        ((0, 4095), [SIXTEEN, SIXTEEN, TWELVE], "2 of 3 "),
        ((0, 4095), [SIXTEEN, TWELVE], ""),
        ((0, 4095), [TWELVE] * 3, ""),
        ((0, 4095), [(0, 200)] * 3, "3 of 3 "),
        ((0, 4095), [(0, 300)] * 3, ""),
        ((0, 4095), [(0, 5000)] * 3, ""),  # a fifth is white
        ((0, 4095), [(0, 6000)] * 3, "3 of 3 "),  # a third
        ((-1000, 400), [(-1024, 800)] * 3, ""),
        ("auto", [TWELVE] * 3, "3 of 3 "),
        ("auto", [SIXTEEN] * 3, ""),
        ("full", [TWELVE] * 3, ""),
        ("file", [TWELVE] * 3, ""),
    ],
)
def test_images_to_score_that_do_not_fit_the_models_window_are_counted(
    window: Any, ranges: list[tuple[int, int]], said: str, tmp_path: Path
) -> None:
    for number, (low, high) in enumerate(ranges):
        made = np.linspace(low, high, 64).reshape(8, 8)
        Image.fromarray(made.astype(np.int32 if low < 0 else np.uint16)).save(tmp_path / f"{number}.tif")
    Image.new("L", (8, 8), 9).save(tmp_path / "grey.png")
    Image.fromarray(np.full((8, 8), 60, np.uint16)).save(tmp_path / "blank.png")
    paths = sorted(path.name for path in tmp_path.iterdir())
    remark = range_remark(tmp_path, paths, DecodePolicy(image_size=(8, 8), window=window))
    assert remark.startswith(said)
    assert bool(remark) == bool(said)


def test_colours_of_16_bits_are_compared_too(tmp_path: Path) -> None:
    colours = np.linspace(0, 60_000, 192).reshape(8, 8, 3).astype(np.uint16)
    (tmp_path / "colour.png").write_bytes(colour_png(colours))
    policy = DecodePolicy(image_size=(8, 8), window=(0, 4095))
    assert range_remark(tmp_path, ["colour.png"], policy).startswith("1 of 1 ")
    assert not range_remark(tmp_path, ["colour.png"], DecodePolicy(image_size=(8, 8)))


def colour_png(values: np.ndarray[Any, Any]) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
