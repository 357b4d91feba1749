"""The label map: sorted, the same whatever the order of the files, and plain when something is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.data.errors import LabelError
from darkroom.data.labels.label_map import LabelMap

names = st.lists(st.text(min_size=1), min_size=2, unique=True)


@settings(deadline=None)
@given(names)
def test_the_map_does_not_depend_on_order_or_repeats(labels: list[str]) -> None:
    found = LabelMap.of(labels + labels[::-1])
    assert found == LabelMap.of(iter(labels[::-1]))
    assert found.names == tuple(sorted(labels))
    assert len(found) == len(labels)


@settings(deadline=None)
@given(names)
def test_an_index_leads_to_its_name_and_back(labels: list[str]) -> None:
    found = LabelMap.of(labels)
    assert [found.index(name) for name in found.names] == list(range(len(labels)))
    assert all(found.names[found.index(name)] == name for name in labels)


def test_an_unknown_label_is_named_with_the_known_ones() -> None:
    with pytest.raises(LabelError, match=r"^Label 'catt' is not one of cat, dog\.$"):
        LabelMap(("cat", "dog")).index("catt")


@pytest.mark.parametrize(
    ("labels", "words"), [((), "found none"), (("cat",), "found only 'cat'"), (("a", "b", "a"), "each class once")]
)
def test_a_map_of_fewer_than_two_or_repeated_names_is_refused(labels: tuple[str, ...], words: str) -> None:
    with pytest.raises(LabelError, match=words):
        LabelMap(labels)
