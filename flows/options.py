"""Command-line options made from the settings' own fields: one name, one help text and one check for each setting."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from darkroom.data.errors import SettingError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Path = tuple[str, ...]

# Most of what the page of a data set costs is the features of the images whose labels are checked.
MAX_JUDGED = 10_000
# Files in one part of a prediction table.
ROWS_PER_PART = 1000

# Option to the place of its setting in a recipe, by group of the help; the first group has no title of its own.
_COMMON_INGEST: Mapping[str, Path] = {"image-size": ("policy", "image_size")}
_LABELS: Mapping[str, Path] = {
    "task": ("labels", "task"),
    "labels-from": ("labels", "source"),
    "labels-csv": ("labels", "csv"),
    "label-pattern": ("labels", "pattern"),
    "path-column": ("labels", "path_column"),
    "label-column": ("labels", "label_column"),
    "split-column": ("labels", "split_column"),
    "class-folder": ("labels", "class_folders"),
    "exclude": ("labels", "exclude"),
    "masks": ("labels", "masks"),
    "bad-rows": ("labels", "bad_rows"),
    "combined-labels": ("labels", "combined_labels"),
    "numeric-labels": ("labels", "numeric_labels"),
    "min-class-size": ("labels", "min_class_size"),
    "corrections": ("labels", "corrections"),
    "label-separator": ("labels", "label_separator"),
    "empty-labels": ("labels", "empty_labels"),
    "validation": ("splits", "validation"),
    "test": ("splits", "test"),
    "split-seed": ("splits", "seed"),
    "keep-splits": ("splits", "keep"),
    "leaks": ("leaks",),
    "max-quarantined-share": ("max_quarantined_share",),
}
_DECODING: Mapping[str, Path] = {
    "resize": ("policy", "resize"),
    "interpolation": ("policy", "interpolation"),
    "window": ("policy", "window"),
}
_STORAGE: Mapping[str, Path] = {
    "format": ("shards", "format"),
    "images": ("shards", "images"),
    "rows-per-shard": ("shards", "rows_per_shard"),
    "copies": ("copies",),
    "copy-augment": ("augmentation",),
}
_COMMON_TRAIN: Mapping[str, Path] = {
    "architecture": ("train", "model"),
    "weights": ("train", "weights"),
    "epochs": ("train", "epochs"),
    "augment": ("train", "augmentation"),
}
_TRAINING: Mapping[str, Path] = {
    "batch-size": ("train", "batch_size"),
    "optimizer": ("train", "optimizer"),
    "learning-rate": ("train", "learning_rate"),
    "schedule": ("train", "schedule"),
    "patience": ("train", "patience"),
    "weight-decay": ("train", "weight_decay"),
    "label-smoothing": ("train", "label_smoothing"),
    "dropout": ("train", "dropout"),
    "mixup": ("train", "mixup"),
    "cutmix": ("train", "cutmix"),
    "class-weights": ("train", "class_weights"),
    "flip-average": ("train", "flip_average"),
    "seed": ("train", "seed"),
    "workers": ("train", "workers"),
}
_FINE_TUNING: Mapping[str, Path] = {
    "fine-tune-layers": ("train", "fine_tune_blocks"),
    "fine-tune-epochs": ("train", "fine_tune_epochs"),
    "fine-tune-learning-rate": ("train", "fine_tune_learning_rate"),
}
_CALIBRATION: Mapping[str, Path] = {
    "calibration": ("train", "calibration"),
    "min-precision": ("train", "min_precision"),
    "min-coverage": ("train", "min_coverage"),
}
BLESSING_OPTIONS: Mapping[str, Path] = {
    "min-accuracy": ("blessing", "min_accuracy"),
    "min-recall": ("blessing", "min_recall"),
    "min-test-images": ("blessing", "min_test_images"),
    "min-validation-images": ("blessing", "min_validation_images"),
    "min-macro-f1": ("blessing", "min_macro_f1"),
    "max-calibration-error": ("blessing", "max_calibration_error"),
    "accuracy-margin": ("blessing", "accuracy_margin"),
    "recall-margin": ("blessing", "recall_margin"),
    "calibration-margin": ("blessing", "calibration_margin"),
    "max-possible-loss": ("blessing", "max_possible_loss"),
}
_PANELS: Mapping[str, Mapping[str, Path]] = {
    "Labels and splits": _LABELS,
    "Decoding": _DECODING,
    "Storage": _STORAGE,
    "Training": _TRAINING,
    "Fine-tuning": _FINE_TUNING,
    "Calibration and abstention": _CALIBRATION,
    "Approval for scoring": BLESSING_OPTIONS,
}
_PANEL_OF = {option: panel for panel, options in _PANELS.items() for option in options}
INGEST_OPTIONS: Mapping[str, Path] = {**_COMMON_INGEST, **_LABELS, **_DECODING, **_STORAGE}
TRAIN_OPTIONS: Mapping[str, Path] = {**_COMMON_TRAIN, **_TRAINING, **_FINE_TUNING, **_CALIBRATION}
# What decides how a source is labelled, split and decoded, as an ingest would.
INSPECT_OPTIONS: Mapping[str, Path] = {
    option: path
    for option, path in INGEST_OPTIONS.items()
    if option not in ("format", "images", "copies", "copy-augment", "max-quarantined-share", "leaks")
}
# A longer one leaves too little of a terminal for what is said beside it: the description lists the choices.
_LONGEST_METAVAR = 20
# Options that were called something else; the old name still works.
OLD_NAMES: Mapping[str, str] = {"model": "architecture", "fine-tune-blocks": "fine-tune-layers"}
PATH_OF: Mapping[str, Path] = {**TRAIN_OPTIONS, **INGEST_OPTIONS, **BLESSING_OPTIONS}
_OPTION_OF = {path: option for option, path in PATH_OF.items()}


def parameters(options: Mapping[str, Path]) -> tuple[list[inspect.Parameter], ...]:
    """What Typer is told of options: the common ones, those of a group of the help, and the old names."""
    common = [each for option in options if option not in _PANEL_OF for each in _parameters(option)]
    others = [each for option in options if option in _PANEL_OF for each in _parameters(option)]
    return common, others, [_hidden(name) for name in _old_names(options)]


def taken(options: Mapping[str, Path], given: dict[str, Any]) -> dict[str, Any]:
    """Take the values of options out of all that was given, as settings, nested as they are in a recipe."""
    values = {option: _given(option, path, given) for option, path in options.items()}
    for name, new in _old_names(options).items():
        value = given.pop(name.replace("-", "_"))
        if value is not None:
            values[new] = renamed(f"--{name}", f"--{new}", value, values[new])
    return setting_changes(values)


def _old_names(options: Mapping[str, Path]) -> dict[str, str]:
    return {name: new for name, new in OLD_NAMES.items() if new in options}


def renamed(old: str, new: str, value: Any, value_of_new: Any) -> Any:
    """The value of an option that was given under its old name, with a warning on standard error.

    Args:
        old: The old name, with dashes.
        new: The new name, with dashes.
        value: Given under the old name.
        value_of_new: Given under the new name, or None.

    Raises:
        SettingError: where it was given under both names.
    """
    if value_of_new is not None:
        raise SettingError(f"{old} is the old name of {new}. Give one of them.")
    sys.stderr.write(f"darkroom: warning: {old} is now {new}; the old name will go away.\n")
    return value


def setting_changes(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that options stand for, nested as they are in a recipe; an option without a value is left out."""
    changes: dict[str, Any] = {}
    for option, value in values.items():
        if value is not None:
            _put(changes, PATH_OF[option], value)
    return changes


