"""How a command is declared: its own options, those of its settings, and those that every flow's command has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from typing import Any

import typer
import typer.core
import typer.main

from darkroom.flows import options as settings
from darkroom.flows.launch import HowInParts
from darkroom.flows.shared_options import EXECUTION, OUTPUT, Address, Json, Runner, Verbose, Workspace

_HOW: Mapping[str, Any] = {
    "workspace": (Workspace, None),
    "as_json": (Json, False),
    "verbose": (Verbose, False),
}
# Said for each command too: the option for help is kept from the first use, which may know nothing of the group.
HELP = {"help_option_names": ["-h", "--help"]}
_IN_PARTS: Mapping[str, Any] = {"runner": (Runner, None), "address": (Address, None)}


class _PlainHelp:
    """Help in which a value is called what it is, such as `FOLDER`, and not by Python's type, such as `<str>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in found:
            if parameter.param_type_name == "argument" or parameter.metavar is None:
                parameter.display_type = lambda ctx: None
        return found

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces: list[str] = super().collect_usage_pieces(ctx)  # type: ignore[misc]
        return [piece.translate({ord("{"): None, ord("}"): None}) for piece in pieces]


class Group(_PlainHelp, typer.core.TyperGroup):
    """All commands."""


class Command(_PlainHelp, typer.core.TyperCommand):
    """A command."""


def command(
    app: typer.Typer, help_text: str, panel: str, options: Mapping[str, settings.Path] | None = None
) -> Callable[[Callable[..., None]], Any]:
    """Register a command.

    Of the function's parameters, `how` gets the options of every flow's command, and `changes` those of settings that
    were given, nested as in a recipe. The options of settings are made when the command is called or explains itself,
    and only then are the settings imported, with all that they stand on: the list of the commands does without.

    Args:
        app: To which the command belongs.
        help_text: What the command does; a docstring would be gone under `python -OO`.
        panel: Its group in the list of the commands.
        options: Option to the path of its setting in a recipe.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        named = inspect.signature(function, eval_str=True).parameters
        own = [each for name, each in named.items() if name not in ("changes", "how")]
        shared = {**_HOW, **(_IN_PARTS if named["how"].annotation is HowInParts else {})} if "how" in named else {}
        own += [_keyword(name, annotation, default) for name, (annotation, default) in shared.items()]
        last = [each for panel in (EXECUTION, OUTPUT) for each in own if _panel(each) == panel]
        first = [each for each in own if each not in last]

        @wraps(function)
        def call(**given: Any) -> None:
            if shared:
                given["how"] = named["how"].annotation(**{name: given.pop(name) for name in shared})
            if options:
                given["changes"] = settings.taken(options, given)
            function(**given)

        @cache
        def whole() -> Any:
            """The command with all its options, the common ones first."""
            common, others, hidden = settings.parameters(options or {})
            alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
            every = _with_parameters(call, [*first, *common, *others, *hidden, *last])
            alone.command(cls=Command, help=help_text, context_settings=HELP)(every)
            return typer.main.get_command(alone)

        class Lazy(Command):
            """Known by name and help; when it is entered, the whole command takes its place."""

            @property
            def params(self) -> list[Any]:
                found: list[Any] = whole().params
                return found

            @params.setter
            def params(self, value: list[Any]) -> None:
                """Those of the whole command."""

            def make_context(self, *arguments: Any, **more: Any) -> Any:
                return whole().make_context(*arguments, **more)

        register = app.command(
            cls=Lazy if options else Command, help=help_text, rich_help_panel=panel, context_settings=HELP
        )
        register(_with_parameters(call, [*first, *last]))
        return function

    return decorate


def _with_parameters(call: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """The same function, which Typer sees to have other parameters."""

    @wraps(call)
    def shown(**given: Any) -> None:
        call(**given)

    shown.__signature__ = inspect.Signature([each.replace(kind=each.KEYWORD_ONLY) for each in parameters])  # type: ignore[attr-defined]
    shown.__annotations__ = {}
    return shown


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _panel(parameter: inspect.Parameter) -> str | None:
    """The group of the help to which a command's own parameter belongs."""
    (about,) = parameter.annotation.__metadata__
    return getattr(about, "rich_help_panel", None)
