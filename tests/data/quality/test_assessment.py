"""What is measured on an image's pixels, and which images stand out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageFilter, ImageStat

from darkroom.data.dataset.manifest import ManifestRow, to_table
from darkroom.data.errors import FormatError
from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.pixels.encode import encode_png
from darkroom.data.quality.assessment import Quality, assess
from darkroom.data.quality.pixel_statistics import pixel_statistics

POLICY = DecodePolicy(image_size=(160, 160))


def row(number: int, **changes: Any) -> ManifestRow:
    """An ordinary photograph of one of two classes, its figures varied a little."""
    values: dict[str, Any] = {
        "path": f"{number:04d}.jpg",
        "sha256": f"{number:064x}",
        "bytes": 1000,
        "format": "JPEG",
        "width": 400 + number % 7,
        "height": 300 + number % 5,
        "mode": "RGB",
        "label": ("cat", "dog")[number % 2],
        "split": "train",
        "source_split": None,
        "status": "ok",
        "reason": None,
        "mean_luminance": 100.0 + number % 30,
        "contrast": 50.0 + number % 10,
        "clipped": 0.01 * (number % 3),
        "sharpness": 0.3 + 0.01 * (number % 20),
        "entropy": 7.0 + 0.01 * (number % 30),
    }
    return ManifestRow(**{**values, **changes})


def quality_of(*odd: dict[str, Any], num_rows: int = 200, **common: Any) -> Quality:
    rows = [row(number, **common) for number in range(num_rows)]
    rows += [row(1000 + number, **changes) for number, changes in enumerate(odd)]
    return assess(to_table(rows), POLICY)


def found(quality: Quality) -> dict[str, list[str]]:
    return {check.name: [finding.path for finding in check.findings] for check in quality.checks if check.findings}


def test_statistics_are_those_of_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    pixels[:10] = 255
    pixels[10:15] = 0
    statistics = pixel_statistics(pixels, POLICY)
    grey = ImageStat.Stat(Image.fromarray(pixels).convert("L"))
    assert statistics.mean_luminance == pytest.approx(grey.mean[0], abs=0.6)  # Pillow rounds each pixel down
    assert statistics.contrast == pytest.approx(grey.stddev[0], abs=0.6)
    assert statistics.clipped == pytest.approx(15 / 40)
    luminance = pixels.astype(np.float64) @ [0.299, 0.587, 0.114]
    assert statistics.mean_luminance == pytest.approx(luminance.mean(), rel=1e-9)
    assert statistics.contrast == pytest.approx(luminance.std(), rel=1e-9)


@pytest.mark.parametrize("level", [0, 1, 77, 255])
def test_a_flat_image_has_no_contrast_at_all(level: int) -> None:
    assert pixel_statistics(np.full((160, 161, 3), level, np.uint8), POLICY).contrast == 0


def test_blur_lowers_sharpness_and_contrast_does_not() -> None:
    blocks = np.random.default_rng(1).integers(20, 230, (8, 8, 1), dtype=np.uint8)
    pixels = np.repeat(np.repeat(np.repeat(blocks, 8, 0), 8, 1), 3, 2)
    image = Image.fromarray(pixels)
    faint = (pixels // 2 + 60).astype(np.uint8)
    blurred = [np.asarray(image.filter(ImageFilter.GaussianBlur(radius))) for radius in (1, 2, 4)]
    sharp, soft, softer, softest = (pixel_statistics(each, POLICY).sharpness for each in (pixels, *blurred))
    assert sharp > 2 * soft > 4 * softer
    assert softer > 1.5 * softest > 0
    assert pixel_statistics(faint, POLICY).sharpness == pytest.approx(sharp, rel=0.02)


def test_entropy_is_the_bits_of_the_tones() -> None:
    tones = np.repeat(np.array([10, 90, 170, 250], np.uint8), 64).reshape(16, 16)
    assert pixel_statistics(np.dstack([tones] * 3), POLICY).entropy == pytest.approx(2.0)
    assert pixel_statistics(np.full((16, 16, 3), 7, np.uint8), POLICY).entropy == 0


def test_a_manifest_of_an_older_darkroom_is_assessed_without_the_later_figures() -> None:
    table = to_table([row(number) for number in range(30)] + [row(99, path="dark", mean_luminance=10.0)])
    older = table.drop_columns(["sharpness", "entropy", "remarks"])
    assert found(assess(older, POLICY)) == {"dark": ["dark"]}


def test_saturated_colours_are_not_clipped() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[..., 0] = 255
    assert pixel_statistics(pixels, POLICY).clipped == 0


@pytest.mark.parametrize("size", [(200, 40), (40, 200)])
def test_the_bars_of_padding_are_not_measured(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (120, 130, 140))
    policy = POLICY.model_copy(update={"resize": "pad"})
    padded = pixel_statistics(decode(encode_png(np.asarray(picture)), policy), policy)
    assert padded.contrast < 0.1
    assert padded.mean_luminance == pytest.approx(0.299 * 120 + 0.587 * 130 + 0.114 * 140, abs=0.1)


def test_a_picture_of_the_paddings_own_colour_is_measured_whole() -> None:
    policy = POLICY.model_copy(update={"resize": "pad"})
    assert pixel_statistics(np.zeros((16, 16, 3), np.uint8), policy).clipped == 1


def test_each_odd_image_is_found_by_its_check_alone() -> None:
    quality = quality_of(
        {"path": "blank", "contrast": 1.0, "sharpness": 0.01, "entropy": 0.5},
        {"path": "blurry", "sharpness": 0.05},
        {"path": "sketch", "entropy": 1.5},
        {"path": "dark", "mean_luminance": 12.0},
        {"path": "bright", "mean_luminance": 240.0},
        {"path": "clipped", "clipped": 0.8},
        {"path": "small", "width": 40, "height": 30},
        {"path": "wide", "width": 1600, "height": 300},
        {"path": "tall", "width": 300, "height": 1700},
    )
    assert found(quality) == {
        "blank": ["blank"],
        "blurry": ["blurry"],
        "few_tones": ["sketch"],
        "dark": ["dark"],
        "bright": ["bright"],
        "clipped": ["clipped"],
        "small": ["small"],
        "elongated": ["tall", "wide"],
    }


@pytest.mark.parametrize(
    "common",
    [
        {"mean_luminance": 30.0},
        {"mean_luminance": 235.0, "clipped": 0.7},
        {"width": 28, "height": 28},
        {"sharpness": 0.05},
        {"entropy": 1.5},
        {"width": 1000, "height": 100},
    ],
)
def test_what_all_images_have_in_common_is_no_finding(common: dict[str, Any]) -> None:
    assert found(quality_of(**common)) == {}


def test_a_dark_image_among_dark_ones_must_be_far_from_them() -> None:
    spread: list[dict[str, Any]] = [{"mean_luminance": 20.0 + number % 40} for number in range(400)]
    assert "dark" not in found(quality_of({"mean_luminance": 14.0}, *spread, num_rows=0))


def test_the_most_striking_come_first_and_all_are_counted() -> None:
    rows = [row(number) for number in range(300)]
    rows += [row(1000 + number, mean_luminance=30.0 - number) for number in range(5)]
    (dark,) = [check for check in assess(to_table(rows), POLICY, max_listed=2).checks if check.name == "dark"]
    assert dark.num_images == 5
    assert [finding.value for finding in dark.findings] == [26.0, 27.0]


def test_counts_by_class_and_split_add_up_and_the_rest_is_quarantined() -> None:
    rows = [row(number, split=("train", "validation", "test")[number % 3]) for number in range(60)]
    aside = {"status": "quarantined", "split": None, "mean_luminance": None, "contrast": None, "clipped": None}
    rows += [row(100, **aside, reason="truncated", label="dog"), row(101, **aside, reason="stray_file", label=None)]
    quality = assess(to_table(rows), POLICY)
    assert (quality.num_files, quality.num_ok) == (62, 60)
    assert [(c.label, c.num_images, c.train + c.validation + c.test, c.num_set_aside) for c in quality.classes] == [
        ("cat", 30, 30, 0),
        ("dog", 30, 30, 1),
    ]
    assert quality.imbalance == 1.0
    assert {reason.reason for reason in quality.reasons} == {"truncated", "stray_file"}


def test_imbalance_few_images_and_enlargement_are_said() -> None:
    rows = [row(number, label="cat", width=50, height=50) for number in range(200)]
    rows += [row(1000 + number, label="lynx", width=50, height=50) for number in range(9)]
    quality = assess(to_table(rows), POLICY)
    assert quality.imbalance == pytest.approx(22.22)
    text = " ".join(quality.remarks)
    assert "lynx (9)" in text
    assert "cat has 200 images, lynx 9" in text
    assert "209 of 209 images are smaller than 160 x 160" in text


def test_the_order_of_the_rows_changes_nothing() -> None:
    table = to_table([row(number, contrast=float(number % 9)) for number in range(50)])
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(50)))
    assert assess(shuffled, POLICY) == assess(table, POLICY)


def test_no_usable_image_is_described_too() -> None:
    aside = {"status": "quarantined", "split": None, "mean_luminance": None, "contrast": None, "clipped": None}
    quality = assess(to_table([row(1, **aside, reason="empty")]), POLICY)
    assert (quality.num_ok, quality.widths, quality.imbalance) == (0, None, None)
    assert found(quality) == {}


def test_a_manifest_of_an_older_darkroom_is_refused() -> None:
    with pytest.raises(FormatError, match="Ingest the source again"):
        assess(to_table([row(1)]).drop_columns(["contrast"]), POLICY)