def wrong_setting(error: ValidationError, called: Callable[[str], str] = "--{}".format) -> str:
    """One sentence for settings that pydantic refused.

    Args:
        error: Of a recipe, a group of its settings, or of the `DARKROOM_…` variables.
        called: How a person names an option, such as `--image-size` for `image-size`.
    """
    from darkroom.data.settings import what_is_wrong
    from darkroom.flows.recipe import Recipe
    from darkroom.flows.settings import Settings

    if error.title == Settings.__name__:
        return f"{what_is_wrong(Settings, error.errors()[0], lambda place: f'DARKROOM_{place[0].upper()}')}."
    first: dict[str, Any] = dict(error.errors()[0])
    groups = {getattr(info.annotation, "__name__", ""): name for name, info in Recipe.model_fields.items()}
    if error.title in groups:  # a group that was validated on its own
        first["loc"] = (groups[error.title], *first["loc"])

    def name_of(place: tuple[Any, ...]) -> str:
        parts = tuple(map(str, place))
        found = next((_OPTION_OF[parts[:n]] for n in range(len(parts), 0, -1) if parts[:n] in _OPTION_OF), None)
        return called(found) if found else ".".join(parts) or "The settings"

    return f"{what_is_wrong(Recipe, first, name_of)}."


def _parameters(option: str) -> list[inspect.Parameter]:
    """What Typer is told of a setting's option: of a switch two, of which help shows the one that changes something."""
    from pydantic_core import PydanticUndefined

    info = _field(PATH_OF[option])
    said, panel = info.description or "", _PANEL_OF.get(option)
    default = None if info.default is PydanticUndefined else info.default
    if info.annotation is bool:
        on = _switch(option, said, panel, hidden=bool(default))
        off = _switch(f"no-{option}", f"Do not {said[:1].lower()}{said[1:]}", panel, hidden=not default)
        return [on, off]
    if isinstance(default, str | int | float) and "(default" not in said:
        said += f" (default: {f'{default:g}' if isinstance(default, float) else default})"
    about = typer.Option(f"--{option}", help=said, metavar=_metavar(info.annotation), rich_help_panel=panel)
    return [_keyword(option, Annotated[list[str] | None if _is_several(info.annotation) else str | None, about])]


