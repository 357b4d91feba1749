"""One word for one thing: the words that docs/architecture.md, "Terms", rules out appear nowhere a user reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What is not said, and what is said in its place. Lower case; spaces match line breaks too.
INSTEAD = {
    r"(?<!quarantined \()set aside": "quarantined",
    r"what is taken for what": "confusion matrix",
    r"(?:made|done|built) before\b": "already built, up to date",
    r"no room (?:is )?left": "disk full",
    r"hopeless": "pruned",
    r"exciting": "maximally activating",
    r"middling": "medium",
    r"who works on": "how parts are executed",
    r"past one machine": "scaling beyond one machine",
    r"beside the usual ways": "benchmarks",
    r"half the speed": "half-speed",
    r"first of its name": "first version",
    r"the floors\b": "the minimum thresholds",
    r"the way of the data": "how data flows",
    r"(?:folder|row|task|file|part) an? (?:class|image|file|part|shard|trial|worker)\b": "per",
    r"(?<!is the )\bjudg(?:e|es|ed|ement|ment)\b": "evaluate",  # but for a sentence that is in the data sets' versions
    r"goes on (?:where|with)": "resumes",
    r"does it score from now on": "approved for scoring",
    r"class by class": "per-class metrics",
    r"what it answers to": "maximally activating pattern",
    r"most epochs": "maximum epochs",
    r"unless given": "default",
}
# Whose text is checked: pages, templates, and string literals (docstrings are for those who read the code).
PAGES = ["README.md", "docs/*.md", "models/pages/templates/*.j2", "flows/recipes/*.yaml"]
MESSAGES = ["data/**/*.py", "models/**/*.py", "tasks/*.py", "flows/*.py"]


def prose(path: Path) -> Iterator[str]:
    """A page's text without its word list, names in code, and what a template computes."""
    text = path.read_text(encoding="utf-8")
    yield re.sub(r"^## Terms\n.*?(?=^## )|`[^`\n]+`|\{\{.*?\}\}|\{%.*?%\}", "", text, flags=re.MULTILINE | re.DOTALL)


def literals(path: Path) -> Iterator[str]:
    """The string literals of a module that hold more than one word, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in docstrings:
            continue
        if isinstance(node.value, str) and " " in node.value.strip():
            yield node.value


def checked() -> list[Path]:
    """Every file whose words are checked."""
    return sorted(path for pattern in (*PAGES, *MESSAGES) for path in ROOT.glob(pattern))


@pytest.mark.parametrize("path", checked(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_same_thing_has_one_word(path: Path) -> None:
    texts = literals(path) if path.suffix == ".py" else prose(path)
    joined = [" ".join(text.lower().split()) for text in texts]
    found = {
        match.group(): instead
        for words, instead in INSTEAD.items()
        for text in joined
        for match in re.finditer(words, text)
    }
    assert found == {}


def test_every_ruled_out_word_is_found() -> None:
    """The patterns match what they are meant to: each finds a sentence of the past."""
    past = {
        "3 files set aside": "quarantined",
        "one folder a class": "per",
        "the first of its name": "first version",
        "judged on 351 images": "evaluate",
        "quarantined (set aside with a reason)": None,
    }
    for text, instead in past.items():
        assert next((said for words, said in INSTEAD.items() if re.search(words, text)), None) == instead
