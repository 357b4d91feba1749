"""A decoder that dies: whose fault it was is known, and the next run goes on without that file."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from darkroom.data.errors import ImageError
from darkroom.data.images.crash_recovery import watched_decode
from darkroom.data.images.decode import decode_with_header
from darkroom.data.images.decoder_process import decode_alone
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from tests.corpus import encoded, picture
from tests.crashing import CRASH, write_crashing_decoder

POLICY = DecodePolicy(image_size=(20, 30))
GOOD = encoded(picture("good"), "BMP")
PART = """
import sys
from pathlib import Path
from darkroom.data.errors import ImageError
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.images.crash_recovery import watched_decode

folder = Path(sys.argv[1])
paths = sorted(path.name for path in folder.glob("*.bmp"))
with watched_decode(folder, 7, paths) as decode:
    for path in paths:
        try:
            decode(path, (folder / path).read_bytes(), DecodePolicy(image_size=(20, 30)))
            print(path, "ok")
        except ImageError as error:
            print(path, error.reason)
"""


@pytest.fixture
def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", write_crashing_decoder(tmp_path / "site"))


def do_part(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-c", PART, str(folder)], capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("crashing")
def test_each_run_finds_one_more_file_that_kills_its_decoder_until_the_part_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "part"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.bmp").write_bytes(GOOD + CRASH * (number in (1, 4)))
    marker = folder / "in-flight-00007"
    for flying in (b"\0\1\0\0\0\0", b"\0\1\0\0\1\0"):
        assert do_part(folder).returncode == -signal.SIGABRT
        assert marker.read_bytes() == flying
    done = do_part(folder)
    ends = [line.split()[1] for line in done.stdout.splitlines()]
    assert ends == ["ok", "decoder_crashed", "ok", "ok", "decoder_crashed", "ok"], done.stderr
    assert not marker.exists()


def test_a_file_that_was_in_flight_beside_another_gets_the_same_pixels(tmp_path: Path) -> None:
    """As after a power failure, of which it is innocent."""
    (tmp_path / "in-flight-00000").write_bytes(b"\1\0")
    with watched_decode(tmp_path, 0, ["a", "b"]) as decode:
        for path in "ab":
            found, expected = decode(path, GOOD, POLICY), decode_with_header(GOOD, POLICY)
            np.testing.assert_array_equal(found.pixels, expected.pixels)
            assert {**vars(found), "pixels": None} == {**vars(expected), "pixels": None}
    assert not list(tmp_path.iterdir())


def test_a_decoder_in_a_process_of_its_own_gives_the_reason_that_it_gives_here() -> None:
    for data, reason in ((b"", "empty"), (GOOD[:500], "truncated"), (b"\xff\xd8\xff" + bytes(300_000), "too_costly")):
        with pytest.raises(ImageError) as caught:
            decode_alone(data, POLICY)
        assert caught.value.reason == reason


@pytest.mark.parametrize("part", [0, 3])
def test_a_part_that_ends_or_fails_leaves_no_marker(tmp_path: Path, part: int) -> None:
    with watched_decode(tmp_path, part, []):
        assert list(tmp_path.iterdir())
    with pytest.raises(ImageError, match="truncated"), watched_decode(tmp_path, part, ["a"]) as decode:
        decode("a", GOOD[:500], POLICY)
    assert not list(tmp_path.iterdir())


def test_suspects_are_remembered_until_the_part_is_done(tmp_path: Path) -> None:
    marker = tmp_path / "in-flight-00000"
    marker.write_bytes(b"\0\1")
    with pytest.raises(ValueError, match="fails"), watched_decode(tmp_path, 0, ["a", "b", "c"]):
        raise ValueError("fails")
    assert marker.read_bytes() == b"\0\1\0"
