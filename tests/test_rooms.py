"""The rooms: who may import whom, who may read the environment, and names that would shadow others."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("data", "models", "tasks", "flows")
MAY_IMPORT = {
    "data": {"data"},
    "models": {"models", "data"},
    "tasks": {"tasks", "models", "data"},
    "flows": {"flows", "tasks", "models", "data"},
}
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            found.add(str(node.module).split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    ours = imports(path) & {*ROOMS, "tests", "benchmarks"}
    assert ours <= MAY_IMPORT[room]
    if room in ("data", "models"):
        assert "prefect" not in imports(path)
    if room == "data":
        assert not {"keras", "onnxruntime"} & imports(path)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_settings_of_the_flows_touch_the_environment(path: Path) -> None:
    touched = [
        node.attr if isinstance(node, ast.Attribute) else node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.alias)
        and (node.attr if isinstance(node, ast.Attribute) else node.name)
        in {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    ]
    assert not touched or name_of(path) == "flows/settings.py"


def test_no_file_of_the_flows_shadows_another_module() -> None:
    """Prefect puts the folder of an entrypoint first on the path, so `flows/x.py` is what `import x` finds."""
    others = {*sys.stdlib_module_names, *packages_distributions(), *ROOMS, "tests"}
    names = {path.stem if path.suffix == ".py" else path.name for path in (ROOT / "flows").iterdir()}
    assert names & others == set()


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in FILES}
    assert {name_of(folder) for folder in folders if not (folder / "__init__.py").is_file()} == set()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(declared) == sorted(name_of(folder).replace("/", ".") for folder in folders)


def test_a_package_folder_of_tests_has_no_init_file() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_wheel_holds_the_rooms_with_their_recipes_and_templates_and_nothing_else(tmp_path: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    for name in [*tracked, "pyproject.toml", "README.md", "LICENSE", "NOTICE"]:
        copy = tmp_path / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    built = subprocess.run(
        [*command, "--wheel-dir", tmp_path, tmp_path / "source"], capture_output=True, text=True, check=False
    )
    if "setuptools" in built.stderr and built.returncode:
        pytest.skip("setuptools is not installed in this environment")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert held == set(tracked)
