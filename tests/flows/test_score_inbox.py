"""`score --new` as a person meets it: in Python, on the command line, and in Prefect's record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

import darkroom
from darkroom.data.errors import InputError, SettingError
from darkroom.flows.descriptions import describe
from darkroom.flows.inbox_result import InboxResult
from darkroom.flows.score import score
from darkroom.flows.score_inbox import score_inbox
from tests.bundles import tiny_bundle
from tests.datasets import photograph


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("workspace")
    tiny_bundle(place / "models/tiny/0000000000000000", ["amber", "blue", "green"], (32, 32))
    return place


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    return arrive(tmp_path / "2026-11-27/images", 3)


def arrive(folder: Path, number: int, first: int = 0) -> Path:
    """Put images into a folder that were finished long ago."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + number):
        path = folder / f"{index}.png"
        Image.fromarray(photograph("blue", index)).save(path)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return folder


def test_in_python_new_scores_what_is_new_and_tells_sources_of_one_last_name_apart(
    inbox: Path, workspace: Path, tmp_path: Path
) -> None:
    first = darkroom.score(inbox, "tiny", workspace=workspace, new=True)
    assert (first.num_new, Path(first.out)) == (3, workspace / "scores/images-tiny")
    other = arrive(tmp_path / "2026-11-28/images", 2, 10)
    second = darkroom.score(other, "tiny", workspace=workspace, new=True)
    assert second.num_new == 2
    assert second.out != first.out
    arrive(other, 1, 12)
    again = darkroom.score(other, "tiny", workspace=workspace, new=True)
    assert (again.out, again.num_new, again.num_rows) == (second.out, 1, 3)
    assert len(pd.read_parquet(first.out)) == 3


def test_tables_of_two_folders_of_one_last_name_stand_beside_each_other_also_without_new(
    inbox: Path, workspace: Path, tmp_path: Path
) -> None:
    other = arrive(tmp_path / "2026-11-28/images", 2, 10)
    tables = [darkroom.score(folder, "tiny", workspace=workspace) for folder in (inbox, other, inbox, other)]
    assert [table.num_files for table in tables] == [3, 2, 3, 2]
    assert [tables[0].out, tables[1].out] == [tables[2].out, tables[3].out]
    assert tables[0].out != tables[1].out
    with pytest.raises(InputError, match="another folder"):
        darkroom.score(other, "tiny", tables[0].out, workspace=workspace)


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"new": True, "retry_quarantined": True}, "--retry-quarantined"),
        ({"exclude": "raw/*"}, "--exclude"),
        ({"settle_seconds": 0.0}, "--settle-seconds"),
        ({"new": True, "settle_seconds": -1.0}, "--settle-seconds"),
        ({"new": True, "time_zone": "Mars/Base"}, "--time-zone"),
    ],
)
def test_options_that_do_not_go_together_are_named(
    inbox: Path, workspace: Path, how: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingError, match=named):
        darkroom.score(inbox, "tiny", workspace=workspace, **how)


def test_the_rules_of_time_come_from_the_environment_where_they_are_not_given(
    inbox: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(inbox / "0.png")
    monkeypatch.setenv("DARKROOM_TIME_ZONE", "Pacific/Kiritimati")
    out = tmp_path / "table"
    first = darkroom.score(inbox, "tiny", out, workspace=workspace, new=True)
    assert (first.num_new, first.num_waiting, first.started_at[-6:]) == (2, 1, "+14:00")
    monkeypatch.setenv("DARKROOM_SETTLE_SECONDS", "0")
    assert darkroom.score(inbox, "tiny", out, workspace=workspace, new=True).num_new == 1


def test_an_output_that_cannot_be_written_is_one_sentence(inbox: Path, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for new in (True, False):
        with pytest.raises(InputError, match=r"cannot be written to: Not a directory"):
            darkroom.score(inbox, "tiny", tmp_path / "file/scores/table", workspace=workspace, new=new)  # type: ignore[call-overload]


def test_the_run_is_named_and_its_artifact_says_what_was_new_and_what_was_known(
    prefect_server: str, inbox: Path, workspace: Path, tmp_path: Path
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    out, place = str(tmp_path / "artifact-table"), str(workspace)
    score_inbox(str(inbox), "tiny", out, workspace=place)
    arrive(inbox, 1, 3)
    result = score_inbox(str(inbox), "tiny", out, workspace=place)
    assert (result.num_new, result.num_known) == (1, 3)
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["scoring-artifact-table"]))
        artifacts = sorted(client.read_artifacts(artifact_filter=wanted), key=lambda each: str(each.created))
        assert artifacts[-1].flow_run_id
        run = client.read_flow_run(artifacts[-1].flow_run_id)
    assert "1 new file scored by tiny@" in str(artifacts[-1].description)
    assert "3 known" in str(artifacts[-1].data)
    assert run.name == f"{inbox} {result.night} tiny"
    plain = score(str(inbox), "tiny", str(tmp_path / "plain"), workspace=place)
    arrive(inbox, 2, 4)
    plain = score(str(inbox), "tiny", str(tmp_path / "plain"), workspace=place)
    assert describe(plain).title == f"2 new files scored by {plain.bundle}, 4 reused"


def test_a_quiet_night_says_so(inbox: Path, workspace: Path, tmp_path: Path) -> None:
    darkroom.score(inbox, "tiny", tmp_path / "table", workspace=workspace, new=True)
    quiet = darkroom.score(inbox, "tiny", tmp_path / "table", workspace=workspace, new=True)
    assert isinstance(quiet, InboxResult)
    told = {row.label: row.text for row in describe(quiet).rows}
    assert told["scored"] == "0 new files"
    assert told["inbox"] == "3 files: 3 known"
