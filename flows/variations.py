"""What `darkroom compare` varies: options of `darkroom run`, several values each; every combination is a recipe."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from darkroom.data.errors import SettingError
from darkroom.flows.options import INGEST_OPTIONS, OLD_NAMES, PATH_OF, TRAIN_OPTIONS, renamed, setting_changes
from darkroom.flows.recipe import Recipe, load_recipe, merged

MAX_COMBINATIONS = 1000
# These decide on which images a network is evaluated: trials that differ in them cannot be compared.
_JUDGED = (
    "labels-from", "labels-csv", "label-pattern", "path-column", "label-column", "validation", "test", "split-seed",
    "keep-splits", "max-quarantined-share", "leaks",
)  # fmt: skip
# These do not change how a trial is evaluated.
_AFTERWARDS = ("calibration", "min-precision", "min-coverage", "flip-average", "format", "rows-per-shard")
VARIED_OPTIONS = tuple(option for option in (*TRAIN_OPTIONS, *INGEST_OPTIONS) if option not in (*_JUDGED, *_AFTERWARDS))


@dataclass(frozen=True)
class Variation:
    """One combination of values.

    Attributes:
        values: Option and value, as typed.
        recipe: The recipe with these values.
    """

    values: tuple[tuple[str, str], ...]
    recipe: Recipe

    @property
    def told(self) -> str:
        """The values as text, such as `optimizer=adam, augment=none`."""
        return ", ".join(f"{option}={value}" for option, value in self.values)


def parse_vary(given: Sequence[str]) -> dict[str, list[str]]:
    """Parse `["optimizer=adam,sgd", ...]` to values by option; an option's old name counts as its new one.

    Raises:
        SettingError: where it is not of that form, or an option is given twice.
    """
    found: dict[str, list[str]] = {}
    for text in given:
        option, equals, values = text.partition("=")
        if not equals:
            raise SettingError(f"--vary {text}: write an option and its values, as in --vary optimizer=adam,sgd.")
        if new := OLD_NAMES.get(option):
            renamed(f"--vary {option}", f"--vary {new}", values, found.get(new))
        option = new or option
        if option in found:
            raise SettingError(f"--vary {option} is given twice. Put all its values behind one.")
        found[option] = [value.strip() for value in values.split(",")]
    return found


def with_new_names(vary: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Values by option, each option under the name that it has now."""
    return {OLD_NAMES.get(option, option): list(values) for option, values in vary.items()}


def variations(reference: str, vary: Mapping[str, Sequence[str]], changes: Mapping[str, Any]) -> list[Variation]:
    """Every combination of the values, those of the last option changing fastest.

    Args:
        reference: A recipe's name, a YAML file, or a source.
        vary: Values by option, as typed.
        changes: Settings that replace the recipe's in every trial, nested as in a recipe.

    Raises:
        SettingError: where an option cannot be varied, is set as well, or has no value or the same one twice; where
            there are too many combinations.
        ValidationError: pydantic's, where a value is wrong.
    """
    if not vary:
        raise SettingError("There is nothing to compare: give at least one --vary OPTION=VALUE,VALUE.")
    for option, values in vary.items():
        _check(option, values, changes)
    num_combinations = math.prod(len(values) for values in vary.values())
    if num_combinations > MAX_COMBINATIONS:
        raise SettingError(
            f"The values make {num_combinations:,} combinations, more than {MAX_COMBINATIONS:,}. Vary less at a time."
        )
    found: dict[str, Variation] = {}
    for combination in product(*vary.values()):
        varied = dict(zip(vary, combination, strict=True))
        made = Variation(tuple(varied.items()), load_recipe(reference, merged(changes, setting_changes(varied))))
        twin = found.setdefault(made.recipe.model_dump_json(), made)
        if twin is not made:
            raise SettingError(f"{twin.told} and {made.told} are the same settings. Leave one of them out.")
    return list(found.values())


def command(
    reference: str,
    vary: Mapping[str, Sequence[str]],
    changes: Mapping[str, Any],
    num_trials: int | None,
    prune_after: int,
) -> str:
    """The command line of a comparison.

    Args:
        reference: A recipe's name, a YAML file, or a source.
        vary: Values by option, as typed.
        changes: Settings that replace the recipe's, nested as in a recipe.
        num_trials: Combinations to draw; None for all.
        prune_after: Epochs before a poor trial can be stopped.
    """
    words = ["darkroom", "compare", reference]
    for option, path in PATH_OF.items():
        value = _value_at(changes, path)
        if value is not None:
            flag = {"True": f"--{option}", "False": f"--no-{option}"}.get(str(value))
            typed = "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            words += [flag] if flag else [f"--{option}", typed]
    for option, values in vary.items():
        words += ["--vary", f"{option}={','.join(values)}"]
    words += ["--name", changes["name"]] if "name" in changes else []
    words += ["--trials", str(num_trials)] if num_trials else []
    return shlex.join([*words, "--prune-after", str(prune_after)])


def _check(option: str, values: Sequence[str], changes: Mapping[str, Any]) -> None:
    if option in _JUDGED:
        raise SettingError(
            f"--vary {option}: the trials would be evaluated on different images and could not be compared. Set it for "
            f"all of them with --{option}."
        )
    if option in _AFTERWARDS:
        raise SettingError(f"--vary {option}: it does not change what trials are ranked by. Set it with --{option}.")
    if option not in VARIED_OPTIONS:
        raise SettingError(f"--vary {option}: there is no such option. Use one of {', '.join(VARIED_OPTIONS)}.")
    if not all(values) or not values:
        raise SettingError(f"--vary {option}: a value is empty. Write --vary {option}=VALUE,VALUE.")
    if _value_at(changes, PATH_OF[option]) is not None:
        raise SettingError(f"--{option} is set and varied. Leave one of them out.")


def _value_at(tree: Any, path: Sequence[str]) -> Any:
    for part in path:
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree
