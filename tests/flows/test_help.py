"""What help, `--version` and a shell's completion say, and that they say it at once."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from darkroom.data.images.decoder_fingerprint import decoder
from darkroom.flows import cli, commands
from tests.command_line import ROOT, call, darkroom

COMMANDS = (
    "run",
    "ingest",
    "train",
    "evaluate",
    "inspect",
    "compare",
    "versus",
    "promote",
    "rollback",
    "explain",
    "score",
    "predict",
    "preview",
    "recipes",
    "doctor",
)


def test_every_command_explains_each_of_its_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = typer.main.get_command(commands.app).commands  # type: ignore[attr-defined]
    assert set(known) >= set(COMMANDS)
    for name, command in known.items():
        monkeypatch.setattr(sys, "argv", ["darkroom", name, "--help"])
        cli.main()
        shown = capsys.readouterr().out
        assert not re.search(r"<\w+(\[\w+\])?>|[{}]", shown), name  # Python's types, and Typer's braces
        for parameter in command.params:
            assert getattr(parameter, "help", "").strip(), (name, parameter.name)
            hidden = getattr(parameter, "hidden", False)
            assert parameter.param_type_name == "argument" or (parameter.opts[0] in shown) != hidden, parameter.name


@pytest.mark.parametrize("optimised", [[], ["-OO"]], ids=["plain", "without-docstrings"])
def test_help_says_what_may_be_typed_also_where_python_drops_docstrings(optimised: list[str], tmp_path: Path) -> None:
    command = [sys.executable, *optimised, "-m", "darkroom.flows.cli"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}

    def shown(*words: str) -> str:
        done = subprocess.run([*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return " ".join(done.stdout.split())

    train = shown("train", "--help")
    assert "Train a network on a data set" in train
    assert "Maximum epochs (default: 60 from scratch, 100 for a head on cached features)" in train
    assert "HEIGHTxWIDTH such as 120x160" in shown("ingest", "-h")
    assert "Score every file of a folder" in shown("-h")


def test_help_shows_every_group_with_the_common_options_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = typer.main.get_command(commands.app).commands  # type: ignore[attr-defined]
    known["run"].make_context("run", ["digits"])  # seen without its group first, as a shell's completion sees it
    call(monkeypatch, "run", "-h")
    shown = capsys.readouterr().out
    groups = re.findall("─ ([A-Z][a-z -]+) ─", shown)
    assert groups[:2] == ["Arguments", "Options"]
    assert groups[-2:] == ["Execution", "Output"]
    assert {"Training", "Fine-tuning", "Labels and splits", "Decoding", "Approval for scoring"} <= set(groups)
    common = shown[shown.index("─ Options") : shown.index("─ Training")]
    assert all(option in common for option in ("--architecture", "--epochs", "--image-size"))
    assert "…" not in shown


def test_the_version_is_told_with_those_of_the_libraries_and_none_is_imported(tmp_path: Path) -> None:
    done = darkroom("--version", folder=tmp_path)
    assert done.returncode == 0
    told = dict(line.split() for line in done.stdout.splitlines())
    assert told == {
        "darkroom": version("darkroom-flows"),
        "python": platform.python_version(),
        **{
            name: version(name)
            for name in ("prefect", "tensorflow", "keras", "onnxruntime", "pillow", "numpy", "pyarrow")
        },
        "decoder": decoder().fingerprint,
    }


def test_a_shell_completes_commands_and_options(tmp_path: Path) -> None:
    def completed(words: str, number: int) -> list[str]:
        variables = {"_DARKROOM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        return darkroom(folder=tmp_path, **variables).stdout.split()

    assert completed("darkroom ev", 1) == ["evaluate"]
    assert "--architecture" in completed("darkroom train x --arch", 3)
    script = darkroom("--show-completion", "bash", folder=tmp_path, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "_DARKROOM_COMPLETE=complete_bash" in script.stdout


def loaded_by(*commands: tuple[str, ...], folder: Path) -> set[str]:
    """The modules in a process of its own after `darkroom` with each of these arguments."""
    script = (
        "import sys\nfrom darkroom.flows import cli\n"
        f"for words in {commands!r}:\n"
        "    sys.argv = ['darkroom', *words]\n"
        "    cli.main()\n"
        "sys.stderr.write(' '.join(sys.modules))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage: darkroom" in done.stdout
    return set(done.stderr.split())


def test_help_loads_neither_prefect_nor_tensorflow(tmp_path: Path) -> None:
    """That of a command whose options are settings loads what these stand on, and no more."""
    heavy = {"prefect", "tensorflow", "keras", "sklearn", "matplotlib", "pandas", "scipy", "onnxruntime"}
    libraries = {*heavy, "numpy", "pyarrow", "PIL"}
    assert loaded_by(("--help",), folder=tmp_path) & {*libraries, "pydantic"} == set()
    assert loaded_by(("score", "--help"), ("doctor", "--help"), folder=tmp_path) & libraries == set()
    assert loaded_by(*((name, "--help") for name in COMMANDS), folder=tmp_path) & heavy == set()
