"""Images whose range is another than that of the model's training: the run says so, and scores them all the same."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import darkroom
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.flows.descriptions import describe
from darkroom.models.scoring.summary import read_summary
from tests.bundles import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    policy = DecodePolicy(image_size=(8, 8), window=(0, 4095))
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", ("cat", "dog"), (8, 8), policy)


def write(folder: Path, highest: int) -> Path:
    folder.mkdir()
    for number in range(5):
        values = np.random.default_rng(number).integers(0, highest, (8, 8)).astype(np.uint16)
        Image.fromarray(values).save(folder / f"{number}.png")
    return folder


def test_a_folder_of_another_range_is_told_with_its_number_and_one_of_the_same_is_not(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    like = darkroom.score(write(tmp_path / "like", 4000), bundle, out=tmp_path / "a", workspace=tmp_path / "w")
    assert like.remarks == read_summary(tmp_path / "a").remarks == ()
    with caplog.at_level(logging.WARNING):
        unlike = darkroom.score(write(tmp_path / "not", 60_000), bundle, out=tmp_path / "b", workspace=tmp_path / "w")
    (remark,) = unlike.remarks
    assert remark.startswith("5 of 5 ")
    assert "--window 0,4095" in remark
    assert [text for text in caplog.messages if remark in text]
    assert read_summary(tmp_path / "b").remarks == (remark,)
    assert ("remark", remark) in [(row.label, row.text) for row in describe(unlike).rows]
    assert {count.name: count.num_rows for count in unlike.statuses} == {"ok": 5}
