"""Names in Prefect's UI: what a run works on and when, what a task does. A name that a person has typed stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import cache, partial
from typing import Any

from darkroom.data.errors import SettingError
from darkroom.data.stores.storage import refuse_secrets

# What a run is called, by its parameters; a text is filled in with them and with `date`.
RunName = str | Callable[[dict[str, Any]], str]


def naming(name: RunName) -> Callable[[], str]:
    """What Prefect calls to name a run of a flow.

    Args:
        name: As above.
    """

    def named() -> str:
        from prefect.context import FlowRunContext

        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            raise RuntimeError("Prefect names a run outside a run.")
        typed = context.flow_run.name
        if not is_drawn(typed):
            return typed
        given = context.parameters or {}
        return without_credentials(name(given) if callable(name) else name.format(**given, date=date.today()))

    return named


def without_credentials(name: str) -> str:
    """A name that no line of a log may show credentials by: a URL with a password or a signature is left out.

    Args:
        name: Of a run, filled in with its parameters.
    """
    try:
        refuse_secrets(name)
    except SettingError:
        return "a URL with credentials"
    return name


def is_drawn(name: str) -> bool:
    """Whether Prefect drew a name at random, such as `bouncy-pony`.

    Args:
        name: Of a run.
    """
    words = name.split("-")
    return len(words) >= 2 and set(words) <= _words()


@cache
def _words() -> frozenset[str]:
    """All words that Prefect's names are drawn from."""
    from coolname.data import config

    lists: Any = config
    texts = [text for each in lists.values() for kind in ("words", "phrases") for text in each.get(kind, ())]
    return frozenset(word for text in texts for word in (text.split() if isinstance(text, str) else text))


def numbered(what: str) -> Callable[..., str]:
    """What Prefect calls to name a task run that works on one of several, such as `score part 3 of 12`.

    Args:
        what: What it does; the task has the parameters `index`, from 0, and `total`.
    """
    return partial(_numbered, what)


def _numbered(what: str, parameters: dict[str, Any]) -> str:
    return f"{what} {parameters['index'] + 1} of {parameters['total']}"
