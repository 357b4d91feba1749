"""`darkroom deploy` on the server of this folder's conftest.py: what it changes, leaves and sets up."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.processes import run_command, wait_for

NO_LOG = Path("no.log")
INBOX = "score-inbox/score-inbox"
SECRET = "s3cr3t-of-the-webhook"


def deploy(environment: dict[str, str], *options: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Deploy; gives what was done, and what was said, by kind and name."""
    said = run_command(["darkroom", "deploy", "--json", *options], environment)
    assert SECRET not in said
    return {(each["kind"], each["name"]): (each["done"], each["what"]) for each in json.loads(said)["changes"]}


def ended(client: Any, run: Any) -> Any:
    wait_for(lambda: client.read_flow_run(run.id).state.is_final(), 120, NO_LOG)
    return client.read_flow_run(run.id)


def test_deploying_again_changes_nothing(environment: dict[str, str], client: Any) -> None:
    before = {each.name: each for each in client.read_deployments(limit=50, offset=0)}
    done = deploy(environment)
    assert {said for said, _ in done.values()} == {"unchanged"}
    assert {name for kind, name in done if kind == "automation"} == {"crash-silent-runs", "crash-stuck-runs"}
    after = {each.name: each for each in client.read_deployments(limit=50, offset=0)}
    assert {name: each.updated for name, each in after.items()} == {name: each.updated for name, each in before.items()}


def test_what_the_operator_has_set_stays_when_he_deploys_again(environment: dict[str, str], client: Any) -> None:
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.client.schemas.schedules import CronSchedule

    before = client.read_deployment_by_name(INBOX)
    asked = ("--inbox", "/data/in", "--model", "colours", "--at", "02:30", "--timezone", "Europe/Berlin")
    done = deploy(environment, *asked)
    assert done["deployment", INBOX] == ("changed", "parameters")
    assert done["schedule", INBOX] == ("created", "every day at 02:30 Europe/Berlin, on")
    assert {said for key, (said, _) in done.items() if key[1] != INBOX} == {"unchanged"}
    found = client.read_deployment_by_name(INBOX)
    expected = {"folder": "/data/in", "model": "colours", "time_zone": "Europe/Berlin"}
    assert found.parameters == before.parameters | expected
    (schedule,) = found.schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone, schedule.active) == (
        "30 2 * * *",
        "Europe/Berlin",
        True,
    )

    rule = CronSchedule(cron="0 4 * * 1", timezone="UTC")
    client.update_deployment_schedule(found.id, schedule.id, active=False, schedule=rule)
    client.update_deployment(found.id, DeploymentUpdate(parameters={**found.parameters, "settle_seconds": 5}))
    (automation,) = client.read_automations_by_name("crash-stuck-runs")
    client.pause_automation(automation.id)
    done = deploy(environment, *asked)
    assert {said for said, _ in done.values()} == {"unchanged"}
    assert done["schedule", INBOX][1] == (
        "0 4 * * 1 UTC, off, as set on the server; not every day at 02:30 Europe/Berlin"
    )
    # An upgrade that changed the form and the entrypoint.
    client.update_deployment(found.id, DeploymentUpdate(entrypoint="flows/score.py:inbox", tags=["mine", *found.tags]))
    assert deploy(environment)["deployment", INBOX] == ("changed", "entrypoint")
    kept = client.read_deployment_by_name(INBOX)
    assert kept.entrypoint == before.entrypoint
    assert kept.parameters == {**found.parameters, "settle_seconds": 5}
    assert "mine" in kept.tags
    assert [(each.schedule.cron, each.active) for each in kept.schedules] == [("0 4 * * 1", False)]
    assert not client.read_automation(automation.id).enabled

    client.resume_automation(automation.id)
    client.delete_deployment_schedule(found.id, schedule.id)
    client.update_deployment(found.id, DeploymentUpdate(parameters=before.parameters, tags=before.tags))


