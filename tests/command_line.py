"""The command `darkroom` in a process of its own, and in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.flows import cli

ROOT = Path(__file__).parents[1]


def darkroom(*arguments: str | Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own, started in `folder`."""
    command = [str(Path(sys.executable).parent / "darkroom"), *map(str, arguments)]
    if not Path(command[0]).is_file():
        command[:1] = [sys.executable, "-c", "from darkroom.flows.cli import main; main()"]
        variables["PYTHONPATH"] = str(ROOT / "src")
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and standard error of `main`, here."""
    monkeypatch.setattr(sys, "argv", ["darkroom", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    written = capsys.readouterr()
    assert written.out == ""
    return int(ended.value.code or 0), written.err.removeprefix("darkroom: ").strip()


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["darkroom", *arguments])
    cli.main()
