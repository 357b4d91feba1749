"""What a Prefect server does by itself, seen by its effect: schedules fire, limits queue, events trigger, late is said.

The server and the worker are those of the folder's conftest.py, started as docs/prefect.md says. Cancellation and the
automation that calls silent runs Crashed are in test_deployment.py, on the same server. The last test reads its log.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

from darkroom.data.stores.table_paths import TablePaths
from darkroom.flows.server_health import ServerHealth, server_health
from tests.datasets import photograph
from tests.processes import ROOT, documented, run_command, start, wait_for

NO_LOG = Path("no.log")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the night scores."""
    folder = tmp_path_factory.mktemp("inbox")
    for number in range(3):
        Image.fromarray(photograph("blue", number)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def night(
    environment: dict[str, str], scored: tuple[Path, Any], images: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """The command that deploys from the operator's own copy of prefect.yaml, run once.

    The copy has the night's folder and model, and one more deployment for a work pool that has no worker.
    """
    copy = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    (nightly,) = [each for each in copy["deployments"] if each["name"] == "nightly-scoring"]
    nightly["parameters"] |= {"folder": str(images), "model": "colours"}
    copy["deployments"].append(
        {**nightly, "name": "idle-scoring", "work_pool": {**nightly["work_pool"], "name": "idle"}}
    )
    file = tmp_path_factory.mktemp("operator") / "nightly.yaml"
    file.write_text(yaml.safe_dump(copy))
    run_command(["prefect", "work-pool", "create", "idle", "--type", "process"], environment)
    deploy = [*documented("prefect --no-prompt deploy --all --prefect-file")[:-1], str(file)]
    run_command(deploy, environment)
    return deploy


@pytest.fixture(scope="module")
def fired(environment: dict[str, str], client: Any, night: list[str], images: Path) -> Iterator[tuple[Any, list[Any]]]:
    """The nightly deployment, and its first two scheduled runs, each with its table as it was then."""
    deployment = client.read_deployment_by_name("score/nightly-scoring")
    given = documented("prefect deployment schedule create")
    schedule = [*given[: given.index("--cron")], "--interval", "25"]
    run_command(schedule, environment)
    ended: list[Any] = []
    for number in range(2):
        known = {run.id for run, _ in ended}

        def another(known: set[UUID] = known) -> bool:
            new = [run for run in scheduled_runs(client, deployment) if run.id not in known]
            ended.extend((run, table_of(client, run)) for run in new[:1])
            return bool(new)

        wait_for(another, 180, NO_LOG)
        Image.fromarray(photograph("amber", number)).save(images / f"new-{number}.png")
    yield deployment, ended
    run_command(["prefect", "deployment", "schedule", "clear", "-y", "score/nightly-scoring"], environment)


def scheduled_runs(client: Any, deployment: Any) -> list[Any]:
    """The runs that the scheduler has made and that have ended, the first one first."""
    runs = client.read_flow_runs(flow_run_filter=of_deployment(deployment), limit=200)
    return sorted(
        (run for run in runs if run.auto_scheduled and run.state.is_final()), key=lambda run: run.expected_start_time
    )


def of_deployment(deployment: Any) -> Any:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId

    return FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))


def table_of(client: Any, run: Any) -> tuple[str | None, list[str]]:
    """Which run made the table that a run of the night has left, and the paths of its rows."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    found = client.read_artifacts(artifact_filter=wanted)
    (artifact,) = [each for each in found if str(each.key).startswith("scoring-")]
    places = re.findall(r"/[^\s`|()]+/scores/[^\s`|()]+", str(artifact.data).replace("\\", ""))
    folder = next(Path(place) for place in places if Path(place).is_dir())  # not the page beside it
    rows = pq.read_table([str(part) for part in sorted(folder.glob("part-*.parquet"))]).to_pylist()
    return json.loads(TablePaths(folder).summary.read_text())["run_id"], [row["path"] for row in rows]


def health(environment: dict[str, str]) -> ServerHealth:
    """The server's, as seen by someone who knows its password and gives the scheduler no time."""
    with temporary_settings({PREFECT_API_AUTH_STRING: environment["PREFECT_API_AUTH_STRING"]}):
        return server_health(environment["PREFECT_API_URL"], grace=timedelta(0))


def state_names(client: Any, run_id: UUID) -> list[str]:
    return [state.name for state in sorted(client.read_flow_run_states(run_id), key=lambda state: state.timestamp)]


def final_run(client: Any, run_id: UUID, seconds: float = 120) -> Any:
    """A run, once it has ended."""
    wait_for(lambda: client.read_flow_run(run_id).state.is_final(), seconds, NO_LOG)
    return client.read_flow_run(run_id)


def schedules_of(client: Any, name: str) -> list[tuple[str | None, str, bool]]:
    """Slug, rule and switch of each schedule of a deployment."""
    return sorted(
        (each.slug or "", str(getattr(each.schedule, "cron", None) or each.schedule.interval), each.active)
        for each in client.read_deployment_by_name(name).schedules
    )


