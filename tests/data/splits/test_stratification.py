"""Splits that are fair to each class, stable under added files, and the same whatever the order of the files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from darkroom.data.splits.splits import SplitPlan, SplitRules
from darkroom.data.splits.stratification import Bounds, Member, is_fair, stratify

PLAN = SplitPlan.of({None}, SplitRules())
plans = st.builds(
    lambda test, validation, seed, held: SplitPlan.of(
        {None, held}, SplitRules(validation=validation, test=test, seed=seed)
    ),
    st.floats(0.05, 0.44), st.floats(0.05, 0.44), st.integers(0, 9), st.sampled_from([None, "test"]),
)  # fmt: skip
hashes = st.integers(0).map(lambda number: hashlib.sha256(str(number).encode()).hexdigest())


def drawn(images: Iterable[str], plan: SplitPlan = PLAN, earlier: dict[str, str] | None = None) -> list[Member]:
    """The members of a class: as an earlier version assigned them, or as they are drawn."""
    before = earlier or {}
    return [Member(each, before.get(each) or plan.split(each, None), each not in before) for each in images]


def assigned(images: Iterable[str], plan: SplitPlan = PLAN, earlier: dict[str, str] | None = None) -> dict[str, str]:
    """The split of every image of a class."""
    members = drawn(images, plan, earlier)
    return {each.sha256: each.split for each in members} | stratify(members, plan)


def named(number: int, start: int = 0) -> list[str]:
    return [hashlib.sha256(f"image {start + index}".encode()).hexdigest() for index in range(number)]


@settings(deadline=None)
@given(st.lists(hashes, unique=True, min_size=1, max_size=150), plans)
def test_every_split_of_a_class_is_as_large_as_the_rule_says(images: list[str], plan: SplitPlan) -> None:
    counts = Counter(assigned(images, plan).values())
    assert sum(counts.values()) == len(images)
    assert counts["train"] >= 1
    for split, share in plan.drawn_shares:
        expected = len(images) * share
        assert abs(counts[split] - expected) <= max(1, expected / 2) + 1e-9
        if len(images) >= 3:
            assert counts[split] >= 1


@settings(deadline=None)
@given(st.lists(hashes, unique=True, max_size=120), st.integers(), plans)
def test_the_order_of_the_files_changes_nothing(images: list[str], seed: int, plan: SplitPlan) -> None:
    shuffled = images.copy()
    Random(seed).shuffle(shuffled)
    assert assigned(shuffled, plan) == assigned(images, plan)


@settings(deadline=None)
@given(st.lists(hashes, unique=True, max_size=150), st.data(), plans)
def test_an_image_assigned_once_keeps_its_split_whatever_is_added(
    images: list[str], data: st.DataObject, plan: SplitPlan
) -> None:
    ends = sorted(data.draw(st.lists(st.integers(0, len(images)), min_size=1, max_size=4)))
    earlier: dict[str, str] = {}
    for end in ends:
        now = assigned(images[:end], plan, earlier)
        assert {sha256: now[sha256] for sha256 in earlier} == earlier
        earlier = now
    assert assigned(images[: ends[-1]], plan, earlier) == earlier  # a rerun


@settings(deadline=None)
@given(st.lists(hashes, unique=True, max_size=150), plans)
def test_a_fair_draw_is_left_as_it_is(images: list[str], plan: SplitPlan) -> None:
    members = drawn(images, plan)
    assume(is_fair(members, plan))
    assert assigned(images, plan) == {each.sha256: each.split for each in members}


@settings(deadline=None)
@given(st.lists(hashes, unique=True, max_size=60), st.sets(st.integers(0, 59)), plans)
def test_what_is_not_free_stays_where_it_is(images: list[str], fixed: set[int], plan: SplitPlan) -> None:
    members = [Member(each, plan.split(each, None), index not in fixed) for index, each in enumerate(images)]
    moved = stratify(members, plan)
    assert not moved.keys() & {each.sha256 for each in members if not each.is_free}
    assert all(moved[each.sha256] != each.split for each in members if each.sha256 in moved)


@pytest.mark.parametrize(
    ("num_images", "counts"),
    [
        (1, {"train": 1}),
        (2, {"train": 2}),
        (3, {"test": 1, "validation": 1, "train": 1}),
        (60, {"test": 9, "validation": 9, "train": 42}),
    ],
)
def test_a_class_that_chance_left_without_validation_is_cut_by_rank(num_images: int, counts: dict[str, int]) -> None:
    images = [sha for sha in named(1000) if PLAN.split(sha, None) == "test"][:num_images]
    assert not is_fair(drawn(images), PLAN)
    assert Counter(assigned(images).values()) == counts


def test_the_tolerance_is_half_of_the_share_and_never_less_than_an_image() -> None:
    assert Bounds.of(170, 0.15) == Bounds(wanted=26, low=13, high=38)  # digits, class 9: 38 drawn for validation
    assert Bounds.of(60, 0.15) == Bounds(wanted=9, low=5, high=13)
    assert Bounds.of(5, 0.15) == Bounds(wanted=1, low=1, high=1)
    assert Bounds.of(2, 0.15) == Bounds(wanted=0, low=0, high=1)


def test_new_images_mend_what_earlier_versions_left_out_of_proportion() -> None:
    """60 images without one for validation, as an earlier Darkroom left them: the next 20 make up for it."""
    old, new = named(60), named(20, start=5000)
    earlier = {sha: "test" if index < 9 else "train" for index, sha in enumerate(old)}
    now = assigned([*old, *new], PLAN, earlier)
    assert {sha: now[sha] for sha in old} == earlier
    assert Counter(now.values()) == {"test": 12, "validation": 12, "train": 56}


def test_where_the_source_holds_nothing_back_from_the_draw_nothing_is_cut() -> None:
    whole = SplitPlan.of({"train", "validation", "test"}, SplitRules())
    assert whole.drawn_shares == ()
    assert not whole.is_drawn("train")
    carved = SplitPlan.of({"train", "test"}, SplitRules())
    assert carved.drawn_shares == (("validation", 0.15),)
    assert carved.is_drawn("train")
    assert not carved.is_drawn("test")
