"""DICOM and camera RAW, which optional packages decode."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from darkroom.data.errors import ImageError
from darkroom.data.images.decode import decode, decode_with_header, read_header
from darkroom.data.images.measuring import has_deep_values, measure
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from tests.corpus import HEIGHT, WIDTH, dicom, dng, grey, tiff

RNG = np.random.default_rng(0)
VALUES = RNG.integers(0, 4096, (HEIGHT, WIDTH), dtype=np.uint16)


def at(**changes: Any) -> DecodePolicy:
    return DecodePolicy(image_size=(HEIGHT, WIDTH), **changes)


def scaled(low: float, high: float) -> np.ndarray[Any, Any]:
    return grey(np.rint((VALUES.astype(float).clip(low, high) - low) * 255 / (high - low)))


@pytest.mark.parametrize(
    ("package", "extra", "content"), [("pydicom", "dicom", dicom(VALUES)), ("rawpy", "raw", dng())]
)
def test_a_file_whose_package_is_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, package: str, extra: str, content: bytes
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImageError) as refused:
        decode(content, at())
    assert refused.value.reason == "needs_extra"
    assert f"darkroom-flows[{extra}]" in refused.value.detail


def test_the_window_asked_for_counts_before_the_files_own_and_that_before_the_range_of_its_bits() -> None:
    windowed = dicom(VALUES, BitsStored=12, WindowCenter=[1000, 7], WindowWidth=[2001, 7])
    for window, low, high in (("auto", -0.5, 1999.5), ("file", -0.5, 1999.5), ("full", 0, 4095), ((5, 500), 5, 500)):
        np.testing.assert_array_equal(decode(windowed, at(window=window)), scaled(low, high))
    np.testing.assert_array_equal(decode(dicom(VALUES, BitsStored=12), at()), scaled(0, 4095))


def test_an_exact_window_has_its_whole_width() -> None:
    exact = dicom(VALUES, WindowCenter=1000, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_array_equal(decode(exact, at()), scaled(0, 2000))


def test_dicom_without_a_window_is_measured_before_it_is_trusted_to_fill_its_bits() -> None:
    found = measure(dicom(VALUES, RescaleIntercept=-1024, RescaleSlope=1), at())
    assert (found.low, found.high) == (VALUES.min() - 1024.0, VALUES.max() - 1024.0)
    assert found.full == (-1024.0, 64_511.0)
    assert has_deep_values(dicom(VALUES))
    assert not has_deep_values(dicom(VALUES, WindowCenter=1000, WindowWidth=2001))
    assert not has_deep_values(dng())


def test_dicom_of_several_frames_gives_the_first() -> None:
    both = np.concatenate([VALUES, VALUES[::-1]])
    frames = dicom(both, Rows=HEIGHT, NumberOfFrames=2, BitsStored=12)
    np.testing.assert_array_equal(decode(frames, at()), scaled(0, 4095))
    assert decode_with_header(frames, at()).first_of_several
    assert not decode_with_header(dicom(VALUES, BitsStored=12), at()).first_of_several


def test_limits_hold_for_them_too() -> None:
    for content in (dicom(VALUES), dng()):
        for limit in ({"max_pixels": HEIGHT * WIDTH - 1}, {"max_side": WIDTH - 1}):
            with pytest.raises(ImageError, match="too_large"):
                decode(content, at(**limit))


def test_their_headers_are_read_without_decoding() -> None:
    for content, kind in ((dicom(VALUES), "DICOM"), (dng(), "RAW")):
        header = read_header(content)
        assert header is not None
        assert (header.format, header.width, header.height) == (kind, WIDTH, HEIGHT)
        assert decode_with_header(content, at()).format == kind


def test_a_tiff_with_further_pages_is_no_raw() -> None:
    tags = {256: ("I", 4), 257: ("I", 2), 258: ("H", 8), 259: ("H", 1), 262: ("H", 1), 273: ("I", 0), 277: ("H", 1)}
    pages = tiff(tags | {278: ("I", 2), 279: ("I", 8), 330: ("I", 0)}, bytes(8))
    assert decode_with_header(pages, at()).format == "TIFF"
