"""Limits: what is beyond one is named with its value, and a file that sets them wrongly is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.data.errors import SettingError
from darkroom.data.figures import percent
from darkroom.models.watching.limits import Figures, Limit, Limits, breaches, read_limits

BAD = Figures(num_new=160, quarantined=0.375, abstained=0.5, unfamiliar=0.9, drift=0.8, expected_accuracy=0.6)


def test_the_defaults_warn_of_a_bad_night_and_of_no_quiet_one() -> None:
    found = breaches(Limits(), BAD)
    assert [(each.name, each.value, each.then) for each in found] == [
        ("max_quarantined", 0.375, "warn"),
        ("max_unfamiliar", 0.9, "warn"),
        ("max_drift", 0.8, "warn"),
    ]
    assert (
        found[0].sentence == f"{percent(0.375)} of the new files are quarantined; max_quarantined allows {percent(0.2)}"
    )
    quiet = Figures(num_new=160, quarantined=0.2, abstained=0.9, unfamiliar=0.01, drift=0.0)
    assert breaches(Limits(), quiet) == ()


def test_a_night_without_files_misses_only_the_limit_that_is_about_them() -> None:
    empty = Figures(num_new=0)
    assert breaches(Limits(), empty) == ()
    (found,) = breaches(Limits(min_new_files=Limit(limit=10, then="fail")), empty)
    assert found.sentence == "new files: 0; min_new_files asks for 10"


def test_what_fails_the_run_comes_first() -> None:
    limits = read_limits({"max_abstained": 0.1, "min_expected_accuracy": {"limit": 0.9, "then": "fail"}})
    assert breaches(limits, BAD)[0].name == "min_expected_accuracy"
    assert breaches(limits, BAD)[0].sentence == "an accuracy of 0.60 is expected; min_expected_accuracy asks for 0.90"


def test_a_file_sets_limits(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("max_quarantined: 0.05\nmax_unfamiliar: {limit: 0.1, then: fail}\nmax_drift: null\n")
    found = read_limits(str(path))
    assert found.max_quarantined == Limit(limit=0.05)
    assert found.max_unfamiliar == Limit(limit=0.1, then="fail")
    assert found.max_drift is None
    assert found.max_abstained is None
    path.write_text("")
    assert read_limits(path) == Limits() == read_limits(None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_drif: 0.1", "max_drif is not a setting. There are max_quarantined, max_abstained"),
        ("max_drift: high", "max_drift takes a number, or {limit: NUMBER, then: fail}, not 'high'"),
        ("max_drift: {limit: 0.1, then: explode}", "max_drift.then takes warn or fail, not 'explode'"),
        ("max_drift: {limit: -1}", "max_drift.limit takes a number of at least 0, not -1"),
        ("- 1", "takes lines such as max_drift: 0.3"),
        ("a: [", "is no YAML file"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    with pytest.raises(SettingError, match=str(path)) as raised:
        read_limits(path)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(SettingError, match=r"nowhere.yaml: No such file or directory\. --limits takes a YAML file\."):
        read_limits("nowhere.yaml")
