"""A table in a store is that of the folder to the byte, never a mixture, and goes on where it stopped."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from darkroom.data.errors import InputError, WorkError
from darkroom.data.stores.mirror import Mirror
from darkroom.data.stores.storage import Url
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.scoring.parts import open_runner, score_part
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.summary import summarize
from tests.bundles import tiny_bundle
from tests.datasets import COLOURS, write_images
from tests.scoring import make_earlier, plan
from tests.stores import KEY, S3, SECRET, s3_server

ROWS_PER_PART = 20
NUM_PARTS = 4


class Killed(BaseException):
    """The end of a process."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_images(tmp_path_factory.mktemp("colours"))
    (folder / "notes.txt").write_text("stray")
    (folder / "été #1%20?.png").write_bytes(b"not an image")
    return folder


@pytest.fixture(scope="module")
def running(images: Path) -> Iterator[S3]:
    with s3_server() as server:
        server.put("photos")
        server.put_folder(images, "photos/new")
        server.put("photos/new/folder/")  # what consoles make for an empty folder
        server.put("tables")
        yield server


@pytest.fixture
def s3(running: S3) -> S3:
    running.faults.clear()
    running.asked.clear()
    for name in running.objects("tables"):
        running.delete(f"tables/{name}")
    return running


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny/1", sorted(COLOURS), (32, 32)))


def run(folder: Path | Url, bundle: Bundle, out: TableOutput, stop_after: int | None = None) -> tuple[int, Any]:
    """All of a scoring run, as the flow does it, or killed after some parts; gives the rows reused, and the summary."""
    runner, opened = open_runner(bundle.folder)
    planned = plan(folder, opened, out, ROWS_PER_PART)
    done = []
    for index in range(planned.num_parts):
        if index == stop_after:
            raise Killed
        done.append(score_part(out.folder, index, runner, opened))
        out.share_part(index)
    summary = summarize(out.folder, done, "2026-11-21T00:00:00Z", 1.0, None)
    out.share_table()
    return sum(part.num_reused for part in done), summary


def output(cache: Path, name: str = "tables/run") -> TableOutput:
    url = Url("s3", name)
    mirror = Mirror(url.parent, cache)
    return TableOutput(mirror.folder / url.name, mirror)


