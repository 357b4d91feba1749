"""The model card: front matter that others parse, figures of the report, a snippet that runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.evaluation.evaluate import EvaluateRequest, evaluate_bundle
from darkroom.models.evaluation.reporting.model_card import model_card
from darkroom.models.evaluation.reporting.report import EvaluationReport


@pytest.fixture(scope="module")
def judged(bundle, dataset, tmp_path_factory) -> tuple[Bundle, EvaluationReport, str]:
    """The bundle, its report, and the card as it was written."""
    copied = open_bundle(shutil.copytree(bundle.folder, tmp_path_factory.mktemp("card") / "bundle"))
    report = evaluate_bundle(EvaluateRequest(copied, dataset, "test", "pytest"))
    return copied, report, (copied.report_folder / "model_card.md").read_text(encoding="utf-8")


def front_matter(card: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n\n# ", card, re.DOTALL)
    assert found
    values: dict[str, Any] = yaml.safe_load(found[1])
    return values


def test_the_front_matter_has_what_hugging_face_reads_and_the_reports_figures(judged, dataset) -> None:
    bundle, report, card = judged
    front = front_matter(card)
    assert front["pipeline_tag"] == "image-classification"
    assert {"image-classification", "onnx"} <= set(front["tags"])
    assert (front["license"], front["library_name"], front["datasets"]) == ("unknown", "keras", ["tiny"])
    (entry,) = front["model-index"]
    assert entry["name"] == bundle.card.name
    (result,) = entry["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {
        "name": "tiny", "type": "tiny", "split": "test", "revision": dataset.card.version
    }  # fmt: skip
    found = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert found["accuracy"] == pytest.approx(report.metrics.accuracy, abs=1e-6)
    assert found["f1"] == pytest.approx(report.metrics.macro_f1, abs=1e-6)
    assert found["ece"] == pytest.approx(report.metrics.expected_calibration_error, abs=1e-6)
    assert set(front["metrics"]) <= set(found)


def test_the_card_says_where_the_images_come_from_how_many_there_are_and_what_is_weak(judged, dataset) -> None:
    _, report, card = judged
    assert "| amber | 12 | 5 | 6 |" in card
    assert f"version {dataset.card.version}" in card
    assert "Licence of the images: not stated by the source" in card
    for heading in ("Intended use", "Training data", "Evaluation", "Weak spots", "Confidence", "Limitations"):
        assert f"\n## {heading}\n" in card
    weak = report.slices[0].model_copy(update={"is_weak": True, "name": "amber"})
    again = model_card(report.model_copy(update={"slices": (weak,)}), judged[0], dataset.card)
    assert f"| label | amber | {weak.num_images} |" in again


def test_names_from_outside_are_text_in_the_card_and_values_in_its_front_matter(judged, dataset) -> None:
    bundle, report, _ = judged
    hostile = "x\n---\n# <script>alert(1)</script> [a](http://b) | `c`"
    data = dataset.card.model_copy(update={"source": hostile, "licence": hostile, "citation": hostile})
    labels = (hostile, "blue", "green")
    odd = replace(bundle, card=bundle.card.model_copy(update={"labels": labels}))
    card = model_card(report, odd, data.model_copy(update={"labels": labels}))
    body = card.split("\n---\n\n", 1)[1]
    assert front_matter(card)["datasets"] == ["tiny"]
    assert "<script>" not in body
    assert not re.search(r"^(---|# <)", body, re.MULTILINE)
    assert not re.search(r"(?<!\\)\[a", body)


@pytest.mark.parametrize(
    "change",
    [{}, {"resize": "pad", "interpolation": "bicubic"}, {"resize": "crop"}, {"apply_exif_rotation": False}],
    ids=lambda change: "-".join(str(value) for value in change.values()) or "default",
)
def test_the_snippet_runs_and_names_what_darkroom_names(judged, dataset, images, tmp_path, change) -> None:
    bundle, report, _ = judged
    policy = DecodePolicy.model_validate(bundle.card.policy.model_dump() | change)
    other = replace(bundle, card=bundle.card.model_copy(update={"policy": policy}))
    shutil.copy(bundle.onnx_path, tmp_path)
    shutil.copy(bundle.folder / "bundle.json", tmp_path)
    picture = sorted((images / "test" / "green").glob("*.png"))[0]
    Image.open(picture).save(tmp_path / "photo.jpg", quality=95)
    (snippet,) = re.findall(r"^```python\n(.*?)^```", model_card(report, other, dataset.card), re.MULTILINE | re.DOTALL)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    pixels = decode((tmp_path / "photo.jpg").read_bytes(), policy)
    assert done.stdout.strip() == bundle.card.labels[int(np.argmax(bundle.runner()(pixels[None])[0]))]


def test_the_command_of_the_card_names_the_version(judged) -> None:
    bundle, _, card = judged
    assert f"--model {bundle.card.name}@{bundle.card.version} " in card
    assert json.loads((bundle.report_folder / "report.json").read_text())["bundle"]["version"] in card


def test_a_card_of_another_data_set_does_not_pass_it_for_the_training_data(judged, dataset) -> None:
    bundle, report, _ = judged
    other = replace(bundle, card=bundle.card.model_copy(update={"dataset": "summer@0123456789ab"}))
    card = model_card(report, other, dataset.card)
    section = card.split("## Training data")[1].split("## Evaluation")[0]
    assert "summer@0123456789ab" in section
    assert "| amber |" not in section


def test_the_card_is_written_before_the_report_is_done(judged) -> None:
    folder: Path = judged[0].report_folder
    assert (folder / "model_card.md").stat().st_mtime_ns <= (folder / "report.json").stat().st_mtime_ns
