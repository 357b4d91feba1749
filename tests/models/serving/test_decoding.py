"""A file that takes its process down is decoded elsewhere when it comes again."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.data.errors import ImageError
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.models.serving.decoding import CarefulDecoder
from tests.corpus import encoded, picture
from tests.crashing import CRASH, write_crashing_decoder

ROOT = Path(__file__).parents[3]
POLICY = DecodePolicy(image_size=(8, 8))


def test_a_file_that_killed_its_process_is_a_suspect_of_the_next_and_no_other_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.pathsep.join([write_crashing_decoder(tmp_path / "site"), str(ROOT / "src")])
    file = b"BM" + bytes(100) + CRASH
    (tmp_path / "marks").mkdir()
    script = (
        "import sys; from pathlib import Path; from darkroom.models.serving.decoding import CarefulDecoder;"
        "from darkroom.data.images.pixels.decode_policy import DecodePolicy;"
        f"CarefulDecoder(Path({str(tmp_path / 'marks')!r}))(None, {file!r}, DecodePolicy(image_size=(8, 8)))"
    )
    died = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert died.returncode == -6, died.stderr
    again = CarefulDecoder(tmp_path / "marks")
    assert again.suspects == {hashlib.sha256(file).hexdigest()}
    monkeypatch.setenv("PYTHONPATH", path)
    with pytest.raises(ImageError) as caught:
        again(None, file, POLICY)
    assert caught.value.reason == "decoder_crashed"
    assert again(None, encoded(picture("a"), "PNG"), POLICY).pixels.shape == (8, 8, 3)
    assert CarefulDecoder(tmp_path / "marks").suspects == again.suspects
