"""From bytes to pixels: against plain Pillow and NumPy, and with bytes that nobody would write."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin
from pydantic import ValidationError

from darkroom.data.errors import ImageError
from darkroom.data.images.decode import decode, decode_stored, decode_with_header, read_header
from darkroom.data.images.formats.accepted import FORMATS
from darkroom.data.images.pixels import resizing
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.pixels.encode import encode_jpeg, encode_png
from tests.corpus import (
    STORED,
    bomb,
    bombs_of_each_format,
    encoded,
    exif,
    num_scans_jpeg,
    patched,
    picture,
    png,
    tall,
    thin,
    tile_bomb,
)

REASONS = {"empty", "not_an_image", "too_large", "too_costly", "truncated", "corrupt", "unsupported"}
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "TIFF": {}, "BMP": {}, "PPM": {}, "WEBP": {"lossless": True}}
LOSSY: dict[str, dict[str, Any]] = {"JPEG": {"quality": 97, "subsampling": 0}, "AVIF": {"quality": 100}, "GIF": {}}
EVERY = {**LOSSLESS, **LOSSY}


def at(height: int, width: int, **rest: Any) -> DecodePolicy:
    return DecodePolicy(image_size=(height, width), **rest)


def reason_of(data: bytes, policy: DecodePolicy | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, policy or at(32, 48))
    return caught.value.reason


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_lossless_image_at_its_own_size_comes_back_bit_for_bit(kind: str) -> None:
    pixels = picture(kind)
    decoded = decode_with_header(encoded(pixels, kind, **LOSSLESS[kind]), at(32, 48))
    np.testing.assert_array_equal(decoded.pixels, pixels)
    assert (decoded.format, decoded.width, decoded.height, decoded.mode) == (kind, 48, 32, "RGB")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_every_exif_orientation_is_turned_upright_or_left_as_stored(kind: str, orientation: int) -> None:
    upright = picture(f"{kind} {orientation}")
    stored = STORED[orientation](upright)
    height, width = stored.shape[:2]
    data = encoded(stored, kind, exif=exif(orientation), **EVERY[kind])
    tolerance = 0 if kind in LOSSLESS else 16
    turned = decode_with_header(data, at(32, 48))
    kept = decode_with_header(data, at(height, width, apply_exif_rotation=False))
    assert np.abs(turned.pixels.astype(int) - upright).max() <= tolerance
    assert np.abs(kept.pixels.astype(int) - stored).max() <= tolerance
    assert (turned.width, turned.height) == (kept.width, kept.height) == (width, height)
    header = read_header(data)
    assert header is not None
    assert (header.width, header.height) == (width, height)


def test_a_scaled_jpeg_is_turned_too() -> None:
    upright = picture("large", 640, 960)
    for orientation in range(1, 9):
        data = encoded(STORED[orientation](upright), "JPEG", exif=exif(orientation), quality=97, subsampling=0)
        want = np.asarray(Image.fromarray(upright).resize((48, 32), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(decode(data, at(32, 48)) - want).max() <= 10, orientation


def test_every_grey_of_16_bits_is_scaled_and_none_is_clipped() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    want = np.rint(values / 257).astype(np.uint8)
    for kind in ("PNG", "TIFF", "PPM"):
        pixels = decode(encoded(values, kind), at(256, 256))
        np.testing.assert_array_equal(pixels, np.repeat(want[..., None], 3, axis=2), err_msg=kind)


def test_rgb_of_16_bits_is_scaled_and_not_clipped() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (32, 48, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    pixels = decode(png(48, 32, 16, 2, rows), at(32, 48))
    assert np.abs(pixels - values / 257).max() <= 1


@pytest.mark.parametrize(
    ("values", "white"),
    [([0, 0.25, 1.0], 1.0), ([0, 1.5, 200], 255.0), ([0, 300, 65535], 65535.0), ([0, 65536, 1e6], 1e6)],
)
def test_floats_are_scaled_by_the_range_that_holds_them(values: list[float], white: float) -> None:
    image = np.resize(np.array(values, np.float32), (32, 48))
    pixels = decode(encoded(image, "TIFF"), at(32, 48))
    np.testing.assert_array_equal(pixels[..., 0], np.rint(image.astype(float) * 255 / white))


def test_floats_that_are_no_numbers_or_negative_are_black() -> None:
    image = np.resize(np.array([np.nan, np.inf, -np.inf, -3.0, 0.5], np.float32), (32, 48))
    pixels = decode(encoded(image, "TIFF"), at(32, 48))
    np.testing.assert_array_equal(pixels[0, :5, 0], [0, 0, 0, 0, 128])
    assert not decode(encoded(np.full((32, 48), np.nan, np.float32), "TIFF"), at(32, 48)).any()


def test_transparent_pixels_show_the_policys_background_and_not_what_is_hidden() -> None:
    layers = np.zeros((32, 48, 4), np.uint8)
    layers[..., 0] = 200
    layers[:16, :, 3] = 255
    layers[16:24, :, 3] = 128
    pixels = decode(encoded(layers, "PNG"), at(32, 48, background=(10, 250, 30)))
    assert (pixels[:16] == (200, 0, 0)).all()
    half = np.rint(np.array([200, 0, 0]) * 128 / 255 + np.array([10, 250, 30]) * 127 / 255)
    assert np.abs(pixels[16:24] - half).max() <= 1
    assert (pixels[24:] == (10, 250, 30)).all()


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palettes_transparent_colour_shows_the_background(kind: str) -> None:
    image = Image.fromarray(np.resize(np.arange(4, dtype=np.uint8), (32, 48)), "P")
    image.putpalette([9, 8, 7, 50, 60, 70, 100, 110, 120, 200, 210, 220])
    pixels = decode(encoded(image, kind, transparency=1), at(32, 48, background=(1, 2, 3)))
    np.testing.assert_array_equal(pixels[0, :4], [[9, 8, 7], [1, 2, 3], [100, 110, 120], [200, 210, 220]])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (48, 32), colour) for colour in ("red", "lime", "blue")]
    options = LOSSLESS.get(kind, {})
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (decode(data, at(32, 48)) == (255, 0, 0)).all()


def test_cmyk_becomes_rgb_by_light_left_over() -> None:
    inks = np.random.default_rng(0).integers(0, 256, (32, 48, 4), dtype=np.uint8)
    pixels = decode(encoded(Image.fromarray(inks, "CMYK"), "TIFF"), at(32, 48))
    light = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
    assert np.abs(pixels - light).max() <= 0.51


# Levels by which our filters may differ from Pillow's, by rounding.
ROUNDING = 2
SIZES = [(200, 300), (301, 97), (20, 30), (32, 48), (1, 500), (500, 1), (33, 47)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
def test_resizing_is_what_plain_pillow_does(size: tuple[int, int], interpolation: Any) -> None:
    image = Image.fromarray(picture("resize", *size))
    data = encoded(image, "PNG")
    how = Image.Resampling[interpolation.upper()]
    stretched = decode(data, at(32, 48, interpolation=interpolation))
    assert np.abs(stretched.astype(int) - image.resize((48, 32), how)).max() <= ROUNDING
    cropped = decode(data, at(32, 48, resize="crop", interpolation=interpolation))
    assert np.abs(cropped.astype(int) - ImageOps.fit(image, (48, 32), how)).max() <= ROUNDING


def test_a_crop_of_any_shape_stays_inside_the_image() -> None:
    """49 / 173 x 173 is more than 49 in floating point."""
    for height in range(1, 60):
        for width in (8, 41, 173, 299):
            image = Image.new("RGB", (height, 3), "red")
            assert (decode(encoded(image, "PPM"), at(8, width, resize="crop")) == (255, 0, 0)).all()


@pytest.mark.parametrize("size", SIZES)
def test_padding_keeps_the_whole_image_in_the_middle_of_bars(size: tuple[int, int]) -> None:
    image = Image.fromarray(picture("pad", *size))
    pixels = decode(encoded(image, "PNG"), at(32, 48, resize="pad", padding=(1, 2, 3)))
    scale = min(32 / size[0], 48 / size[1])
    height, width = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (32 - height) // 2, (48 - width) // 2
    inner = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    assert np.abs(pixels[top : top + height, left : left + width].astype(int) - inner).max() <= ROUNDING
    bars = np.ones((32, 48), bool)
    bars[top : top + height, left : left + width] = False
    assert (pixels[bars] == (1, 2, 3)).all()


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    asked=st.tuples(st.integers(8, 300), st.integers(8, 300)),
    resize=st.sampled_from(["stretch", "pad", "crop"]),
    orientation=st.integers(1, 8),
)
def test_a_scaled_jpeg_is_never_enlarged_again(
    height: int, width: int, asked: tuple[int, int], resize: Any, orientation: int
) -> None:
    """The decoder may give fewer pixels than are stored, but no fewer than the result has."""
    data = encoded(np.zeros((height, width, 3), np.uint8), "JPEG", exif=exif(orientation))
    given_sizes = []

    def spy(image: Image.Image | NDArray[np.uint8], policy: DecodePolicy) -> NDArray[np.uint8]:
        given_sizes.append(np.asarray(image).shape[:2])
        return resizing.resize(image, policy)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("darkroom.data.images.decode.resize", spy)
        pixels = decode(data, at(*asked, resize=resize))
    assert pixels.shape == (*asked, 3)
    upright = (width, height) if orientation > 4 else (height, width)
    assert len(given_sizes) == 1
    for given_size in given_sizes:
        for side, stored, wanted in zip(given_size, upright, asked, strict=True):
            assert side >= min(stored, wanted)


def test_scaled_decoding_of_a_photograph_stays_close_to_full_decoding() -> None:
    data = encoded(picture("photograph", 1200, 1600), "JPEG", quality=95)
    fast = decode(data, at(96, 128)).astype(int)
    full = decode(data, at(96, 128, scaled_jpeg=False)).astype(int)
    assert np.abs(fast - full).max() <= 6


@pytest.mark.parametrize("kind", EVERY)
def test_a_file_cut_anywhere_is_quarantined_or_is_whole_to_the_pixel(kind: str) -> None:
    data = encoded(picture("cut"), kind, **EVERY[kind])
    whole = decode(data, at(32, 48))
    reasons = set()
    for cut in sorted(
        {*range(1, 200, 7), *range(1, len(data), max(1, len(data) // 150)), *range(len(data) - 20, len(data))}
    ):
        try:
            np.testing.assert_array_equal(decode(data[:cut], at(32, 48)), whole, err_msg=f"{kind} after {cut}")
            assert cut >= len(data) - 4, f"{kind} was taken after {cut} of {len(data)} bytes"
        except ImageError as error:
            if cut > 16:  # the signature is whole
                reasons.add(error.reason)
    assert "truncated" in reasons
    assert reasons <= {"truncated", "corrupt"}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "PPM"])
def test_a_large_file_cut_behind_its_header_is_truncated(kind: str) -> None:
    data = encoded(picture("cut", 300, 400), kind, **EVERY[kind])
    for share in (0.3, 0.5, 0.9, 0.99):
        assert reason_of(data[: int(len(data) * share)]) == "truncated"


@settings(deadline=None, max_examples=300)
@given(kind=st.sampled_from(list(EVERY)), data=st.data())
def test_damaged_bytes_give_pixels_or_a_known_reason_and_nothing_else(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(picture("damage"), kind, **EVERY[kind]))
    places = st.one_of(st.integers(0, min(120, len(content) - 1)), st.integers(0, len(content) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=6)):
        content[place] = value
    policy = at(32, 48, max_pixels=4_000_000)
    try:
        assert decode(bytes(content), policy).shape == (32, 48, 3)
    except ImageError as error:
        ended = error.reason
        assert ended in REASONS
    read_header(bytes(content))


@settings(deadline=None, max_examples=200)
@given(
    start=st.sampled_from(
        [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"P6 ", b"P2 "]
    ),
    rest=st.binary(max_size=300),
)
def test_noise_behind_a_signature_gives_a_known_reason(start: bytes, rest: bytes) -> None:
    try:
        decode(start + rest, at(32, 48, max_pixels=1_000_000))
    except ImageError as error:
        ended = error.reason
        assert ended in (REASONS if start + rest else {"empty"})


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    mode=st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I", "F", "CMYK", "YCbCr"]),
    resize=st.sampled_from(["stretch", "pad", "crop"]),
    asked=st.tuples(st.integers(8, 40), st.integers(8, 40)),
)
def test_any_image_of_any_mode_has_the_size_asked_for_and_the_same_pixels_each_time(
    height: int, width: int, mode: str, resize: Any, asked: tuple[int, int]
) -> None:
    data = encoded(Image.new(mode, (width, height)), "TIFF")
    policy = at(*asked, resize=resize)
    first = decode(data, policy)
    assert first.shape == (*asked, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(decode(data, policy), first)


def test_threads_decode_the_same_pixels_as_one() -> None:
    files = [
        encoded(picture(f"{kind} {number}", 200, 300), kind, **EVERY[kind]) for kind in EVERY for number in range(4)
    ]
    alone = [decode(data, at(32, 48)) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data, at(32, 48)), files))
    np.testing.assert_array_equal(together, alone)


def test_too_many_pixels_are_refused_before_one_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pixel(*_: Any) -> None:
        raise AssertionError("decoded")

    images = {kind: encoded(picture("limit"), kind, **EVERY[kind]) for kind in EVERY}
    for plugin in {type(Image.open(io.BytesIO(data))) for data in images.values()}:
        monkeypatch.setattr(plugin, "load", no_pixel)
    monkeypatch.setattr("darkroom.data.images.decode.decode_plain_jpeg", no_pixel)
    for kind, data in images.items():
        assert reason_of(data, at(32, 48, max_pixels=32 * 48 - 1)) == "too_large", kind
        assert reason_of(data, at(32, 48, max_side=47)) == "too_large", kind
    for data in (bomb(), tile_bomb(), thin()):
        assert reason_of(data) == "too_large"
    assert reason_of(num_scans_jpeg(200)) == "too_costly"


def test_limits_hold_to_the_pixel_and_to_the_byte() -> None:
    data = encoded(picture("limit"), "PNG")
    decode(data, at(32, 48, max_pixels=32 * 48, max_bytes=len(data)))
    assert reason_of(data, at(32, 48, max_pixels=32 * 48 - 1)) == "too_large"
    assert reason_of(data, at(32, 48, max_bytes=len(data) - 1)) == "too_large"
    decode(data, at(32, 48, max_side=48))
    assert reason_of(data, at(32, 48, max_side=47)) == "too_large"


def test_a_jpeg_has_at_most_a_hundred_scans() -> None:
    base = num_scans_jpeg(0).count(b"\xff\xda")
    assert 1 < base < 20
    assert decode(num_scans_jpeg(100 - base), at(32, 48)).shape == (32, 48, 3)
    assert reason_of(num_scans_jpeg(101 - base)) == "too_costly"


def test_start_of_scan_marks_behind_a_jpeg_or_in_its_segments_are_no_scans() -> None:
    data = encoded(picture("marks"), "JPEG")
    pixels = decode(data, at(32, 48))
    inside = data[:2] + b"\xff\xef" + (2 + 2 * 3000).to_bytes(2, "big") + b"\xff\xda" * 3000 + data[2:]
    for changed in (data + b"\xff\xda\0\x08" * 50_000, inside):
        np.testing.assert_array_equal(decode(changed, at(32, 48)), pixels)


def test_a_png_with_one_bit_changed_among_its_pixels_is_corrupt() -> None:
    data = encoded(picture("bit"), "PNG")
    start, end = data.index(b"IDAT") + 4, data.index(b"IEND") - 8
    for place in range(start, end, 97):
        assert reason_of(patched(data, b"IDAT", place - start + 4, bytes([data[place] ^ 4]))) == "corrupt"


def test_what_is_no_image_is_told_from_an_image_that_is_broken_or_not_supported() -> None:
    assert reason_of(b"") == "empty"
    assert reason_of(b"\0") == "not_an_image"
    assert reason_of(b"<html>") == "not_an_image"
    assert reason_of(b"\xff\xd8\xff") == "corrupt"
    assert reason_of(encoded(picture("jpeg 2000"), "JPEG2000")) == "unsupported"
    assert reason_of(b"\0\0\0\x18ftypheic" + bytes(100)) == "corrupt"
    assert reason_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "not_an_image"


def test_no_format_starts_another_program_and_no_truncated_image_is_loaded() -> None:
    assert set(FORMATS) == {"JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF", "PPM"}
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    root = Path(__file__).parents[3]
    sources = [path for room in ("data", "models", "tasks", "flows") for path in (root / room).rglob("*.py")]
    assert len(sources) > 20
    assert not [path for path in sources if "LOAD_TRUNCATED_IMAGES" in path.read_text(encoding="utf-8")]


def test_broken_exif_loses_no_pixel() -> None:
    data = encoded(picture("exif"), "PNG")
    for content in (b"", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff" + bytes(30), b"noise" * 100):
        chunked = encoded(Image.open(io.BytesIO(data)), "PNG", exif=b"Exif\0\0" + content)
        np.testing.assert_array_equal(decode(chunked, at(32, 48)), picture("exif"))


def test_read_header_says_what_pillow_says_without_decoding() -> None:
    for kind, options in EVERY.items():
        data = encoded(picture("header", 20, 30), kind, **options)
        with Image.open(io.BytesIO(data)) as image:
            want = (image.format, *image.size, image.mode)
        header = read_header(data)
        assert header is not None
        assert (header.format, header.width, header.height, header.mode) == want
    assert read_header(b"text") is None
    assert read_header(b"") is None
    assert read_header(bomb()) is None


def test_stored_images_come_back_as_they_went_in() -> None:
    pixels = picture("stored")
    np.testing.assert_array_equal(decode_stored(encode_png(pixels)), pixels)
    jpeg = encode_jpeg(Image.fromarray(pixels), 95)
    assert np.abs(decode_stored(jpeg).astype(int) - pixels).max() <= 8
    with Image.open(io.BytesIO(jpeg)) as image:
        assert JpegImagePlugin.get_sampling(image) == 0
    with pytest.raises(OSError, match="cannot identify"):
        decode_stored(encoded(pixels, "BMP"))


POLICIES = st.builds(
    DecodePolicy,
    image_size=st.tuples(st.integers(8, 4096), st.integers(8, 4096)),
    resize=st.sampled_from(["stretch", "pad", "crop"]),
    interpolation=st.sampled_from(["nearest", "box", "bilinear", "bicubic", "lanczos"]),
    apply_exif_rotation=st.booleans(),
    scaled_jpeg=st.booleans(),
    background=st.tuples(*[st.integers(0, 255)] * 3),
    padding=st.tuples(*[st.integers(0, 255)] * 3),
    max_bytes=st.integers(1, 2**32),
    max_pixels=st.integers(1, 170_000_000),
    max_side=st.integers(1, 1_000_000),
)


@given(policy=POLICIES)
def test_a_policy_survives_its_way_through_json(policy: DecodePolicy) -> None:
    assert DecodePolicy.model_validate_json(policy.model_dump_json()) == policy


def test_a_setting_that_came_later_changes_no_dump_until_it_is_set() -> None:
    """Versions of data sets and models are hashes of it."""
    assert list(DecodePolicy().model_dump()) == [
        "version",
        "image_size",
        "resize",
        "interpolation",
        "apply_exif_rotation",
        "scaled_jpeg",
        "background",
        "padding",
        "max_bytes",
        "max_pixels",
    ]
    assert DecodePolicy(max_side=5000).model_dump()["max_side"] == 5000


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": (7, 100)},
        {"image_size": (100, 4097)},
        {"resize": "squash"},
        {"interpolation": "cubic"},
        {"background": (0, 0, 256)},
        {"max_pixels": 170_000_001},
        {"max_bytes": 0},
        {"max_side": 1_000_001},
        {"version": 1},
        {"version": 3},
        {"rotate": True},
    ],
)
def test_a_policy_refuses_what_it_does_not_know(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DecodePolicy(**wrong)
    with pytest.raises(ValidationError, match="frozen"):
        DecodePolicy().image_size = (1, 1)  # type: ignore[misc]


def test_an_image_error_keeps_its_reason_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ImageError("truncated", "12 bytes missing")))
    assert (error.reason, error.detail, str(error)) == ("truncated", "12 bytes missing", "truncated: 12 bytes missing")


MEASURE = """
import resource, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.pixels.encode import encode_jpeg, encode_png
from darkroom.data.errors import ImageError

