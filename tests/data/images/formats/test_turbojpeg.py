"""Plain JPEGs by libjpeg-turbo: Pillow's pixels to the bit, and Pillow's word on whatever is not plain."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.errors import ImageError
from darkroom.data.images.decode import decode
from darkroom.data.images.formats.turbojpeg import decode_plain_jpeg, shrink_by
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from tests.corpus import encoded, exif, num_scans_jpeg, picture

SIDES = st.integers(1, 600)
WANTED = st.tuples(st.integers(8, 200), st.integers(8, 200))


def by_pillow(data: bytes, wanted: tuple[int, int] | None) -> NDArray[np.uint8]:
    """`uint8[h, w, 3]` as Pillow's `draft` and `load` give it."""
    with Image.open(io.BytesIO(data)) as image:
        if wanted:
            image.draft(None, wanted)
        return np.asarray(image.convert("RGB"))


def by_turbo(data: bytes, shrink: int) -> NDArray[np.uint8] | None:
    with Image.open(io.BytesIO(data)) as image:
        return decode_plain_jpeg(data, image, shrink)


@settings(deadline=None, max_examples=150)
@given(
    height=SIDES,
    width=SIDES,
    wanted=st.none() | WANTED,
    stored=st.sampled_from(["4:4:4", "4:2:2", "4:2:0", "RGB", "grey"]),
    options=st.fixed_dictionaries(
        {
            "quality": st.integers(1, 100),
            "progressive": st.booleans(),
            "optimize": st.booleans(),
            "restart_marker_blocks": st.integers(0, 5),
        }
    ),
)
def test_a_jpeg_of_any_kind_and_size_has_pillows_pixels_to_the_bit(
    height: int, width: int, wanted: tuple[int, int] | None, stored: str, options: dict[str, Any]
) -> None:
    drawn = Image.fromarray(picture(f"{height} {width}", height, width))
    options |= {"keep_rgb": True} if stored == "RGB" else {"subsampling": stored} if stored != "grey" else {}
    data = encoded(drawn.convert("L") if stored == "grey" else drawn, "JPEG", **options)
    shrink = shrink_by((width, height), wanted) if wanted else 1
    np.testing.assert_array_equal(by_turbo(data, shrink), by_pillow(data, wanted))


@given(stored=st.tuples(SIDES, SIDES), wanted=WANTED)
def test_it_shrinks_by_as_much_as_pillows_draft(stored: tuple[int, int], wanted: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(encoded(Image.new("L", stored), "JPEG"))) as image:
        image.draft(None, wanted)
        drafted = image.size
    shrink = shrink_by(stored, wanted)
    assert drafted == (-(-stored[0] // shrink), -(-stored[1] // shrink))


def test_what_is_not_plain_is_left_to_pillow() -> None:
    whole = encoded(picture("plain", 200, 300), "JPEG", quality=90)
    assert by_turbo(whole, 2) is not None
    assert by_turbo(whole + b"\xff\xd8 a second image", 2) is not None
    assert by_turbo(encoded(Image.new("CMYK", (300, 200)), "JPEG"), 2) is None
    assert by_turbo(whole[: len(whole) // 2], 2) is None
    middle = len(whole) // 2
    assert by_turbo(whole[:middle] + b"\xff\xd3" + whole[middle:], 2) is None  # a restart that is none: a warning


def ended(data: bytes, policy: DecodePolicy) -> tuple[str, bytes]:
    try:
        return "", decode(data, policy).tobytes()
    except ImageError as error:
        return error.reason, b""


@settings(deadline=None, max_examples=200)
@given(kind=st.sampled_from(["turned", "progressive", "grey", "many scans"]), data=st.data())
def test_a_damaged_jpeg_ends_as_it_would_by_pillow_alone(kind: str, data: st.DataObject) -> None:
    """The same reason, or the same pixels: that libjpeg-turbo is tried first can be seen in nothing but the time."""
    drawn = picture(kind, 70, 90)
    content = bytearray(
        {
            "turned": encoded(drawn, "JPEG", exif=exif(6), restart_marker_blocks=3),
            "progressive": encoded(drawn, "JPEG", progressive=True),
            "grey": encoded(drawn[..., 0], "JPEG"),
            "many scans": num_scans_jpeg(30, 90, 70),
        }[kind]
    )
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4)
    ):
        content[place] = value
    del content[data.draw(st.integers(len(content) - 30, len(content)) | st.integers(0, len(content))) :]
    policy = DecodePolicy(image_size=(32, 40), max_pixels=1_000_000)
    both = ended(bytes(content), policy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("darkroom.data.images.decode.decode_plain_jpeg", lambda *_: None)
        assert both == ended(bytes(content), policy)
