"""Wrong input is told before Prefect's server is started or TensorFlow is loaded, and what is meant is found."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darkroom.data.stores.folders import Images
from darkroom.data.stores.named_files import NamedFiles, find_named
from darkroom.flows import launch
from darkroom.flows.scoring_input import images_given
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
        (["score", "gone.jpg", "--model", "imagenet"], "There is no file or folder 'gone.jpg'."),
        (["score", "--files", "gone.txt", "--model", "imagenet"], "The list gone.txt cannot be read"),
        (["score", "--files", "workspace", "--model", "imagenet"], "workspace is a folder, not a list."),
        (["score", ".", "workspace", "--model", "imagenet"], "name 2 folders: '.' and 'workspace'."),
        (["predict", "gone.jpg", "--model", "imagenet"], "There is no file or folder 'gone.jpg'."),
        (["predict", "workspace", "--model", "imagenet"], "name 1 folder: 'workspace'."),
        (["score", ".", "--files", "gone.txt"], "Give one of them."),
        (["score", "--model", "imagenet"], "Nothing to score was given."),
        (["score", ".", "--model", "imagenet", "--top-k", "0"], "--top-k takes a whole number of at least 1, or all"),
        (["score", ".", "--model", "imagenet", "--top-k", "few"], "--top-k takes a whole number of at least 1, or all"),
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
    for name in ("data", "pipeline", "tables"):
        monkeypatch.setattr(f"darkroom.flows.commands_{name}.load_tensorflow", refuse)
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


def test_files_reach_the_flow_as_they_were_named_and_very_many_as_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect keeps half a megabyte of parameters; what the flow finds is what the command found."""
    tiny_bundle(tmp_path / "workspace/models/colours/1", ["amber", "blue"], (32, 32))
    monkeypatch.chdir(tmp_path)
    found: list[tuple[Any, Images]] = []

    def flow(folder: Any, *_: Any, files: str | None, **__: Any) -> None:
        found.append((folder, images_given(folder, files)))

    monkeypatch.setattr("darkroom.flows.score.score", flow)
    monkeypatch.setattr(launch, "prepared", lambda *_, **__: nullcontext())
    monkeypatch.setattr(launch, "show", lambda result, as_json: None)
    names = [f"{number}.jpg" for number in range(1001)]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "some.txt").write_text("0.jpg\n1.jpg\n0.jpg\n")
    call(monkeypatch, "score", "0.jpg")
    call(monkeypatch, "score", *names[:2])
    call(monkeypatch, "score", *names)
    call(monkeypatch, "score", "--files", "some.txt")
    with (tmp_path / "some.txt").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        call(monkeypatch, "score", "--files", "-")
    assert [folder for folder, _ in found] == ["0.jpg", names[:2], None, None, None]
    assert [images for _, images in found[:3]] == [find_named(names[:number]) for number in (1, 2, 1001)]
    _, listed = found[3]
    _, piped = found[4]
    assert isinstance(listed, NamedFiles)
    assert isinstance(piped, NamedFiles)
    assert (listed.names, listed.num_repeated, listed.name) == (("0.jpg", "1.jpg"), 1, "some")
    assert piped == replace(listed, name=find_named(names[:2]).name)
