"""Each stage killed with SIGKILL, at random times and at calls that change the disk, and started again.

The end state is that of an undisturbed run: byte for byte for ingest, features and scoring (run records and the times
in summaries excepted). A training ends in the same epochs, its figures and weights equal to 1e-3: the order of sums in
several threads is not fixed, and everything else is a function of the seed and the epoch.
"""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import open_dataset
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.onnx.runtime import OnnxRunner
from tests.faults.outputs import differing, final_names, identities, tree, without_work
from tests.faults.stages import Nursery, Outcome, Run

TOLERANCE = 1e-3


def kills(rng: random.Random, undisturbed: Outcome, run: Callable[..., Run]) -> Iterator[Run]:
    """Runs that are killed, in turn at a random time and before or after a random call, without end.

    Every other one is aimed at the whole of a run, and the rest early, where a run that goes on has its work.
    """
    while True:
        share = rng.random() * rng.choice([1.0, 0.3])
        yield run(kill_seconds=share * undisturbed.seconds)
        share = rng.random() * rng.choice([1.0, 0.3])
        call = 1 + int(share * undisturbed.num_calls)
        yield run(kill_call=call, kill_before=rng.random() < 0.5)


def disturb(
    nursery: Nursery,
    num_points: int,
    undisturbed: Outcome,
    start: Callable[[], tuple[Path, Callable[..., Run]]],
    check_killed: Callable[[Path], None],
    check_ended: Callable[[Path, Outcome], None],
    most_in_a_row: int,
) -> None:
    """Kill a stage at so many points, several in a row, let it end, and check; again with a fresh output.

    Args:
        nursery: Where the runs are started.
        num_points: Kills in all.
        undisturbed: How long a run is, and how many calls it makes.
        start: Makes a fresh output and gives it, with the runs that write there.
        check_killed: Of the output after each kill.
        check_ended: Of the output after the run that was let to its end.
        most_in_a_row: Kills before a run is let to its end.
    """
    rng = random.Random(num_points)
    done = 0
    while done < num_points:
        output, run = start()
        points = kills(rng, undisturbed, run)
        for _ in range(rng.randint(1, most_in_a_row)):
            (outcome,) = nursery.run(next(points))
            assert outcome.exit_status in (0, -9), outcome.error
            done += outcome.exit_status == -9
            check_killed(output)
        (outcome,) = nursery.run(run())
        assert outcome.exit_status == 0, outcome.error
        check_ended(output, outcome)
        shutil.rmtree(output)


def test_a_killed_ingest_ends_as_an_undisturbed_one(
    nursery: Nursery, num_points: int, images: Path, ingested: Path, tmp_path: Path
) -> None:
    expected = tree(ingested)
    work = {name.replace("/.earlier-", "/.staging-"): data for name, data in expected.items()}
    begun: dict[str, Any] = {}

    def start() -> tuple[Path, Callable[..., Run]]:
        begun.clear()
        workspace = tmp_path / "workspace"
        arguments = {"source": str(images), "workspace": str(workspace)}
        return workspace, lambda **kill: Run("ingest", arguments, **kill)

    def check_killed(workspace: Path) -> None:
        assert differing(final_names(workspace), work | expected) == []
        parts = list(workspace.glob("datasets/photos/.staging-*/parts/[0-9]*"))
        begun["planned"] = any(workspace.glob("datasets/photos/.staging-*/plan.json"))
        begun["num_parts"] = len(parts)
        begun["files"] = identities(file for part in parts for file in part.iterdir())

    def check_ended(workspace: Path, outcome: Outcome) -> None:
        assert tree(workspace) == expected
        if outcome.result["published"] == 0:
            assert outcome.result["num_reused"] == begun["num_parts"]
            said = f"{begun['num_parts']} of 13 parts" if begun["planned"] else "labels from class folders"
            assert any(said in line for line in outcome.log)
        kept = identities(file for file in workspace.rglob("*") if ".earlier-" in str(file))
        assert begun["files"].items() <= kept.items()

    (undisturbed,) = nursery.run(start()[1]())
    assert tree(tmp_path / "workspace") == expected
    shutil.rmtree(tmp_path / "workspace")
    disturb(nursery, num_points, undisturbed, start, check_killed, check_ended, most_in_a_row=4)


