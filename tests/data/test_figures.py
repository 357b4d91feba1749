"""How numbers are written."""

from __future__ import annotations

import pytest

from darkroom.data.figures import count, duration, fraction, interval, listed, size, some


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (2, ("image",), "2 images"),
        (1_234_567, ("image",), "1,234,567 images"),
        (1, ("class", "classes"), "1 class"),
        (1000, ("class", "classes"), "1,000 classes"),
    ],
)
def test_one_is_singular_and_thousands_are_separated(number: int, words: tuple[str, ...], said: str) -> None:
    assert count(number, *words) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (2.345, "2.3 s"),
        (19.4, "19 s"),
        (99, "99 s"),
        (120, "2 min"),
        (3600, "60 min"),
        (9000, "2.5 h"),
    ],
)
def test_a_duration_has_the_unit_that_it_is_told_in(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("num_bytes", "said"),
    [(1, "1 byte"), (512, "512 bytes"), (1536, "1.5 KiB"), (5 * 2**20, "5.0 MiB"), (3000 * 2**30, "3,000.0 GiB")],
)
def test_bytes_have_the_unit_that_they_are_told_in(num_bytes: int, said: str) -> None:
    assert size(num_bytes) == said


def test_a_metric_has_four_digits_its_interval_three_and_no_metric_is_nothing() -> None:
    assert (fraction(0.98864), fraction(None), interval(0.97125, 1.0)) == ("0.9886", "", "0.971 to 1.000")


def test_words_are_listed_as_one_says_them() -> None:
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a or b", "a, b or c"]
    assert listed(["a", "b"], "and") == "a and b"


def test_of_many_words_the_first_few_are_named() -> None:
    assert [some(words, 2) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a, b",
        "a, b and 1 more",
    ]
    assert some([str(number) for number in range(2010)]).endswith("8, 9 and 2,000 more")
