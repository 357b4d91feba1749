"""Every public name is documented: arguments and attributes by name, and the errors that a function raises itself.

Read from the source without importing it, so that all of it takes a second. A single argument may be covered by the
summary; two or more are listed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    [*(ROOT / "data").rglob("*.py"), *(ROOT / "models").rglob("*.py"), *(ROOT / "src" / "darkroom").glob("*.py")]
)
ERRORS = {
    node.name
    for node in ast.parse((ROOT / "data" / "errors.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ClassDef)
}
SAID_ONCE = {"schema_version"}  # of every card: see `darkroom.data.files.cards.read_card`
Function = ast.FunctionDef | ast.AsyncFunctionDef


def entries(node: Function | ast.ClassDef, section: str) -> dict[str, str]:
    """The entries of a docstring's section: `a, b: text` is one entry for each name."""
    docstring = ast.get_docstring(node) or ""
    found = re.search(rf"^{section}:\n((?: {{4}}.*\n|\n)+)", docstring + "\n", re.MULTILINE)
    lines = re.findall(r"^ {4}(\w[\w., ]*):[ \n]*(.*)$", found[1], re.MULTILINE) if found else []
    return {name: text for names, text in lines for name in names.split(", ")}


def is_public(name: str) -> bool:
    return not name.startswith("_")


def is_overload(function: Function) -> bool:
    """Whether it is a signature for type checkers, which the function of the same name documents."""
    return "overload" in map(ast.unparse, function.decorator_list)


def arguments(function: Function) -> list[str]:
    given = function.args
    named = [*given.posonlyargs, *given.args, *([given.vararg] if given.vararg else []), *given.kwonlyargs]
    names = [each.arg for each in (*named, *([given.kwarg] if given.kwarg else []))]
    return [name for name in names if name not in ("self", "cls")]


def raised(function: Function) -> set[str]:
    """The errors of ours that a function's own body raises by name."""
    found: set[str] = set()
    left: list[ast.AST] = list(function.body)
    while left:
        node = left.pop()
        if isinstance(node, Function | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found.add(ast.unparse(node.exc.func))
        left.extend(ast.iter_child_nodes(node))
    return found & ERRORS


def fields(node: ast.ClassDef) -> dict[str, ast.AnnAssign]:
    """The public fields of a dataclass or a pydantic model."""
    return {
        line.target.id: line
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and is_public(line.target.id)
    }


def methods(node: ast.ClassDef) -> list[Function]:
    return [each for each in node.body if isinstance(each, Function)]


def protocol_methods(tree: ast.Module) -> set[str]:
    """Methods that a protocol of the module documents for all that implement it."""
    protocols = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
    ]
    documented = {each.name for node in protocols for each in methods(node) if ast.get_docstring(each)}
    return documented.union(*(entries(node, "Attributes") for node in protocols))


def faults_of_function(function: Function, name: str, said: dict[str, str], errors: set[str]) -> Iterator[str]:
    """What is missing or wrong; `said` and `errors` are what its docstring names."""
    names = arguments(function)
    if len(names) > 1 or said:
        yield from (f"{name}: the argument {missing!r} is not documented" for missing in names if missing not in said)
    yield from (f"{name}: there is no argument {unknown!r}" for unknown in said if unknown not in names)
    yield from (f"{name}: nothing is said of {empty!r}" for empty, text in said.items() if not text.strip())
    yield from (f"{name}: Raises lacks {error}" for error in sorted(raised(function) - errors))


def faults_of_class(node: ast.ClassDef, inherited: set[str]) -> Iterator[str]:
    if not ast.get_docstring(node):
        yield f"{node.name}: no docstring"
    said, own = entries(node, "Attributes"), fields(node)
    described = {name for name, line in own.items() if "description=" in ast.unparse(line)} | SAID_ONCE
    if "TypedDict" not in ast.unparse(node) and not any(
        base.endswith("Options") for base in map(ast.unparse, node.bases)
    ):
        yield from (f"{node.name}: the attribute {name!r} is not documented" for name in own.keys() - said - described)
    known = own.keys() | {each.name for each in methods(node)}
    yield from (f"{node.name}: there is no attribute {name!r}" for name in said if name not in known)
    for each in methods(node):
        name = f"{node.name}.{each.name}"
        if each.name in ("__init__", "__post_init__"):  # documented by the class
            both = entries(node, "Args") or entries(each, "Args")
            errors = {*entries(node, "Raises"), *entries(each, "Raises")}
            yield from faults_of_function(each, name, both, errors)
        elif is_public(each.name) and (ast.get_docstring(each) or each.name not in inherited):
            if not ast.get_docstring(each):
                yield f"{name}: no docstring"
            yield from faults_of_function(each, name, entries(each, "Args"), set(entries(each, "Raises")))


def faults(source: str) -> list[str]:
    tree = ast.parse(source)
    inherited = protocol_methods(tree)
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and is_public(node.name):
            found += faults_of_class(node, inherited)
        elif isinstance(node, Function) and is_public(node.name) and not is_overload(node):
            if not ast.get_docstring(node):
                found.append(f"{node.name}: no docstring")
            found += faults_of_function(node, node.name, entries(node, "Args"), set(entries(node, "Raises")))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_public_names_are_documented(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


def with_docstring(head: str, *entries: str, section: str = "Args", body: str = "") -> str:
    """The source of a function or a class with one section in its docstring."""
    lines = [head, "    '''It.", "", f"    {section}:", *(f"        {entry}" for entry in entries), "    '''", body]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (with_docstring("def f(a, b):", "a: One."), "f: the argument 'b' is not documented"),
        (with_docstring("def f(a):", "a, b: Both."), "f: there is no argument 'b'"),
        (with_docstring("def f(a):", "a:"), "f: nothing is said of 'a'"),
        ("def f():\n    '''It.'''\n    if 1:\n        raise WorkError('x')", "f: Raises lacks WorkError"),
        ("def f():\n    return 1", "f: no docstring"),
        ("class C:\n    '''It.'''\n    x: int\n    _y: int", "C: the attribute 'x' is not documented"),
        (with_docstring("class C:", "z: Last.", section="Attributes"), "C: there is no attribute 'z'"),
        ("class C:\n    '''It.'''\n    def m(self):\n        return 1", "C.m: no docstring"),
        (
            with_docstring("class C:", "a: One.", body="    def __init__(self, a, b):\n        self.x = a"),
            "C.__init__: the argument 'b' is not documented",
        ),
    ],
)
def test_what_is_missing_is_found(source: str, fault: str) -> None:
    assert faults(source) == [fault]


@pytest.mark.parametrize(
    "source",
    [
        "def f(a):\n    '''Twice `a`.'''",
        "def _f(a, b):\n    return a",
        with_docstring("def f(a, *b, c=1, **d):", "a, b: Both.", "c: Third.", "d: The others."),
        with_docstring("def f():", "WorkError: if so.", section="Raises", body="    raise WorkError('x')"),
        "class C(Settings):\n    '''It.'''\n    x: int = Field(default=1, description='How many')",
        "class P(Protocol):\n    '''It.'''\n    def m(self):\n        '''Do.'''\n"
        "class C:\n    '''It.'''\n    def m(self):\n        return 1",
    ],
)
def test_what_is_documented_passes(source: str) -> None:
    assert faults(source) == []
