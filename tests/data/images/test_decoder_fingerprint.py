"""The golden images, the fingerprint of the installed decoder, and what is done where two decoders differ."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

from darkroom.data.errors import InputError, WorkError
from darkroom.data.files.provenance import LibraryVersion
from darkroom.data.images import decode as decode_module
from darkroom.data.images.decode import decode
from darkroom.data.images.decoder_fingerprint import (
    GOLDEN,
    GOLDEN_POLICIES,
    Decoder,
    decoder,
    golden_hashes,
    require_decoder,
    settle_mismatch,
)
from darkroom.data.images.formats.accepted import FORMATS
from darkroom.data.images.pixels.colour import to_rgb
from tests.golden import TABLE, images

GOLDEN_TABLE = json.loads(TABLE.read_text(encoding="utf-8"))
OTHER = Decoder(fingerprint="0" * 12, packages=(LibraryVersion(name="pillow", version="9.9.9"),))


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir()))
def test_a_golden_image_has_the_pixels_that_it_always_had(name: str) -> None:
    found = golden_hashes()[name]
    assert found == GOLDEN_TABLE["pixels"][name], f"{name}: {decoder()} decodes it to other pixels"


def test_there_is_a_golden_image_of_each_kind() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(images()) == sorted(GOLDEN_TABLE["pixels"])
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 64_000
    opened = {path.name: Image.open(path) for path in GOLDEN.iterdir()}
    modes = {name: image.mode for name, image in opened.items()}
    assert {name: mode for name, mode in modes.items() if mode != "RGB"} == {
        "gif.gif": "P",
        "jpeg-cmyk.jpg": "CMYK",
        "jpeg-grey.jpg": "L",
        "png-1-bit.png": "1",
        "png-16-bit.png": "I;16",
        "png-grey.png": "L",
        "png-palette.png": "P",
        "png-rgba.png": "RGBA",
        "tiff-float.tif": "F",
        "webp-lossy.webp": "RGBA",
    }
    # Sampling factors of luma; those of chroma are 1 x 1.
    sampling = {name: image.layer[0][1:3] for name, image in opened.items() if hasattr(image, "layer")}
    assert [sampling[f"jpeg-{kind}.jpg"] for kind in (444, 440, 422, 420, 411)] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
        (4, 1),
    ]
    assert "progressive" in opened["jpeg-progressive.jpg"].info
    assert opened["png-interlaced.png"].info["interlace"] == 1
    assert opened["png-palette.png"].info["transparency"] == 3
    assert opened["jpeg-rotated.jpg"].getexif()[0x0112] == 6
    large = (GOLDEN / "jpeg-large.jpg").read_bytes()
    whole = GOLDEN_POLICIES["stretch"].model_copy(update={"scaled_jpeg": False})
    assert (decode(large, GOLDEN_POLICIES["stretch"]) != decode(large, whole)).any()  # shrunk while it was decoded


def test_another_process_has_the_same_fingerprint() -> None:
    script = "from darkroom.data.images.decoder_fingerprint import decoder; print(decoder().model_dump_json())"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert Decoder.model_validate_json(done.stdout) == decoder()
    assert decoder().fingerprint == GOLDEN_TABLE["fingerprint"]


def test_a_decoder_names_the_installed_packages_and_the_libraries_of_pillow() -> None:
    packages = {package.name: package.version for package in decoder().packages}
    assert {name: packages[name] for name in ("pillow", "simplejpeg", "cykooz-resizer", "numpy")} == {
        name: version(name) for name in ("pillow", "simplejpeg", "cykooz-resizer", "numpy")
    }
    assert {name for name in packages if "/" in name} == {"pillow/libjpeg_turbo", "pillow/webp", "pillow/libtiff"}
    assert f"pillow {version('pillow')}" in str(decoder())


def test_the_golden_images_are_decoded_once_in_a_process_and_quickly() -> None:
    seconds = []
    for _ in range(5):
        decoder.cache_clear()
        started = time.process_time()
        first = decoder()
        seconds.append(time.process_time() - started)
    assert decoder() is first
    assert min(seconds) < 0.1


def test_a_resizer_that_rounds_otherwise_is_another_decoder(upgrade_decoder: Callable[[], Decoder]) -> None:
    before = decoder()
    after = upgrade_decoder()
    assert after.packages == before.packages
    assert after.is_other(before)
    assert not after.is_same(before)


def test_a_jpeg_decoder_that_rounds_otherwise_is_another_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    before = golden_hashes()
    monkeypatch.setattr(decode_module, "decode_plain_jpeg", lambda *_: None)  # Pillow gives the same pixels
    assert golden_hashes() == before

    original = to_rgb

    def darker(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
        return original(image, background).point(lambda value: max(0, value - 1))

    monkeypatch.setattr(decode_module, "to_rgb", darker)
    changed = {name for name, found in golden_hashes().items() if found != before[name]}
    assert changed == set(before)


def test_a_format_that_cannot_be_decoded_makes_another_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "FORMATS", tuple(name for name in FORMATS if name != "WEBP"))
    found = golden_hashes()
    different = {name for name in found if found[name] != GOLDEN_TABLE["pixels"][name]}
    assert different == {"webp-lossless.webp", "webp-lossy.webp"}
    assert set(found["webp-lossy.webp"].values()) == {"not_an_image"}


def test_other_versions_that_give_the_same_pixels_are_the_same_decoder() -> None:
    older = decoder().model_copy(update={"packages": OTHER.packages})
    assert decoder().is_same(older)
    assert not settle_mismatch("Images were", older, decoder(), "strict", "nothing happens")


def test_a_decoder_that_was_not_recorded_is_neither_the_same_nor_another() -> None:
    assert not decoder().is_same(None)
    assert not decoder().is_other(None)
    assert not settle_mismatch("Images were", None, decoder(), "strict", "nothing happens")
    assert not settle_mismatch("Images were", decoder(), None, "strict", "nothing happens")
    require_decoder(None)


def test_another_decoder_is_a_warning_with_the_packages_of_both(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "darkroom")
    assert settle_mismatch("The photographs were", OTHER, decoder(), "warn", "they are decoded again")
    (record,) = caplog.records
    for part in ("The photographs were", "000000000000", "pillow 9.9.9", str(decoder()), "they are decoded again"):
        assert part in record.getMessage()


def test_only_packages_that_differ_are_named(caplog: pytest.LogCaptureFixture) -> None:
    older = LibraryVersion(name="simplejpeg", version="1.8.0")
    packages = tuple(older if each.name == older.name else each for each in decoder().packages)
    upgraded = Decoder(fingerprint="0" * 12, packages=packages)
    rebuilt = Decoder(fingerprint="1" * 12, packages=decoder().packages)
    for found in (upgraded, rebuilt):
        settle_mismatch("Images were", found, decoder(), "warn", "nothing happens")
    first, second = caplog.messages
    assert f"{'0' * 12} (simplejpeg 1.8.0)" in first
    assert f"{decoder().fingerprint} (simplejpeg {version('simplejpeg')})" in first
    assert "pillow" not in first + second


def test_strict_refuses_another_decoder_as_wrong_input() -> None:
    with pytest.raises(InputError, match=r"pillow 9\.9\.9.*DARKROOM_DECODER_MISMATCH=warn") as refused:
        settle_mismatch("The photographs were", OTHER, decoder(), "strict", "they are decoded again")
    assert refused.value.exit_status == 2
    assert str(decoder()) in str(refused.value)


def test_a_worker_with_another_decoder_than_the_plan_refuses_to_work() -> None:
    require_decoder(decoder())
    with pytest.raises(WorkError, match=r"pillow 9\.9\.9"):
        require_decoder(OTHER)


def test_the_images_that_the_script_makes_are_decoded_alike(tmp_path: Path) -> None:
    """By the encoders of the lock files; others may write other bytes."""
    lossless = [name for name in images() if name.startswith(("png", "tiff", "bmp", "ppm", "webp-lossless"))]
    for name in lossless:
        for policy in GOLDEN_POLICIES.values():
            assert (decode(images()[name](), policy) == decode((GOLDEN / name).read_bytes(), policy)).all(), name
