"""What a run shows in the UI, where names come from outside."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from darkroom.models.pages.markdown import table, text
from darkroom.tasks.artifacts import key_of


@given(st.lists(st.text(), min_size=1))
def test_a_key_is_what_prefect_takes(parts: list[str]) -> None:
    assert re.fullmatch(r"[a-z0-9]*(-[a-z0-9]+)*", key_of("metrics", *parts))
    assert key_of("metrics", *parts).startswith("metrics")


@given(st.text())
def test_a_hostile_name_stays_one_cell_without_html(name: str) -> None:
    (*_, row) = table(["class", "images"], [[name, "1"]])
    assert len(re.findall(r"(?<!\\)\|", row.replace("\\\\", ""))) == 3
    assert "<" not in text(name)
    assert "\n" not in row
