"""Command-line options made from the settings' own fields: one name, one help text and one check for each setting."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
import typer.core
import typer.main

from darkroom.data.errors import SettingError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Path = tuple[str, ...]

# Most of what the page of a data set costs is the features of the images whose labels are judged.
MAX_JUDGED = 10_000

# Option to the place of its setting in a recipe.
INGEST_OPTIONS: Mapping[str, Path] = {
    "image-size": ("policy", "image_size"),
    "resize": ("policy", "resize"),
    "interpolation": ("policy", "interpolation"),
    "labels-from": ("labels", "source"),
    "labels-csv": ("labels", "csv"),
    "label-pattern": ("labels", "pattern"),
    "path-column": ("labels", "path_column"),
    "label-column": ("labels", "label_column"),
    "validation": ("splits", "validation"),
    "test": ("splits", "test"),
    "split-seed": ("splits", "seed"),
    "keep-splits": ("splits", "keep"),
    "format": ("shards", "format"),
    "images": ("shards", "images"),
    "rows-per-shard": ("shards", "rows_per_shard"),
    "copies": ("copies",),
    "copy-augment": ("augmentation",),
    "max-quarantined-share": ("max_quarantined_share",),
    "leaks": ("leaks",),
}
TRAIN_OPTIONS: Mapping[str, Path] = {
    "model": ("train", "model"),
    "weights": ("train", "weights"),
    "epochs": ("train", "epochs"),
    "batch-size": ("train", "batch_size"),
    "optimizer": ("train", "optimizer"),
    "learning-rate": ("train", "learning_rate"),
    "schedule": ("train", "schedule"),
    "weight-decay": ("train", "weight_decay"),
    "label-smoothing": ("train", "label_smoothing"),
    "dropout": ("train", "dropout"),
    "augment": ("train", "augmentation"),
    "mixup": ("train", "mixup"),
    "cutmix": ("train", "cutmix"),
    "class-weights": ("train", "class_weights"),
    "patience": ("train", "patience"),
    "fine-tune-blocks": ("train", "fine_tune_blocks"),
    "fine-tune-epochs": ("train", "fine_tune_epochs"),
    "fine-tune-learning-rate": ("train", "fine_tune_learning_rate"),
    "flip-average": ("train", "flip_average"),
    "calibration": ("train", "calibration"),
    "min-precision": ("train", "min_precision"),
    "min-coverage": ("train", "min_coverage"),
    "seed": ("train", "seed"),
    "workers": ("train", "workers"),
}
BLESSING_OPTIONS: Mapping[str, Path] = {
    "min-accuracy": ("blessing", "min_accuracy"),
    "min-recall": ("blessing", "min_recall"),
    "max-calibration-error": ("blessing", "max_calibration_error"),
    "accuracy-margin": ("blessing", "accuracy_margin"),
    "recall-margin": ("blessing", "recall_margin"),
    "calibration-margin": ("blessing", "calibration_margin"),
    "max-possible-loss": ("blessing", "max_possible_loss"),
}
# What decides how a source is labelled, split and decoded, as an ingest would.
_STORED = ("format", "images", "copies", "copy-augment", "max-quarantined-share", "leaks")
INSPECT_OPTIONS: Mapping[str, Path] = {name: path for name, path in INGEST_OPTIONS.items() if name not in _STORED}
_OPTION_OF = {path: option for option, path in {**INGEST_OPTIONS, **TRAIN_OPTIONS, **BLESSING_OPTIONS}.items()}
PATH_OF = {option: path for path, option in _OPTION_OF.items()}


def settings_command(app: typer.Typer, options: Mapping[str, Path]) -> Callable[[Callable[..., None]], Any]:
    """Register a command that has these options in place of its parameter `changes`, which gets what was given, nested.

    The options are made when the command is called or explains itself, and only then are the settings imported, with
    all that they stand on: the list of the commands does without.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "changes"]

        @wraps(function)
        def call(**given: Any) -> None:
            values = {option: given.pop(option.replace("-", "_")) for option in options}
            function(**given, changes=setting_changes(values))

        @cache
        def whole() -> Any:
            """The command with all its options."""
            made = [_parameter(option, path) for option, path in options.items()]
            alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
            alone.command()(_with_parameters(call, [*own, *made]))
            return typer.main.get_command(alone)

        class Command(typer.core.TyperCommand):
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

        app.command(cls=Command)(_with_parameters(function, own))
        return function

    return decorate


def setting_changes(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that options stand for, nested as they are in a recipe; an option without a value is left out."""
    changes: dict[str, Any] = {}
    for option, value in values.items():
        if value is not None:
            path = PATH_OF[option]
            _put(changes, path, _size(value) if path[-1] == "image_size" else value)
    return changes


def wrong_setting(error: ValidationError) -> str:
    """One sentence for settings that pydantic refused, naming the option where there is one."""
    from pydantic import BaseModel

    from darkroom.data.settings import what_is_wrong

    first = error.errors()[0]
    location = tuple(str(part) for part in first["loc"])
    option = next(
        (f"--{_OPTION_OF[location[:n]]}" for n in range(len(location), 0, -1) if location[:n] in _OPTION_OF), ""
    )
    variable = f"DARKROOM_{location[0].upper()}" if error.title == "Settings" else ""
    where = option or variable or ".".join(location) or "The settings"
    received = "" if isinstance(first["input"], dict | BaseModel) else f" Received: {first['input']!r}."
    return f"{what_is_wrong(where, dict(first))}.{received}"


def _with_parameters(function: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """The same function, which Typer sees to have other parameters."""

    @wraps(function)
    def shown(**given: Any) -> None:
        function(**given)

    shown.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
    shown.__annotations__ = {}
    return shown


def _parameter(option: str, path: Path) -> inspect.Parameter:
    from pydantic_core import PydanticUndefined

    from darkroom.data.settings import field_help

    model, field = _field(path)
    info = model.model_fields[field]
    help_text = field_help(model, field)
    default = info.default if info.default is not PydanticUndefined else None
    if isinstance(default, str | int | float | tuple) and not isinstance(default, bool):
        shown = "x".join(str(part) for part in default) if isinstance(default, tuple) else default
        help_text += f" [default: {shown}]"
    kind: Any = bool | None if info.annotation is bool else str | None
    declaration = f"--{option}/--no-{option}" if info.annotation is bool else f"--{option}"
    metavar = None if info.annotation is bool else _metavar(info.annotation)
    return inspect.Parameter(
        option.replace("-", "_"),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind, typer.Option(declaration, help=help_text, show_default=False, metavar=metavar)],
    )


def _field(path: Path) -> tuple[type[BaseModel], str]:
    from darkroom.flows.recipe import Recipe

    model: type[BaseModel] = Recipe
    for part in path[:-1]:
        model = model.model_fields[part].annotation  # type: ignore[assignment]
    return model, path[-1]


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(str(value) for value in get_args(annotation))
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    if get_origin(kinds[0]) is Literal:
        return _metavar(kinds[0])
    return {int: "INTEGER", float: "NUMBER"}.get(kinds[0], "TEXT")


def _put(tree: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _size(text: str) -> tuple[int, int]:
    """`160` or `120x160` (height x width) as (height, width) in pixels."""
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not found:
        raise SettingError(f"--image-size: {text!r} is not a size. Write 160, or 120x160 for height x width.")
    return int(found[1]), int(found[2] or found[1])
