"""Kaggle sources: the real kagglehub client against a small server on this machine that speaks what it asks for."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import logging
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from kagglesdk import kaggle_env
from PIL import Image
from sklearn.datasets import load_digits

from darkroom.data.errors import SourceError, WorkError
from darkroom.data.sources.kaggle import fetch
from darkroom.data.sources.resolve import resolve
from darkroom.data.stores.workspace import Workspace

TOKEN = "KGAT_0123456789abcdef_never_to_be_shown"


MIB = 2**20  # kagglehub writes by the MiB: of a download that breaks off, whole ones are kept


def archive_of_digits() -> tuple[bytes, dict[str, bytes]]:
    """A zip like those of Kaggle, with real images in class folders, and what is in it: 4.3 MB."""
    digits = load_digits()
    files = {}
    for index in range(40):
        stream = io.BytesIO()
        Image.fromarray((digits.images[index] * 15).astype(np.uint8)).save(stream, format="PNG")
        files[f"training_set/{digits.target[index]}/{index}.png"] = stream.getvalue()
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)).save(stream, "PNG")
    files["training_set/noise.png"] = stream.getvalue()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue(), files


ARCHIVE, FILES = archive_of_digits()


@dataclass
class Kaggle:
    """What the server knows and does, and what it was asked.

    Attributes:
        archives: Archive bytes by `owner/dataset/N` or competition name.
        refuse: HTTP status by the same keys; the answer instead of the archive.
        cuts: How many bytes of the next downloads are sent before the connection is closed.
        md5: Whether the archive's checksum is announced, as Google's storage does.
        as_json_code: Refuse with HTTP 200 and the code in the JSON, as Kaggle also does.
        asked: `METHOD path` of each request, with the Range.
        tokens: The Authorization headers that came.
    """

    port: int
    archives: dict[str, bytes] = field(default_factory=dict)
    refuse: dict[str, int] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    md5: bool = True
    wrong_md5: bool = False
    as_json_code: bool = False
    licence: str | None = "CC0: Public Domain"
    asked: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)

    def downloads(self) -> list[str]:
        return [line for line in self.asked if line.startswith("GET")]


class Handler(BaseHTTPRequestHandler):
    kaggle: Kaggle
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self.kaggle.asked.append("HEAD /")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = self.path.rsplit("/", 1)[-1]
        self.kaggle.asked.append(f"POST {call}")
        self.kaggle.tokens.append(self.headers.get("Authorization"))
        if call == "DownloadDataFiles":
            key, needs_token = request["competitionName"], True
        else:
            key, needs_token = f"{request['ownerSlug']}/{request['datasetSlug']}", False
            versions = [int(name.rsplit("/", 1)[1]) for name in self.kaggle.archives if name.startswith(f"{key}/")]
            if call == "DownloadDataset":
                key = f"{key}/{request['datasetVersionNumber']}"
        if status := self.kaggle.refuse.get(key):
            return self._json(status, {"code": status, "message": f"Refused with {self.headers.get('Authorization')}"})
        if needs_token and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json(401, {"code": 401, "message": "Unauthenticated"})
        if call == "GetDataset":
            if not versions:
                return self._json(404, {"code": 404, "message": "Not found"})
            return self._json(200, {"currentVersionNumber": max(versions), "licenseName": self.kaggle.licence})
        if key not in self.kaggle.archives:
            return self._json(404, {"code": 404, "message": "Not found"})
        self.send_response(302)
        self.send_header("Location", f"/storage/{key}/archive.zip?X-Goog-Signature=signed-and-secret")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.kaggle.asked.append(f"GET {wanted}" if wanted else "GET")
        content = self.kaggle.archives[self.path.removeprefix("/storage/").rsplit("/archive.zip", 1)[0]]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Accept-Ranges", "bytes")
        if self.kaggle.md5:
            said = b"something else" if self.kaggle.wrong_md5 else content
            self.send_header(
                "x-goog-hash", "crc32c=AAAAAA==,md5=" + base64.b64encode(hashlib.md5(said).digest()).decode()
            )
        self.end_headers()
        # A client that resumes asks without a Range first and never reads that answer: the cut is for the one it reads.
        is_read = bool(wanted) or not any(line.startswith("GET") for line in self.kaggle.asked[:-1])
        end = len(content)
        if self.kaggle.cuts and is_read:
            end = start + self.kaggle.cuts.pop(0)
        with contextlib.suppress(OSError):
            self.wfile.write(content[start:end])
        if end < len(content):
            self.close_connection = True

    def _json(self, status: int, value: dict[str, object]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200 if self.kaggle.as_json_code else status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without credentials, a cache of its own, no proxy; returns the home."""
    home = tmp_path / "home"
    (home / ".kaggle").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / ".kaggle"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("darkroom.data.sources.kaggle._PAUSE_SECONDS", 0.01)
    return home


