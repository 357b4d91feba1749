"""What runs and task runs are called in Prefect's UI."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.context import FlowRunContext
from prefect.utilities.names import generate_slug

from darkroom.tasks import ingest, score, score_inbox, train
from darkroom.tasks.names import is_drawn, naming, without_credentials


def test_names_that_prefect_draws_are_told_from_typed_ones() -> None:
    assert all(is_drawn(generate_slug(2)) for _ in range(500))
    typed = ("nightly", "first try", "test-run", "images 2026-11-29 digits@blessed", "photos-2", "")
    assert [name for name in typed if is_drawn(name)] == []


@pytest.mark.parametrize(
    ("before", "after"), [("bouncy-pony", f"photos {date.today()}"), ("the camera of hall 3", "the camera of hall 3")]
)
def test_a_run_is_named_after_its_parameters_and_the_date_unless_a_person_named_it(
    monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    run: Any = SimpleNamespace(flow_run=SimpleNamespace(name=before), parameters={"source": "photos"})
    monkeypatch.setattr(FlowRunContext, "get", classmethod(lambda cls: run))
    assert naming("{source} {date}")() == after
    assert naming(lambda given: f"{given['source']} {date.today()}")() == after


def test_task_runs_say_what_they_do() -> None:
    numbered = [each.prefect.task_run_name for each in (score.score_part, score_inbox.stage_part, ingest.write_part)]
    said = [name(parameters={"index": 2, "total": 12}) for name in numbered]
    assert said == ["score part 3 of 12", "score new part 3 of 12", "write part 3 of 12"]
    assert score.find_bundle.prefect.task_run_name == "find bundle"
    assert train.extract_features.prefect.task_run_name == "features of {shard}"


@pytest.mark.parametrize("url", ["s3://id:Planted@bucket/images", "az://box/images?sig=Planted"])
def test_a_name_shows_no_credentials_of_a_parameter(url: str) -> None:
    assert without_credentials("s3://bucket/images by colours") == "s3://bucket/images by colours"
    assert without_credentials(f"{url} by colours") == "a URL with credentials"
