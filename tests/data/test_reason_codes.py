"""Reason codes: each has a meaning, a mention in the documentation, and a place where it comes from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from darkroom.data.reason_codes import HARMLESS_REASONS, REASON_CODES, ReasonCode

ROOT = Path(__file__).parents[2]
SOURCES = [
    path.read_text(encoding="utf-8")
    for room in ("data", "models")
    for path in (ROOT / room).rglob("*.py")
    if path.name != "reason_codes.py"
]


def test_every_code_has_a_meaning_of_its_own() -> None:
    assert set(REASON_CODES) == set(get_args(ReasonCode))
    assert len(set(REASON_CODES.values())) == len(REASON_CODES)


@pytest.mark.parametrize("code", REASON_CODES)
def test_a_code_is_given_somewhere_and_documented(code: str) -> None:
    assert any(f'"{code}"' in source for source in SOURCES)
    assert f"`{code}`" in (ROOT / "docs" / "own-folder.md").read_text(encoding="utf-8")


def test_the_documentation_names_no_other_code() -> None:
    page = (ROOT / "docs" / "own-folder.md").read_text(encoding="utf-8")
    (listed,) = (block for block in page.split("\n\n") if "`not_an_image`" in block)
    assert set(re.findall(r"`([a-z_]+)`", listed)) == set(REASON_CODES)


def test_only_files_that_are_not_at_fault_are_harmless() -> None:
    assert {"stray_file", "unlabelled"} <= HARMLESS_REASONS < set(REASON_CODES)
    assert not HARMLESS_REASONS & {"truncated", "empty", "not_an_image", "unreadable", "too_large", "corrupt"}
