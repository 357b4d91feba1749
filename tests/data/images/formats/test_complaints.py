"""What libtiff complains of: counted, and not on the terminal."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.data.images.crash_recovery import watched_decode
from darkroom.data.images.decode import decode_with_header
from darkroom.data.images.formats.complaints import hear_libtiff
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from tests.corpus import encoded, picture

POLICY = DecodePolicy(image_size=(32, 48))


def fax(damaged: bool) -> bytes:
    """A TIFF by CCITT Group 4, whole or with a byte changed that libtiff gets over."""
    bits = np.where(picture("fax", 300, 400)[..., 0] > 127, 255, 0).astype(np.uint8)
    content = bytearray(encoded(Image.fromarray(bits).convert("1"), "TIFF", compression="group4"))
    if damaged:
        content[231] ^= 69
    return bytes(content)


def test_pillows_libtiff_is_found() -> None:
    assert hear_libtiff()


def test_a_damaged_fax_is_decoded_and_counted_without_a_line_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert decode_with_header(fax(damaged=False), POLICY).num_complaints == 0
    assert decode_with_header(fax(damaged=True), POLICY).num_complaints > 0
    assert capfd.readouterr().err == ""


def test_each_thread_hears_of_its_own_file_alone() -> None:
    wholes = [fax(damaged=False), fax(damaged=True)] * 50
    with ThreadPoolExecutor(4) as pool:
        found = [each.num_complaints > 0 for each in pool.map(lambda data: decode_with_header(data, POLICY), wholes)]
    assert found == [False, True] * 50


def test_a_part_ends_with_one_warning_that_counts_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [f"{number}.tif" for number in range(6)]
    with caplog.at_level(logging.WARNING), watched_decode(tmp_path, 0, paths) as decode:
        for number, path in enumerate(paths):
            decode(path, fax(damaged=number > 0), POLICY)
    (said,) = caplog.messages
    assert "5 images" in said
    assert "1.tif" in said
    assert "0.tif" not in said
