"""Sources, workspaces and outputs in an object store: two machines that share nothing but a bucket."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from darkroom.data.errors import InputError, SourceError, WorkError
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.shards.shards import ShardRules
from darkroom.data.sources.resolve import resolve
from darkroom.data.stores.mirror import Mirror
from darkroom.data.stores.storage import Url
from darkroom.data.stores.workspace import BUNDLE_CARD, Workspace
from darkroom.flows import cli
from darkroom.flows.evaluate import evaluate
from darkroom.flows.explain import explain
from darkroom.flows.ingest import ingest
from darkroom.flows.promote import promote
from darkroom.flows.score import score
from darkroom.flows.train import train
from darkroom.flows.versus import versus
from darkroom.models.settings import BlessingRules, TrainSettings
from tests.datasets import NUM_IMAGES, write_images
from tests.stores import KEY, S3, SECRET, s3_server

SETTINGS = IngestSettings(
    name="colours", policy=DecodePolicy(image_size=(32, 32)), shards=ShardRules(rows_per_shard=40)
)
QUICK = TrainSettings(model="cifar4", weights="none", name="quick", epochs=1, batch_size=16)
PLACE = "s3://results/darkroom"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("colours") / "colours")


@pytest.fixture(scope="module")
def running(images: Path) -> Iterator[S3]:
    with s3_server() as server:
        server.put("photos")
        server.put_folder(images, "photos/colours")
        server.put("results")
        yield server


@pytest.fixture
def s3(running: S3) -> S3:
    running.faults.clear()
    running.asked.clear()
    return running


def on_machine(name: str, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """From now on this is another machine: its copies lie elsewhere."""
    cache = Path(tmp_path_factory.getbasetemp()) / f"machine-{name}"
    monkeypatch.setenv("DARKROOM_CACHE", str(cache))
    return cache


def test_two_machines_work_in_one_workspace(
    prefect_server: str,
    s3: S3,
    images: Path,
    tmp_path: Path,
    tmp_path_factory: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    caplog.set_level(logging.INFO)
    on_machine("a", tmp_path_factory, monkeypatch)
    made = ingest("s3://photos/colours", SETTINGS, max_judged=0, workspace=PLACE)
    assert made.num_ok == 3 * sum(NUM_IMAGES.values())
    here = s3.objects("results/darkroom")
    version = made.dataset.partition("@")[2]
    card = json.loads(here[f"datasets/colours/{version}/dataset.json"])
    assert card["source"] == "s3://photos/colours"
    for fact in (card["manifest"], card["duplicates"], *card["shards"]):
        assert len(here[f"datasets/colours/{version}/{fact['file']}"]) == fact["bytes"]
    assert not any(name.startswith("sources/") or "/features/" in name for name in here)
    local = ingest(str(images), SETTINGS.model_copy(update={"name": "local"}), max_judged=0, workspace=str(tmp_path))
    assert sorted(Path(local.folder, "shards").glob("*")) != []
    for path in Path(local.folder, "shards").iterdir():
        assert here[f"datasets/colours/{version}/shards/{path.name}"] == path.read_bytes()

    on_machine("b", tmp_path_factory, monkeypatch)
    trained = train("colours", QUICK, PLACE)
    judged = evaluate("quick", rules=BlessingRules(min_accuracy=0, min_recall=0), workspace=PLACE)
    assert (trained.dataset, judged.bundle) == (made.dataset, trained.bundle)
    page = s3.objects(f"results/darkroom/datasets/{made.dataset.replace('@', '/')}")["dataset.html"]
    assert f"models/{trained.bundle.replace('@', '/')}/report/report.html".encode() in page

    on_machine("c", tmp_path_factory, monkeypatch)
    assert train("colours", QUICK, PLACE).reused
    if not judged.blessed:
        promote("quick", workspace=PLACE)
    s3.asked.clear()
    again = ingest("s3://photos/colours", SETTINGS, max_judged=0, workspace=PLACE)
    assert (again.reused, again.dataset) == (True, made.dataset)
    assert [each for each in s3.asked if each.startswith("PUT ")] == []
    table = score("s3://photos/colours/test", "quick@blessed", rows_per_part=10, workspace=PLACE)
    run = f"test-quick-{trained.bundle.partition('@')[2]}"
    assert table.out == f"{PLACE}/scores/{run}"
    out = score(str(images / "test"), trained.folder, str(tmp_path / "table"), rows_per_part=10)
    there = s3.objects(f"results/darkroom/scores/{run}")
    for path in Path(out.out).iterdir():
        assert pq.read_table(io.BytesIO(there[path.name])).equals(pq.read_table(path))
    assert {f"{run}.summary.json", f"{run}.run.json"} <= set(s3.objects("results/darkroom/scores"))
    picture = sorted((images / "test/green").glob("*.png"))[0].name
    shown = explain(
        "quick", [f"s3://photos/colours/test/green/{picture}"], "s3://results/pictures", max_searched=0, workspace=PLACE
    )
    assert set(s3.objects("results/pictures")) == {
        "made.json",
        *(Path(path).name for path in (*shown.pictures, shown.page)),
    }

    s3.put("photos/answers.csv", f"path,label\ntest/green/{picture},green\n".encode())
    compared = versus("quick", "s3://photos/answers.csv", workspace=PLACE)
    assert (compared.answered.table.num_correct, compared.answered.table.num_images) == (1, 1)
    shared = s3.objects(f"results/darkroom/models/quick/{trained.bundle.partition('@')[2]}/report")
    assert shared["versus-answers.parquet"] == Path(compared.rows).read_bytes()

    everything = b"".join(s3.objects("results").values()) + caplog.text.encode() + str(judged).encode()
    for secret in (KEY, SECRET):
        assert secret.encode() not in everything


def version_of(s3: S3, cache: Path, name: str, tmp_path: Path, content: bytes = b"weights") -> tuple[Workspace, Path]:
    """A workspace in the bucket with a made-up version in the copy of one machine."""
    mirror = Mirror(Url("s3", "results/made"), cache)
    place = Workspace(mirror.folder, mirror)
    folder = place.model("made", name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / "model.keras").write_bytes(content * 2)
    facts = [
        {"file": file, "bytes": len(content), "sha256": sha(folder / file)} for file in ("model.onnx", "model.keras")
    ]
    (folder / BUNDLE_CARD).write_text(json.dumps({"files": facts}))
    return place, folder


def sha(path: Path) -> str:
    from darkroom.data.files.hashing import file_sha256

    return file_sha256(path)


@pytest.fixture
def empty(s3: S3) -> S3:
    for name in s3.objects("results/made"):
        s3.delete(f"results/made/{name}")
    s3.asked.clear()
    return s3


def test_an_interrupted_upload_leaves_no_card_and_the_next_sends_only_what_is_missing(empty, tmp_path):
    place, folder = version_of(empty, tmp_path / "a", "1", tmp_path)
    empty.failing("PUT /results/made/models/made/1/model.onnx", 403)
    with pytest.raises(InputError, match="was refused"):
        place.share(folder, BUNDLE_CARD)
    assert set(empty.objects("results/made")) == {"models/made/1/model.keras"}
    other = Workspace(tmp_path / "b/files", Mirror(Url("s3", "results/made"), tmp_path / "b"))
    with pytest.raises(InputError, match="There is no model 'made' in s3://results/made/models"):
        other.find_model("made")
    empty.faults.clear()
    empty.asked.clear()
    place.share(folder, BUNDLE_CARD)
    put = [each.rpartition("/")[2] for each in empty.asked if each.startswith("PUT ")]
    assert put == ["model.onnx", BUNDLE_CARD]
    assert {path.name: path.read_bytes() for path in other.find_model("made").iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


def test_the_newest_version_is_the_newest_of_all_machines(empty, tmp_path):
    import time

    a, first = version_of(empty, tmp_path / "a", "z-first", tmp_path)
    a.share(first, BUNDLE_CARD)
    time.sleep(1.1)  # the store counts in seconds
    b, second = version_of(empty, tmp_path / "b", "a-second", tmp_path, b"other")
    b.share(second, BUNDLE_CARD)
    assert a.find_model("made").name == b.find_model("made").name == "a-second"
    assert a.find_model("made@z-first") == first
    assert b.find_model("made@z-first").is_dir()
    fresh = Workspace(tmp_path / "c/files", Mirror(Url("s3", "results/made"), tmp_path / "c"))
    assert fresh.find_model("made").name == "a-second"
    assert not fresh.model("made", "z-first").exists()


def test_of_two_machines_that_publish_the_same_version_the_first_stays(empty, tmp_path):
    a, mine = version_of(empty, tmp_path / "a", "1", tmp_path, b"first")
    b, theirs = version_of(empty, tmp_path / "b", "1", tmp_path, b"second")
    a.share(mine, BUNDLE_CARD)
    b.share(theirs, BUNDLE_CARD)
    assert empty.objects("results/made")["models/made/1/model.onnx"] == b"first"
    assert (theirs / "model.onnx").read_bytes() == b"first"


def test_a_file_that_is_not_the_one_of_its_card_is_not_taken(empty, tmp_path):
    a, folder = version_of(empty, tmp_path / "a", "1", tmp_path)
    a.share(folder, BUNDLE_CARD)
    empty.put("results/made/models/made/1/model.onnx", b"changed")
    fresh = Workspace(tmp_path / "b/files", Mirror(Url("s3", "results/made"), tmp_path / "b"))
    with pytest.raises(WorkError, match=r"model\.onnx is not the file that its card lists"):
        fresh.find_model("made")
    assert not (fresh.model("made", "1") / BUNDLE_CARD).exists()


def test_a_source_is_fetched_once_and_then_only_what_changed(s3, tmp_path):
    place = Workspace(tmp_path)
    for name, data in {"cats/1.png": b"1", "cats/2.png": b"22", "dogs/3.png": b"333", "été #.png": b"4"}.items():
        s3.put(f"photos/pets/{name}", data)
    s3.failing("GET /photos/pets/dogs", 403)
    with pytest.raises(InputError):
        resolve("s3://photos/pets/", place)
    s3.faults.clear()
    expected = s3.objects("photos/pets")

    def fetched() -> list[str]:
        s3.asked.clear()
        source = resolve("s3://photos/pets/", place)
        assert (source.name, source.reference, source.kind) == ("pets", "s3://photos/pets", "store")
        found = {
            path.relative_to(source.folder).as_posix(): path.read_bytes()
            for path in source.folder.rglob("*")
            if path.is_file()
        }
        assert found == s3.objects("photos/pets")
        return sorted(each.rpartition("/")[2] for each in s3.asked if each.startswith("GET /photos/pets/"))

    assert "3.png" in fetched()
    assert fetched() == []
    s3.put("photos/pets/cats/1.png", b"x")  # of the same size, in the same second
    s3.delete("photos/pets/cats/2.png")
    s3.put("photos/pets/birds/5.png", b"5")
    assert fetched() == ["1.png", "5.png"]
    assert set(expected) != set(s3.objects("photos/pets"))


def test_an_archive_at_a_url_is_fetched_and_unpacked(s3, tmp_path):
    import io
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("cats/1.png", b"1")
    s3.put("photos/pets.zip", stream.getvalue())
    for _ in range(2):
        s3.asked.clear()
        source = resolve("s3://photos/pets.zip", Workspace(tmp_path))
        assert (source.folder / "cats/1.png").read_bytes() == b"1"
        assert (source.name, source.kind) == ("pets", "archive")
    assert [each for each in s3.asked if each.startswith("GET /photos/pets.zip")] == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["../../out.png"], "leads out of the folder"),
        (["/etc/passwd.png"], "is an absolute path"),
        (["..\\out.png"], "leads out of the folder"),
        (["C:/out.png"], "is an absolute path"),
        (["a/1.png", "a//1.png"], "repeats|without a name"),
        (["a/1.PNG", "a/1.png"], "the same name as another one"),
        (["a", "a/1.png"], "is a file and a folder at once"),
        (["x" * 256], "cannot be a file here"),
    ],
)
def test_a_name_that_could_leave_the_folder_refuses_the_source_before_anything_is_fetched(s3, tmp_path, names, said):
    for name in (*names, "fine.png"):
        s3.put(f"photos/hostile/{name}", b"1")
    with pytest.raises(SourceError, match=said) as failure:
        resolve("s3://photos/hostile", Workspace(tmp_path / "workspace"))
    assert failure.value.exit_status == 2
    assert list(tmp_path.rglob("*.png")) == []
    for name in s3.objects("photos/hostile"):
        s3.delete(f"photos/hostile/{name}")


def test_a_command_with_credentials_in_a_url_is_refused_before_anything_keeps_them(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["darkroom", "score", f"s3://{KEY}:{SECRET}@photos/new", "--model", "quick"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert "must not hold credentials" in said.err
    assert not any(secret in said.out + said.err for secret in (KEY, SECRET))


def test_a_recipe_with_credentials_in_its_source_is_refused(tmp_path):
    from darkroom.flows.recipe import load_recipe

    (tmp_path / "recipe.yaml").write_text(f"name: pets\nsource: s3://{KEY}:{SECRET}@photos/new\n")
    with pytest.raises(InputError, match="must not hold credentials") as failure:
        load_recipe(str(tmp_path / "recipe.yaml"))
    assert SECRET not in str(failure.value)
