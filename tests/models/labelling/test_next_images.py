"""`darkroom label-next` from a folder to its CSV and its page, by a tiny model."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import darkroom
from darkroom.models.labelling.candidates import PoolRules, folder_sample, read_pool
from tests.bundles import tiny_bundle

HOSTILE = '"><script>alert(1)</script>,=1+1.png'


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", ["<b>a</b>", "b", "c"], (40, 48))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 different photographs, each once more byte for byte and once more encoded anew, and a broken file."""
    place = tmp_path_factory.mktemp("new")
    for number in range(40):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        image = Image.fromarray(coarse).resize((128, 96), Image.Resampling.BICUBIC)
        image.save(place / f"{number:02d}.png")
        shutil.copy(place / f"{number:02d}.png", place / f"{number:02d} copy.png")
        image.save(place / f"{number:02d}.jpg", quality=90)
    shutil.copy(place / "05.png", place / HOSTILE.replace("/", "_"))
    (place / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    return place


@pytest.fixture(scope="module")
def out(folder: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("out") / "next"
    result = darkroom.label_next(folder, bundle, budget=200, out=place, workspace=place.parent / "workspace")
    assert (result.num_images, result.budget) == (121, 200)
    assert Path(result.page) == place / "label.html"
    return place


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "next.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number_of(path: str) -> str:
    return path[:2] if path[0].isdigit() else "05"


def test_no_image_is_chosen_twice_under_another_name_or_encoding(out: Path) -> None:
    numbers = [number_of(row["path"]) for row in rows(out)]
    assert len(numbers) == len(set(numbers))
    assert len(numbers) >= 35  # a few of the made photographs look alike


def test_each_row_says_what_the_model_says_and_why(out: Path) -> None:
    for row in rows(out):
        assert list(row) == ["path", "predicted", "confidence", "why"]
        assert row["predicted"] in ("<b>a</b>", "b", "c")
        assert 1 / 3 <= float(row["confidence"]) <= 1
        assert row["why"]


def test_a_smaller_budget_is_kept_and_the_same_run_gives_the_same_bytes(
    folder: Path, bundle: Path, out: Path, tmp_path: Path
) -> None:
    found = []
    for name in ("one", "two"):
        darkroom.label_next(folder, bundle, budget=7, out=tmp_path / name, workspace=tmp_path / "workspace")
        found.append([(tmp_path / name / file).read_bytes() for file in ("next.csv", "label.html", "next.json")])
    assert found[0] == found[1]
    assert len(rows(tmp_path / "one")) == 7


@pytest.mark.parametrize("budget", [0, -1, 5001])
def test_a_budget_out_of_bounds_is_refused_before_anything_is_scored(
    folder: Path, bundle: Path, tmp_path: Path, budget: int
) -> None:
    with pytest.raises(darkroom.InputError, match="budget"):
        darkroom.label_next(folder, bundle, budget=budget, out=tmp_path / "out", workspace=tmp_path / "workspace")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_an_image_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(darkroom.InputError, match="nothing to label"):
        darkroom.label_next(tmp_path / "new", bundle, out=tmp_path / "out", workspace=tmp_path / "workspace")


def test_images_that_have_a_label_and_identical_files_are_no_candidates(out: Path) -> None:
    parts = sorted((out / "predictions").glob("part-*.parquet"))
    known = folder_sample(parts)
    every = read_pool(parts, known, PoolRules(1000))
    assert every.num_ok == 121
    hashes = [candidate.sha256 for candidate in every.candidates]
    assert len(hashes) == len(set(hashes)) == 80
    labelled = read_pool(parts, known, PoolRules(1000, frozenset(hashes[:30])))
    assert {candidate.sha256 for candidate in labelled.candidates} == set(hashes[30:])
    assert labelled.num_labelled >= 30


def test_a_pool_that_is_too_small_for_all_keeps_mostly_the_uncertain(out: Path) -> None:
    parts = sorted((out / "predictions").glob("part-*.parquet"))
    known = folder_sample(parts)
    every, some = (read_pool(parts, known, PoolRules(size)) for size in (1000, 20))
    assert len(some.candidates) == 20
    assert some.vectors.shape == (20, every.vectors.shape[1])
    assert np.mean(some.values) > np.mean(every.values)


def test_the_page_is_one_file_that_names_nothing_outside_and_escapes_hostile_names(out: Path) -> None:
    page = (out / "label.html").read_text(encoding="utf-8")
    assert "alert(1)</script>" not in page
    assert "<b>a</b>" not in page
    assert re.findall(r"""(?:src|href)=["']?(?:https?:|//|\.)""", page) == []
    assert "default-src 'none'" in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert data["classes"] == ["<b>a</b>", "b", "c"]
    assert [item["path"] for item in data["items"]] == [row["path"] for row in rows(out)]
    assert all(item["picture"].startswith("data:image/jpeg;base64,") for item in data["items"])


def test_what_a_correction_left_out_is_not_chosen_again(folder: Path, bundle: Path, tmp_path: Path) -> None:
    """Its file is known by where it lay and its size, in a folder below the source too; no other of its name is."""
    source = tmp_path / "photos"
    for number in range(40):
        label = "b" if number % 2 else "c"
        (source / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(1000 + number).integers(0, 256, (40, 48, 3), np.uint8)).save(
            source / label / f"{number}.png"
        )
    shutil.copytree(folder, source / "incoming")
    left_out = [path for path in ("03.png", "03 copy.png", "03.jpg") if (folder / path).is_file()]
    (tmp_path / "labels.csv").write_text(
        "path,label\n" + "".join(f"incoming/{name},__exclude__\n" for name in left_out)
    )
    made = darkroom.ingest(
        source,
        name="photos",
        image_size=(40, 48),
        labels_from="folders",
        exclude=["incoming/*"],
        corrections=str(tmp_path / "labels.csv"),
        workspace=tmp_path / "workspace",
    )
    card = json.loads((bundle / "bundle.json").read_text()) | {"dataset": made.dataset}
    trained = shutil.copytree(bundle, tmp_path / "trained")
    (trained / "bundle.json").write_text(json.dumps(card))
    place = tmp_path / "next"
    result = darkroom.label_next(folder, trained, budget=200, out=place, workspace=tmp_path / "workspace")
    assert result.num_unusable == len(left_out) == 3
    assert "03" not in {number_of(row["path"]) for row in rows(place)}
    (tmp_path / "other").mkdir()
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(tmp_path / "other" / "03.png")
    other = darkroom.label_next(tmp_path / "other", trained, out=tmp_path / "2", workspace=tmp_path / "workspace")
    assert (other.num_unusable, other.num_chosen) == (0, 1)
