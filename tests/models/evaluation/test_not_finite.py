"""A network that gives NaN or infinity is named in one sentence, and nothing is measured, drawn or published."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import FormatError, WorkError
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.evaluation.evaluate import EvaluateRequest, evaluate_bundle
from darkroom.models.explaining.explain import ExplainRequest, explain_images
from darkroom.models.labelling.training_images import training_embeddings
from darkroom.models.onnx.inference import split_logits
from darkroom.models.training import publish
from darkroom.models.training.publish import publish_bundle
from darkroom.models.training.train import Trained
from tests.models.conftest import SETTINGS


class Spoiled:
    """A network that gives something else for the first image of a batch."""

    def __init__(self, runner: Any, value: float) -> None:
        self.runner, self.value = runner, value
        self.embedding_size = runner.embedding_size

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self.runner(images)
        logits[0, 1] = self.value
        return logits

    def with_embeddings(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits, vectors = self.runner.with_embeddings(images)
        vectors[0, 1] = self.value
        return logits, vectors


@pytest.fixture(params=[np.nan, np.inf, -np.inf], ids=str)
def copied(bundle: Bundle, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    found = open_bundle(shutil.copytree(bundle.folder, tmp_path / "bundle", ignore=shutil.ignore_patterns("report")))
    spoiled = Spoiled(found.runner(), request.param)
    monkeypatch.setattr(Bundle, "runner", lambda self: spoiled)
    return found


def test_an_evaluation_names_the_model_and_the_images_and_writes_no_report(copied: Bundle, dataset: Dataset) -> None:
    with pytest.raises(FormatError, match=rf"{copied.reference} gives NaN or infinity for 1 of 18 test images of"):
        evaluate_bundle(EvaluateRequest(copied, dataset, "test", "pytest"))
    assert not copied.report_folder.exists()


def test_an_explanation_names_the_model_and_draws_nothing(copied: Bundle, images: Path, tmp_path: Path) -> None:
    image = sorted(images.rglob("*.png"))[0]
    with pytest.raises(FormatError, match=rf"{copied.reference} gives NaN or infinity for 1 of 1 images to explain"):
        explain_images(ExplainRequest(copied, [image], tmp_path / "explain", "pytest"))
    assert not list(tmp_path.glob("explain/*"))


def test_embeddings_that_are_no_numbers_are_not_among_the_known_ones(copied: Bundle, dataset: Dataset) -> None:
    found = training_embeddings(dataset, copied, copied.runner(), 36)
    assert 0 < len(found) < 36
    assert np.isfinite(found).all()


def test_a_trained_network_that_gives_none_is_not_published(
    bundle: Bundle, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Trained(bundle.keras_model(), bundle.card.history, bundle.card.best_epoch)
    calls = list[str]()

    def spoil(number: int) -> None:
        def changed(*given: Any) -> Any:
            logits, truth = split_logits(*given)
            calls.append("run")
            return (logits * np.nan if len(calls) == number else logits), truth

        calls.clear()
        monkeypatch.setattr(publish, "split_logits", changed)

    spoil(1)
    with pytest.raises(WorkError, match=r"NaN or infinity for 15 of 15 validation images: .* lower learning rate"):
        publish_bundle(dataset, SETTINGS, trained, Workspace(tmp_path))
    assert not list(tmp_path.rglob("bundle.json"))
    spoil(2)
    card = open_bundle(publish_bundle(dataset, SETTINGS, trained, Workspace(tmp_path))).card
    assert (card.int8.gate, card.int8.refused) == (None, "its int8 network gives NaN or infinity")
    assert not list(tmp_path.rglob("model.int8.onnx"))
