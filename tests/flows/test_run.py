"""The flow `run` on a tiny folder: what each step says of the others must agree."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
import yaml
from PIL import Image

from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.shards.shards import ShardRules
from darkroom.data.sources import samples
from darkroom.data.stores.table_paths import TablePaths
from darkroom.flows import up_to_date
from darkroom.flows.explain import explain
from darkroom.flows.recipe import Recipe
from darkroom.flows.results import RunResult
from darkroom.flows.run import run
from darkroom.models.settings import BlessingRules, TrainSettings
from tests.datasets import BAD_FILES, COLOURS, NUM_IMAGES, photograph, write_images
from tests.processes import ROOT

NUM_GOOD = sum(NUM_IMAGES.values()) * len(COLOURS)
QUICK = TrainSettings(model="cifar4", weights="none", epochs=2, batch_size=16)


def recipe(source: Path | str) -> Recipe:
    return Recipe(
        name="colours",
        source=str(source),
        policy=DecodePolicy(image_size=(32, 32)),
        shards=ShardRules(rows_per_shard=30),
        train=QUICK,
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("source") / "colours")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def result(prefect_server: str, images: Path, workspace: Path) -> RunResult:
    return run(recipe(images), workspace=str(workspace), precision="fp32")


def prediction_rows(out: str) -> list[dict[str, Any]]:
    table = duckdb.sql(f"SELECT * FROM read_parquet('{out}/part-*.parquet') ORDER BY path")
    rows: list[dict[str, Any]] = table.df().to_dict("records")
    return rows


def test_every_file_is_counted_once_at_every_arrow(result: RunResult, images: Path) -> None:
    on_disk = sum(1 for path in images.rglob("*") if path.is_file())
    assert result.ingest.num_files == on_disk == NUM_GOOD + len(BAD_FILES)
    assert result.ingest.num_ok == NUM_GOOD
    assert {count.reason: count.num_files for count in result.ingest.quarantined} == Counter(BAD_FILES.values())
    assert {split.split: split.num_images for split in result.ingest.splits} == {
        split: number * len(COLOURS) for split, number in NUM_IMAGES.items()
    }
    assert result.evaluate.num_images == NUM_IMAGES["test"] * len(COLOURS)
    assert result.score.num_files == result.evaluate.num_images
    assert sum(count.num_rows for count in result.score.labels) == result.score.num_files
    assert not result.ingest.reused
    assert not result.train.reused


def test_the_reports_accuracy_is_the_tables_to_the_last_image(result: RunResult) -> None:
    rows = prediction_rows(result.score.out)
    assert {row["path"].split("/")[0] for row in rows} == {"test"}
    num_correct = sum(row["label"] == row["path"].split("/")[1] for row in rows)
    assert (num_correct, len(rows)) == (result.evaluate.num_correct, result.evaluate.num_images)
    assert result.evaluate.accuracy == pytest.approx(num_correct / len(rows))
    report = {
        row["path"]: (row["predicted"], row["confidence"])
        for row in duckdb.read_parquet(f"{result.train.folder}/report/predictions.parquet").df().to_dict("records")
    }
    for row in rows:
        predicted, confidence = report[row["path"]]
        assert row["label"] == predicted
        assert row["confidence"] == pytest.approx(confidence, abs=1e-5)


def test_the_pictures_are_of_real_test_images(result: RunResult, images: Path) -> None:
    assert result.explain.quarantined == ()
    names = {path.stem for path in (images / "test").rglob("*") if path.is_file()}
    of_images = [Path(picture).stem for picture in result.explain.pictures if Path(picture).stem[:3].isdigit()]
    shown = [name.split("-", 1)[1] for name in of_images if not name.endswith("-activations")]
    assert 1 <= len(shown) <= 8
    assert set(shown) <= names
    assert len(of_images) == 2 * len(shown)
    for picture in result.explain.pictures:
        with Image.open(picture) as opened:
            opened.load()
    page = Path(result.explain.page).read_text(encoding="utf-8")
    num_wrong = min(result.evaluate.num_images - result.evaluate.num_correct, 4)
    assert page.count('<span class="no">wrong') == num_wrong
    assert page.count('<span class="yes">correct') == len(shown) - num_wrong


def test_the_same_run_again_makes_nothing_again(result: RunResult, images: Path, workspace: Path) -> None:
    work = ("*.tfrecord", "dataset.json", "manifest.parquet", "model.keras", "model.onnx", "bundle.json", "report/**/*")
    parts = "scores/*/part-*.parquet"

    def written() -> dict[Path, int]:
        found = [path for pattern in (*work, parts) for path in workspace.rglob(pattern)]
        return {path: path.stat().st_mtime_ns for path in found}

    before = written()
    again = run(recipe(images), workspace=str(workspace), precision="fp32")
    assert {path.name for path in before} >= {
        "model.keras",
        "manifest.parquet",
        "report.html",
        "explain.html",
        "part-00000.parquet",
    }
    assert written() == before
    assert again.ingest == result.ingest.model_copy(update={"reused": True})
    assert again.train == result.train.model_copy(update={"reused": True})
    assert again.evaluate == result.evaluate.model_copy(update={"reused": True})
    assert again.explain == result.explain.model_copy(update={"reused": True})
    assert again.score.rows_reused == again.score.num_files == result.score.num_files
    assert again.score.labels == result.score.labels


def test_what_is_up_to_date_is_found_by_a_look_at_the_workspace_alone(
    result: RunResult, images: Path, workspace: Path, tmp_path: Path
) -> None:
    place = str(workspace)
    found = up_to_date.ran(recipe(images), None, place, "fp32")
    assert found is not None
    assert found.ingest == result.ingest.model_copy(update={"reused": True})
    assert found.train == result.train.model_copy(update={"reused": True})
    assert found.evaluate == result.evaluate.model_copy(update={"reused": True})
    assert found.explain == result.explain.model_copy(update={"reused": True})
    assert (result.score.images_per_second is None, found.score.images_per_second) == (False, None)
    assert (found.score.out, found.score.labels) == (result.score.out, result.score.labels)
    assert found.score.rows_reused == found.score.num_files
    # The command does the same, and loads neither Prefect nor TensorFlow for it.
    file = tmp_path / "colours.yaml"
    file.write_text(yaml.safe_dump(recipe(images).model_dump(mode="json")))
    words = ["darkroom", "run", str(file), "--precision", "fp32", "--workspace", place, "--json"]
    script = f"import sys\nfrom darkroom.flows import cli\nsys.argv = {words!r}\ncli.main()\nprint(*sys.modules)\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed, modules = done.stdout.splitlines()
    assert RunResult.model_validate_json(printed) == found
    assert {"prefect", "tensorflow", "keras"} & set(modules.split()) == set()


def test_other_settings_are_not_up_to_date(result: RunResult, images: Path, workspace: Path) -> None:
    place, plan = str(workspace), recipe(images)
    assert up_to_date.ingested(str(images), plan.ingest_settings().model_copy(update={"seed": 1}), place) is None
    assert up_to_date.trained("colours", QUICK.model_copy(update={"seed": 1}), place) is None
    bundle, rules = result.train.bundle, BlessingRules(min_accuracy=0.125)
    assert up_to_date.evaluated(bundle, None, "test", rules, place) is None
    assert up_to_date.evaluated(bundle, None, "test", BlessingRules(), place) is not None
    assert up_to_date.explained(bundle, [str(next(images.rglob("*.png")))], None, None, 1000, place) is None
    table = (images, bundle, None)
    assert up_to_date.scored(*table, 1000, "colours", "fp32", workspace=place) is not None
    assert up_to_date.scored(*table, 7, "colours", "fp32", workspace=place) is None
    assert up_to_date.scored(*table, 1000, None, "fp32", workspace=place) is None


def test_each_output_names_the_flow_run_that_made_it_and_its_settings(result: RunResult) -> None:
    from prefect.client.orchestration import get_client

    records = {
        flow: json.loads(path.read_text())
        for flow, path in (
            ("ingest", Path(result.ingest.folder) / "run.json"),
            ("train", Path(result.train.folder) / "run.json"),
            ("score", TablePaths(Path(result.score.out)).run_record),
        )
    }
    with get_client(sync_client=True) as client:
        for flow, record in records.items():
            assert record["flow"] == flow
            found = client.read_flow_run(UUID(record["run_id"]))
            assert client.read_flow(found.flow_id).name == flow
            assert record["libraries"]
    assert records["ingest"]["settings"] == recipe("").ingest_settings().model_dump(mode="json")
    assert records["train"]["settings"] == QUICK.model_dump(mode="json")


def test_the_run_shows_its_counts_figures_and_confusion_matrix(result: RunResult) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import ArtifactSort

    with get_client(sync_client=True) as client:
        newest_first = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=200)
    shown = {artifact.key: str(artifact.data) for artifact in reversed(newest_first)}
    good = result.evaluate
    assert f"{NUM_GOOD} images" in shown["dataset-colours"]
    assert f"{len(BAD_FILES)} files" in shown["dataset-colours"]
    assert (
        f"| amber | {NUM_IMAGES['train']} | {NUM_IMAGES['validation']} | {NUM_IMAGES['test']} |"
        in shown["dataset-colours"]
    )
    assert re.findall(r"^\| (\d+) \| scratch \|", shown["training-colours-cifar4"], re.MULTILINE) == ["1", "2"]
    metrics = shown["metrics-colours-cifar4"]
    matrix = re.findall(r"^\| \w+ \| (\d+) \| (\d+) \| (\d+) \|$", metrics, re.MULTILINE)
    assert sum(int(row[number]) for number, row in enumerate(matrix)) == good.num_correct
    assert sum(int(number) for row in matrix for number in row) == good.num_images
    assert f"{good.macro_f1:.4f}" in metrics
    table = result.score.out.replace("_", "\\_")
    assert shown["run-colours"].count(f"**table**: {table}") == 1
    # A test that ran before may have run the recipe again, and that finds everything scored.
    scorings = [str(artifact.data) for artifact in newest_first if str(artifact.key).startswith("scoring-")]
    assert any(f"{result.score.num_files} files scored" in scoring for scoring in scorings)


def links_of(page: str) -> set[str]:
    text = Path(page).read_text(encoding="utf-8")
    return {str((Path(page).parent / href).resolve()) for href in re.findall(r'<a href="([^"]+)">', text)}


def test_the_pages_lead_to_each_other(result: RunResult) -> None:
    pages = {result.ingest.page, result.evaluate.report, result.explain.page}
    labelling = str(Path(result.ingest.page).with_name("label.html"))
    assert links_of(result.ingest.page) == {result.evaluate.report, labelling}
    for page in (result.evaluate.report, result.explain.page):
        assert links_of(page) == pages - {page}


def test_explaining_an_image_leaves_the_pictures_of_the_run_alone(
    result: RunResult, images: Path, workspace: Path
) -> None:
    before = {path: path.read_bytes() for path in Path(result.explain.folder).iterdir() if path.suffix == ".png"}
    image = str(sorted((images / "test/amber").glob("*.png"))[0])
    shown = explain(result.train.bundle, [image], max_searched=0, workspace=str(workspace))
    assert {path: path.read_bytes() for path in before} == before
    assert Path(shown.folder).parent == Path(result.explain.folder).parent
    assert shown.page != result.explain.page
    assert links_of(shown.page) == {result.ingest.page, result.evaluate.report, result.explain.page}
    assert shown.page in links_of(result.evaluate.report)


def test_new_images_that_come_with_a_sample_are_what_is_scored(
    prefect_server: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(folder: Path) -> None:
        for path in images.rglob("*.png"):
            if path.stat().st_size and path.parts[-3] == "train":
                (folder / "images" / path.parent.name).mkdir(parents=True, exist_ok=True)
                (folder / "images" / path.parent.name / path.name).write_bytes(path.read_bytes())
        (folder / "new").mkdir()
        for number in range(500, 507):
            Image.fromarray(photograph("green", number)).save(folder / "new" / f"{number}.png")

    made = samples.Sample(name="colours", key="sample-colours", licence="none", citation="none", write=write)
    monkeypatch.setitem(samples.SAMPLES, "colours", made)
    plan = recipe("sample:colours").model_copy(update={"train": QUICK.model_copy(update={"epochs": 1})})
    finished = run(plan, workspace=str(tmp_path), max_judged=0)
    assert [row["path"] for row in prediction_rows(finished.score.out)] == [
        f"{number}.png" for number in range(500, 507)
    ]
    assert finished.evaluate.num_images < 18
    (page,) = tmp_path.glob("datasets/*/*/inspection.json")
    assert json.loads(page.read_text())["label_errors"] is None