def _is_several(annotation: Any) -> bool:
    """Whether a setting holds any number of texts: its option may be repeated, or give several between commas."""
    return get_origin(annotation) is tuple and get_args(annotation) == (str, ...)


def _switch(option: str, help_text: str, panel: str | None, hidden: bool) -> inspect.Parameter:
    about = typer.Option(f"--{option}", help=help_text, metavar="", rich_help_panel=panel, hidden=hidden)
    return _keyword(option, Annotated[bool | None, about])


def _given(option: str, path: Path, given: dict[str, Any]) -> Any:
    """Take the value of an option out of all that was given; None where it was not."""
    value = given.pop(option.replace("-", "_"))
    if _field(path).annotation is bool and given.pop(f"no_{option.replace('-', '_')}"):
        if value:
            raise SettingError(f"--{option} and --no-{option} contradict each other. Give one of them.")
        return False
    return (",".join(value) or None) if isinstance(value, list | tuple) else value


def _hidden(option: str) -> inspect.Parameter:
    help_text = f"The old name of --{OLD_NAMES[option]}"
    return _keyword(option, Annotated[str | None, typer.Option(f"--{option}", help=help_text, hidden=True)])


def _keyword(option: str, annotation: Any) -> inspect.Parameter:
    name = option.replace("-", "_")
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _field(path: Path) -> Any:
    from darkroom.flows.recipe import Recipe

    model: type[BaseModel] = Recipe
    for part in path[:-1]:
        model = model.model_fields[part].annotation  # type: ignore[assignment]
    return model.model_fields[path[-1]]


def _metavar(annotation: Any) -> str:
    """What stands for the value in help: its choices where they are short, or its kind."""
    if get_origin(annotation) is Literal:
        choices = "|".join(str(value) for value in get_args(annotation))
        return choices if len(choices) <= _LONGEST_METAVAR else "NAME"
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    if get_origin(kinds[0]) is Literal:
        return _metavar(kinds[0])
    return {int: "INTEGER", float: "NUMBER"}.get(kinds[0], "TEXT")


def _put(tree: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value
