"""Animations and documents of several pages: the first is used, and it is said that there are more."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.data.dataset.manifest import FIRST_OF_SEVERAL
from darkroom.data.images.decode import decode_opened, decode_with_header
from darkroom.data.images.decoder_process import decode_alone
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.quality.assessment import assess
from tests.datasets import ingest

POLICY = DecodePolicy(image_size=(16, 16), interpolation="nearest")
GREYS = (40, 200, 120)
FORMATS: dict[str, dict[str, Any]] = {"GIF": {}, "TIFF": {}, "WEBP": {"lossless": True}, "PNG": {}}


def file_of(kind: str, num_frames: int, **how: Any) -> bytes:
    first, *others = (Image.new("L", (16, 16), grey) for grey in GREYS[:num_frames])
    stream = io.BytesIO()
    more = {"save_all": True, "append_images": others} if others else {}
    first.save(stream, kind, **more, **FORMATS.get(kind, {}), **how)
    return stream.getvalue()


@pytest.mark.parametrize("num_frames", [1, 2, 3])
@pytest.mark.parametrize("kind", FORMATS)
def test_the_first_frame_is_used_and_more_are_noticed(kind: str, num_frames: int) -> None:
    data = file_of(kind, num_frames)
    for found in (decode_with_header(data, POLICY), decode_alone(data, POLICY)):
        assert found.first_of_several == (num_frames > 1)
        assert np.unique(found.pixels).tolist() == [40]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate"])
def test_pages_of_a_tiff_are_noticed_however_they_are_packed(compression: str) -> None:
    assert decode_with_header(file_of("TIFF", 3, compression=compression), POLICY).first_of_several
    assert not decode_with_header(file_of("TIFF", 1, compression=compression), POLICY).first_of_several


def test_the_previews_in_a_telephones_photograph_are_no_frames() -> None:
    data = file_of("MPO", 2)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.n_frames) == ("MPO", 2)  # type: ignore[attr-defined]
    assert not decode_with_header(data, POLICY).first_of_several


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_what_follows_the_first_frame_may_be_damaged(kind: str) -> None:
    whole = file_of(kind, 3)
    expected = decode_with_header(whole, POLICY).pixels
    for cut in range(len(whole) - 1, len(whole) // 2, -7):
        try:
            with Image.open(io.BytesIO(whole[:cut])) as image:
                opened = decode_opened(image, POLICY)
        except Exception:
            continue
        np.testing.assert_array_equal(decode_with_header(whole[:cut], POLICY).pixels, opened.pixels)
        np.testing.assert_array_equal(opened.pixels, expected)


def test_the_manifest_the_page_and_the_log_say_which_images_have_more_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    animated = []
    for number in range(24):
        path = tmp_path / "photos" / ("cats", "dogs")[number % 2] / f"{number:02d}.gif"
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = [
            Image.fromarray(np.random.default_rng([number, frame]).integers(0, 256, (16, 16), dtype=np.uint8))
            for frame in range(2)
        ]
        several = number in (1, 4, 9, 16)
        frames[0].save(path, save_all=several, append_images=frames[1:] if several else [])
        if several:
            animated.append(f"{path.parent.name}/{path.name}")
    animated.sort()
    with caplog.at_level(logging.WARNING):
        dataset = ingest(tmp_path / "photos", tmp_path / "w", IngestSettings(name="t", policy=POLICY, leaks="keep"))
    rows = {row["path"]: row["remarks"] for row in dataset.manifest().to_pylist()}
    assert {path for path, remarks in rows.items() if remarks} == set(animated)
    assert rows[animated[0]] == [FIRST_OF_SEVERAL]
    three = ", ".join(animated[:3])
    (said,) = [remark for remark in assess(dataset.manifest(), POLICY).remarks if three in remark]
    assert "4 images" in said
    assert [text for text in caplog.messages if "4 images" in text and three in text and animated[3] not in text]
