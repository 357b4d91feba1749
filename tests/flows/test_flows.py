"""Each flow alone: defaults, references by name, and failures that end in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from darkroom.data.errors import CountError, DarkroomError, InputError
from darkroom.data.files.locks import exclusive
from darkroom.data.files.provenance import LibraryVersion
from darkroom.data.images.decoder_fingerprint import Decoder
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest import parts as data_parts
from darkroom.data.ingest.parts import PartCounts
from darkroom.data.ingest.request import IngestSettings
from darkroom.flows.evaluate import evaluate
from darkroom.flows.explain import explain
from darkroom.flows.ingest import ingest
from darkroom.flows.score import score
from darkroom.flows.train import train
from darkroom.models.bundle.bundle import open_bundle, write_card
from darkroom.models.settings import TrainSettings
from tests.bundles import tiny_bundle
from tests.datasets import BAD_FILES, COLOURS, photograph, write_images

SETTINGS = IngestSettings(name="colours", policy=DecodePolicy(image_size=(32, 32)))
QUICK = TrainSettings(name="quick", model="cifar4", weights="none", epochs=1, batch_size=16)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("source") / "colours")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "models/tiny/1", sorted(COLOURS), (32, 32))


def newest_run(flow: str) -> tuple[str, str]:
    """State and message of the newest run of a flow, as the server tells them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        wanted = FlowFilter(name=FlowFilterName(any_=[flow]))
        (found,) = client.read_flow_runs(flow_filter=wanted, sort=FlowRunSort.START_TIME_DESC, limit=1)
    assert found.state is not None
    return found.state.type.value, found.state.message or ""


