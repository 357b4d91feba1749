"""`darkroom serve` as a process: it says where it listens, outlives a decoder that dies, and ends when told to."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from darkroom.data.errors import InputError, SettingError
from darkroom.flows.serve import Listening, read_keys
from tests.bundles import tiny_bundle
from tests.command_line import darkroom
from tests.corpus import encoded, picture
from tests.crashing import CRASH, write_crashing_decoder
from tests.processes import wait_for

KEY = "a-key-that-is-long-enough"


@contextmanager
def serving(folder: Path, *words: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address."""
    command = [sys.executable, "-m", "darkroom.flows.cli", "serve", *words, "--port", "0"]
    environment = {**os.environ, **variables}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            found = re.search(r"at (http://\S+) ", said)
            assert found, said
            yield process, found[1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    tiny_bundle(folder / "tiny", ["amber", "blue"], (8, 8))
    return folder


def test_it_outlives_a_decoder_that_dies_and_ends_when_told_to(home: Path, tmp_path: Path) -> None:
    site = write_crashing_decoder(tmp_path / "site")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with (
        serving(home, "tiny", PYTHONPATH=site, TMPDIR=str(temporary), DARKROOM_API_KEYS=KEY) as (process, address),
        httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client,
    ):

        def ask(at: str, data: bytes) -> dict[str, Any]:
            answer = client.post(f"{at}/v1/predict", files={"images": ("a.bmp", data)})
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()["predictions"][0]
            return found

        good = encoded(picture("a"), "BMP")
        assert ask(address, good)["status"] == "ok"
        assert httpx.post(f"{address}/v1/predict", files={"images": ("a.bmp", good)}).status_code == 401
        with pytest.raises(httpx.TransportError):
            ask(address, good + CRASH)
        assert process.stderr is not None
        assert "a decoder crashed (SIGABRT)" in process.stderr.readline()
        again = re.search(r"at (http://\S+) ", process.stderr.readline())
        assert again
        assert ask(again[1], good + CRASH)["reason"] == "decoder_crashed"
        assert ask(again[1], good)["status"] == "ok"
        (marks,) = temporary.glob("darkroom-serve-*")
        assert stat.S_IMODE(marks.stat().st_mode) == 0o700
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
        assert not list(temporary.glob("darkroom-serve-*"))


def test_what_it_has_taken_on_is_answered_before_it_ends(home: Path) -> None:
    with serving(home, "tiny") as (process, address), httpx.Client(timeout=60) as client:

        def slowly() -> Iterator[bytes]:
            yield b'{"images": [{"data": "'
            wait_for(
                lambda: httpx.get(f"{address}/metrics", timeout=60).text.count("darkroom_requests_held 1.0") > 0,
                60,
                home,
            )
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: is_closed(address), 60, home)
            yield b'"}]}'

        answer = client.post(f"{address}/v1/predict", content=slowly(), headers={"content-type": "application/json"})
        assert answer.json()["predictions"][0]["reason"] == "empty"
        assert process.wait(60) == 0


def is_closed(address: str) -> bool:
    try:
        httpx.get(f"{address}/health", timeout=60)
    except httpx.ConnectError:
        return True
    return False


def test_what_is_wrong_is_said_before_the_model_is_loaded(home: Path, tmp_path: Path) -> None:
    done = darkroom("serve", "none", folder=home)
    assert (done.returncode, "none" in done.stderr, done.stderr.count("\n")) == (2, True, 1)
    done = darkroom("serve", "none", "--host", "0.0.0.0", folder=home)
    assert done.returncode == 2
    assert "--api-keys FILE, or --open" in done.stderr
    with serving(home, "tiny") as (_, address):
        done = darkroom("serve", "none", "--port", address.rpartition(":")[2], folder=home)
        assert (done.returncode, "Address already in use" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("host", "keys", "is_open", "may"),
    [
        ("127.0.0.1", (), False, True),
        ("::1", (), False, True),
        ("localhost", (), False, True),
        ("0.0.0.0", (), False, False),
        ("::", (), False, False),
        ("192.168.0.3", (), False, False),
        ("0.0.0.0", (KEY,), False, True),
        ("0.0.0.0", (), True, True),
    ],
)
def test_other_machines_are_listened_to_only_when_asked_for(
    host: str, keys: tuple[str, ...], is_open: bool, may: bool
) -> None:
    listening = Listening(host, 8000, keys, is_open)
    if may:
        listening.check()
    else:
        with pytest.raises(SettingError, match="--open"):
            listening.check()


def test_keys_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_API_KEYS", f"{KEY}, another-key-of-the-service")
    assert read_keys(None) == (KEY, "another-key-of-the-service")
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\n\n")
    assert read_keys(str(file)) == (KEY,)
    for text, sentence in (("\n# none\n", "holds no API key"), ("short\n", "fewer than 16 characters")):
        file.write_text(text)
        with pytest.raises(SettingError, match=sentence) as caught:
            read_keys(str(file))
        assert "short" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_keys(str(tmp_path / "gone"))
