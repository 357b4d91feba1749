"""Dockerfile and compose.yaml, without Docker: hadolint's rules, and every command in a folder of its own."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from darkroom.flows.commands import app

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
VENV = "/opt/darkroom/bin/python"


def instructions() -> list[tuple[str, str]]:
    """Name and arguments of each instruction, continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def given(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def copied() -> list[tuple[str, str]]:
    """What is copied from the checkout, and to where."""
    pairs = []
    for rest in given("COPY"):
        if not rest.startswith("--from="):
            *sources, target = rest.split()
            pairs += [(source, target) for source in sources]
    return pairs


def is_pinned(image: str) -> bool:
    return bool(re.fullmatch(r"[\w./-]+:\d+(\.\d+)+[\w.-]*", image))


def test_the_dockerfile_keeps_hadolints_rules() -> None:
    assert all(is_pinned(rest.partition(" AS ")[0]) for rest in given("FROM"))  # DL3006, DL3007
    assert given("USER")[-1].partition(":")[0] not in ("root", "0")  # DL3002
    for name in ("ENTRYPOINT", "CMD"):  # DL3025
        assert all(isinstance(json.loads(rest), list) for rest in given(name))
    assert all(rest.startswith("/") for rest in given("WORKDIR"))  # DL3000
    assert {name for name, _ in instructions()} <= {
        *("FROM", "ENV", "WORKDIR", "RUN", "COPY", "USER", "ENTRYPOINT", "CMD")
    }  # no ADD (DL3020), no MAINTAINER (DL4000)
    for line in given("RUN"):
        assert not re.search(r"\b(apt|apt-get|sudo|cd|wget|curl)\b", line)  # DL3003, DL3004, DL3008, DL3009, DL3015
        assert "|" not in line  # DL4006
        if "pip install" in line:  # DL3013, DL3042
            assert "--no-cache-dir" in line
            assert "--requirement requirements.lock" in line or "--no-deps ." in line
    hadolint = shutil.which("hadolint")
    if hadolint:
        subprocess.run([hadolint, str(ROOT / "Dockerfile")], check=True)


def test_every_locked_requirement_has_a_version() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert lines
    assert all(re.match(r"[\w.\[\]-]+==[\w.!+]+", line) for line in lines if line.strip() and line[0] != "#")


def test_what_is_copied_gets_past_dockerignore_and_is_enough_to_install(tmp_path: Path) -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"  # secrets, tests and workspaces stay out
    for source, target in copied():
        assert f"!{source}" in rules
        place = tmp_path / "build" / target
        if (ROOT / source).is_dir():
            left_out = [rule.removeprefix("**/") for rule in rules if rule.startswith("**/")]
            shutil.copytree(
                ROOT / source,
                place,
                symlinks=True,
                ignore=lambda _, names, left=left_out: {
                    name for name in names if any(fnmatch.fnmatch(name, rule) for rule in left)
                },
            )
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place)
    (install,) = [line for line in given("RUN") if line.endswith("--no-deps .")]
    command = [sys.executable if word == VENV else word for word in shlex.split(install)]
    offline = ["--no-index", "--no-build-isolation", "--quiet", "--target", str(tmp_path / "installed")]
    done = subprocess.run([*command, *offline], cwd=tmp_path / "build", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = subprocess.run(
        [sys.executable, "-m", "darkroom.flows.cli", "recipes"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
    )
    assert "digits" in found.stdout, found.stderr
    assert (tmp_path / "installed/darkroom/flows/deploying/prefect.yaml").is_file()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("useradd"), reason="only root makes users")
def test_the_user_and_the_folders_are_made_as_the_dockerfile_says(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group", "shadow", "gshadow"):
        (tmp_path / "etc" / name).touch()
    (line,) = [line for line in given("RUN") if line.startswith("groupadd ")]
    here = re.sub(r"\b(groupadd|useradd) ", rf"\1 --prefix {tmp_path} ", line)
    here = here.replace("--owner=darkroom --group=darkroom ", "--owner=10001 --group=10001 ")
    here = re.sub(r" /(workspace|images|home/darkroom/.prefect)\b", rf" {tmp_path}/\1", here)
    done = subprocess.run(["sh", "-ec", here], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    user = (tmp_path / "etc/passwd").read_text().split(":")
    assert (user[0], user[2], user[3]) == ("darkroom", "10001", "10001")
    assert given("USER") == ["10001:10001"]
    for name in ("workspace", "images", "home/darkroom/.prefect"):
        assert (tmp_path / name).stat().st_uid == 10001


def test_the_services_depend_on_each_other_and_hold_no_secret() -> None:
    for name, service in SERVICES.items():
        assert is_pinned(service["image"]), name
        assert name == "deploy" or "healthcheck" in service
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        named = {volume.partition(":")[0] for volume in service.get("volumes", [])}
        assert {volume for volume in named if volume.isidentifier()} <= set(COMPOSE["volumes"])
        values = json.dumps(service.get("environment", {})) + json.dumps(service.get("command", []))
        assert not re.search(r"://[^/@]*:[^/@]*@|AUTH_STRING|PASSWORD\"", values), name
        if name != "database":
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
    assert SERVICES["server"]["ports"] == ["127.0.0.1:4200:4200"]
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", ["server", "deploy"])
def test_each_command_of_a_service_parses(name: str) -> None:
    words = SERVICES[name]["command"]
    COMMANDS[words[0]].make_context(words[0], list(words[1:]))


def test_the_worker_is_started_with_options_that_prefect_knows() -> None:
    worker = SERVICES["worker"]
    command = [*worker["entrypoint"], *worker["command"]]
    shown = subprocess.run([*command[:3], "--help"], capture_output=True, text=True, check=True, env=tools()).stdout
    assert all(word in shown for word in command if word.startswith("--"))


def tools() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that answers everything with a status; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("name", ["server", "worker"])
def test_a_health_check_passes_with_a_good_answer_alone(name: str) -> None:
    kind, *command = SERVICES[name]["healthcheck"]["test"]
    assert kind == "CMD"
    assert command[0] == "python"

    def status(port: int) -> int:
        here = [sys.executable, *(re.sub(r":\d{4}/", f":{port}/", word) for word in command[1:])]
        return subprocess.run(here, capture_output=True).returncode

    with answering(200) as port:
        assert status(port) == 0
    with answering(503) as port:
        assert status(port) != 0
    assert status(9) != 0


def test_the_health_check_of_the_database_is_one_that_pg_isready_understands() -> None:
    _, *command = SERVICES["database"]["healthcheck"]["test"]
    if not shutil.which(command[0]):
        pytest.skip("no PostgreSQL is installed here")
    done = subprocess.run([*command, "--host=127.0.0.1", "--port=9"], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr  # no answer; 3 would be a wrong argument
