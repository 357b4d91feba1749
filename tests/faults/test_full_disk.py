"""A disk that is full at any moment of a stage: one sentence, nothing half-written, and with room again the same end.

The disk is a small tmpfs; where this process may not mount one, the tests are skipped.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.outputs import differing, final_names, tree, without_work
from tests.faults.stages import ROOT, Nursery, Outcome, Run

SIZE_BYTES = 96 * 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, 96 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def free_bytes(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill(disk: Path, left_bytes: int) -> Path:
    """A file that leaves so much room."""
    ballast = disk / "ballast"
    with ballast.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, free_bytes(disk) - left_bytes)
    return ballast


def run_out(
    nursery: Nursery,
    disk: Path,
    run: Run,
    output: Path,
    room_bytes: list[int],
    check_left: Callable[[], None],
    check_ended: Callable[[], None],
    prepare: Callable[[], object] = lambda: None,
) -> None:
    """Run a stage with each of these rooms, then with enough of it."""
    num_full = 0
    for left in room_bytes:
        prepare()
        ballast = fill(disk, left)
        (outcome,) = nursery.run(run)
        if outcome.exit_status:
            num_full += 1
            check_sentence(outcome, disk)
            check_left()
        ballast.unlink()
        (outcome,) = nursery.run(run)
        assert outcome.exit_status == 0, outcome.error
        check_ended()
        shutil.rmtree(output)
    assert num_full >= len(room_bytes) // 2


def check_sentence(outcome: Outcome, disk: Path) -> None:
    """One sentence that names the disk and what to do; `darkroom` ends with status 1 for a WorkError."""
    kind, _, sentence = outcome.error.partition(": ")
    if kind == "OSError":  # what darkroom.flows.cli makes a sentence of
        assert "No space left on device" in sentence
        assert str(disk) in sentence
    else:
        assert kind == "WorkError", outcome.error
        assert sentence.startswith(f"Disk full: {disk}")
        assert sentence.endswith("Free some space, and start the same command again.")


def rooms(num_points: int, used_bytes: int) -> list[int]:
    """No room at all, and random ones up to what an undisturbed run needs."""
    rng = random.Random(num_points)
    return [0, *(rng.randrange(used_bytes) for _ in range(num_points))]


def test_an_ingest_on_a_full_disk(nursery: Nursery, num_points: int, images: Path, ingested: Path, disk: Path) -> None:
    expected = tree(ingested)
    work = {name.replace("/.earlier-", "/.staging-"): data for name, data in expected.items()}
    output = disk / "workspace"
    before = free_bytes(disk)
    run = Run("ingest", {"source": str(images), "workspace": str(output)})
    assert nursery.run(run)[0].exit_status == 0
    used = before - free_bytes(disk)
    shutil.rmtree(output)
    run_out(
        nursery,
        disk,
        run,
        output,
        rooms(num_points // 2, used),
        lambda: check_left(output, work | expected),
        lambda: check_equal(output, expected),
    )


def check_left(
    output: Path,
    expected: dict[str, bytes],
    only: Callable[[dict[str, bytes]], dict[str, bytes]] = lambda files: files,
) -> None:
    """Nothing half-written has a final name, and no temporary file takes up the room that there is too little of."""
    if output.exists():
        assert sorted(final_names(output)) == sorted(tree(output))
        assert differing(only(final_names(output)), expected) == []


def check_equal(output: Path, expected: dict[str, bytes]) -> None:
    assert tree(output) == expected


def test_a_scoring_on_a_full_disk(nursery: Nursery, num_points: int, images: Path, bundle: Path, disk: Path) -> None:
    output = disk / "out"
    run = Run("score", {"folder": str(images), "bundle": str(bundle), "out": str(output / "table")})
    before = free_bytes(disk)
    assert nursery.run(run)[0].exit_status == 0
    used, expected = before - free_bytes(disk), tree(output)
    shutil.rmtree(output)
    run_out(
        nursery,
        disk,
        run,
        output,
        rooms(num_points // 2, used),
        lambda: check_left(output, expected, without_work),
        lambda: check_equal(output, expected),
    )


def test_features_on_a_full_disk(nursery: Nursery, num_points: int, dataset: Path, disk: Path) -> None:
    output = disk / "dataset"
    shutil.copytree(dataset, output)
    run = Run("features", {"dataset": str(output)})
    before = free_bytes(disk)
    assert nursery.run(run)[0].exit_status == 0
    used, expected = before - free_bytes(disk), tree(output)
    backbone = next(name for name in expected if name.endswith("backbone.onnx"))
    shutil.rmtree(output)

    def left() -> dict[str, bytes]:
        """The backbone is exported with other bytes each time; what it computes is compared."""
        found = tree(output)
        return {**found, backbone: expected[backbone]} if backbone in found else found

    def check_left() -> None:
        assert not any(".tmp-" in name for name in left())
        assert differing(left(), expected) == []

    def check_ended() -> None:
        assert left() == expected

    points = [used - 2**14, used // 2] * (num_points // 20)
    run_out(nursery, disk, run, output, points, check_left, check_ended, lambda: shutil.copytree(dataset, output))


def test_a_training_on_a_full_disk(nursery: Nursery, num_points: int, dataset: Path, disk: Path) -> None:
    output = disk / "workspace"
    run = Run("train", {"dataset": str(dataset), "workspace": str(output)})
    before = free_bytes(disk)
    assert nursery.run(run)[0].exit_status == 0
    used, expected = before - free_bytes(disk), sorted(tree(output))
    shutil.rmtree(output)

    def check_left() -> None:
        assert not any(".tmp-" in name for name in tree(output))

    def check_ended() -> None:
        assert sorted(tree(output)) == expected

    run_out(nursery, disk, run, output, rooms(num_points // 10, 2 * used), check_left, check_ended)


def test_the_command_ends_with_status_1_and_that_sentence_alone(
    prefect_server: str, images: Path, bundle: Path, disk: Path
) -> None:
    command = [sys.executable, "-m", "darkroom.flows.cli", "score", str(images), "--model", str(bundle), "--out"]
    command += [str(disk / "out"), "--rows-per-part", "10", "--workspace", str(disk / "workspace"), "--json"]
    environment = {**os.environ, "PREFECT_API_URL": prefect_server}

    def score() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    ballast = fill(disk, 10 * 2**12)
    full = score()
    assert full.returncode == 1, full.stderr
    last = full.stderr.splitlines()[-1]
    assert last.startswith(f"darkroom: Disk full: {disk}")
    assert last.endswith("Free some space, and start the same command again.")
    assert "Traceback" not in full.stderr
    assert not (disk / "out.summary.json").exists()
    ballast.unlink()
    again = score()
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["num_files"] == 121
