"""Planted wrong labels are found, good ones are left alone, and what cannot be judged is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.labels.label_map import LabelMap
from darkroom.models.inspecting.label_errors import (
    Judged,
    export_judge,
    extract_features,
    find_label_errors,
    load_judged,
)
from darkroom.models.onnx.runtime import OnnxRunner

PHOTOGRAPHS = Path(__file__).parents[4] / "shared" / "data" / "cats_dogs" / "train"
LABELS = LabelMap(("cat", "dog"))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "backbone.onnx"
    export_judge(path)
    return path


def clusters(num_images: int = 200, num_features: int = 1280) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(0)
    truth = np.arange(num_images) % 2
    features = rng.normal(0, 1, (num_images, num_features)) + 0.3 * truth[:, None]
    return np.asarray(features, np.float32), truth


def judged(features: NDArray[Any], labels: NDArray[Any], sha256: tuple[str, ...] | None = None) -> Judged:
    paths = tuple(f"{row:04d}" for row in range(len(labels)))
    return Judged(features, labels.astype(np.int32), paths, sha256 or paths)


def test_planted_errors_are_listed_with_the_right_label_and_nothing_else() -> None:
    features, truth = clusters()
    given = truth.copy()
    given[[7, 20, 101]] ^= 1
    found = find_label_errors(judged(features, given), LABELS)
    assert sorted(error.path for error in found.suspected) == ["0007", "0020", "0101"]
    assert {error.path: (error.label, error.suggested) for error in found.suspected}["0007"] == ("cat", "dog")
    assert [error.score for error in found.suspected] == sorted(error.score for error in found.suspected)
    assert (found.num_images, found.num_suspected) == (200, 3)
    assert found.accuracy == pytest.approx(197 / 200)


def test_good_labels_are_left_alone_and_noise_is_not_accused() -> None:
    features, truth = clusters()
    assert find_label_errors(judged(features, truth), LABELS).num_suspected == 0
    noise = np.random.default_rng(1).normal(0, 1, features.shape).astype(np.float32)
    assert find_label_errors(judged(noise, truth), LABELS).num_suspected == 0


def test_copies_with_the_same_wrong_label_do_not_vouch_for_each_other() -> None:
    features, truth = clusters()
    far = np.tile(np.random.default_rng(1).normal(-2, 3, (1, features.shape[1])).astype(np.float32), (4, 1))
    contents = (*(f"{row:04d}" for row in range(200)), *["copy"] * 4)
    alone = judged(np.concatenate([features, far]), np.concatenate([truth, [1] * 4]), contents)
    apart = judged(alone.features, alone.labels)
    assert find_label_errors(alone, LABELS).accuracy == pytest.approx(200 / 204)
    assert find_label_errors(apart, LABELS).accuracy == 1.0


def test_a_class_of_fewer_than_five_images_is_not_judged() -> None:
    features, truth = clusters()
    truth[:4] = 2
    names = LabelMap(("cat", "dog", "lynx"))
    assert find_label_errors(judged(features, truth), names).num_images == 196
    alone = find_label_errors(judged(features[:104], np.array([0] * 100 + [1] * 4)), LABELS)
    assert (alone.num_images, alone.accuracy, alone.suspected) == (0, None, ())


def test_features_are_those_of_the_backbone_for_the_share_that_the_hashes_choose(
    dataset: Dataset, backbone: Path, tmp_path: Path
) -> None:
    shards = dataset.shard_paths("train")
    extract_features(shards, dataset.labels, backbone, 1.0, tmp_path / "all.npz")
    extract_features(shards, dataset.labels, backbone, 0.5, tmp_path / "half.npz")
    everything, half = load_judged([tmp_path / "all.npz"]), load_judged([tmp_path / "half.npz"])
    assert sorted(everything.paths) == dataset.paths("train")
    assert set(half.paths) == {
        path for path, sha256 in zip(everything.paths, everything.sha256, strict=True) if int(sha256, 16) < 2**255
    }
    assert 0 < len(half.paths) < len(everything.paths)
    runner = OnnxRunner(backbone)
    assert runner.image_size == (160, 160)
    assert everything.features.shape == (len(everything.paths), runner.num_outputs)
    row = everything.paths.index(half.paths[0])
    np.testing.assert_allclose(everything.features[row], half.features[0], rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs of cats and dogs are not on this machine")
def test_planted_errors_among_photographs_are_found(backbone: Path) -> None:
    files = [path for kind in ("cats", "dogs") for path in sorted((PHOTOGRAPHS / kind).iterdir())[:200]]
    truth = np.arange(400) // 200
    planted = np.random.default_rng(0).choice(400, 12, replace=False)
    given = truth.copy()
    given[planted] ^= 1
    runner, policy = OnnxRunner(backbone), DecodePolicy()
    features = [
        runner(np.stack([decode(path.read_bytes(), policy) for path in files[start : start + 50]]))
        for start in range(0, 400, 50)
    ]
    found = find_label_errors(judged(np.concatenate(features), given), LABELS)
    hits = {int(error.path) for error in found.suspected} & set(planted.tolist())
    assert len(hits) / 12 >= 0.65
    assert len(hits) / found.num_suspected >= 0.75
