"""Wrong input is told before Prefect's server is started or TensorFlow is loaded, and what is meant is found."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from darkroom.flows import launch
from tests.bundles import tiny_bundle
from tests.command_line import call, in_process


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "photo"], "There is no data set 'photo' in "),
        (["evaluate", "nonesuch"], "There is no model 'nonesuch' in "),
        (["explain", "colours", "gone.jpg"], "There is no file 'gone.jpg'. Check the path."),
        (["explain", "nonesuch", "gone.jpg"], "There is no model 'nonesuch' in "),
        (["score", "nowhere", "--model", "colours"], "nowhere"),
        (["score", "."], "Which model? There are: colours, colours-2. Give one with --model."),
        (["score", ".", "--workspace", "empty"], "There is no model in "),
        (["ingest", "nowhere"], "There is no folder or archive 'nowhere' in "),
        (["run", "nowhere"], "There is no folder or archive 'nowhere' in "),
        (["inspect", "nowhere"], "There is no folder or archive 'nowhere' in "),
        (["compare", "nowhere", "--vary", "epochs=1,2"], "There is no folder or archive 'nowhere' in "),
        (["versus", "colours", "gone.csv"], "There is no file 'gone.csv'. Check the path."),
        (["promote", "nonesuch"], "There is no model 'nonesuch' in "),
        (["rollback", "nonesuch"], "There is no model 'nonesuch' in "),
        (["preview", "photo"], "There is no data set 'photo' in "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_told_before_anything_is_started(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("colours", "colours-2"):
        tiny_bundle(tmp_path / "workspace/models" / name / "1", ["amber", "blue"], (32, 32))
    monkeypatch.chdir(tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr(launch, "prepared", refuse)
    monkeypatch.setattr("darkroom.flows.commands_data.load_tensorflow", refuse)
    status, error = in_process(monkeypatch, capsys, *words)
    assert status == 2
    assert said in error


def test_the_only_model_is_the_one_that_scores_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_bundle(tmp_path / "workspace/models/colours/1", ["amber", "blue"], (32, 32))
    monkeypatch.chdir(tmp_path)
    calls: list[Any] = []
    monkeypatch.setattr("darkroom.flows.score.score", lambda *arguments, **_: calls.append(arguments[:2]))
    monkeypatch.setattr(launch, "prepared", lambda *_, **__: nullcontext())
    monkeypatch.setattr(launch, "show", lambda result, as_json: None)
    (tmp_path / "new").mkdir()
    call(monkeypatch, "score", "new")
    assert calls == [("new", "colours")]
    assert "colours@1" in capsys.readouterr().err
