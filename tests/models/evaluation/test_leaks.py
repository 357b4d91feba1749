"""The report says what copies of judged images among the source's training images do to the figure."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.parts import write_part
from darkroom.data.ingest.plan import plan_ingest
from darkroom.data.ingest.publication import publish
from darkroom.data.ingest.request import IngestRequest, IngestSettings
from darkroom.data.sources.resolve import Source
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import Bundle, open_bundle, write_card
from darkroom.models.evaluation.evaluate import EvaluateRequest, evaluate_bundle
from darkroom.models.evaluation.reporting.report import leaked_images
from tests.bundles import tiny_bundle

SIZE = (32, 32)


def scene(seed: int) -> Image.Image:
    """Random grey blocks, smoothed: every picture has detail of its own."""
    blocks = np.random.default_rng(seed).integers(0, 255, (16, 16), dtype=np.uint8)
    return Image.fromarray(blocks).resize((64, 64)).convert("RGB")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight test images, of which `test/a/0.png` has an exact and `test/b/100.png` a near copy for training."""
    folder = tmp_path_factory.mktemp("source")
    for split, start, count in (("test", 0, 4), ("validation", 10, 3), ("train", 20, 8)):
        for label, more in (("a", 0), ("b", 100)):
            (folder / split / label).mkdir(parents=True)
            for seed in range(start + more, start + more + count):
                scene(seed).save(folder / split / label / f"{seed}.png")
    shutil.copy(folder / "test/a/0.png", folder / "train/a/exact.png")
    scene(100).save(folder / "train/b/near.jpg", quality=60)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", ["a", "b"], SIZE)


def ingest(source: Path, workspace: Path, leaks: str) -> Dataset:
    settings = IngestSettings.model_validate({"name": "set", "policy": DecodePolicy(image_size=SIZE), "leaks": leaks})
    planned = plan_ingest(IngestRequest(Source(str(source), source, "set", "folder"), settings, Workspace(workspace)))
    for index in range(planned.num_parts):
        write_part(planned.staging, index)
    return open_dataset(publish(planned.staging, Workspace(workspace)))


def bundle_of(tiny: Path, folder: Path, dataset: str) -> Bundle:
    """A copy of the bundle that says it was made with `dataset`."""
    shutil.copytree(tiny, folder)
    write_card(folder, open_bundle(folder).card.model_copy(update={"dataset": dataset}))
    return open_bundle(folder)


def page_text(bundle: Bundle) -> str:
    page = (bundle.report_folder / "report.html").read_text(encoding="utf-8")
    return " ".join(re.sub(r"<[^>]+>", "", page).replace("&nbsp;", " ").replace("\u00a0", " ").split())


@pytest.mark.parametrize("leaks", ["drop", "keep"])
def test_the_report_gives_the_accuracy_with_and_without_the_leaked_images(
    source: Path, tiny: Path, tmp_path: Path, leaks: str
) -> None:
    dataset = ingest(source, tmp_path / "w", leaks)
    bundle = bundle_of(tiny, tmp_path / "b", dataset.reference)
    report = evaluate_bundle(EvaluateRequest(bundle, dataset, "test", "pytest"))
    rows = pq.read_table(bundle.report_folder / "predictions.parquet").to_pylist()
    right = {row["path"]: row["truth"] == row["predicted"] for row in rows}
    others = [right[path] for path in right if path not in ("test/a/0.png", "test/b/100.png")]
    found = report.leaks
    assert found is not None
    assert (found.num_leaked, found.num_images, len(right)) == (2, 6, 8)
    assert found.num_correct == sum(others)
    assert found.accuracy == pytest.approx(np.mean(others))
    assert found.num_leaked_correct == right["test/a/0.png"] + right["test/b/100.png"]
    assert found.num_correct + found.num_leaked_correct == report.metrics.num_correct
    assert found.copies_used == (leaks == "keep")
    card = json.loads((bundle.report_folder / "report.json").read_text())
    assert card["leaks"]["num_leaked"] == 2
    text = page_text(bundle)
    assert "2 of these images have a duplicate" in text
    assert f"without them {sum(others)} of 6" in text
    assert ("excluded from training" in text) == (leaks == "drop")
    trained = {record.path for record in dataset.records("train")}
    assert {"train/a/exact.png", "train/b/near.jpg"} & trained == (
        set() if leaks == "drop" else {"train/a/exact.png", "train/b/near.jpg"}
    )


def test_without_copies_the_report_says_so(source: Path, tiny: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    shutil.copytree(source, clean)
    (clean / "train/a/exact.png").unlink()
    (clean / "train/b/near.jpg").unlink()
    dataset = ingest(clean, tmp_path / "w", "drop")
    bundle = bundle_of(tiny, tmp_path / "b", dataset.reference)
    report = evaluate_bundle(EvaluateRequest(bundle, dataset, "test", "pytest"))
    assert report.leaks is not None
    assert (report.leaks.num_leaked, report.leaks.accuracy) == (0, report.metrics.accuracy)
    assert "None of these images has a duplicate" in page_text(bundle)


def test_copies_within_another_data_set_say_nothing_of_the_bundle(source: Path, tiny: Path, tmp_path: Path) -> None:
    dataset = ingest(source, tmp_path / "w", "drop")
    bundle = bundle_of(tiny, tmp_path / "b", "other@" + "0" * 12)
    assert evaluate_bundle(EvaluateRequest(bundle, dataset, "test", "pytest")).leaks is None
    assert "a copy among" not in page_text(bundle)


def test_where_every_image_is_leaked_there_is_no_figure_without_them() -> None:
    found = leaked_images(["x", "y"], np.array([True, False]), {"x", "y", "z"}, copies_used=True)
    assert (found.num_leaked, found.num_leaked_correct, found.num_images) == (2, 1, 0)
    assert found.accuracy is None
    assert found.accuracy_interval is None
