"""prefect.yaml as an operator uses it: a server, a worker and a scoring run, each a process of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import yaml
from PIL import Image

from darkroom.data.stores.table_paths import TablePaths
from darkroom.flows.deploying.declared import declared_automations
from tests.processes import ROOT, processes_with, wait_for

ENTRYPOINTS = {
    f"darkroom.flows.deployed.{name.replace('-', '_')}"
    for path in (ROOT / "flows").glob("*.py")
    for name in re.findall(r'^@flow\(name="([\w-]+)"', path.read_text(), re.MULTILINE)
}


def test_every_flow_has_a_deployment_and_every_deployment_says_what_it_does(client: Any) -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    deployed = {found.name: found for found in client.read_deployments(limit=50, offset=0)}
    assert sorted(deployed) == sorted(each["name"] for each in declared)
    assert {found.entrypoint for found in deployed.values()} == ENTRYPOINTS
    for each in declared:
        found = deployed[each["name"]]
        assert found.description == each["description"]
        assert found.parameters == each["parameters"]
        assert set(found.tags) == set(each["tags"])
        assert found.work_pool_name == "darkroom"
        assert found.enforce_parameter_schema
        limit = each["concurrency_limit"]
        assert found.global_concurrency_limit.limit == limit["limit"]
        assert found.concurrency_options.collision_strategy.value == limit["collision_strategy"] == "ENQUEUE"
        assert found.job_variables["env"]["PREFECT_LOGGING_EXTRA_LOGGERS"] == "darkroom"


def test_every_parameter_and_every_nested_setting_is_described_in_the_form(client: Any) -> None:
    for deployment in client.read_deployments(limit=50, offset=0):
        schema = deployment.parameter_openapi_schema
        tables = [schema, *schema.get("definitions", {}).values()]
        nameless = [
            field
            for table in tables
            for field, about in table["properties"].items()
            if not about.get("description", "").strip()
        ]
        assert nameless == [], deployment.name
    recipe = next(found for found in client.read_deployments(limit=50, offset=0) if found.name == "run-recipe")
    nested = recipe.parameter_openapi_schema["definitions"]
    assert nested["TrainSettings"]["properties"]["batch_size"]["description"] == "Images per step"


def test_deploying_makes_no_schedule(client: Any) -> None:
    """One that is declared would be set back by every deployment to come (test_deployment_services.py)."""
    assert all("schedules" not in each for each in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"])
    assert [found.name for found in client.read_deployments(limit=50, offset=0) if found.schedules] == []


def test_the_deployers_folder_is_not_baked_in(client: Any) -> None:
    for deployment in client.read_deployments(limit=50, offset=0):
        assert str(ROOT) not in json.dumps(deployment.pull_steps), deployment.name
        assert not deployment.path or str(ROOT) not in deployment.path, deployment.name


def test_a_worker_started_in_another_folder_scores_every_file_of_a_folder(scored: tuple[Path, Any]) -> None:
    table, run = scored
    summary = json.loads((TablePaths(table).summary).read_text())
    assert [part["file"] for part in summary["parts"]] == [f"part-0000{index}.parquet" for index in range(3)]
    rows = [row for part in summary["parts"] for row in pq.read_table(table / part["file"]).to_pylist()]
    assert [row["path"] for row in rows] == [f"blue/{number:02d}.png" for number in range(11)] + ["broken.jpg"]
    assert [row["status"] for row in rows] == ["ok"] * 11 + ["quarantined"]
    assert (rows[-1]["reason"], rows[-1]["label"], rows[-1]["confidence"]) == ("not_an_image", None, None)
    assert all(row["label"] in {"amber", "blue", "green"} and row["confidence"] >= 1 / 3 for row in rows[:-1])
    assert (summary["num_files"], summary["run_id"]) == (12, str(run.id))
    assert run.name == f"images {run.start_time.astimezone().date()} colours"
    record = json.loads((TablePaths(table).run_record).read_text())
    assert (record["flow"], record["run_id"]) == ("score", str(run.id))
    assert record["settings"]["rows_per_part"] == 5


def test_the_run_shows_its_counts_and_the_log_lines_of_darkroom(client: Any, scored: tuple[Path, Any]) -> None:
    from prefect.client.schemas.filters import (
        ArtifactFilter,
        ArtifactFilterFlowRunId,
        LogFilter,
        LogFilterFlowRunId,
    )

    table, run = scored
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    artifacts = {artifact.key: artifact.data for artifact in client.read_artifacts(artifact_filter=wanted)}
    assert sorted(str(key) for key in artifacts) == [f"last-runs-{table.name}", f"scoring-{table.name}"]
    for row in ("| ok | 11 |", "| quarantined | 1 |", "| not\\_an\\_image | 1 |"):
        assert row in str(artifacts[f"scoring-{table.name}"])
    lines = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    found: list[str] = []

    def arrived() -> bool:  # logs are sent in batches, the last one after the run's end
        found[:] = [
            log.message for log in client.read_logs(lines, limit=200) if log.name == "darkroom.models.scoring.summary"
        ]
        return bool(found)

    wait_for(arrived, 20, table)
    assert len(found) == 1
    assert "12 files scored" in found[0]
    assert "1 quarantined" in found[0]


def test_a_cancelled_run_ends_its_process_and_the_same_run_again_goes_on(
    client: Any, scored: tuple[Path, Any], tmp_path: Path
) -> None:
    """The worker that `scored` has started runs it; a thousand files would take it half a minute."""
    from prefect.states import Cancelling

    images = tmp_path / "images"
    images.mkdir()
    Image.effect_noise((800, 800), 90).convert("RGB").save(images / "0000.png", compress_level=1)
    for number in range(1, 1000):
        (images / f"{number:04d}.png").hardlink_to(images / "0000.png")
    deployment = client.read_deployment_by_name("score/score-folder")
    parameters = {"folder": str(images), "model": "colours", "out": str(tmp_path / "out"), "rows_per_part": 10}
    run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    wait_for((tmp_path / "out/part-00000.parquet").exists, 120, tmp_path / "no.log")
    client.set_flow_run_state(run.id, Cancelling())

    def state() -> str:
        return str(client.read_flow_run(run.id).state_name)

    wait_for(lambda: state() != "Cancelling", 60, tmp_path / "no.log")
    assert state() == "Cancelled"
    wait_for(lambda: not processes_with(f"PREFECT__FLOW_RUN_ID={run.id}"), 15, tmp_path / "no.log")
    done = len(list(tmp_path.glob("out/part-*.parquet")))
    assert 0 < done < 100
    assert not (tmp_path / "out.summary.json").exists()
    for number in range(100, 1000):  # the rest in seconds
        (images / f"{number:04d}.png").unlink()
    again = client.create_flow_run_from_deployment(deployment.id, parameters=parameters, name="by hand")
    wait_for(lambda: client.read_flow_run(again.id).state.is_final(), 120, tmp_path / "no.log")
    summary = json.loads((tmp_path / "out.summary.json").read_text())
    assert (summary["run_id"], summary["num_files"]) == (str(again.id), 100)
    assert summary["rows_reused"] == 10 * min(done, 10)
    assert client.read_flow_run(again.id).name == "by hand"


@contextmanager
def automation_at_once(client: Any, name: str) -> Iterator[None]:
    """One of the declared automations, as it is but for the ten seconds that it waits, the least that Prefect takes."""
    from prefect.events.schemas.automations import AutomationCore
    from prefect.settings.models.flows import FlowsSettings

    (declared,) = [each for each in declared_automations() if each["name"] == name]
    assert declared["trigger"]["within"] >= 5 * FlowsSettings.model_fields["heartbeat_frequency"].default
    declared["name"], declared["trigger"]["within"] = f"{name}-at-once", 10
    made = client.create_automation(AutomationCore.model_validate(declared))
    yield
    client.delete_automation(made)


def send_heartbeats(client: Any, *runs: UUID) -> None:
    from prefect.events import Event, RelatedResource, Resource

    tag = RelatedResource({"prefect.resource.id": "prefect.tag.darkroom", "prefect.resource.role": "tag"})
    signs = [
        Event(
            event="prefect.flow-run.heartbeat",
            resource=Resource({"prefect.resource.id": f"prefect.flow-run.{run}"}),
            related=[tag],
        )
        for run in runs
    ]
    client._client.post("/events", json=[sign.model_dump(mode="json") for sign in signs]).raise_for_status()


def test_a_run_that_gives_no_more_sign_of_life_is_said_to_have_crashed(client: Any, tmp_path: Path) -> None:
    from prefect.states import Completed, Running

    deployment = client.read_deployment_by_name("score/score-folder")
    given = {"parameters": {"folder": "images", "model": "colours"}, "state": Running()}
    with automation_at_once(client, "crash-silent-runs"):
        silent, ended = (client.create_flow_run_from_deployment(deployment.id, **given).id for _ in range(2))
        send_heartbeats(client, silent, ended)
        client.set_flow_run_state(ended, Completed())
        wait_for(lambda: client.read_flow_run(silent).state.is_final(), 90, tmp_path / "no.log")
    state = client.read_flow_run(silent).state
    assert state.is_crashed()
    assert "No heartbeat" in state.message
    assert client.read_flow_run(ended).state.is_completed()


def test_a_run_that_was_taken_and_never_began_is_said_to_have_crashed(client: Any, tmp_path: Path) -> None:
    from prefect.states import Completed, Pending, Running, Submitting

    deployment = client.read_deployment_by_name("score/score-folder")
    given = {"parameters": {"folder": "images", "model": "colours"}, "state": Pending()}
    with automation_at_once(client, "crash-stuck-runs"):
        stuck, begun, ended = (client.create_flow_run_from_deployment(deployment.id, **given).id for _ in range(3))
        for run in (stuck, begun, ended):
            client.set_flow_run_state(run, Submitting())
        for run in (begun, ended):
            client.set_flow_run_state(run, Running())
        send_heartbeats(client, begun)
        client.set_flow_run_state(ended, Completed())
        wait_for(lambda: client.read_flow_run(stuck).state.is_final(), 90, tmp_path / "no.log")
    state = client.read_flow_run(stuck).state
    assert state.is_crashed()
    assert "has not begun" in state.message
    assert client.read_flow_run(begun).state.is_running()
    assert client.read_flow_run(ended).state.is_completed()
    client.set_flow_run_state(begun, Completed())  # or its place stays taken
