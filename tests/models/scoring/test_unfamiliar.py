"""Each row says how far its image is from the training images, as the training profile of the model measures it."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

import darkroom
from darkroom.data.errors import InputError, WorkError
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.inbox.request import InboxRequest
from darkroom.models.inbox.score import score_inbox
from darkroom.models.inbox.summary import InboxSummary
from darkroom.models.onnx.runtime import OnnxRunner
from darkroom.models.prediction_table.export import write_csv, write_jsonl
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.prediction_table.schema import SCHEMA
from darkroom.models.profile.profile import read_profile
from darkroom.models.scoring.parts import score_part
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.score import score
from darkroom.models.scoring.summary import ScoreSummary, read_summary
from tests.scoring import plan

COLUMNS = ["unfamiliarity", "unfamiliar"]


@pytest.fixture
def folder(images: Path, tmp_path: Path) -> Path:
    """The test images, two of which cannot be read, and one of noise."""
    place = shutil.copytree(images / "test", tmp_path / "new")
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(place / "noise.png")
    return place


@pytest.fixture
def old(bundle: Bundle, tmp_path: Path) -> Bundle:
    """The model as an earlier Darkroom published it."""
    place = shutil.copytree(bundle.folder, tmp_path / bundle.folder.name)
    shutil.rmtree(place / "profile")
    return open_bundle(place)


def run(folder: Path, bundle: Bundle, out: Path, rows_per_part: int = 20, **how: object) -> ScoreSummary:
    request = ScoreRequest(folder, bundle.folder, TableOutput(out), rows_per_part, precision="fp32", **how)  # type: ignore[arg-type]
    return score(request)


def rows(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_row_says_what_the_profile_says_of_its_embedding(
    precision: str, folder: Path, bundle: Bundle, tmp_path: Path
) -> None:
    """By the embeddings that a table with them has, and the limit of the network that scored."""
    out = tmp_path / "out"
    score(ScoreRequest(folder, bundle.folder, TableOutput(out), precision=precision, embeddings=True))  # type: ignore[arg-type]
    found = rows(out)
    used = found[found.status == "ok"]
    profile = read_profile(bundle.folder)
    assert profile
    assert profile.familiarity
    assert profile.card.familiarity
    facts = profile.card.familiarity
    limit = facts.limit if precision == "fp32" else facts.int8_limit
    assert limit
    wanted = profile.familiarity.distances(np.stack(list(used.embedding))) / limit
    assert used.unfamiliarity.tolist() == wanted.astype(np.float32).tolist()
    assert used.unfamiliar.tolist() == [value > 1 for value in used.unfamiliarity]
    assert found[found.status != "ok"][COLUMNS].isna().all(axis=None)
    assert read_summary(out).num_unfamiliar == used.unfamiliar.sum()


def test_noise_is_unfamiliar_to_a_model_of_colours(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    run(folder, bundle, tmp_path / "out")
    found = rows(tmp_path / "out").set_index("path")
    assert found.unfamiliarity.idxmax() == "noise.png"
    assert found.unfamiliar["noise.png"]


def test_the_network_runs_once_an_image(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    class Counting(OnnxRunner):
        num_images = 0

        def _run(self, names: list[str], images: np.ndarray) -> list[np.ndarray]:
            self.num_images += len(images)
            return super()._run(names, images)

    plan(folder, bundle, tmp_path / "out")
    runner = Counting(bundle.onnx_path, num_threads=1)
    score_part(tmp_path / "out", 0, runner, bundle)
    assert runner.num_images == (rows(tmp_path / "out").status == "ok").sum() > 0


def test_an_image_has_the_same_number_in_every_run_and_every_batch(
    folder: Path, bundle: Bundle, tmp_path: Path
) -> None:
    run(folder, bundle, tmp_path / "one")
    for name in ("again", "three-a-part"):
        run(folder, bundle, tmp_path / name, rows_per_part=3 if name == "three-a-part" else 20)
        pd.testing.assert_frame_equal(rows(tmp_path / name), rows(tmp_path / "one"))
    one, again = ((tmp_path / name / "part-00000.parquet").read_bytes() for name in ("one", "again"))
    assert one == again
    moved = folder / "noise.png"
    moved.rename(tmp_path / "noise.png")
    run(folder, bundle, tmp_path / "grown")
    (tmp_path / "noise.png").rename(moved)
    assert run(folder, bundle, tmp_path / "grown").rows_reused == len(rows(tmp_path / "one")) - 1
    assert (tmp_path / "grown/part-00000.parquet").read_bytes() == one


def test_python_gives_the_same_numbers(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    run(folder, bundle, tmp_path / "out")
    table = rows(tmp_path / "out")
    found = darkroom.load_model(bundle.folder).predict([folder / path for path in table.path], precision="fp32")
    pd.testing.assert_frame_equal(found.drop(columns="path"), table.drop(columns="path"))


def test_exports_have_the_columns(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, bundle, out)
    write_csv(out, tmp_path / "rows.csv")
    write_jsonl(out, tmp_path / "rows.jsonl")
    table = rows(out).set_index("path")
    with (tmp_path / "rows.csv").open(newline="") as stream:
        cells = {row["path"]: row for row in csv.DictReader(stream)}
    lines = {row["path"]: row for row in map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())}
    for path, row in table.iterrows():
        if row.status != "ok":
            assert [cells[path][name] for name in COLUMNS] == ["", ""]
            assert [lines[path][name] for name in COLUMNS] == [None, None]
        else:
            assert np.float32(cells[path]["unfamiliarity"]) == np.float32(lines[path]["unfamiliarity"])
            assert np.float32(lines[path]["unfamiliarity"]) == row.unfamiliarity
            assert cells[path]["unfamiliar"] == str(row.unfamiliar).lower() == str(lines[path]["unfamiliar"]).lower()


def test_a_model_without_a_profile_scores_as_before_and_it_is_said_how_to_get_one(
    folder: Path, old: Bundle, bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    summary = run(folder, old, tmp_path / "out")
    assert pq.read_schema(tmp_path / "out/part-00000.parquet").names == SCHEMA.names
    assert summary.num_unfamiliar is None
    assert "num_unfamiliar" not in (tmp_path / "out.summary.json").read_text()
    name = bundle.reference
    said = f"{name} has no training profile. Where its data set is at hand, darkroom evaluate {name} adds one."
    assert said in caplog.text
    run(folder, bundle, tmp_path / "with")
    pd.testing.assert_frame_equal(rows(tmp_path / "with").drop(columns=COLUMNS), rows(tmp_path / "out"))


def test_a_table_is_scored_again_once_its_model_has_a_profile(
    folder: Path, old: Bundle, bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(folder, old, tmp_path / "out")
    assert run(folder, open_bundle(old.folder), tmp_path / "out").rows_reused == len(rows(tmp_path / "out"))
    shutil.copytree(bundle.folder / "profile", old.folder / "profile")
    again = run(folder, open_bundle(old.folder), tmp_path / "out")
    assert again.rows_reused == 0
    assert "The training profile of" in caplog.text
    assert again.num_unfamiliar is not None


def test_a_profile_that_changes_during_a_run_ends_it(folder: Path, bundle: Bundle, old: Bundle, tmp_path: Path) -> None:
    plan(folder, bundle, tmp_path / "out")
    with pytest.raises(WorkError, match="was changed during the run"):
        score_part(tmp_path / "out", 0, old.runner(), old)


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[datetime]:
    return (datetime(2026, 11, day, 2, tzinfo=UTC) for day in range(1, 30))


def new_in(folder: Path, bundle: Bundle, table: Path, night: datetime) -> InboxSummary:
    request = ScoreRequest(folder, bundle.folder, TableOutput(table), precision="fp32")
    return score_inbox(InboxRequest(request, night, (), 0))


def test_the_table_of_an_inbox_has_the_columns(
    folder: Path, bundle: Bundle, nights: Iterator[datetime], tmp_path: Path
) -> None:
    run(folder, bundle, tmp_path / "out")
    summary = new_in(folder, bundle, tmp_path / "inbox", next(nights))
    found, wanted = (rows(tmp_path / name).set_index("sha256") for name in ("inbox", "out"))
    used = found[found.status == "ok"]
    assert used.unfamiliarity.to_dict() == wanted.loc[used.index].unfamiliarity.to_dict()
    assert summary.num_unfamiliar == used.unfamiliar.sum() > 0


def test_the_table_of_an_inbox_that_was_begun_without_the_columns_goes_on_without_them(
    folder: Path, bundle: Bundle, old: Bundle, nights: Iterator[datetime], tmp_path: Path
) -> None:
    shutil.move(folder / "noise.png", tmp_path / "noise.png")
    new_in(folder, old, tmp_path / "inbox", next(nights))
    before = rows(tmp_path / "inbox").columns.tolist()
    shutil.move(tmp_path / "noise.png", folder / "noise.png")
    summary = new_in(folder, bundle, tmp_path / "inbox", next(nights))
    assert summary.num_new == 1
    assert summary.num_unfamiliar == 1
    assert rows(tmp_path / "inbox").columns.tolist() == before


def test_the_profile_of_another_network_is_refused(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    place = shutil.copytree(bundle.folder, tmp_path / "other")
    path = place / "bundle.json"
    path.write_text(path.read_text().replace('"embedding_size": 512', '"embedding_size": 7'))
    with pytest.raises(InputError, match="another network's"):
        run(folder, open_bundle(place), tmp_path / "out")
