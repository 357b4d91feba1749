"""A wrong setting in words: what it takes, and what was given."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from darkroom.data.settings import SettingsModel, what_is_wrong, what_may_be_given


class Group(SettingsModel):
    share: float = Field(default=0.5, ge=0, lt=1)
    number: int | None = Field(default=None, ge=1, le=10_000)
    least: int = Field(default=1, ge=1)
    kind: Literal["a", "b", "c"] = "a"
    pair: tuple[int, int] = (1, 2)
    switch: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Group:
        if self.least > 100:
            raise ValueError("`least` does not fit `share`: lower it")
        return self


class Whole(SettingsModel):
    group: Group = Group()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"share": 1}, "<share> takes a number of at least 0 and below 1, not 1"),
        ({"share": "much"}, "<share> takes a number of at least 0 and below 1, not 'much'"),
        ({"number": "0"}, "<number> takes a whole number from 1 to 10,000, not 0"),
        ({"least": 0.5}, "<least> takes a whole number of at least 1, not 0.5"),
        ({"kind": "d"}, "<kind> takes a, b or c, not 'd'"),
        ({"pair": ["x", 1]}, "<0> takes a whole number, not 'x'"),
        ({"pair": 3}, "<pair> takes a list, not 3"),
        ({"switch": "maybe"}, "<switch> takes true or false, not 'maybe'"),
        ({"other": 1}, "<other> is not a setting"),
        ({"least": 200}, "<least> does not fit <share>: lower it"),
        (3, "<group> takes a group of settings, not 3"),
    ],
)
def test_a_sentence_names_the_setting_what_it_takes_and_what_was_given(given: Any, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate({"group": given})
    assert what_is_wrong(Whole, dict(caught.value.errors()[0]), lambda place: f"<{place[-1]}>") == said


def test_a_number_without_bounds_is_a_number() -> None:
    assert (what_may_be_given(int), what_may_be_given(float), what_may_be_given(str)) == (
        "a whole number",
        "a number",
        "text",
    )
