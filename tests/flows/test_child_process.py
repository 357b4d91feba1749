"""A command in a child process: it ends as its child ends, passes signals on, and outlives a decoder that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import tiny_bundle
from tests.corpus import encoded, picture
from tests.crashing import CRASH, write_crashing_decoder
from tests.faults.stages import ROOT

BEGIN = """
import os, signal, sys, time
from darkroom.data.images import crash_marker
from darkroom.flows.child_process import work_in_a_child
work_in_a_child()
"""


def ended(work: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", BEGIN + work]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("status", [0, 2, 143])
def test_it_ends_with_the_exit_status_of_the_work(status: int) -> None:
    done = ended(f"print('worked'); sys.exit({status})")
    assert (done.returncode, done.stdout) == (status, "worked\n")


def test_a_death_that_no_decoder_caused_is_its_own() -> None:
    for number in (signal.SIGSEGV, signal.SIGKILL):
        done = ended(f"print('once', flush=True); os.kill(os.getpid(), {int(number)})")
        assert (done.returncode, done.stdout) == (-number, "once\n")


def test_work_that_died_in_a_decoder_is_started_again(tmp_path: Path) -> None:
    marker = tmp_path / "in-flight-00000"
    work = f"""
from pathlib import Path
with crash_marker.marked(Path({str(tmp_path)!r}), 0, 3) as items:
    for index in range(3):
        if index not in items.suspects:
            with items.flying(index):
                if index < 2:
                    os.abort()
    print(sorted(items.suspects))
sys.exit(5)
"""
    done = ended(work)
    assert (done.returncode, done.stdout) == (5, "[0, 1]\n")
    assert done.stderr.count("SIGABRT") == 2
    assert not marker.exists()


def test_work_that_is_started_again_reads_its_input_again(tmp_path: Path) -> None:
    work = f"""
from pathlib import Path
read = sys.stdin.buffer.read()
with crash_marker.marked(Path({str(tmp_path)!r}), 0, 1) as items:
    if not items.suspects:
        with items.flying(0):
            os.abort()
sys.stdout.buffer.write(read)
"""
    command = [sys.executable, "-P", "-c", BEGIN.replace("child()", "child(reads_input=True)") + work]
    text = b"a.jpg\n" * 100_000  # more than a pipe holds
    done = subprocess.run(command, input=text, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count(b"SIGABRT")) == (0, text, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_command_is_one_to_the_work(number: signal.Signals) -> None:
    work = f"""
def handler(*_):
    print('heard'); sys.exit(9)
signal.signal({int(number)}, handler)
print('ready', flush=True)
time.sleep(30)
"""
    command = [sys.executable, "-P", "-c", BEGIN + work]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == "heard\n"
        assert process.wait(20) == 9


def test_the_work_ends_with_a_command_that_is_killed() -> None:
    command = [sys.executable, "-P", "-c", BEGIN + "print(os.getpid(), flush=True); time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        process.kill()
        assert process.stdout.read() == ""  # its end of the pipe is closed: it is gone


def test_a_file_that_kills_its_decoder_is_one_row_of_the_table(prefect_server: str, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(12):
        (photos / f"{number:02d}.bmp").write_bytes(encoded(picture(str(number)), "BMP") + CRASH * (number == 5))
    bundle = tiny_bundle(tmp_path / "tiny" / "1", ["cats", "dogs"], (24, 24))
    words = [sys.executable, "-m", "darkroom.flows.cli", "score", str(photos), "--model", str(bundle)]
    words += ["--out", str(tmp_path / "out"), "--workspace", str(tmp_path / "workspace"), "--json"]
    environment = {**os.environ, "PREFECT_API_URL": prefect_server}
    environment["PYTHONPATH"] = write_crashing_decoder(tmp_path / "site")
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    counts = {row["name"]: row["num_rows"] for row in json.loads(done.stdout)["statuses"]}
    assert counts == {"ok": 11, "quarantined": 1}
    assert "decoder_crashed" in done.stdout
    assert done.stderr.count("SIGABRT") == 1
    assert not list(tmp_path.rglob("in-flight-*"))
