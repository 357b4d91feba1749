"""Progress is seen in a terminal, and nowhere else: not in a pipe, and not beside JSON."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

from darkroom.data.progress import counted
from darkroom.tasks.progress import one_step, watched_by, watcher
from tests.bundles import tiny_bundle
from tests.command_line import ROOT, darkroom
from tests.datasets import photograph

STEPS = """
import logging, sys
from darkroom.data.progress import counted
from darkroom.flows.terminal import progress_shown, show_log_lines
show_log_lines(logging.INFO)
with progress_shown(as_json="--json" in sys.argv) as progress:
    progress("export", 0, 3)
    for number in counted(range(3), progress, "export", 0, 3):
        logging.getLogger("darkroom").warning("part %d", number)
    progress("nothing", 0, 0)
    progress("quantize", 0, 2)
    progress("quantize", 1, 2)
print("done")
"""
ANSI = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")


def in_terminal(command: list[str], folder: Path, **variables: str) -> str:
    """What a command writes that sees a terminal on all of its streams."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm", "COLUMNS": "100", **variables}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    while True:
        try:
            found = os.read(ours, 65536)
        except OSError:  # the last one has closed it
            break
        if not found:
            break
        written += found
    os.close(ours)
    assert process.wait(60) == 0, written
    return ANSI.sub("", written.decode())


def test_a_terminal_shows_each_step_and_how_far_it_is(tmp_path: Path) -> None:
    shown = in_terminal([sys.executable, "-c", STEPS], tmp_path)
    assert re.search(r"export +━+.* 3/3", shown)
    assert re.search(r"quantize .* 1/2", shown)
    assert "nothing" not in shown
    assert [number for number in "012" if f"part {number}" in shown] == ["0", "1", "2"]
    assert shown.rstrip().endswith("done")


def test_a_pipe_and_json_see_no_progress(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", STEPS], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert len(done.stderr.splitlines()) == 3
    assert not {"━", "\x1b"} & set(done.stderr)
    beside = in_terminal([sys.executable, "-c", STEPS, "--json"], tmp_path)
    assert "━" not in beside
    assert "export" not in beside


def test_a_command_shows_its_parts_in_a_terminal_alone(prefect_server: str, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(photograph("blue", 1)).save(images / "a.png")
    bundle = tiny_bundle(tmp_path / "bundle", ["amber", "blue"], (32, 32))
    command = ("score", "images", "--model", str(bundle), "--out")
    start = [sys.executable, "-c", "from darkroom.flows.cli import main; main()"]
    shown = in_terminal([*start, *command, "first"], tmp_path, PREFECT_API_URL=prefect_server)
    assert re.search(r"start .* 1/1", shown)
    assert re.search(r"score .* 1/1", shown)
    assert "1 file: 1 ok" in shown
    piped = darkroom(*command, "second", folder=tmp_path, PREFECT_API_URL=prefect_server)
    assert piped.returncode == 0
    assert not {"━", "\x1b"} & set(piped.stdout + piped.stderr)


def test_steps_are_told_to_who_watches_and_only_while_it_does() -> None:
    told: list[tuple[str, int, int]] = []

    def progress(step: str, done: int, total: int) -> None:
        told.append((step, done, total))

    with watched_by(progress):
        assert list(counted("abc", watcher(), "letters", 1, 4)) == ["a", "b", "c"]
        with one_step("page"):
            watcher()("part", 1, 2)
    watcher()("unseen", 0, 1)
    assert told == [
        ("letters", 2, 4),
        ("letters", 3, 4),
        ("letters", 4, 4),
        ("page", 0, 1),
        ("part", 1, 2),
        ("page", 1, 1),
    ]
