"""Splits: stable as files are added, right shares, and a judge that nothing else has seen."""

from __future__ import annotations

import hashlib
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from darkroom.data.splits.splits import SPLITS, SplitPlan, SplitRules, draw

hashes = st.integers(0).map(lambda number: hashlib.sha256(str(number).encode()).hexdigest())
source_splits = st.sampled_from([None, "train", "validation", "test"])
sources = st.sets(source_splits, min_size=1)
shares = st.tuples(st.floats(0.01, 0.44), st.floats(0.01, 0.44))


def sha(number: int) -> str:
    return hashlib.sha256(f"image {number}".encode()).hexdigest()


@settings(deadline=None)
@given(hashes, st.integers())
def test_a_draw_lies_in_the_unit_interval_and_is_the_hash_of_seed_and_image(sha256: str, seed: int) -> None:
    place = draw(sha256, seed)
    assert 0 <= place < 1
    expected = int(hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()[:16], 16) / 2**64
    assert place == pytest.approx(expected, abs=1e-15)


@settings(deadline=None)
@given(st.lists(hashes, unique=True), st.lists(hashes, unique=True), shares, st.integers(0, 5))
def test_adding_files_never_moves_an_old_one_to_another_split(
    old: list[str], new: list[str], share: tuple[float, float], seed: int
) -> None:
    rules = SplitRules(validation=share[0], test=share[1], seed=seed)

    def split(images: list[str]) -> dict[str, str]:
        plan = SplitPlan.of({None}, rules)
        return {sha256: plan.split(sha256, None) for sha256 in images}

    before, after = split(old), split(new + old)
    assert {sha256: after[sha256] for sha256 in old} == before


@settings(deadline=None)
@given(hashes, st.integers(0, 5))
def test_copies_of_an_image_land_together_wherever_nothing_is_held_out(sha256: str, seed: int) -> None:
    plan = SplitPlan.of({None, "train"}, SplitRules(seed=seed))
    assert len({plan.split(sha256, source) for source in (None, "train")}) == 1


@pytest.mark.parametrize(("validation", "test"), [(0.15, 0.15), (0.1, 0.3), (0.02, 0.01)])
def test_the_shares_are_met_within_chance_overall_and_in_each_class(validation: float, test: float) -> None:
    plan = SplitPlan.of({None}, SplitRules(validation=validation, test=test))
    share = {"validation": validation, "test": test, "train": 1 - validation - test}
    drawn = [(number % 4, plan.split(sha(number), None)) for number in range(20_000)]
    for number, images in [(20_000, drawn)] + [(5000, [pair for pair in drawn if pair[0] == c]) for c in range(4)]:
        counts = Counter(split for _, split in images)
        for split in SPLITS:
            expected = number * share[split]
            assert abs(counts[split] - expected) < 4.5 * math.sqrt(expected * (1 - share[split]))


def test_another_seed_gives_another_draw() -> None:
    first, second = (SplitPlan.of({None}, SplitRules(seed=seed)) for seed in (0, 1))
    moved = sum(first.split(sha(number), None) != second.split(sha(number), None) for number in range(2000))
    # Two independent draws of 0.7, 0.15, 0.15 agree with a probability of 0.535.
    assert abs(moved - 2000 * 0.465) < 4.5 * math.sqrt(2000 * 0.465 * 0.535)


@settings(deadline=None)
@given(hashes, st.sampled_from(["train", "validation", "test", None]))
def test_three_parts_of_the_source_are_kept(sha256: str, source: str | None) -> None:
    plan = SplitPlan.of({"train", "validation", "test"}, SplitRules())
    assert plan.split(sha256, source) == (source or "train")
    assert plan.decision == "splits: train, validation and test as the source has them"


@pytest.mark.parametrize("held", ["validation", "test"])
def test_the_one_part_held_out_is_the_judge_and_validation_is_carved_from_training(held: str) -> None:
    plan = SplitPlan.of({"train", held}, SplitRules(validation=0.2, test=0.4))
    assert {plan.split(sha(number), held) for number in range(500)} == {"test"}
    carved = Counter(plan.split(sha(number), "train") for number in range(5000))
    assert set(carved) == {"train", "validation"}
    assert abs(carved["validation"] - 1000) < 4.5 * math.sqrt(5000 * 0.2 * 0.8)
    assert f"the source's {held} part is the judge (test)" in plan.decision
    assert "20% of the rest" in plan.decision


@settings(deadline=None)
@given(sources, st.lists(st.tuples(hashes, source_splits)), st.booleans())
def test_what_stops_training_is_never_taken_from_the_judge_of_the_source(
    found: set[str | None], images: list[tuple[str, str | None]], keep: bool
) -> None:
    plan = SplitPlan.of(found, SplitRules(keep=keep))
    trains = bool(found & {"train", None})
    for sha256, source in images:
        if source not in found:
            continue
        split = plan.split(sha256, source)
        assert split in SPLITS
        if keep and trains:
            if source == "test":
                assert split == "test"
            if source == "validation":
                assert split == ("validation" if "test" in found else "test")
            if source in ("train", None) and found & {"validation", "test"}:
                assert split != "test"


@pytest.mark.parametrize("found", [{None}, {"train"}, {"train", None}, {"test"}, {"validation", "test"}])
def test_where_nothing_is_held_out_from_training_all_is_drawn(found: set[str | None]) -> None:
    plan = SplitPlan.of(found, SplitRules())
    assert plan.held_out == ()
    assert "drawn by content hash, 15% validation, 15% test" in plan.decision
    assert Counter(plan.split(sha(n), next(iter(found))) for n in range(1000)).keys() == set(SPLITS)


def test_the_source_s_parts_are_drawn_anew_where_they_are_not_to_be_kept() -> None:
    plan = SplitPlan.of({"train", "validation", "test"}, SplitRules(keep=False))
    assert {plan.split(sha(1), source) for source in ("train", "validation", "test")} == {plan.split(sha(1), None)}


@pytest.mark.parametrize("wrong", [{"validation": 0}, {"test": 0}, {"validation": 1}, {"validation": 0.5, "test": 0.4}])
def test_shares_that_leave_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SplitRules.model_validate(wrong)
