"""The samples: what is written is what scikit-learn gives, all of it, the same each time."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from darkroom.data.errors import SourceError
from darkroom.data.sources.samples import SAMPLES, find_sample, make_sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(find_sample("digits"), tmp_path_factory.mktemp("workspace") / "sources")


def new_labels(folder: Path) -> dict[str, str]:
    with (folder / "new-labels.csv").open(encoding="utf-8", newline="") as stream:
        return {row["path"]: row["label"] for row in csv.DictReader(stream)}


def test_every_scan_is_there_once_with_its_pixels_and_its_label(folder: Path) -> None:
    digits = load_digits()
    kept_back = new_labels(folder)
    seen = set()
    for path in folder.rglob("*.png"):
        index = int(path.stem.removeprefix("digit-"))
        assert path.name == f"digit-{index:05d}.png"
        seen.add(index)
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (8, 8))
            pixels = np.asarray(image)
        expected = [[int(value * 255 / 16 + 0.5) for value in row] for row in digits.images[index]]
        np.testing.assert_array_equal(pixels, expected)
        label = kept_back[path.name] if path.parent == folder / "new" else path.parent.name
        assert label == str(digits.target[index])
    assert seen == set(range(1797))


def test_one_hundred_are_kept_back_ten_a_digit(folder: Path) -> None:
    labels = new_labels(folder)
    assert {path.name for path in (folder / "new").iterdir()} == set(labels)
    assert Counter(labels.values()) == dict.fromkeys("0123456789", 10)
    assert sorted(path.name for path in (folder / "images").iterdir()) == list("0123456789")
    assert len(list((folder / "images").glob("*/*.png"))) == 1697
    assert not {path.name for path in (folder / "images").glob("*/*")} & set(labels)


def test_no_image_kept_back_is_also_in_the_training_images(folder: Path) -> None:
    new = {path.read_bytes() for path in (folder / "new").iterdir()}
    assert not new & {path.read_bytes() for path in (folder / "images").glob("*/*")}


def test_written_again_elsewhere_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    def digest(root: Path) -> str:
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        parts = [f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    assert digest(make_sample(find_sample("digits"), tmp_path)) == digest(folder)


def test_the_second_call_writes_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert make_sample(find_sample("digits"), folder.parent) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert sorted(folder.parent.iterdir()) == [folder.parent / ".lock", folder]


def test_an_unknown_sample_names_the_known_ones() -> None:
    with pytest.raises(SourceError, match=r"no sample 'digit'\. The samples are: sample:digits\."):
        find_sample("digit")
    assert all(sample.licence and sample.citation for sample in SAMPLES.values())