@pytest.fixture
def messages() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook on this machine: its URL, and what it was sent."""
    received: list[dict[str, Any]] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == f"/hook?key={SECRET}"
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook?key={SECRET}", received
    server.shutdown()
    server.server_close()


def test_each_incident_sends_one_message_and_a_good_night_none(
    environment: dict[str, str],
    client: Any,
    home: Path,
    scored: tuple[Path, Any],
    messages: tuple[str, list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    from prefect.states import Crashed, Scheduled

    url, received = messages
    done = deploy(environment, "--notify", url)
    assert done["notification", "darkroom-incidents"][0] == done["automation", "darkroom-incidents"][0] == "created"
    done = deploy({**environment, "DARKROOM_NOTIFY": url})
    assert {said for said, _ in done.values()} == {"unchanged"}

    inbox = client.read_deployment_by_name(INBOX)
    (tmp_path / "quiet").mkdir()
    given = {"model": "colours", "out": str(tmp_path / "out")}
    good = client.create_flow_run_from_deployment(inbox.id, parameters={**given, "folder": str(tmp_path / "quiet")})
    assert ended(client, good).state.is_completed()
    bad = client.create_flow_run_from_deployment(inbox.id, parameters={**given, "folder": str(tmp_path / "gone")})
    assert ended(client, bad).state.is_failed()
    run_command(["prefect", "work-pool", "create", "unattended", "--type", "process"], environment)
    unattended = client.create_deployment(
        inbox.flow_id, "unattended", work_pool_name="unattended", entrypoint=inbox.entrypoint, tags=["darkroom"]
    )
    due: Any = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(minutes=1))
    late = client.create_flow_run_from_deployment(unattended, state=due)
    wait_for(lambda: len(received) >= 2, 60, NO_LOG)
    client.set_flow_run_state(late.id, Crashed(message="Its machine went down."))
    wait_for(lambda: len(received) >= 3, 60, NO_LOG)
    client.delete_deployment(unattended)

    title = client.read_flow_run(bad.id).name
    assert sorted(each["title"] for each in received) == sorted(
        [f"{title}: Failed", f"{late.name}: Late", f"{late.name}: Crashed"]
    )
    said = {each["title"].rpartition(": ")[2]: each["message"] for each in received}
    assert str(tmp_path / "gone") in said["Failed"]
    assert "No worker has taken this run" in said["Late"]
    assert "Its machine went down." in said["Crashed"]

    for file in home.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    documents = client._client.post("/block_documents/filter", json={}).text
    assert "darkroom-incidents" in documents
    assert SECRET not in documents
    (automation,) = client.read_automations_by_name("darkroom-incidents")
    client.pause_automation(automation.id)  # the receiver is gone


def test_old_runs_go_with_their_logs_and_artifacts_and_recent_ones_stay(
    environment: dict[str, str], client: Any, home: Path, scored: tuple[Path, Any]
) -> None:
    from prefect.client.schemas import filters
    from prefect.client.schemas.actions import ArtifactCreate, LogCreate
    from prefect.states import Completed

    done = deploy(environment, "--keep-runs", "7d")
    assert done["schedule", "clean-runs/clean-runs"] == ("created", "every day at 04:00 UTC, on")
    clean = client.read_deployment_by_name("clean-runs/clean-runs")
    assert clean.parameters == {"keep_days": 7}
    made = []
    for days in (8, 6):
        when = datetime.now(UTC) - timedelta(days=days)
        deployment = client.read_deployment_by_name("score/score-folder")
        run = client.create_flow_run_from_deployment(deployment.id, parameters={"folder": "x", "model": "colours"})
        client.set_flow_run_state(run.id, Completed(), force=True)
        with closing(sqlite3.connect(home / "prefect.db", timeout=60)) as database:  # the server sets its own time
            ended_at = (f"{when:%Y-%m-%d %H:%M:%S.%f}", str(run.id))
            database.execute("update flow_run set end_time = ? where id = ?", ended_at)
            database.commit()
        client.create_logs([LogCreate(name="x", level=20, message="done", timestamp=when, flow_run_id=run.id)])
        client.create_artifact(ArtifactCreate(key="scoring", type="markdown", data="done", flow_run_id=run.id))
        made.append(run.id)

    def left() -> list[tuple[int, int, int]]:
        """For each of the two: runs, log lines and artifacts."""
        runs = [filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run])) for run in made]
        logs = [filters.LogFilter(flow_run_id=filters.LogFilterFlowRunId(any_=[run])) for run in made]
        shown = [filters.ArtifactFilter(flow_run_id=filters.ArtifactFilterFlowRunId(any_=[run])) for run in made]
        return [
            (
                len(client.read_flow_runs(flow_run_filter=runs[index])),
                len(client.read_logs(logs[index])),
                len(client.read_artifacts(artifact_filter=shown[index])),
            )
            for index in range(2)
        ]

    assert left() == [(1, 1, 1), (1, 1, 1)]
    run = ended(client, client.create_flow_run_from_deployment(clean.id))
    assert run.state.is_completed()
    wait_for(lambda: left() == [(0, 0, 0), (1, 1, 1)], 30, NO_LOG)
    assert client.read_flow_run(scored[1].id).state.is_completed()
    (schedule,) = client.read_deployment_by_name("clean-runs/clean-runs").schedules
    client.delete_deployment_schedule(clean.id, schedule.id)
