"""What is chosen of planted candidates: unsure ones, from everywhere, the same each time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.models.labelling.selection import Known, choose, unit, value


def groups(number: int, size: int, spread: float = 0.02, dimensions: int = 16) -> NDArray[np.float32]:
    """Embeddings in tight groups far from each other, `float32[number * size, dimensions]`."""
    rng = np.random.default_rng(7)
    centres = np.eye(dimensions)[:number]
    return unit(np.repeat(centres, size, axis=0) + spread * rng.normal(size=(number * size, dimensions)))


def everything(_: int) -> bool:
    return True


def chosen(vectors: NDArray[np.float32], values: NDArray[np.float64], budget: int) -> list[int]:
    return choose(vectors.astype(np.float16), values.astype(np.float32), budget, everything)


def test_as_many_as_the_budget_are_chosen_and_none_twice() -> None:
    vectors, values = groups(4, 50), np.linspace(0.1, 1, 200)
    for budget in (1, 7, 60, 200, 500):
        found = chosen(vectors, values, budget)
        assert len(found) == len(set(found)) == min(budget, 200)


def test_equally_uncertain_groups_all_give_one() -> None:
    found = chosen(groups(8, 40), np.ones(320), 8)
    assert sorted(index // 40 for index in found) == list(range(8))


def test_the_groups_that_the_model_is_sure_of_give_little() -> None:
    values = np.where(np.arange(320) // 40 < 2, 0.9, 0.001)
    found = chosen(groups(8, 40), values, 40)
    assert sum(index // 40 < 2 for index in found) >= 30


def test_of_a_group_an_uncertain_image_near_its_middle_is_taken() -> None:
    vectors, values = groups(3, 30), np.full(90, 0.2)
    distances = np.linalg.norm(vectors - np.repeat(np.eye(16)[:3], 30, axis=0), axis=1)
    for group in range(3):
        middle = 30 * group + int(np.argmin(distances[30 * group : 30 * group + 30]))
        values[middle] = 0.25
    assert sorted(chosen(vectors, values, 3)) == sorted(np.flatnonzero(values == 0.25).tolist())


def test_the_same_images_are_chosen_each_time() -> None:
    rng = np.random.default_rng(1)
    vectors, values = unit(rng.normal(size=(500, 96))), rng.random(500)
    assert chosen(vectors, values, 50) == chosen(vectors, values, 50)


def test_a_refused_image_is_replaced_and_not_asked_for_again() -> None:
    asked: list[int] = []

    def odd(index: int) -> bool:
        asked.append(index)
        return index % 2 == 1

    found = choose(groups(4, 10).astype(np.float16), np.ones(40, np.float32), 20, odd)
    assert sorted(found) == list(range(1, 40, 2))
    assert len(asked) == len(set(asked))


def test_nothing_is_chosen_from_nothing() -> None:
    assert chosen(np.zeros((0, 8), np.float32), np.zeros(0), 5) == []


def test_an_image_far_from_all_known_ones_is_unfamiliar_and_one_among_them_is_not() -> None:
    rng = np.random.default_rng(3)
    known = Known.of(np.eye(16)[0] + 0.1 * rng.normal(size=(300, 16)))
    far, near = unit(np.eye(16)[5:6]), unit(np.eye(16)[:1])
    assert known.unfamiliarity(far).tolist() == [1.0]
    assert known.unfamiliarity(near)[0] < 0.5


def test_without_enough_known_images_nothing_is_unfamiliar() -> None:
    assert Known.of(np.eye(8)[:2]).unfamiliarity(unit(np.eye(8)[5:7])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("margin", "unfamiliarity", "wanted"), [(0.0, 0.0, 1.0), (1.0, 0.9, 0.0), (1.0, 1.0, 0.1), (0.3, 1.0, 0.8)]
)
def test_a_value_is_the_uncertainty_and_a_little_for_the_very_unfamiliar(
    margin: float, unfamiliarity: float, wanted: float
) -> None:
    found = value(np.array([margin], np.float32), np.array([unfamiliarity], np.float32))
    assert found[0] == pytest.approx(wanted, abs=1e-6)