def test_a_model_of_another_decoder_scores_with_a_warning_and_is_refused_where_that_is_set(
    prefect_server: str, images: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Decoder(fingerprint="0" * 12, packages=(LibraryVersion(name="pillow", version="9.9.9"),))
    write_card(bundle, open_bundle(bundle).card.model_copy(update={"decoder": other}))
    table, place = str(tmp_path / "table"), str(tmp_path)
    picture = str(next(path for path in (images / "test/green").iterdir() if path.suffix == ".png"))
    with pytest.raises(InputError, match=r"pillow 9\.9\.9"):
        score(str(images), str(bundle), table, workspace=place, decoder_mismatch="strict")
    monkeypatch.setenv("DARKROOM_DECODER_MISMATCH", "strict")
    with pytest.raises(InputError, match=r"pillow 9\.9\.9"):
        score(str(images), str(bundle), table, workspace=place)
    with pytest.raises(InputError, match=r"pillow 9\.9\.9"):
        explain(str(bundle), [picture], str(tmp_path / "page"), workspace=place)
    assert not (tmp_path / "table" / "summary.json").exists()
    assert score(str(images), str(bundle), table, workspace=place, decoder_mismatch="warn").num_files == 72


def test_the_flows_find_each_others_results_by_name(prefect_server: str, images: Path, tmp_path: Path) -> None:
    place = str(tmp_path)
    made = ingest(str(images), SETTINGS, max_judged=0, workspace=place)
    assert made.dataset.startswith("colours@")
    trained = train("colours", QUICK, place)
    assert trained.bundle.startswith("quick@")
    assert trained.dataset == made.dataset
    judged = evaluate("quick", workspace=place)
    assert (judged.bundle, judged.dataset) == (trained.bundle, made.dataset)
    picture = next(path for path in (images / "test/green").iterdir() if path.suffix == ".png")
    cut = images / "test/blue/cut.jpg"
    shown = explain("quick", [str(picture), str(cut)], str(tmp_path / "pictures"), workspace=place)
    assert [Path(path).name for path in shown.pictures] == [
        f"000-{picture.stem}.png", f"000-{picture.stem}-activations.png", "filters.png", "classes.png", "channels.png",
    ]  # fmt: skip
    made_card = str(tmp_path / "pictures" / "made.json")
    assert {*shown.pictures, shown.page, made_card} == {str(path) for path in (tmp_path / "pictures").iterdir()}
    assert [(count.reason, count.num_files) for count in shown.quarantined] == [("truncated", 1)]
    table = score(str(images), "quick", str(tmp_path / "table"), rows_per_part=25, workspace=place)
    assert (table.num_files, table.num_parts) == (made.num_files, -(-made.num_files // 25))
    assert {count.name: count.num_rows for count in table.statuses}["quarantined"] == len(BAD_FILES)


def test_a_source_alone_names_the_data_set_and_relative_outputs_are_made_absolute(
    prefect_server: str, images: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = ingest(str(images), max_judged=0)
    assert Path(made.folder).parent == tmp_path / "workspace/datasets/colours"
    table = score(str(images), str(bundle), "table")
    assert Path(table.out) == tmp_path / "table"
    unnamed = score(str(images), str(bundle))
    assert Path(unnamed.out) == tmp_path / "workspace/scores/colours-tiny-1"


def test_a_failed_part_fails_the_flow_with_its_own_sentence_and_publishes_nothing(
    prefect_server: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fails(staging: Path, index: int) -> PartCounts:
        calls.append(index)
        raise CountError("Part 0 has 76 files and 75 rows. Ingest again.")

    monkeypatch.setattr(data_parts, "write_part", fails)
    with pytest.raises(CountError, match=r"^Part 0 has 76 files and 75 rows\. Ingest again\.$"):
        ingest(str(images), SETTINGS, workspace=str(tmp_path))
    assert calls == [0]
    state, message = newest_run("ingest")
    assert state == "FAILED"
    assert "Part 0 has 76 files and 75 rows. Ingest again." in message
    assert list(tmp_path.rglob("dataset.json")) == []
    monkeypatch.undo()
    assert not ingest(str(images), SETTINGS, max_judged=0, workspace=str(tmp_path)).reused


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda place: ingest("nowhere", workspace=str(place)), "nowhere"),
        (lambda place: train("nothing", None, str(place)), "There is no data set 'nothing'"),
        (lambda place: evaluate("nothing", workspace=str(place)), "There is no model 'nothing'"),
        (lambda place: explain("nothing", ["x.png"], workspace=str(place)), "There is no model 'nothing'"),
        (lambda place: score(str(place), "nothing", workspace=str(place)), "There is no model 'nothing'"),
    ],
    ids=["ingest", "train", "evaluate", "explain", "score"],
)
def test_what_is_not_there_is_named(prefect_server: str, tmp_path: Path, call, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        call(tmp_path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_files_and_an_output_inside_the_folder_are_refused(
    prefect_server: str, images: Path, bundle: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DarkroomError, match="holds no files"):
        score(str(empty), str(bundle), str(tmp_path / "a"))
    with pytest.raises(DarkroomError, match="lies inside the scored folder"):
        score(str(images), str(bundle), str(images / "table"))
    assert not (images / "table").exists()


def test_only_changed_files_of_a_table_are_scored_again(prefect_server: str, bundle: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "images", tmp_path / "table"
    folder.mkdir()
    for number in range(10):
        Image.fromarray(photograph("blue", number)).save(folder / f"{number}.png")
    first = score(str(folder), str(bundle), str(out), rows_per_part=3)
    assert (first.num_parts, first.rows_reused) == (4, 0)
    Image.fromarray(photograph("green", 400)).save(folder / "4.png")
    second = score(str(folder), str(bundle), str(out), rows_per_part=3)
    assert (second.num_parts, second.rows_reused) == (4, 9)
    fresh = score(str(folder), str(bundle), str(tmp_path / "fresh"), rows_per_part=3)
    assert fresh.rows_reused == 0
    for index in range(4):
        name = f"part-{index:05d}.parquet"
        assert (out / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    (folder / "9.png").unlink()
    third = score(str(folder), str(bundle), str(out), rows_per_part=3)
    assert (third.num_files, third.num_parts) == (9, 3)
    assert sorted(path.name for path in out.glob("part-*")) == [f"part-{index:05d}.parquet" for index in range(3)]
    assert sum(pq.read_metadata(path).num_rows for path in out.glob("part-*")) == 9


def test_of_two_equal_runs_at_once_the_second_waits_and_finds_the_work_done(
    prefect_server: str, images: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "darkroom.flows.cli", "ingest", str(images), "--name", "colours"]
    command += ["--image-size", "32", "--max-judged", "0", "--workspace", str(tmp_path), "--json"]
    environment = {**os.environ, "PREFECT_API_URL": prefect_server}
    logs = [tmp_path / "0.log", tmp_path / "1.log"]
    with exclusive(tmp_path / "datasets/colours"):  # until both have come to the door
        both = []
        for log in logs:
            with log.open("w") as stream:
                root = Path(__file__).parents[2]
                both.append(subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=stream))
        until = time.monotonic() + 120
        while not all("Another run is using" in log.read_text() for log in logs) and time.monotonic() < until:
            assert all(process.poll() is None for process in both), [log.read_text() for log in logs]
            time.sleep(0.2)
    results = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(result["reused"] for result in results) == [False, True]
    assert results[0]["dataset"] == results[1]["dataset"]
    assert all("Another run is using" in log.read_text() for log in logs)