def test_a_schedule_fires_again_and_again_and_each_run_leaves_its_table(
    client: Any, fired: tuple[Any, list[Any]]
) -> None:
    _, ((first, first_table), (second, second_table)) = fired
    assert [first.state.name, second.state.name] == ["Completed", "Completed"]
    assert (second.expected_start_time - first.expected_start_time).total_seconds() % 25 == 0
    assert first_table == (str(first.id), ["0.png", "1.png", "2.png"])
    assert second_table == (str(second.id), ["0.png", "1.png", "2.png", "new-0.png"])


def test_switching_a_schedule_off_stops_it_and_deploying_again_leaves_it_as_the_operator_set_it(
    environment: dict[str, str], client: Any, fired: tuple[Any, list[Any]], night: list[str]
) -> None:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.settings import get_current_settings

    deployment, _ = fired
    name = "score/nightly-scoring"
    (schedule,) = client.read_deployment_by_name(name).schedules
    switch = [*documented("prefect deployment schedule pause")[:-2], name]
    run_command([*switch, str(schedule.id)], environment)
    # What is due sooner a worker may have taken already.
    off = datetime.now(UTC) + timedelta(seconds=get_current_settings().worker.prefetch_seconds)

    def to_come() -> list[Any]:
        runs = client.read_flow_runs(flow_run_filter=of_deployment(deployment), limit=200)
        return [run for run in runs if run.state.is_scheduled() and run.expected_start_time > off]

    wait_for(lambda: to_come() == [], 15, NO_LOG)
    # One that an earlier prefect.yaml declared, on since the operator switched it on.
    declared = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 2 * * *"), active=True, slug="nightly")
    client.create_deployment_schedules(deployment.id, [declared])
    expected = [("", "0:00:25", False), ("nightly", "0 2 * * *", True)]
    assert schedules_of(client, name) == expected
    run_command(night, environment)
    assert schedules_of(client, name) == expected
    run_command(documented("prefect --no-prompt deploy --all"), environment)
    assert schedules_of(client, name) == expected
    resume = [*documented("prefect deployment schedule resume")[:-2], name]
    time.sleep(max(0.0, 27 - (datetime.now(UTC) - off).total_seconds()))  # longer than its interval
    late = [run for run in scheduled_runs(client, deployment) if run.expected_start_time > off]
    assert late == []
    run_command([*resume, str(schedule.id)], environment)
    run_command(night, environment)
    assert schedules_of(client, name) == [("", "0:00:25", True), ("nightly", "0 2 * * *", True)]
    wait_for(lambda: len(to_come()) > 3, 90, NO_LOG)  # deploying took them away, the scheduler makes them again
    run_command([*switch, str(schedule.id)], environment)


def test_doctor_says_whether_the_scheduler_has_made_the_runs_that_are_due(
    environment: dict[str, str], client: Any, fired: tuple[Any, list[Any]]
) -> None:
    idle = client.read_deployment_by_name("score/idle-scoring")
    cron = [*documented("prefect deployment schedule create")[:4], "score/idle-scoring", "--cron", "0 2 * * *"]
    run_command(cron, environment)

    def made() -> list[Any]:
        runs: list[Any] = client.read_flow_runs(flow_run_filter=of_deployment(idle), limit=200)
        return runs

    wait_for(lambda: len(made()) > 0, 90, NO_LOG)
    done = subprocess.run(["darkroom", "doctor", "--json"], env=environment, capture_output=True, text=True)
    (found,) = [each for each in json.loads(done.stdout)["findings"] if each["subject"] == "prefect"]
    assert found["status"] == "ok"
    assert found["found"].endswith("2 active schedules, next runs scheduled")  # this one and the nightly one

    def unscheduled() -> bool:
        for run in made():  # what a scheduler that fails would not have made
            client.delete_flow_run(run.id)
        return health(environment).unscheduled == ("score/idle-scoring",)

    wait_for(unscheduled, 20, NO_LOG)
    run_command(["prefect", "deployment", "schedule", "clear", "-y", "score/idle-scoring"], environment)
    assert health(environment).unscheduled == ()


def test_a_run_that_no_worker_takes_is_late_and_is_done_when_one_comes(
    environment: dict[str, str], client: Any, scored: tuple[Path, Any], night: list[str], tmp_path: Path
) -> None:
    from prefect.states import Scheduled

    idle = client.read_deployment_by_name("score/idle-scoring")
    due = datetime.now(UTC) - timedelta(minutes=1)
    run = client.create_flow_run_from_deployment(
        idle.id, state=Scheduled(scheduled_time=due), parameters={"out": str(tmp_path / "out")}
    )
    wait_for(lambda: client.read_flow_run(run.id).state_name == "Late", 60, NO_LOG)
    assert health(environment).num_late >= 1
    workspace = scored[0].parents[1]
    settings = {**environment, "DARKROOM_CHECKOUT": str(ROOT), "DARKROOM_WORKSPACE": str(workspace)}
    command = ["prefect", "worker", "start", "--pool", "idle", "--type", "process", "--run-once"]
    worker = start(command, settings, tmp_path / "worker.log", tmp_path)
    try:
        assert final_run(client, run.id).state.is_completed()
    finally:
        worker.wait(60)
    assert "Late" in state_names(client, run.id)
    assert json.loads((tmp_path / "out.summary.json").read_text())["run_id"] == str(run.id)


