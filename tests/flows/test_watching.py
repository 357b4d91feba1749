"""Watching a run as a person meets it: in Python, on the command line, and in Prefect's record."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

import darkroom
from darkroom.data.errors import LimitError, SettingError
from darkroom.data.figures import percent
from darkroom.flows.descriptions import describe
from darkroom.flows.score_inbox import score_inbox
from darkroom.models.watching.history import read_history
from darkroom.models.watching.limits import Limit, Limits
from tests.bundles import tiny_bundle
from tests.command_line import darkroom as command
from tests.datasets import photograph


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("workspace")
    tiny_bundle(place / "models/tiny/0000000000000000", ["amber", "blue", "green"], (32, 32))
    return place


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    arrive(folder, 3, 0)
    return folder


def arrive(folder: Path, number: int, first: int, garbage: int = 0) -> None:
    """Images that were finished long ago, and files that are none."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{index}.png" for index in range(first, first + number)]
    for index, path in enumerate(paths, first):
        Image.fromarray(photograph("blue", index)).save(path)
    for index in range(garbage):
        paths.append(folder / f"garbage-{first}-{index}.png")
        paths[-1].write_bytes(b"this is no image, number %d" % index)
    for path in paths:
        os.utime(path, (1_000_000_000, 1_000_000_000))


FAILING = {"max_quarantined": {"limit": 0.4, "then": "fail"}}


def test_a_night_beyond_a_limit_fails_in_python_after_its_table_is_whole(
    inbox: Path, workspace: Path, tmp_path: Path
) -> None:
    out = tmp_path / "table"
    quiet = darkroom.score(inbox, "tiny", out, workspace=workspace, new=True, limits=FAILING)
    assert quiet.watched is not None
    assert quiet.watched.beyond_limits == ()
    arrive(inbox, 2, 3, garbage=3)
    with pytest.raises(LimitError) as raised:
        darkroom.score(inbox, "tiny", out, workspace=workspace, new=True, limits=FAILING)
    page = out.with_name("table.watch.html")
    said = f"{percent(0.6)} of the new files are quarantined; max_quarantined allows {percent(0.4)}"
    assert str(raised.value) == f"{said}. The table is whole. See {page}"
    assert raised.value.result.num_rows == 8
    assert "max_quarantined" in page.read_text()
    again = darkroom.score(inbox, "tiny", out, workspace=workspace, new=True, limits=FAILING)
    assert (again.num_new, again.num_rows) == (0, 8)  # a night without a new file is not red
    history = read_history(out.with_name("table.watch.json"))
    assert history is not None
    assert [(line.num_new, len(line.breaches)) for line in history.lines] == [(3, 0), (5, 1), (0, 0)]


def test_a_folder_is_watched_as_a_whole_and_stays_beyond_its_limit_when_nothing_changes(
    inbox: Path, workspace: Path, tmp_path: Path
) -> None:
    arrive(inbox, 1, 3, garbage=4)
    limits = tmp_path / "limits.yaml"
    limits.write_text("max_quarantined: {limit: 0.4, then: fail}\n")
    for _ in range(2):
        with pytest.raises(LimitError, match=r"50\.0.% of the new files"):
            darkroom.score(inbox, "tiny", tmp_path / "t", workspace=workspace, limits=limits)
    history = read_history(tmp_path / "t.watch.json")
    assert history is not None
    assert len(history.lines) == 1
    warned = darkroom.score(inbox, "tiny", tmp_path / "t", workspace=workspace)
    told = [row.text for row in describe(warned).rows if row.label == "limit"]
    assert told == [f"{percent(0.5)} of the new files are quarantined; max_quarantined allows {percent(0.2)}"]
    with pytest.raises(SettingError, match="max_drif is not a setting"):
        darkroom.score(inbox, "tiny", tmp_path / "t", workspace=workspace, limits={"max_drif": 1})


def test_limits_do_not_go_with_a_recognition_service(inbox: Path, workspace: Path) -> None:
    with pytest.raises(SettingError, match="a recognition service is not watched"):
        darkroom.score(inbox, "cloud:google-vision", workspace=workspace, limits=FAILING)


def test_named_files_are_not_watched(inbox: Path, workspace: Path, tmp_path: Path) -> None:
    result = darkroom.score([inbox / "0.png"], "tiny", tmp_path / "t", workspace=workspace)
    assert result.watched is None
    assert not (tmp_path / "t.watch.json").exists()


def test_the_command_prints_the_result_and_ends_with_the_sentence(
    prefect_server: str, inbox: Path, workspace: Path, tmp_path: Path
) -> None:
    arrive(inbox, 0, 3, garbage=3)
    (tmp_path / "limits.yaml").write_text("max_quarantined: {limit: 0.4, then: fail}\n")
    given = ("--workspace", workspace, "--out", tmp_path / "t", "--limits", "limits.yaml")
    done = command("score", inbox, "--new", "--model", "tiny", *given, folder=tmp_path, PREFECT_API_URL=prefect_server)
    assert done.returncode == 1, done.stderr
    assert "limit        50.0 % of the new files are quarantined" in done.stdout
    assert done.stderr.splitlines()[-1].startswith(f"darkroom: {percent(0.5)} of the new files are quarantined; ")
    assert "Traceback" not in done.stderr


def test_in_prefect_the_run_is_failed_with_the_sentence_and_has_its_artifact(
    prefect_server: str, inbox: Path, workspace: Path, tmp_path: Path
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    out = str(tmp_path / "watched-table")
    limits = Limits(min_new_files=Limit(limit=10, then="fail"), max_drift=None)
    with pytest.raises(LimitError, match="new files: 3; min_new_files asks for 10") as raised:
        score_inbox(str(inbox), "tiny", out, workspace=str(workspace), limits=limits)
    assert raised.value.result.num_new == 3
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["last-runs-watched-table"]))
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
        assert artifact.flow_run_id
        run = client.read_flow_run(artifact.flow_run_id)
    assert run.state_name == "Failed"
    assert run.state is not None
    assert "new files: 3; min_new_files asks for 10. The table is whole. See " in str(run.state.message)
    assert str(artifact.description).startswith("The last runs of tiny@")
    assert "## Run by run" in str(artifact.data)
