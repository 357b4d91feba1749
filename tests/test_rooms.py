"""The rooms: who may import whom, who may read the environment, how long a file may be, and what is installed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import venv
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES = 400
MAX_ARGUMENTS = 5
MAX_FILES = 9
# Each imports nothing of a later one; docs/architecture.md has them in this order, with a line for each. What lies in
# `data/` or `models/` itself, beside the rooms, comes before them.
ORDER = (
    "data",
    "data/files",
    "data/stores",
    "data/sources/unpacking",
    "data/sources",
    "data/tables",
    "data/labels",
    "data/labels/recognition",
    "data/images/pixels",
    "data/images/formats",
    "data/images",
    "data/splits",
    "data/shards",
    "data/dataset",
    "data/quality",
    "data/ingest",
    "models",
    "models/measures",
    "models/multi_label",
    "models/pages",
    "models/networks",
    "models/onnx/graph",
    "models/onnx",
    "models/profile",
    "models/bundle",
    "models/training_loop/techniques",
    "models/training_loop",
    "models/training",
    "models/explaining/techniques",
    "models/evaluation/reporting",
    "models/evaluation",
    "models/exporting",
    "models/prediction_table",
    "models/scoring",
    "models/inbox",
    "models/cloud",
    "models/cloud/vendors",
    "models/watching",
    "models/labelling",
    "models/explaining",
    "models/experiments",
    "models/inspecting",
    "models/inventory",
    "models/serving",
    "models/serving/http",
    "tasks",
    "flows/deploying",
    "flows",
    "flows/recipes",
)
TOPS = ("data", "models", "tasks", "flows")
FILES = sorted(path for top in TOPS for path in (ROOT / top).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path, types: bool = True) -> set[str]:
    """The full names of all that a file imports, anywhere in it; without `types`, not what only type checkers see."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not types:
        tree.body = [
            node for node in tree.body if not isinstance(node, ast.If) or "TYPE_CHECKING" not in ast.unparse(node.test)
        ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def file_of(name: str) -> Path | None:
    """The file of a module of ours, or of the one that gives a name."""
    parts = name.split(".")
    if parts[0] != "darkroom" or len(parts) < 2:
        return None
    for last in (len(parts), len(parts) - 1):
        path = ROOT.joinpath(*parts[1:last])
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
        if (path / "__init__.py").is_file():
            return path / "__init__.py"
    raise AssertionError(f"there is no {name}")


def room_of(path: Path) -> str:
    return name_of(path.parent)


def test_every_folder_of_code_is_a_room_that_says_what_it_holds() -> None:
    assert {room_of(path) for path in FILES} == set(ORDER)
    for room in ORDER:
        init = ROOT / room / "__init__.py"
        (only,) = ast.parse(init.read_text(encoding="utf-8")).body  # nothing is exported again
        assert isinstance(only, ast.Expr)


@pytest.mark.parametrize("room", [room for room in ORDER if room.startswith(("data", "models"))])
def test_a_room_has_no_more_files_than_one_takes_in(room: str) -> None:
    assert len([path for path in (ROOT / room).glob("*.py") if path.name != "__init__.py"]) <= MAX_FILES


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_room_imports_no_later_one(path: Path) -> None:
    for name in imports(path):
        first = name.split(".")[0]
        assert first not in {*TOPS, "tests", "benchmarks", "scripts"}, name
        theirs = file_of(name)
        if theirs:
            assert ORDER.index(room_of(theirs)) <= ORDER.index(room_of(path)), name
    libraries = {name.split(".")[0] for name in imports(path)}
    if path.relative_to(ROOT).parts[0] in ("data", "models"):
        assert "prefect" not in libraries
    if path.relative_to(ROOT).parts[0] == "data":
        assert not {"keras", "onnxruntime"} & libraries


def test_no_files_import_each_other_in_a_circle() -> None:
    """Within a room too, and whether at a file's top or inside a function."""
    graph = {path: {file for name in imports(path, types=False) if (file := file_of(name))} - {path} for path in FILES}
    while free := [path for path, needed in graph.items() if not needed & graph.keys()]:
        for path in free:
            del graph[path]
    assert sorted(map(name_of, graph)) == []


def test_the_documentation_gives_the_rooms_in_their_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `((?:data|models|tasks|flows)(?:/[\w/]+)?)/` \|", page, re.MULTILINE) == list(ORDER)


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "src/darkroom").glob("*.py"))], ids=name_of)
def test_no_file_is_longer_than_one_reads_at_a_time(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", [path for path in FILES if not room_of(path).startswith("flows")], ids=name_of)
def test_no_function_below_the_flows_takes_more_than_five_arguments(path: Path) -> None:
    """What travels together is a frozen dataclass with a name of its own, such as `ScoreRequest`."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            given = node.args
            names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            names += [each.arg for each in (given.vararg, given.kwarg) if each]
            found[getattr(node, "name", "lambda"), node.lineno] = [
                name for name in names if name not in ("self", "cls")
            ]
    assert [name for (name, _), names in found.items() if len(names) > MAX_ARGUMENTS] == []


@pytest.mark.parametrize("path", [path for path in FILES if not room_of(path).startswith("flows")], ids=name_of)
def test_a_file_below_the_flows_only_defines_things_when_it_is_imported(path: Path) -> None:
    """It sets nothing that others see, such as a log level or a filter of warnings; a script's last lines run alone."""
    quiet = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    (docstring, *rest) = ast.parse(path.read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    done = [ast.unparse(node) for node in rest if not isinstance(node, quiet)]
    guards = ("if TYPE_CHECKING:", "if __name__ == '__main__':")
    assert [said for said in done if not said.startswith(guards)] == []


def test_the_tests_lie_in_the_rooms_of_what_they_test() -> None:
    """A test's file may be named after a promise in place of a file, but not lie in a room that there is not."""
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("*.py")}
    assert folders - {".", "faults"} <= set(ORDER)


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


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_process_of_python_takes_no_module_from_the_folder_it_is_started_in(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.List) and node.elts and ast.unparse(node.elts[0]) == "sys.executable":
            assert ast.unparse(node.elts[1]) == "'-P'"


def test_no_file_of_the_flows_shadows_another_module() -> None:
    """Prefect puts the folder of an entrypoint that is a file first on the path: `import x` then finds `flows/x.py`."""
    others = {*sys.stdlib_module_names, *packages_distributions(), *TOPS, "tests"} - {"darkroom"}
    names = {path.stem if path.suffix == ".py" else path.name for path in (ROOT / "flows").iterdir()}
    assert names & others == set()


def test_a_package_folder_of_tests_has_no_init_file() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_only_darkroom_is_importable(tmp_path: Path) -> None:
    tried = (
        "import importlib.util; print([n for n in ('data', 'models', 'tasks', 'flows') if importlib.util.find_spec(n)])"
    )
    done = subprocess.run([sys.executable, "-c", tried], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git would have of this checkout, as it is now, its links as links."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not listed:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("checkout") / "darkroom"
    for name in listed:
        source, copy = ROOT / name, folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            copy.symlink_to(source.readlink())
        elif source.exists():
            copy.write_bytes(source.read_bytes())
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that this checkout gives."""
    return build_wheel(checkout, tmp_path_factory.mktemp("wheel"))


def build_wheel(source: Path, out: Path) -> Path:
    pytest.importorskip("setuptools", reason="setuptools is not installed in this environment")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    run(*command, "--wheel-dir", out, source, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def contents(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_the_rooms_with_their_recipes_and_templates_and_nothing_else(
    checkout: Path, wheel: Path
) -> None:
    real = [path for top in TOPS for path in (checkout / top).rglob("*") if path.is_file()]
    wanted = {f"darkroom/{path.relative_to(checkout).as_posix()}": path.read_bytes() for path in real}
    root = [path for path in (checkout / "src/darkroom").iterdir() if path.is_file()]
    assert {path.name for path in root} >= {"__init__.py", "py.typed", "_model.py"}
    wanted |= {f"darkroom/{path.name}": path.read_bytes() for path in root}
    assert contents(wheel) == wanted


def test_the_source_distribution_gives_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    script = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    run(sys.executable, "-c", script, tmp_path, cwd=checkout)
    (archive,) = tmp_path.glob("*.tar.gz")
    assert contents(build_wheel(archive, tmp_path)) == contents(wheel)


def test_the_installed_wheel_runs_away_from_any_checkout(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own that has the wheel, and the other packages of this one, but not this checkout."""
    venv.create(tmp_path / "venv", symlinks=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    with ZipFile(wheel) as opened:
        opened.extractall(site)
    for path in (
        Path(pytest.__file__).parents[1].iterdir()
    ):  # not by a .pth file, whose own .pth files name the checkout
        if not path.name.startswith(("__editable__", "_darkroom", "darkroom")) and not (site / path.name).exists():
            (site / path.name).symlink_to(path)
    python, place = tmp_path / "venv" / "bin" / "python", tmp_path / "place"
    place.mkdir()
    home = {"PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": "", "DARKROOM_CACHE": str(tmp_path / "cache")}
    where = run(python, "-c", "import darkroom.flows.cli as c; print(c.__file__)", cwd=place, **home)
    assert Path(where.strip()).is_relative_to(site)
    command: list[str | Path] = [python, "-P", "-m", "darkroom.flows.cli", "run", "digits", "--epochs", "1"]
    said = run(*command, "--max-judged", "0", "--workspace", tmp_path / "workspace", cwd=place, **home)
    assert "digits@ec4452c60846" in said
    assert "100 files: 100 ok" in said
    (image, *_) = sorted((tmp_path / "workspace").rglob("new/*.png"))
    cell = f"""
import asyncio, sys
import darkroom

async def cell():
    model = darkroom.load_model("digits-cifar4", {str(tmp_path / "workspace")!r})
    print(model.predict([{str(image)!r}]).status[0], darkroom.__file__)

asyncio.run(cell())
assert "prefect" not in sys.modules
"""
    status, where = run(python, "-P", "-c", cell, cwd=place, **home).split()
    assert status == "ok"
    assert Path(where).is_relative_to(site)
    assert list(place.iterdir()) == []