@pytest.fixture(scope="module")
def expected(running: S3, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The parts of a table of the same files in a store that was made on this machine."""
    out = tmp_path_factory.mktemp("local") / "table"
    run(Url("s3", "photos/new"), bundle, TableOutput(out))
    return {path.name: path.read_bytes() for path in out.iterdir()}


def parts(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.startswith("part-")}


def test_from_a_store_gives_the_rows_of_the_local_folder(s3, bundle, expected, images, tmp_path):
    run(images, bundle, TableOutput(tmp_path / "local"))
    for path in (tmp_path / "local").iterdir():
        assert pq.read_table(path).equals(pq.read_table(io.BytesIO(expected[path.name])))


def test_from_a_store_to_a_store_gives_the_bytes_of_the_local_table(s3, bundle, expected, images, tmp_path):
    run(Url("s3", "photos/new"), bundle, output(tmp_path))
    there = s3.objects("tables")
    assert len(expected) == NUM_PARTS
    assert s3.objects("tables/run") == expected
    assert set(there) == {*(f"run/{name}" for name in expected), "run.summary.json", "run.run.json"}
    summary = json.loads(there["run.summary.json"])
    assert summary["folder"] == "s3://photos/new"
    assert summary["num_files"] == sum(1 for path in images.rglob("*") if path.is_file())
    uploads = [request for request in s3.asked if request.startswith("PUT /tables/")]
    assert uploads[-1] == "PUT /tables/run.summary.json"
    assert len(uploads) == len(set(uploads)) == NUM_PARTS + 2
    assert not any(secret in str(there) for secret in (KEY, SECRET))


def test_each_image_costs_one_request_and_none_that_is_quarantined(s3, bundle, images, tmp_path):
    run(Url("s3", "photos/new"), bundle, TableOutput(tmp_path / "table"))
    read = [request for request in s3.asked if request.startswith("GET /photos/new/")]
    assert len(read) == len(set(read)) == sum(1 for path in images.rglob("*") if path.is_file()) - 1  # notes.txt
    assert len(s3.asked) == len(read) + 1


def test_a_killed_run_goes_on_with_what_is_missing_on_another_machine(s3, bundle, images, expected, tmp_path):
    with pytest.raises(Killed):
        run(Url("s3", "photos/new"), bundle, output(tmp_path / "a"), stop_after=2)
    there = s3.objects("tables/run")
    assert set(parts(there)) == {"part-00000.parquet", "part-00001.parquet"}
    assert "run.summary.json" not in s3.objects("tables")
    num_files = sum(1 for path in images.rglob("*") if path.is_file())
    for cache, reused, missing in (("b", 2 * ROWS_PER_PART, [2, 3]), ("a", num_files, [])):
        s3.asked.clear()
        assert run(Url("s3", "photos/new"), bundle, output(tmp_path / cache))[0] == reused
        assert parts(s3.objects("tables/run")) == expected
        read = [request for request in s3.asked if request.startswith("GET /photos/new/")]
        assert len(read) == len(set(read)) <= num_files - reused
        put = [request for request in s3.asked if request.startswith("PUT /tables/run/part")]
        assert put == [f"PUT /tables/run/part-{index:05d}.parquet" for index in missing]


def test_a_part_made_but_not_yet_uploaded_is_uploaded_and_not_made_again(s3, bundle, expected, tmp_path):
    s3.failing("PUT /tables/run/part-00001.parquet", 403)
    with pytest.raises(InputError, match="was refused"):
        run(Url("s3", "photos/new"), bundle, output(tmp_path))
    s3.faults.clear()
    reused, _ = run(Url("s3", "photos/new"), bundle, output(tmp_path))
    assert reused == 2 * ROWS_PER_PART
    assert parts(s3.objects("tables/run")) == expected


def test_an_object_is_scored_again_when_its_etag_changes_though_size_and_second_are_the_same(
    s3, bundle, images, tmp_path
):
    folder = Url("s3", "photos/changing")
    s3.put_folder(images / "test/green", "photos/changing")
    first = min(s3.objects("photos/changing"))
    run(folder, bundle, output(tmp_path))
    before = rows(s3)
    s3.put(f"photos/changing/{first}", b"x" * len(s3.objects("photos/changing")[first]))
    reused, _ = run(folder, bundle, output(tmp_path))
    after = rows(s3)
    assert reused == len(before) - 1
    assert {path for path in before if before[path] != after[path]} == {first}
    assert after[first]["reason"] == "not_an_image"


def test_an_object_that_is_gone_when_its_turn_comes_is_a_row_as_a_file_would_be(s3, bundle, images, tmp_path):
    s3.put_folder(images / "test/green", "photos/going")
    first = min(s3.objects("photos/going"))
    out = tmp_path / "table"
    plan(Url("s3", "photos/going"), bundle, out, ROWS_PER_PART)
    s3.delete(f"photos/going/{first}")
    score_part(out, 0, bundle.runner(), bundle)
    gone = {row["path"]: row for row in pq.read_table(out / "part-00000.parquet").to_pylist()}[first]
    assert (gone["status"], gone["reason"], gone["sha256"], gone["label"]) == ("quarantined", "unreadable", None, None)


def rows(s3: S3) -> dict[str, Any]:
    tables = [pq.read_table(io.BytesIO(data)).to_pylist() for data in parts(s3.objects("tables/run")).values()]
    return {row["path"]: row for table in tables for row in table}


def test_while_a_table_is_made_anew_its_summary_is_gone_and_a_longer_one_leaves_no_parts(s3, bundle, images, tmp_path):
    folder = Url("s3", "photos/shrinking")
    s3.put_folder(images / "train", "photos/shrinking")
    run(folder, bundle, output(tmp_path))
    assert set(parts(s3.objects("tables/run"))) == {"part-00000.parquet", "part-00001.parquet"}
    for name in s3.objects("photos/shrinking"):
        if not name.startswith("blue/"):
            s3.delete(f"photos/shrinking/{name}")
    with pytest.raises(Killed):
        run(folder, bundle, output(tmp_path), stop_after=0)
    assert "run.summary.json" not in s3.objects("tables")
    run(folder, bundle, output(tmp_path / "other"))
    assert set(s3.objects("tables")) == {"run/part-00000.parquet", "run.summary.json", "run.run.json"}
    for name in s3.objects("photos/shrinking"):
        s3.delete(f"photos/shrinking/{name}")


def test_a_table_of_another_program_is_left_alone(s3, bundle, tmp_path):
    s3.put("tables/run/part-00000.parquet", b"theirs")
    s3.put("tables/run/readme.html", b"theirs")
    with pytest.raises(InputError, match=r"s3://tables/run is taken: Darkroom did not write run/part-00000.parquet"):
        run(Url("s3", "photos/new"), bundle, output(tmp_path))
    assert s3.objects("tables/run") == {"part-00000.parquet": b"theirs", "readme.html": b"theirs"}
    s3.delete("tables/run/part-00000.parquet")
    run(Url("s3", "photos/new"), bundle, output(tmp_path))
    assert s3.objects("tables/run")["readme.html"] == b"theirs"


def test_a_store_that_fails_while_images_are_read_fails_the_run_and_sets_no_image_aside(
    s3, bundle, tmp_path, monkeypatch
):
    import s3fs

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    s3.failing("GET /photos/new/train", 503)
    with pytest.raises(WorkError, match=r"^The store of s3://photos/new/train/.* failed \(ServiceUnavailable\)"):
        run(Url("s3", "photos/new"), bundle, output(tmp_path))
    s3fs.S3FileSystem.clear_instance_cache()
    assert "run.summary.json" not in s3.objects("tables")
    assert not any(row["reason"] == "unreadable" for row in rows(s3).values())


def test_an_output_inside_the_scored_folder_is_refused(tmp_path):
    for inside in ("photos/new", "photos/new/table"):
        with pytest.raises(InputError, match="lies inside the scored folder s3://photos/new"):
            ScoreRequest(Url("s3", "photos/new"), tmp_path, output(tmp_path, inside))
    ScoreRequest(Url("s3", "photos/new"), tmp_path, output(tmp_path, "photos/newer"))


def test_a_folder_without_objects_is_named(s3, bundle, tmp_path):
    with pytest.raises(InputError, match="s3://photos/nothing holds no files"):
        run(Url("s3", "photos/nothing"), bundle, output(tmp_path))


def test_a_table_in_the_earlier_layout_is_continued_and_converted(s3, bundle, expected, tmp_path):
    local = TableOutput(tmp_path / "local" / "run")
    run(Url("s3", "photos/new"), bundle, local)
    make_earlier(local.paths, Url("s3", "photos/new"), bundle, ROWS_PER_PART)
    s3.put_folder(local.folder, "tables/run")
    assert {"summary.json", "run.json", ".scoring/plan.json"} < set(s3.objects("tables/run"))
    with pytest.raises(Killed):
        run(Url("s3", "photos/new"), bundle, output(tmp_path / "a"), stop_after=1)
    assert not {"run.summary.json", "run/summary.json"} & set(s3.objects("tables"))
    reused, summary = run(Url("s3", "photos/new"), bundle, output(tmp_path / "b"))
    assert reused == summary.num_files
    assert s3.objects("tables/run") == expected
    assert {"run.summary.json", "run.run.json"} < set(s3.objects("tables"))


def test_a_moved_table_is_continued_without_what_stood_beside_it(s3, bundle, expected, tmp_path):
    for name, data in expected.items():
        s3.put(f"tables/run/{name}", data)
    s3.asked.clear()
    reused, summary = run(Url("s3", "photos/new"), bundle, output(tmp_path))
    assert reused == summary.num_files
    assert sorted(request for request in s3.asked if request.startswith("PUT /tables/")) == [
        "PUT /tables/run.run.json",
        "PUT /tables/run.summary.json",
    ]
