"""The documentation cannot lie: its commands parse and run, its links lead somewhere, every command is told of."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer.main
from PIL import Image

from darkroom.flows.commands import app
from darkroom.flows.recipe import recipe_names

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The `darkroom` lines of a block, split as a shell would."""
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("darkroom ")]


ALL_COMMANDS = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)}")
    for page in PAGES
    for text in blocks(page, "sh")
    for words in commands(text)
]


@pytest.mark.parametrize("words", ALL_COMMANDS)
def test_every_command_of_the_documentation_parses(words: list[str]) -> None:
    COMMANDS[words[0]].make_context(words[0], list(words[1:]))


def test_every_command_is_told_of() -> None:
    told = {words.values[0][0] for words in ALL_COMMANDS}  # type: ignore[index]
    mentioned = {name for page in PAGES for name in COMMANDS if f"darkroom {name}" in page.read_text(encoding="utf-8")}
    assert told | mentioned == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_named_in_the_text_exists(page: Path) -> None:
    known = {name for command in COMMANDS.values() for parameter in command.params for name in parameter.opts}
    known |= {
        name for command in COMMANDS.values() for parameter in command.params for name in parameter.secondary_opts
    }
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`(--[a-z][a-z0-9-]*)", text))
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_the_documentation_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_test_that_a_guarantee_names_exists() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert named
    missing = [
        f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == []


def test_the_make_targets_of_the_documentation_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    used = {word for page in PAGES for word in re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(encoding="utf-8"))}
    assert used <= targets


@pytest.mark.timeout(900)
def test_the_examples_of_the_python_page_run_one_after_the_other_and_without_prefect(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 40)
    write_photos(tmp_path / "new-photos", 5)
    script = "\n".join(blocks(ROOT / "docs" / "python.md", "python"))
    check = (
        "import sys; assert 'prefect' not in sys.modules"
        "\nassert rows.status.tolist() == ['ok', 'quarantined', 'ok', 'ok', 'ok']"
        "\nassert rows.label[0] == rows.label[2] == rows.label[3] == labels[probabilities[0].argmax()]"
        "\nassert abs(network.predict(pixels[None]) - probabilities).max() < 1e-4"
        "\nassert vectors.shape[0] == 2 and sum(len(batch) for _, batch in train) == photos.counts.train.sum()"
        "\nassert len(manifest) == 81"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\n{check}"],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if not key.startswith(("PREFECT", "DARKROOM"))}
        | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_recipes_are_listed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "darkroom.flows.cli", "recipes"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == recipe_names()


def write_photos(folder: Path, num_a_class: int) -> None:
    """Two kinds of pictures that a network can tell apart, and a file that is no picture."""
    random = np.random.default_rng(0)
    for name, low, high in (("cats", 0, 120), ("dogs", 130, 255)):
        (folder / name).mkdir(parents=True)
        for number in range(num_a_class):
            pixels = random.integers(low, high, (60, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "cats" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not all of it")


@pytest.mark.timeout(900)
def test_the_readme_works_step_by_step(prefect_server: str, tmp_path: Path) -> None:
    """The block of commands of "Your own images", in its order, on a folder of small pictures.

    The first two start a server of their own, one on a fresh record and one on what the first has left.
    """
    write_photos(tmp_path / "photos", 40)
    Image.fromarray(np.full((60, 80, 3), 40, np.uint8)).save(tmp_path / "photos" / "cats" / "tom.jpg")
    write_photos(tmp_path / "new-photos", 5)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT", "DARKROOM"))}
    environment |= {"PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": str(ROOT / "src")}
    (steps,) = [text for text in blocks(ROOT / "README.md", "sh") if "darkroom score" in text]
    for number, words in enumerate(commands(steps)):
        if number == 2:
            environment["PREFECT_API_URL"] = prefect_server
        done = subprocess.run(
            [sys.executable, "-m", "darkroom.flows.cli", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"darkroom {' '.join(words)}\n{done.stderr}"
        assert "Traceback" not in done.stderr
    for script in blocks(ROOT / "docs" / "scoring.md", "python"):
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
