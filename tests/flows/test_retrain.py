"""`retrain`: another version is in use only where it was blessed, and the next night takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import darkroom
from darkroom.data.stores.workspace import Workspace
from darkroom.flows import launch
from darkroom.flows.retrain_result import RetrainResult
from darkroom.models.bundle.blessed import read_blessed
from tests.command_line import call
from tests.datasets import photograph, write_images
from tests.told import told

# As in test_blessing_flows.py: eighteen test images rule out no loss.
OPTIONS: dict[str, Any] = {
    "name": "colours", "architecture": "cifar4", "weights": "none", "image_size": 32, "epochs": 3, "batch_size": 12,
    "max_possible_loss": 1.0, "recall_margin": 1.0, "calibration_margin": 1.0, "accuracy_margin": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("retrain")
    write_images(root / "colours")
    return root


def again(root: Path, **options: Any) -> RetrainResult:
    place = root / "workspace"
    return darkroom.retrain(root / "colours", max_judged=0, workspace=place, **{**OPTIONS, **options})


def test_new_labels_become_a_version_that_the_next_night_scores_with(root: Path) -> None:
    first = again(root)
    assert (first.before, first.now) == (None, first.train.bundle)
    assert told(first)["in use"] == f"{first.train.bundle}, the first version approved"
    for number in range(2000, 2004):
        Image.fromarray(photograph("blue", number)).save(root / f"colours/train/blue/{number}.png")
    second = again(root)
    assert second.ingest.dataset != first.ingest.dataset
    assert second.evaluate.num_images == first.evaluate.num_images == 18
    assert (second.before, second.now) == (first.now, second.train.bundle)
    assert second.evaluate.blessed
    assert told(second)["in use"] == f"{second.now}, replaces {first.now}"
    name = first.train.bundle.partition("@")[0]
    night = darkroom.score(root / "colours/test", model=name, out=root / "night", workspace=root / "workspace")
    assert night.bundle == second.now
    back = darkroom.rollback(name, workspace=root / "workspace")
    assert f"{name}@{back.blessed}" == first.now
    night = darkroom.score(root / "colours/test", model=name, out=root / "next", workspace=root / "workspace")
    assert night.bundle == first.now


def test_a_version_that_is_not_good_enough_changes_nothing(root: Path) -> None:
    place = Workspace(root / "workspace")
    before = again(root).now
    refused = again(root, min_accuracy=1.0, min_test_images=19, epochs=1)
    assert refused.train.bundle != before
    assert refused.evaluate.blessed is False
    assert (refused.before, refused.now) == (before, before)
    assert told(refused)["in use"] == f"{before}, unchanged"
    card = read_blessed(place, refused.train.bundle.partition("@")[0])
    assert card is not None
    assert f"{card.name}@{card.current}" == before


def test_a_command_that_finds_nothing_new_starts_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = again(root)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr(launch, "prepared", never)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    call(monkeypatch, "retrain", str(root / "colours"), *options, "--workspace", str(root / "workspace"), "--json")
    found = RetrainResult.model_validate_json(capsys.readouterr().out)
    assert (found.before, found.now) == (done.now, done.now)
    assert (found.ingest.reused, found.train.reused, found.evaluate.reused) == (True, True, True)