@pytest.fixture
def server(no_account: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
    """The server, with one public data set of two versions; the client's address book points to it."""
    handler = type("Handler", (Handler,), {})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    kaggle = Kaggle(listening.server_port, {"owner/digits/1": b"an old version", "owner/digits/2": ARCHIVE})
    handler.kaggle = kaggle  # type: ignore[attr-defined]
    monkeypatch.setitem(
        kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, f"http://127.0.0.1:{listening.server_port}"
    )
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield kaggle
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def unreachable(no_account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens where the client looks."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, f"http://127.0.0.1:{port}")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(handle: str) -> str:
    with pytest.raises(SourceError) as caught:
        fetch(handle)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "signed-and-secret" not in sentence
    return sentence


def test_a_public_data_set_needs_no_account(server: Kaggle, tmp_path: Path) -> None:
    fetched = fetch("owner/digits")
    assert tree(fetched.folder) == FILES
    assert fetched.folder.is_relative_to(tmp_path / "cache")
    assert (fetched.name, fetched.licence) == ("digits", "CC0: Public Domain")
    assert set(server.tokens) == {None}


def test_through_resolve(server: Kaggle, tmp_path: Path) -> None:
    source = resolve("kaggle:owner/digits", Workspace(tmp_path / "workspace"))
    assert tree(source.folder) == FILES
    assert (source.kind, source.name, source.licence) == ("kaggle", "digits", "CC0: Public Domain")


def test_the_second_time_nothing_is_downloaded(server: Kaggle) -> None:
    first = fetch("owner/digits")
    assert fetch("owner/digits") == first
    assert fetch("owner/digits/versions/2") == first
    assert len(server.downloads()) == 1


def test_a_version_is_the_one_that_was_asked_for(server: Kaggle) -> None:
    server.archives |= {"owner/digits/1": ARCHIVE, "owner/digits/3": b"newer"}
    assert tree(fetch("owner/digits/versions/1").folder) == FILES
    assert "HTTP 404" in refused("owner/digits/versions/7")


def test_a_data_set_without_a_licence(server: Kaggle) -> None:
    server.licence = None
    assert fetch("owner/digits").licence is None


@pytest.mark.parametrize("cuts", [[MIB + 500_000], [MIB + 1, 2 * MIB - 1, MIB]], ids=["once", "three times"])
def test_a_download_that_breaks_off_goes_on_where_it_stopped(server: Kaggle, cuts: list[int]) -> None:
    server.cuts = list(cuts)
    assert tree(fetch("owner/digits").folder) == FILES
    ranges = [line for line in server.downloads() if "bytes=" in line]
    assert ranges == [f"GET bytes={sum(cut // MIB for cut in cuts[: i + 1]) * MIB}-" for i in range(len(cuts))]


def test_a_download_that_keeps_breaking_off_is_resumed_by_the_next_run(server: Kaggle) -> None:
    server.cuts = [MIB, MIB, 500, 1000]
    sentence = refused("owner/digits")
    assert "interrupted 4 times" in sentence
    assert "Run again" in sentence
    assert tree(fetch("owner/digits").folder) == FILES
    assert server.downloads()[-1] == f"GET bytes={2 * MIB}-"


@pytest.mark.parametrize("md5", [True, False], ids=["wrong checksum", "no checksum"])
def test_a_damaged_download_is_thrown_away_and_fetched_anew(server: Kaggle, md5: bool, tmp_path: Path) -> None:
    server.md5 = server.wrong_md5 = md5
    damaged = bytearray(ARCHIVE)
    damaged[len(damaged) // 3] ^= 0xFF
    server.archives["owner/digits/2"] = bytes(damaged)
    assert "is damaged" in refused("owner/digits")
    assert not tree(tmp_path / "cache")
    server.archives["owner/digits/2"] = ARCHIVE
    server.wrong_md5 = False
    assert tree(fetch("owner/digits").folder) == FILES


@pytest.mark.parametrize("content", [ARCHIVE[:3000], b"<html>sorry</html>"], ids=["cut archive", "a web page"])
def test_what_is_no_archive_is_refused(content: bytes, server: Kaggle, tmp_path: Path) -> None:
    server.archives["owner/digits/2"] = content
    assert "is damaged" in refused("owner/digits")
    assert not tree(tmp_path / "cache")


def test_no_such_data_set(server: Kaggle) -> None:
    sentence = refused("owner/nothing")
    assert "kaggle:owner/nothing (HTTP 404)" in sentence
    assert "https://www.kaggle.com/datasets/owner/nothing" in sentence


@pytest.mark.parametrize("as_json_code", [False, True])
@pytest.mark.parametrize("status", [401, 403])
def test_a_private_data_set_asks_for_an_account(server: Kaggle, status: int, as_json_code: bool) -> None:
    server.refuse["owner/digits"] = status
    server.as_json_code = as_json_code
    sentence = refused("owner/digits")
    assert f"HTTP {status}" in sentence
    for remedy in ("KAGGLE_API_TOKEN", "kaggle.json", "kagglehub.login()"):
        assert remedy in sentence


@pytest.mark.parametrize(("status", "words"), [(429, "HTTP 429"), (500, "HTTP 500"), (503, "try again later")])
def test_other_refusals_say_when_to_come_back(server: Kaggle, status: int, words: str) -> None:
    server.refuse["owner/digits/2"] = status
    assert words in refused("owner/digits")


def test_a_competition_needs_an_account(server: Kaggle) -> None:
    server.archives["cats"] = ARCHIVE
    sentence = refused("competitions/cats")
    assert "https://www.kaggle.com/competitions/cats/rules" in sentence
    assert "KAGGLE_API_TOKEN" in sentence
    assert server.asked == []


def test_a_competition_with_an_account(server: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    server.archives["cats"] = ARCHIVE
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    fetched = fetch("competitions/cats")
    assert tree(fetched.folder) == FILES
    assert (fetched.name, fetched.licence) == ("cats", None)


@pytest.mark.parametrize("status", [401, 403])
def test_a_competition_whose_rules_are_not_accepted(
    server: Kaggle, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.refuse["cats"] = status
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    sentence = refused("competitions/cats")
    assert "accept the competition's rules at https://www.kaggle.com/competitions/cats/rules" in sentence


def test_without_a_network_the_sentence_comes_at_once(unreachable: None) -> None:
    began = time.monotonic()
    assert "Kaggle cannot be reached" in refused("owner/digits")
    assert time.monotonic() - began < 5


def test_without_a_network_what_is_cached_is_used_or_named(
    server: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    server.archives["cats"] = ARCHIVE
    data_set, competition = fetch("owner/digits").folder, fetch("competitions/cats").folder
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, "http://127.0.0.1:1")
    assert fetch("owner/digits/versions/2").folder == data_set
    assert fetch("competitions/cats").folder == competition
    assert refused("owner/digits").endswith("In the cache already: kaggle:owner/digits/versions/2.")


def test_a_page_of_another_server_is_not_taken_for_kaggle(server: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    def page(self: Handler) -> None:
        body = b"<html>Log in to the hotel's network</html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    monkeypatch.setattr(Handler, "do_POST", page)
    assert "did not come from Kaggle" in refused("owner/digits")


@pytest.mark.parametrize("content", ["not json", "{}", '{"username": "me"}'])
def test_a_broken_credentials_file_is_named(no_account: Path, content: str) -> None:
    (no_account / ".kaggle" / "kaggle.json").write_text(content)
    assert str(no_account / ".kaggle" / "kaggle.json") in refused("owner/digits")


@pytest.mark.parametrize("token", ["KGAT_line\nbreak", "KGAT_–dash"])
def test_a_token_that_cannot_be_sent(server: Kaggle, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    sentence = refused("owner/digits")
    assert "token or key" in sentence
    assert "KGAT_" not in sentence


@pytest.mark.parametrize(
    "handle", ["", "digits", "a/b/c", "a/b/versions/0", "a/b/versions/x", "../etc", "a/..", "competitions/a/b", "a/b "]
)
def test_what_is_no_handle_is_refused_without_asking(server: Kaggle, handle: str) -> None:
    assert "is not a Kaggle source" in refused(handle)
    assert server.asked == []


def test_a_cache_that_cannot_be_written_is_named(
    server: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(WorkError, match="KAGGLEHUB_CACHE"):
        fetch("owner/digits")


@pytest.mark.parametrize("way", ["KAGGLE_API_TOKEN", "token file", "kaggle.json"])
def test_credentials_are_sent_and_never_shown(
    way: str,
    server: Kaggle,
    no_account: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if way == "KAGGLE_API_TOKEN":
        monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    elif way == "token file":
        (no_account / ".kaggle" / "access_token").write_text(TOKEN + "\n")
    else:
        (no_account / ".kaggle" / "kaggle.json").write_text(json.dumps({"username": "me", "key": TOKEN}))
    server.cuts = [MIB + 1000]
    server.refuse["private/set"] = 403
    server.refuse["cats"] = 403
    with caplog.at_level(logging.DEBUG):
        fetch("owner/digits")
        sentences = [refused(handle) for handle in ("private/set", "no/such", "competitions/cats")]
    basic = base64.b64encode(f"me:{TOKEN}".encode()).decode()
    assert server.tokens[0] == (f"Basic {basic}" if way == "kaggle.json" else f"Bearer {TOKEN}")
    printed = capfd.readouterr()
    for text in (*sentences, caplog.text, printed.out, printed.err):
        assert TOKEN not in text
        assert basic not in text


def test_nothing_is_written_to_standard_output(server: Kaggle, capfd: pytest.CaptureFixture[str]) -> None:
    fetch("owner/digits")
    sys.stdout.flush()
    assert capfd.readouterr().out == ""


def test_importing_the_sources_does_not_import_kagglehub() -> None:
    script = "import sys, darkroom.data.sources.resolve; print('kagglehub' in sys.modules, 'requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