def ends(data):
    try:
        return decode(data, DecodePolicy(image_size=(32, 48))).shape
    except ImageError as error:
        return error.reason

files = [Path(name).read_bytes() for name in sys.argv[1:]]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
with ThreadPoolExecutor(4) as pool:
    ended = list(pool.map(ends, files))
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
print(*ended, peak, time.process_time() - start, sep=";")
"""


def measured(tmp_path: Path, *contents: bytes) -> tuple[list[str], int, float]:
    """How the files end, decoded four at a time in a new process; the MiB of its memory and seconds that it takes."""
    names = []
    for number, content in enumerate(contents):
        names.append(tmp_path / f"{number}")
        names[-1].write_bytes(content)
    command = [sys.executable, "-c", MEASURE, *map(str, names)]
    root = Path(__file__).parents[3]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.strip().split(";")
    return said[:-2], int(said[-2]), float(said[-1])


def test_a_bomb_costs_neither_memory_nor_time(tmp_path: Path) -> None:
    bombs = [case.content for case in bombs_of_each_format()]
    ended, peak_mib, seconds = measured(tmp_path, *bombs)
    assert ended == ["too_large"] * len(bombs)
    assert peak_mib < 64
    assert seconds < 5


def test_the_tallest_image_costs_little(tmp_path: Path) -> None:
    ended, peak_mib, seconds = measured(tmp_path, tall()[0], tall(1_000_000)[0])
    assert ended == ["(32, 48, 3)"] * 2
    assert peak_mib < 64
    assert seconds < 5


def test_a_wide_image_is_resized_in_little_memory_whatever_the_size_asked_for(tmp_path: Path) -> None:
    """Columns first, a row of 400,000 pixels becomes 400,000 x 4096: 6.5 GB."""
    wide = thin(400_000)
    pixels = decode(wide, at(4096, 160))
    assert pixels.shape == (4096, 160, 3)
    assert not pixels.any()
    for how in ("pad", "crop"):
        assert decode(wide, at(4096, 160, resize=how)).shape == (4096, 160, 3)


def test_a_transparent_image_takes_little_more_memory_than_it_must(tmp_path: Path) -> None:
    """30 megapixels: 120 MB as stored, 120 MB as RGB."""
    clear = encoded(Image.new("RGBA", (6000, 5000), (1, 2, 3, 4)), "PNG", compress_level=1)
    keyed = encoded(Image.new("RGB", (6000, 5000)), "PNG", transparency=(1, 2, 3), compress_level=1)
    for data in (clear, keyed):
        ended, peak_mib, _ = measured(tmp_path, data)
        assert ended == ["(32, 48, 3)"]
        assert peak_mib < 320


def test_big_images_are_decoded_one_at_a_time(tmp_path: Path) -> None:
    """Each takes 60 MB as it is stored and 240 MB as RGB; four of them at once would take 1.2 GB."""
    big = encoded(Image.new("1", (6000, 10_000)), "PNG")
    ended, peak_mib, _ = measured(tmp_path, *[big] * 4)
    assert ended == ["(32, 48, 3)"] * 4
    assert peak_mib < 450


def test_grey_of_16_bits_takes_little_more_memory_than_it_must(tmp_path: Path) -> None:
    """30 megapixels: 60 MB as stored, 30 MB as grey, 120 MB as RGB."""
    ended, peak_mib, _ = measured(tmp_path, encoded(Image.new("I;16", (6000, 5000), 300), "PNG"))
    assert ended == ["(32, 48, 3)"]
    assert peak_mib < 320