def test_a_killed_scoring_ends_as_an_undisturbed_one(
    nursery: Nursery, num_points: int, images: Path, bundle: Path, tmp_path: Path
) -> None:
    begun: dict[str, Any] = {}

    def start() -> tuple[Path, Callable[..., Run]]:
        begun.clear()
        arguments = {"folder": str(images), "bundle": str(bundle), "out": str(tmp_path / "out/table")}
        return tmp_path / "out", lambda **kill: Run("score", arguments, **kill)

    (undisturbed,) = nursery.run(start()[1]())
    expected = tree(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")

    def check_killed(out: Path) -> None:
        assert differing(without_work(final_names(out)), expected) == []
        parts = sorted(out.glob("table/*"))
        assert all(part.suffix == ".parquet" for part in parts)
        begun["num_rows"] = sum(pq.read_metadata(part).num_rows for part in parts)
        begun["files"] = identities(parts)

    def check_ended(out: Path, outcome: Outcome) -> None:
        assert tree(out) == expected
        paths = [row["path"] for part in sorted(out.glob("table/*")) for row in pq.read_table(part).to_pylist()]
        assert paths == sorted(str(path.relative_to(images)) for path in images.rglob("*") if path.is_file())
        assert outcome.result["num_reused"] == begun["num_rows"]
        assert f"{begun['num_rows']} reused from an earlier run" in outcome.log[-1]
        assert begun["files"].items() <= identities(out.glob("table/*")).items()

    disturb(nursery, num_points, undisturbed, start, check_killed, check_ended, most_in_a_row=4)


@pytest.fixture(scope="module")
def extracted(nursery: Nursery, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The data set with the features of an undisturbed run, and that run."""
    folder = tmp_path_factory.mktemp("extracted") / "dataset"
    shutil.copytree(dataset, folder)
    (outcome,) = nursery.run(Run("features", {"dataset": str(folder)}))
    assert outcome.exit_status == 0, outcome.error
    return folder, outcome


def test_a_killed_feature_extraction_ends_as_an_undisturbed_one(
    nursery: Nursery, num_points: int, dataset: Path, extracted: tuple[Path, Outcome], tmp_path: Path
) -> None:
    begun: dict[str, Any] = {}
    expected = extracted[0]

    def start() -> tuple[Path, Callable[..., Run]]:
        folder = tmp_path / "dataset"
        shutil.copytree(expected, folder, ignore=shutil.ignore_patterns("*.npz"))
        return folder, lambda **kill: Run("features", {"dataset": str(folder)}, **kill)

    (undisturbed,) = nursery.run(start()[1]())
    shutil.rmtree(tmp_path / "dataset")

    def check_killed(folder: Path) -> None:
        assert differing(final_names(folder), tree(expected)) == []
        begun["files"] = identities(folder.glob("features/*/*.npz"))

    def check_ended(folder: Path, outcome: Outcome) -> None:
        assert tree(folder) == tree(expected)
        assert begun["files"].items() <= identities(folder.glob("features/*/*.npz")).items()
        assert f"{len(begun['files'])} of 8 shards" in outcome.log[-1]

    disturb(nursery, num_points, undisturbed, start, check_killed, check_ended, most_in_a_row=4)


def test_a_killed_export_of_the_backbone_is_made_again_and_is_the_same(
    nursery: Nursery, num_points: int, dataset: Path, extracted: tuple[Path, Outcome], tmp_path: Path
) -> None:
    """A tenth of the points: an export takes many times as long as the features of a shard."""
    expected, undisturbed = extracted

    def start() -> tuple[Path, Callable[..., Run]]:
        shutil.copytree(dataset, tmp_path / "dataset")
        return tmp_path / "dataset", lambda **kill: Run("features", {"dataset": str(tmp_path / "dataset")}, **kill)

    def check_killed(folder: Path) -> None:
        assert differing(final_names(folder), tree(expected)) == []

    def check_ended(folder: Path, _: Outcome) -> None:
        assert tree(folder) == tree(expected)

    disturb(nursery, num_points // 10, undisturbed, start, check_killed, check_ended, most_in_a_row=2)


def test_a_killed_training_ends_as_an_undisturbed_one_within_the_tolerance(
    nursery: Nursery, num_points: int, dataset: Path, tmp_path: Path
) -> None:
    begun: dict[str, Any] = {}

    def start() -> tuple[Path, Callable[..., Run]]:
        begun.clear()
        arguments = {"dataset": str(dataset), "workspace": str(tmp_path / "workspace")}
        return tmp_path / "workspace", lambda **kill: Run("train", arguments, **kill)

    (undisturbed,) = nursery.run(start()[1]())
    assert undisturbed.exit_status == 0, undisturbed.error
    expected = tmp_path / "expected"
    (tmp_path / "workspace").rename(expected)

    def check_killed(workspace: Path) -> None:
        for path in workspace.rglob("*"):
            if path.is_file() and ".tmp-" not in str(path):
                check_readable(path)
        histories = [json.loads(path.read_text()) for path in workspace.rglob("history.json")]
        begun["history"] = histories[0] if histories else []

    def check_ended(workspace: Path, outcome: Outcome) -> None:
        assert sorted(tree(workspace)) == sorted(tree(expected))
        check_same_bundle(workspace, expected)
        if outcome.result["published"] == 0:
            said = [line for line in outcome.log if line.startswith("scratch epoch ")]
            assert len(said) == 4 - len(begun["history"])
            if begun["history"]:
                assert f"resuming after epoch {len(begun['history'])}." in outcome.log[0]
            (card,) = workspace.glob("models/*/*/bundle.json")
            kept = json.loads(card.read_text())["history"][: len(begun["history"])]
            assert kept == begun["history"]

    disturb(nursery, num_points, undisturbed, start, check_killed, check_ended, most_in_a_row=7)


def check_readable(path: Path) -> None:
    """A file of a training is whole: its own reader takes all of it."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    elif path.suffix == ".h5":
        with h5py.File(path) as stored:
            stored.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".onnx":
        OnnxRunner(path)
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            assert all(arrays[name].size for name in arrays.files)
    else:
        assert path.name == ".lock"


def check_same_bundle(workspace: Path, expected: Path) -> None:
    (mine,), (theirs,) = (list(place.glob("models/*/*/bundle.json")) for place in (workspace, expected))
    assert mine.relative_to(workspace) == theirs.relative_to(expected)
    ours, others = open_bundle(mine.parent), open_bundle(theirs.parent)
    assert [log.epoch for log in ours.card.history] == [1, 2, 3, 4]
    assert ours.card.best_epoch == others.card.best_epoch
    for figure in ("loss", "accuracy", "val_loss", "val_accuracy"):
        found, wanted = ([getattr(log, figure) for log in bundle.card.history] for bundle in (ours, others))
        np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    images = random_images(8)
    np.testing.assert_allclose(ours.runner()(images), others.runner()(images), rtol=TOLERANCE, atol=TOLERANCE)


def random_images(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (number, 32, 32, 3), dtype=np.uint8)


def test_the_undisturbed_data_set_is_whole(ingested: Path) -> None:
    """What the killed ones are compared with."""
    (card,) = ingested.glob("datasets/photos/*/dataset.json")
    opened = open_dataset(card.parent)
    assert (opened.card.num_files, opened.card.num_ok) == (121, 119)
    stored = [record.path for split in ("train", "validation", "test") for record in opened.records(split)]
    assert len(stored) == len(set(stored)) == 119


@pytest.mark.parametrize("stage", ["ingest", "score"])
def test_a_run_killed_before_and_after_each_of_its_last_calls_loses_nothing(
    nursery: Nursery, num_points: int, stage: str, images: Path, bundle: Path, tmp_path: Path
) -> None:
    """Publishing is the end of a run, and has the most ways to be half done."""

    def run(**kill: Any) -> Outcome:
        arguments = {
            "ingest": {"source": str(images), "workspace": str(tmp_path / "output")},
            "score": {"folder": str(images), "bundle": str(bundle), "out": str(tmp_path / "output")},
        }
        (outcome,) = nursery.run(Run(stage, arguments[stage], **kill))
        return outcome

    whole = run()
    expected = tree(tmp_path / "output")
    shutil.rmtree(tmp_path / "output")
    for call in range(whole.num_calls - num_points // 4, whole.num_calls + 1):
        for before in (True, False):
            assert run(kill_call=call, kill_before=before).exit_status == -9
            assert run().exit_status == 0
            assert tree(tmp_path / "output") == expected, (call, before)
            shutil.rmtree(tmp_path / "output")
