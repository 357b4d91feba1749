"""`make nights`: five nights of an inbox on a server, a worker and a schedule, each with a fault or a shift of its own.

Time goes fast: each night is a schedule whose time comes in seconds. The server and the worker are those of this
folder's conftest.py. The digits are real; the model is trained on a few hundred of them.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from PIL import Image, ImageOps

from darkroom.flows.retrain import retrain
from darkroom.flows.rollback import rollback
from tests.models.watching.conftest import digits
from tests.processes import wait_for

NO_LOG = Path("no.log")
NUM_LABELLED = 700
LIMITS = {"max_unfamiliar": {"limit": 0.3, "then": "fail"}, "max_quarantined": {"limit": 0.3, "then": "fail"}}


def label(source: Path, first: int, last: int) -> None:
    """Labelled scans, from one number to another, in class folders."""
    for number, (image, shown) in enumerate(digits()):
        if first <= number < last:
            (source / str(shown)).mkdir(parents=True, exist_ok=True)
            image.save(source / str(shown) / f"{number:04d}.png")


@dataclass
class Inbox:
    """The inbox, what arrives in it, and the deployment that scores it.

    Attributes:
        folder: Where images arrive.
        parameters: Of the deployment's runs.
        client: Of the server.
        fresh: Scans that nobody has labelled.
    """

    folder: Path
    parameters: dict[str, Any]
    client: Any
    fresh: list[Image.Image]

    def arrive(self, number: int, inverted: bool = False) -> None:
        """New scans, finished long ago."""
        taken, self.fresh = self.fresh[:number], self.fresh[number:]
        for image in taken:
            path = self.folder / f"{len(self.fresh)}-{len(list(self.folder.iterdir()))}.png"
            (ImageOps.invert(image) if inverted else image).save(path)
            os.utime(path, (1_000_000_000, 1_000_000_000))

    def night(self) -> tuple[str, str, dict[str, Any]]:
        """A night's run on the schedule: its state, what that says, and the summary beside the table."""
        from prefect.client.schemas.schedules import IntervalSchedule

        deployment = self.client.read_deployment_by_name("score-inbox/score-inbox")
        before = {run.id for run in self._runs(deployment.id)}

        def begun() -> Any:
            new = [run for run in self._runs(deployment.id) if run.id not in before]
            return next((run for run in new if not run.state.is_scheduled()), None)

        due = IntervalSchedule(interval=timedelta(seconds=45), anchor_date=datetime.now(UTC) + timedelta(seconds=8))
        (schedule,) = self.client.create_deployment_schedules(deployment.id, [(due, True)])
        try:
            wait_for(lambda: begun() is not None, 180, NO_LOG)
        finally:
            self.client.delete_deployment_schedule(deployment.id, schedule.id)
        run = begun()
        wait_for(lambda: self.client.read_flow_run(run.id).state.is_final(), 180, NO_LOG)
        state = self.client.read_flow_run(run.id).state
        return state.name, state.message or "", json.loads(Path(self.parameters["out"] + ".inbox.json").read_text())

    def _runs(self, deployment_id: Any) -> Any:
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId

        wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]))
        return self.client.read_flow_runs(flow_run_filter=wanted, limit=200)


@pytest.fixture
def inbox(scored: tuple[Path, Any], client: Any, tmp_path: Path) -> Iterator[Inbox]:
    (tmp_path / "inbox").mkdir()
    parameters = {
        "folder": str(tmp_path / "inbox"),
        "model": "nightly@blessed",
        "out": str(tmp_path / "growing"),
        "workspace": str(tmp_path / "workspace"),
        "limits": LIMITS,
    }
    deployment = client.read_deployment_by_name("score-inbox/score-inbox")
    before = deployment.parameters
    _give(client, deployment.id, parameters)
    yield Inbox(tmp_path / "inbox", parameters, client, [image for image, _ in list(digits())[1000:]])
    _give(client, deployment.id, before)


def _give(client: Any, deployment_id: Any, parameters: dict[str, Any]) -> None:
    from prefect.client.schemas.actions import DeploymentUpdate

    client.update_deployment(deployment_id, DeploymentUpdate(parameters=parameters))


def test_five_nights_hold_each_image_once_and_raise_one_alarm(inbox: Inbox, tmp_path: Path) -> None:
    source, workspace = tmp_path / "labelled", str(tmp_path / "workspace")
    label(source, 0, NUM_LABELLED)
    recipe = tmp_path / "nightly.yaml"
    settings: dict[str, Any] = {
        "name": "nightly",
        "source": str(source),
        "policy": {"image_size": [32, 32], "interpolation": "bicubic"},
        "train": {"architecture": "cifar4", "weights": "none", "epochs": 4, "batch_size": 32, "learning_rate": 0.001},
        "blessing": {"recall_margin": 1.0, "calibration_margin": 1.0, "accuracy_margin": 1.0, "max_possible_loss": 1.0},
    }
    settings["train"]["name"] = "nightly"
    recipe.write_text(yaml.safe_dump(settings))
    first = retrain.plain(str(recipe), workspace=workspace, max_judged=0).now

    inbox.arrive(60)  # a quiet night
    state, said, card = inbox.night()
    assert (state, card["num_new"]) == ("Completed", 60), said

    inbox.arrive(40)  # a file that is still being written
    whole = io.BytesIO()
    inbox.fresh.pop().resize((64, 64)).save(whole, "PNG")
    half = inbox.folder / "half.png"
    half.write_bytes(whole.getvalue()[:300])
    os.utime(half, (time.time() + 60,) * 2)
    state, said, card = inbox.night()
    assert (state, card["num_new"], card["num_waiting"]) == ("Completed", 40, 1), said

    half.write_bytes(whole.getvalue())
    os.utime(half, (1_000_000_000, 1_000_000_000))
    inbox.arrive(120, inverted=True)  # the shift
    state, said, card = inbox.night()
    assert (state, card["num_new"]) == ("Failed", 121)
    assert "of the new images are unlike those of training; max_unfamiliar allows 30.0" in said
    assert f"See {inbox.parameters['out']}.watch.html" in said

    state, said, card = inbox.night()  # nothing has arrived
    assert (state, card["num_new"]) == ("Completed", 0), said

    label(source, NUM_LABELLED, 1000)
    second = retrain.plain(str(recipe), workspace=workspace, max_judged=0).now
    assert second != first
    for path in list(inbox.folder.iterdir())[:30]:
        path.rename(path.with_name(f"moved-{path.name}"))
    inbox.arrive(50)
    state, said, card = inbox.night()
    assert (state, card["num_new"], card["bundle"]) == ("Completed", 50, second), said

    assert f"nightly@{rollback.plain('nightly', workspace=workspace).blessed}" == first
    rows = pd.read_parquet(inbox.parameters["out"])
    assert len(rows) == 60 + 40 + 121 + 50
    assert rows.sha256.is_unique
    assert rows.model.value_counts().to_dict() == {first: 221, second: 50}
    lines = json.loads(Path(inbox.parameters["out"] + ".watch.json").read_text())["lines"]
    failing = [[each["name"] for each in line["breaches"] if each["then"] == "fail"] for line in lines]
    assert failing == [[], [], ["max_unfamiliar"], [], []]
