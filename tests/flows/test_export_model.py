"""`darkroom export MODEL --to FORM`: from the command and from Python."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

import darkroom
from tests.bundles import tiny_bundle
from tests.command_line import call, in_process
from tests.datasets import ingest, write_images
from tests.told import told


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and a model in its workspace."""
    place = tmp_path_factory.mktemp("home")
    ingest(write_images(place / "photos"), place / "workspace")
    tiny_bundle(place / "workspace/models/tiny" / ("0" * 16), ["amber", "blue", "green"], (32, 32))
    return place


@pytest.fixture(autouse=True)
def _in_that_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def test_python_writes_what_it_says_and_the_second_time_finds_it(home: Path) -> None:
    made = darkroom.export("tiny", "exported", to="onnx", dataset="tiny")
    assert (made.bundle, made.num_checked, made.reused) == (f"tiny@{'0' * 16}", 15, False)  # type: ignore[union-attr]
    assert json.loads((home / "exported/export.json").read_text())["max_difference"] < 1e-4
    said = told(made)
    assert said["exported"].startswith("onnx, 0.0 MB")
    assert said["checked"].startswith("on 15 validation images of tiny@")
    assert said["how to use"] == str(home / "exported/README.md")
    again = darkroom.export("tiny", "exported", to="onnx", dataset="tiny")
    assert again == made.model_copy(update={"reused": True})
    assert told(again)["exported"].endswith(", up to date")


def test_what_is_missing_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = in_process(monkeypatch, capsys, "export", "tiny", "--to", "onnx")
    assert (status, said) == (2, "Where to? Give a folder for the model with --out.")
    status, said = in_process(monkeypatch, capsys, "export", "scored/")
    assert (status, said) == (2, "Where to? Give OUT: a .csv or .jsonl file, or a folder.")
    with pytest.raises(
        darkroom.InputError, match=r"made@0+, which is not in .*workspace: .*Name a data set.*--dataset"
    ):
        darkroom.export("tiny", "other", to="onnx")
    with pytest.raises(darkroom.InputError, match="There is no data set 'none'"):
        darkroom.export("tiny", "other", to="onnx", dataset="none")


def test_the_command_does_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from darkroom.flows import launch
    from darkroom.flows.export_model import export_model

    monkeypatch.setattr("darkroom.flows.export_model.export_model", export_model.plain)  # without a server
    monkeypatch.setattr(launch.How, "prepared", lambda how, tensorflow: nullcontext())
    call(monkeypatch, "export", "tiny", "--to", "keras", "--out", "as-keras", "--dataset", "tiny", "--json")
    result = json.loads(capsys.readouterr().out)
    assert (result["to"], result["out"]) == ("keras", str(home / "as-keras"))
    assert (home / "as-keras/model.keras").is_file()
