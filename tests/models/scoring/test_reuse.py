"""A rerun scores only the files that are new, changed, or to be tried again; the table is that of a fresh run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.errors import InputError
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.onnx.runtime import OnnxRunner, Runner
from darkroom.models.scoring.parts import open_runner, score_part
from darkroom.models.scoring.summary import summarize
from tests.bundles import tiny_bundle
from tests.scoring import plan

SIZE = (24, 24)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", ("blue", "green", "red"), SIZE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures and two files that are none, in names that leave room before, between and after."""
    place = tmp_path / "images"
    place.mkdir()
    for number in range(12):
        picture(place / f"m{number:02d}.png", number)
    (place / "m03-broken.png").write_bytes(b"\x89PNG")
    (place / "m08-broken.png").write_bytes(b"no image")
    return place


def picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


class Counting:
    """A runner that counts the images it is given."""

    def __init__(self, runner: Runner) -> None:
        self.runner, self.num_images = runner, 0

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.num_images += len(images)
        return self.runner(images)


def score(folder: Path, bundle: Path, out: Path, num_parts: int | None = None, **how: Any) -> tuple[int, int]:
    """Score a folder, or only its first parts as a run that is killed would; images run, and rows taken over."""
    runner, opened = open_runner(bundle)
    counting = Counting(runner)
    planned = plan(folder, opened, out, how.pop("rows_per_part", 4), **how)
    parts = range(planned.num_parts if num_parts is None else num_parts)
    done = [score_part(out, index, counting, opened) for index in parts]  # type: ignore[arg-type, misc]
    if num_parts is None:
        summarize(out, done, "", 1.0, None)
        assert not TablePaths(out).known_rows.exists()
    return counting.num_images, sum(part.num_reused for part in done)


def table_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*.parquet"))}


def assert_as_fresh(folder: Path, bundle: Path, out: Path) -> None:
    fresh = out.with_name("fresh")
    score(folder, bundle, fresh)
    assert table_bytes(out) == table_bytes(fresh)


def test_nothing_is_scored_again_where_nothing_changed(folder: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert score(folder, bundle, out) == (12, 0)
    before = table_bytes(out)
    assert score(folder, bundle, out) == (0, 14)
    assert table_bytes(out) == before


@pytest.mark.parametrize("name", ["a.png", "m05-new.png", "z.png"], ids=["first", "between", "last"])
def test_a_new_file_is_scored_alone_wherever_it_sorts(folder: Path, bundle: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    score(folder, bundle, out)
    picture(folder / name, 99)
    assert score(folder, bundle, out) == (1, 14)
    assert_as_fresh(folder, bundle, out)


def test_a_changed_file_is_scored_again_and_a_removed_one_leaves_no_row(
    folder: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    score(folder, bundle, out)
    picture(folder / "m07.png", 77)
    os.utime(folder / "m07.png", ns=(0, 1))
    (folder / "m00.png").unlink()
    assert score(folder, bundle, out) == (1, 12)
    assert_as_fresh(folder, bundle, out)


def test_another_size_of_part_takes_the_rows_over(folder: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    score(folder, bundle, out, rows_per_part=5)
    assert score(folder, bundle, out) == (0, 14)
    assert_as_fresh(folder, bundle, out)


def test_a_run_that_was_killed_leaves_its_rows_to_the_next(folder: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    score(folder, bundle, out)
    picture(folder / "a.png", 98)
    assert score(folder, bundle, out, num_parts=1) == (1, 3)
    picture(folder / "b.png", 97)
    assert score(folder, bundle, out) == (1, 15)
    assert_as_fresh(folder, bundle, out)


def test_quarantined_files_are_tried_again_alone_where_that_is_asked_for(
    folder: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    score(folder, bundle, out)
    facts = (folder / "m03-broken.png").stat()
    picture(folder / "m03-broken.png", 55)
    with (folder / "m03-broken.png").open("r+b") as stream:
        stream.truncate(facts.st_size)
    whole = tmp_path / "whole.png"
    picture(whole, 55)
    assert score(folder, bundle, out, retry_quarantined=True) == (0, 12)
    (folder / "m03-broken.png").write_bytes(whole.read_bytes())
    assert score(folder, bundle, out, retry_quarantined=True) == (1, 12)
    assert_as_fresh(folder, bundle, out)


def test_rows_of_another_bundle_are_not_taken_over_and_a_table_of_another_folder_is_not_replaced(
    folder: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    score(folder, bundle, out)
    other = tiny_bundle(tmp_path / "other", ("blue", "green", "red"), (32, 32))
    assert score(folder, other, out) == (12, 0)
    score(folder, bundle, out)
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    before = {part.name: part.read_bytes() for part in out.iterdir()}
    with pytest.raises(InputError, match=rf"holds the table of another folder, {folder}.*--out"):
        score(elsewhere, bundle, out)
    assert {part.name: part.read_bytes() for part in out.iterdir()} == before


def test_an_image_has_the_same_logits_in_every_batch(bundle: Path) -> None:
    runner, images = (
        OnnxRunner(open_bundle(bundle).onnx_path),
        np.random.default_rng(0).integers(0, 256, (64, *SIZE, 3), dtype=np.uint8),
    )
    together = runner(images)
    order = np.random.default_rng(1).permutation(64)
    assert np.array_equal(runner(images[order]), together[order])
    assert np.array_equal(np.concatenate([runner(images[place : place + 1]) for place in range(64)]), together)


def test_a_row_comes_back_as_it_was_written(folder: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    score(folder, bundle, out)
    before = {row["path"]: row for row in pq.read_table(out / "part-00000.parquet").to_pylist()}
    picture(folder / "a.png", 99)
    score(folder, bundle, out)
    after = {row["path"]: row for row in pq.read_table(sorted(out.glob("part-*.parquet"))).to_pylist()}
    assert {path: after[path] for path in before} == before