def test_runs_past_a_deployments_limit_wait_their_turn(
    client: Any, fired: tuple[Any, list[Any]], tmp_path: Path
) -> None:
    deployment, _ = fired
    assert deployment.global_concurrency_limit.limit == 1
    asked = [
        client.create_flow_run_from_deployment(deployment.id, parameters={"out": str(tmp_path / str(number))}).id
        for number in range(2)
    ]
    runs = sorted((final_run(client, each) for each in asked), key=lambda run: run.start_time)
    assert [run.state.name for run in runs] == ["Completed", "Completed"]
    assert runs[1].start_time >= runs[0].end_time
    assert "AwaitingConcurrencySlot" in {name for run in runs for name in state_names(client, run.id)}


def test_the_end_of_a_run_triggers_another_one_and_every_task_run_is_on_record(
    client: Any, scored: tuple[Path, Any], images: Path, tmp_path: Path
) -> None:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.events.actions import RunDeployment
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    deployment = client.read_deployment_by_name("score/score-folder")
    parameters = {"folder": str(images), "model": "colours", "rows_per_part": 1}
    then = RunDeployment(deployment_id=deployment.id, parameters={**parameters, "out": str(tmp_path / "second")})
    automation = AutomationCore(
        name="chained",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Completed"},
            match_related={"prefect.resource.id": "prefect.tag.chained"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[then],
    )
    client.create_automation(automation)
    first = client.create_flow_run_from_deployment(
        deployment.id, parameters={**parameters, "out": str(tmp_path / "first")}, tags=["chained"]
    )
    assert final_run(client, first.id).state.is_completed()
    wait_for((tmp_path / "second.summary.json").is_file, 120, NO_LOG)
    number = len(json.loads((tmp_path / "first.summary.json").read_text())["parts"])
    numbers = {"find_bundle": 1, "plan_scoring": 1, "score_part": number, "summarize": 1, "watch": 1}
    expected = Counter({(name, "Completed"): number for name, number in numbers.items()})

    def recorded() -> Counter[tuple[str, str]]:
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[first.id]))
        return Counter(
            (re.sub(r"-\w+$", "", run.task_key), run.state_name)
            for run in client.read_task_runs(flow_run_filter=wanted, limit=200)
        )

    wait_for(lambda: recorded() == expected, 30, NO_LOG)


def test_a_batch_of_an_inbox_is_an_event_that_triggers_another_deployment_and_a_quiet_night_is_none(
    client: Any, scored: tuple[Path, Any], images: Path, tmp_path: Path
) -> None:
    from prefect.events.actions import RunDeployment
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    inbox = client.read_deployment_by_name("score-inbox/score-inbox")
    after = client.read_deployment_by_name("score/score-folder")
    out = tmp_path / "growing"
    client.create_automation(
        AutomationCore(
            name="after the night",
            trigger=EventTrigger(
                expect={"darkroom.scored"},
                match={"prefect.resource.id": f"darkroom.table.{out}"},
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            actions=[
                RunDeployment(
                    deployment_id=after.id,
                    parameters={
                        "folder": {"__prefect_kind": "jinja", "template": "{{ event.payload['folder'] }}"},
                        "model": "colours",
                        "out": {
                            "__prefect_kind": "jinja",
                            "template": str(tmp_path) + "/after-{{ event.payload['rows'] }}",
                        },
                    },
                )
            ],
        )
    )
    parameters = {"folder": str(images), "model": "colours", "out": str(out), "settle_seconds": 0}
    number = len(list(images.iterdir()))
    for new in (number, 0):
        run = client.create_flow_run_from_deployment(inbox.id, parameters=parameters)
        assert final_run(client, run.id).state.is_completed()
        assert json.loads(out.with_name("growing.inbox.json").read_text())["num_new"] == new
    wait_for((tmp_path / f"after-{number}.summary.json").is_file, 120, NO_LOG)
    assert not (tmp_path / "after-0").exists()


def test_the_server_knows_its_workers(client: Any, scored: tuple[Path, Any]) -> None:
    assert client.read_work_pool("darkroom").status.value == "READY"


def test_the_servers_log_holds_no_error(home: Path, scored: tuple[Path, Any]) -> None:
    """The last test of this file: all that the server had to do is done by now."""
    lines = (home / "server.log").read_text(errors="replace").splitlines()
    wrong = [line for line in lines if re.search(r"\b(ERROR|CRITICAL)\b|Traceback|database is locked", line)]
    assert wrong == []
