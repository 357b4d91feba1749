"""Hashes of files and of settings."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.data.files.hashing import content_version, file_sha256

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(json_values), st.lists(json_values))
def test_a_version_tells_different_parts_apart_and_nothing_else(one: list[object], two: list[object]) -> None:
    assert re.fullmatch("[0-9a-f]{12}", content_version(*one))
    assert content_version(*one) == content_version(*json.loads(json.dumps(one)))
    assert content_version(*one, *two) != content_version(*one, two)
    assert content_version({"a": one, "b": two}) == content_version({"b": two, "a": one})


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(range(256)) * 9999)
    assert file_sha256(tmp_path / "x") == hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest()
