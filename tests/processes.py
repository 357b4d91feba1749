"""Processes as an operator starts them: Prefect's commands with a home of their own, and what they leave behind."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[1]


def documented(first_words: str, page_name: str = "prefect.md") -> list[str]:
    """The command of a page that begins with these words; the first, where there are several."""
    page = (ROOT / "docs" / page_name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return shlex.split(next(line for block in blocks for line in block.splitlines() if line.startswith(first_words)))


def run_command(command: list[str], environment: dict[str, str]) -> str:
    """Run a command from the checkout's root, as an operator deploys; gives what it printed."""
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start(command: list[str], environment: dict[str, str], log: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start a command in the background, in a session of its own; what it says goes to a file."""
    with log.open("wb") as stream:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def processes_of(home: Path) -> list[int]:
    """The processes of a Prefect home."""
    return processes_with(f"PREFECT_HOME={home}")


def processes_with(variable: str) -> list[int]:
    """The processes that have `NAME=value` in their environment."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{variable}\0".encode() in file.read_bytes():
                found.append(int(file.parent.name))
        except OSError:  # another user's, or gone
            continue
    return found


def is_healthy(api: str) -> bool:
    """Whether a Prefect API answers."""
    try:
        with urlopen(f"{api}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def wait_for(happened: Callable[[], bool], seconds: float, log: Path) -> None:
    """Wait for something to happen; where it does not in time, the test fails and shows the log."""
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            pytest.fail(f"Nothing after {seconds} s.\n{log.read_text() if log.is_file() else ''}")
        time.sleep(0.3)
