"""Who may use the server, and that no secret shows: on the server and with the worker of the folder's conftest.py.

The server asks for a password, and all processes have the secrets of tests/planted_secrets.py in their environment. So
the other tests of that server, in test_deployment*.py, show that commands, workers and schedules work with a password.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.command_line import darkroom
from tests.planted_secrets import MARK, PASSWORD, USER, files_with_a_secret
from tests.processes import wait_for

NO_LOG = Path("no.log")
# A place at which no one answers, whether it is asked as an S3 server or as Kaggle's own test server.
NOBODY = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1", "KAGGLE_API_ENVIRONMENT": "TEST"}


def test_without_the_servers_password_every_request_is_refused_and_a_command_says_which_setting_it_needs(
    environment: dict[str, str], scored: tuple[Path, Any], tmp_path: Path
) -> None:
    for path in ("/deployments/count", "/flow_runs/count", "/admin/settings"):
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"{environment['PREFECT_API_URL']}{path}")
    outsider = {**environment, "PREFECT_API_AUTH_STRING": f"{USER}:guessed"}
    images, model = scored[0].parents[2] / "elsewhere/images", scored[0].parents[1] / "models/colours/1"
    for command in (("score", images, "--model", model, "--out", tmp_path / "out"), ("deploy",)):
        done = darkroom(*command, folder=tmp_path, **outsider)
        assert done.returncode == 1, done.stderr
        assert "Set PREFECT_API_AUTH_STRING to the user:password" in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert "guessed" not in done.stderr
    assert not (tmp_path / "out").exists()
    found = json.loads(darkroom("doctor", "--json", folder=tmp_path, **outsider).stdout)["findings"]
    (finding,) = [each for each in found if each["subject"] == "prefect"]
    assert finding["status"] == "missing"
    assert "PREFECT_API_AUTH_STRING" in finding["remedy"]


def test_no_secret_shows_in_the_record_the_logs_the_artifacts_the_workspace_or_the_tables(
    environment: dict[str, str], client: Any, home: Path, scored: tuple[Path, Any], tmp_path: Path
) -> None:
    """After runs that went well and runs that failed where a secret is at hand."""
    place, model = scored[0].parents[2], scored[0].parents[1] / "models/colours/1"
    deployment = client.read_deployment_by_name("score/score-folder")
    signed = "s3://key:Spoken-31e9@bucket/images"  # whoever asks by Prefect's form has stored it himself
    asked = [
        client.create_flow_run_from_deployment(deployment.id, parameters={"folder": folder, "model": name}).id
        for folder, name in (("images", "gone"), (signed, "colours"))
    ]
    commands = {
        "unreachable store": ("score", "s3://bucket/images", "--model", model, "--out", tmp_path / "out"),
        "unreachable Kaggle": ("ingest", "kaggle:somebody/something", "--workspace", tmp_path / "workspace"),
        "password in a URL": ("ingest", "https://user:Planted-url-6c1b@127.0.0.1/x.zip", "--name", "x"),
        "key in a URL": ("score", "s3://id:Planted-url-key-9f2a@bucket/x", "--model", model),
        "signature in a URL": ("score", "az://box/x?sig=Planted-signature-70c3", "--model", model),
    }
    for name, command in commands.items():
        done = darkroom(*command, folder=tmp_path, **{**environment, **NOBODY})
        assert done.returncode in (1, 2), name
        assert done.stderr.startswith("darkroom: ") or "\ndarkroom: " in done.stderr, done.stderr
        assert MARK.decode() not in done.stdout + done.stderr, name
        (tmp_path / f"{name}.log").write_text(done.stdout + done.stderr)
    for run in asked:
        wait_for(lambda run=run: client.read_flow_run(run).state.is_final(), 180, NO_LOG)  # type: ignore[misc]
        state = client.read_flow_run(run).state
        assert state.is_failed()
        assert "Spoken" not in state.message
    assert "URL" in state.message

    assert files_with_a_secret(home, place, tmp_path) == []
    assert [path for path in place.rglob("*.log") if "Spoken" in path.read_text()] == []
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert PASSWORD not in listed
