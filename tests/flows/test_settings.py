"""What the environment says of the machines that train together, and of decoders that give other pixels."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from darkroom.data.errors import SettingError
from darkroom.flows.options import wrong_setting
from darkroom.flows.settings import decoder_rule, training_cluster


@pytest.mark.parametrize(
    ("cluster", "task", "expected"),
    [
        ({"worker": ["a:1", "b:2"]}, ("worker", 1), (("a:1", "b:2"), 1)),
        ({"chief": ["c:3"], "worker": ["a:1", "b:2"]}, ("chief", 0), (("c:3", "a:1", "b:2"), 0)),
        ({"chief": ["c:3"], "worker": ["a:1", "b:2"]}, ("worker", 1), (("c:3", "a:1", "b:2"), 2)),
        ({"worker": ["a:1"]}, ("worker", 0), None),
    ],
)
def test_the_chief_comes_first_and_everyone_knows_its_place(
    cluster: dict[str, list[str]],
    task: tuple[str, int],
    expected: tuple[tuple[str, ...], int] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": task[0], "index": task[1]}}))
    assert training_cluster() == expected


def test_without_tf_config_a_machine_trains_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert training_cluster() is None


@pytest.mark.parametrize(
    "text",
    [
        "one, two",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:2"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"chief": ["a:1", "b:2"]}, "task": {"type": "chief", "index": 0}}',
    ],
)
def test_a_tf_config_that_says_something_else_is_refused_with_the_form(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(SettingError, match=r"TF_CONFIG does not say who trains together\. Write .* or unset it"):
        training_cluster()


def test_another_decoder_is_a_warning_unless_the_environment_or_the_caller_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert decoder_rule() == "warn"
    assert decoder_rule("strict") == "strict"
    monkeypatch.setenv("DARKROOM_DECODER_MISMATCH", "strict")
    assert decoder_rule() == "strict"
    assert decoder_rule("warn") == "warn"
    monkeypatch.setenv("DARKROOM_DECODER_MISMATCH", "perhaps")
    with pytest.raises(ValidationError) as refused:
        decoder_rule()
    assert wrong_setting(refused.value).startswith("DARKROOM_DECODER_MISMATCH takes warn or strict, not 'perhaps'")
