"""Limits on what decoders read step by step: hit to the block, and never by what people have."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
from PIL import Image

from darkroom.data.errors import ImageError
from darkroom.data.images.decode import decode, read_header
from darkroom.data.images.formats import limits
from darkroom.data.images.formats.limits import check_bytes
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from tests.corpus import Case, chunk, costly_of_each_format, encoded, picture, with_segment

POLICY = DecodePolicy(image_size=(32, 48))
JPEG, PNG = encoded(picture("limits"), "JPEG"), encoded(picture("limits"), "PNG")
GIF = encoded(Image.fromarray(picture("limits")).quantize(16), "GIF")
GIF_START = 13 + 3 * 16


def is_costly(data: bytes) -> bool:
    """Whether it is refused as too costly, and not decoded."""
    try:
        decode(data, POLICY)
    except ImageError as error:
        reason = error.reason
    else:
        return False
    assert reason == "too_costly"
    return True


@pytest.mark.parametrize("case", list(costly_of_each_format()), ids=lambda case: case.name)
def test_a_costly_file_is_refused_in_no_time_and_its_header_is_not_read(case: Case) -> None:
    started = time.process_time()
    assert is_costly(case.content)
    read_header(case.content)
    assert time.process_time() - started < 0.5


def test_the_limits_on_padding_hold_to_the_byte() -> None:
    most = limits._MAX_PADDING
    for more in (0, 1):
        assert is_costly(JPEG[:2] + b"\xff" * (most + more) + JPEG[2:]) == bool(more)
        assert is_costly(GIF[:GIF_START] + bytes(most + more) + GIF[GIF_START:]) == bool(more)
    assert is_costly(JPEG[:2] + b"\xff\0" * (most // 2 + 1) + JPEG[2:])
    size, pixels = b"48 32 255", bytes(48 * 32)
    for more in (0, 1):
        padding = most + more - len(b"P5 " + size)
        assert is_costly(b"P5 " + b" " * padding + size + b"\n" + pixels) == bool(more)
        assert is_costly(b"P5 #" + b"#" * (padding - 2) + b"\n" + size + b"\n" + pixels) == bool(more)


def test_the_limits_on_blocks_hold_to_the_block() -> None:
    most = limits._MAX_BLOCKS
    segments = 0
    for place in range(2, JPEG.index(b"\xff\xda")):
        segments += JPEG[place] == 0xFF and JPEG[place + 1] >= 0xC0
    for more in (0, 1):
        assert is_costly(JPEG[:2] + b"\xff\xe4\0\2" * (most - segments + more) + JPEG[2:]) == bool(more)
        assert is_costly(PNG[:33] + chunk(b"prVt", b"") * (most - 2 + more) + PNG[33:]) == bool(more)
        blocks = b"!\xfe" + b"\1x" * (most - 1 + more) + b"\0"
        assert is_costly(GIF[:GIF_START] + blocks + GIF[GIF_START:]) == bool(more)


def test_what_cameras_and_editors_write_is_far_from_the_limits() -> None:
    padded = JPEG[:2] + b"\xff" * 60_000 + JPEG[2:]
    profile = with_segment(JPEG, 0xE2, b"ICC_PROFILE\0" + bytes(65_000))
    large = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)), "PNG")
    text = b"P1\n# drawn by hand\n400 400\n" + b"01" * 80_000
    for data in (padded, profile, large, text):
        check_bytes(data)
        decode(data, POLICY)


def test_damaged_headers_are_left_to_the_decoder() -> None:
    for data in (JPEG, PNG, GIF, encoded(picture("limits"), "TIFF"), b"P6 48 32 255\n" + bytes(48 * 96)):
        for cut in range(min(len(data), 700)):
            check_bytes(data[:cut])
    loop = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 34665, 4, 1, 8) + bytes(40)
    check_bytes(loop)


def test_many_scans_are_refused_earlier_the_larger_the_image() -> None:
    """120 megapixels of 100 scans would take 20 seconds."""
    scans = b"\xff\xda\0\2" * 20
    limits._check_scans(b"\xff\xd8" + scans + b"\xff\xd9", 20_000_000)
    with pytest.raises(ImageError, match="too_costly"):
        limits._check_scans(b"\xff\xd8" + scans + b"\xff\xd9", 120_000_000)
