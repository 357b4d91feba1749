"""The format of the shards changes nothing: the same labels, batches, training, metrics and suspected label errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import darkroom
from darkroom.data.shards.shard_names import SUFFIXES, ShardFormat
from darkroom.models.evaluation.reporting.report import read_report
from tests.datasets import write_images


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("formats") / "photos")


def journey(photos: Path, workspace: Path, shard_format: ShardFormat) -> tuple[Any, dict[str, Any]]:
    """The data set in Python, and what the steps after it come to."""
    made = darkroom.ingest(
        photos, image_size=32, rows_per_shard=30, format=shard_format, max_judged=60, workspace=workspace
    )
    trained = darkroom.train(made.dataset, architecture="cifar4", epochs=2, augment="light", workspace=workspace)
    darkroom.evaluate(trained.bundle, workspace=workspace)
    metrics = read_report(Path(trained.folder) / "report").metrics
    dataset = darkroom.load_dataset("photos", workspace)
    errors = Path(made.page).read_text(encoding="utf-8").partition('<section id="label-errors">')[2]
    errors = errors.partition("</section>")[0]
    assert "It agrees with" in errors  # labels were checked
    return dataset, {"metrics": metrics.model_dump(), "suspected label errors": errors}


@pytest.fixture(scope="module")
def parquet(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    return journey(photos, tmp_path_factory.mktemp("parquet"), "parquet")


@pytest.mark.parametrize("shard_format", ["webdataset"])
def test_training_and_evaluation_give_the_same_whatever_the_format(
    shard_format: ShardFormat, photos: Path, parquet: tuple[Any, dict[str, Any]], tmp_path: Path
) -> None:
    dataset, found = journey(photos, tmp_path, shard_format)
    assert {path.suffix for path in (dataset.folder / "shards").iterdir()} == {SUFFIXES[shard_format]}
    other, expected = parquet
    assert found == expected
    assert dataset.to_pandas().equals(other.to_pandas())
    for mine, theirs in zip(dataset.to_tf("train", seed=5), other.to_tf("train", seed=5), strict=True):
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_array_equal(mine[1], theirs[1])
