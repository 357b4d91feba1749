"""Iterative stratification: every label has its share in every split, and what is fixed stays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from darkroom.data.splits.iterative_stratification import stratify_labels

SHARES = (0.7, 0.15, 0.15)


def dealt(rows: Sequence[tuple[int, ...]], fixed: Any = None, shares: Any = SHARES) -> NDArray[np.int64]:
    return np.array(stratify_labels(rows, shares, fixed or [None] * len(rows)))


def rows_of(seed: int, num_images: int, chances: Any) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(np.flatnonzero(rng.random(len(chances)) < chances).tolist()) for _ in range(num_images)]


def shares_of(rows: Sequence[tuple[int, ...]], splits: NDArray[np.int64], label: int) -> Any:
    has = np.array([label in row for row in rows])
    return np.bincount(splits[has], minlength=3) / has.sum()


def test_rare_labels_are_shared_as_well_as_common_ones() -> None:
    rows = rows_of(0, 2000, [0.6, 0.3, 0.1, 0.02])
    splits = dealt(rows)
    np.testing.assert_allclose(np.bincount(splits) / 2000, SHARES, atol=0.005)
    for label, tolerance in ((0, 0.005), (1, 0.005), (2, 0.01), (3, 0.03)):
        np.testing.assert_allclose(shares_of(rows, splits, label), SHARES, atol=tolerance)


def test_it_does_better_than_chance_as_the_authors_found() -> None:
    rows = rows_of(1, 600, [0.5, 0.1, 0.05, 0.03])
    by_chance = np.random.default_rng(0).choice(3, 600, p=SHARES)

    def distance(splits: NDArray[np.int64]) -> float:
        return float(np.mean([np.abs(shares_of(rows, splits, label) - SHARES).mean() for label in range(4)]))

    assert distance(dealt(rows)) < distance(by_chance) / 3


def test_images_without_labels_are_shared_too() -> None:
    rows = [()] * 100
    assert np.bincount(dealt(rows)).tolist() == [70, 15, 15]


def test_what_is_fixed_stays_and_the_rest_mends_the_proportions() -> None:
    rows = [(0,)] * 100
    splits = dealt(rows, fixed=[0] * 50 + [None] * 50)
    assert (splits[:50] == 0).all()
    assert np.bincount(splits).tolist() == [70, 15, 15]


def test_the_published_example_is_dealt_rarest_label_first() -> None:
    # Two of label 1 for two splits: one each, whatever the many of label 0 do.
    rows = [(0, 1), (0,), (0,), (0, 1), (0,), (0,)]
    splits = dealt(rows, shares=(0.5, 0.5))
    assert sorted(splits[[0, 3]].tolist()) == [0, 1]
    assert np.bincount(splits).tolist() == [3, 3]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 5), max_size=4), max_size=60),
    st.data(),
)
def test_every_image_is_dealt_once_and_the_same_way_again(labels: list[set[int]], data: Any) -> None:
    rows = [tuple(sorted(each)) for each in labels]
    fixed = data.draw(st.lists(st.sampled_from([None, 0, 1, 2]), min_size=len(rows), max_size=len(rows)))
    found = stratify_labels(rows, SHARES, fixed)
    assert len(found) == len(rows)
    assert all(split in (0, 1, 2) for split in found)
    assert all(split == wanted for split, wanted in zip(found, fixed, strict=True) if wanted is not None)
    assert stratify_labels(rows, SHARES, fixed) == found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(40, 300), st.integers(1, 6))
def test_no_label_is_further_from_its_share_than_a_few_images(seed: int, num_images: int, num_labels: int) -> None:
    rows = rows_of(seed, num_images, np.linspace(0.1, 0.6, num_labels))
    splits = dealt(rows)
    for label in range(num_labels):
        has = np.array([label in row for row in rows])
        lacking = np.abs(np.bincount(splits[has], minlength=3) - np.array(SHARES) * has.sum())
        assert (lacking <= 2 + num_labels).all()
