"""A short run of the fuzzer, always the same, and the files that longer runs found."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.data.errors import ImageError
from darkroom.data.images.decoder_process import decode_alone
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from tests.fuzz import FINDS, run

SEED, NUM_CASES = 20_261_128, 300


def test_changed_images_are_decoded_or_refused_and_nothing_else() -> None:
    told = list(run(SEED, NUM_CASES))
    assert told == [{"ok": NUM_CASES}]


@pytest.mark.parametrize("find", sorted(FINDS.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_found_is_decoded_or_refused(find: Path, capfd: pytest.CaptureFixture[str]) -> None:
    policy = DecodePolicy.model_validate_json(find.read_text(encoding="utf-8"))
    reason = None
    try:
        decode_alone(find.with_suffix("").read_bytes(), policy)
    except ImageError as error:
        reason = error.reason
    assert reason != "decoder_crashed"
    assert capfd.readouterr().err == ""
