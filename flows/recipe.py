"""A recipe: all settings for one known data set, as YAML in `flows/recipes/`, validated here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from darkroom.data.errors import SettingError
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.settings import SettingsModel, what_is_wrong
from darkroom.data.stores.storage import refuse_secrets
from darkroom.data.stores.workspace import name_from
from darkroom.models.networks.architectures import describe
from darkroom.models.settings import STORED_NAMES, BlessingRules, TrainSettings, with_stored_names

_RECIPE = "recipe:"
# What a recipe calls a setting that is stored under another name.
_OF_STORED = {stored: name for name, stored in STORED_NAMES.items()}


class NetworkSettings(SettingsModel):
    """The settings of a recipe that need no source."""

    train: TrainSettings = Field(default=TrainSettings(), description="How the network is trained")
    blessing: BlessingRules = Field(default=BlessingRules(), description="When a model is approved for scoring")


class Recipe(IngestSettings, NetworkSettings):
    """All settings of `darkroom run`."""

    title: str = Field(default="", description="One line that describes the recipe")
    source: str = Field(
        description="Where the images are: a folder, an archive, the URL of either, kaggle:owner/dataset or sample:NAME"
    )
    target_accuracy: float | None = Field(
        default=None, gt=0, le=1, description="Accuracy that the recipe should reach on its test images"
    )
    target_macro_f1: float | None = Field(
        default=None, gt=0, le=1, description="Macro F1 that the recipe should reach on its test images"
    )
    public: str = Field(default="", description="What public tutorials reach on the same data, in words")

    @model_validator(mode="before")
    @classmethod
    def _image_size_of_the_network(cls, values: Any) -> Any:
        """The image size is the network's where the recipe does not say."""
        if not isinstance(values, dict) or not isinstance(values.get("policy", {}), dict):
            return values
        policy = values.get("policy", {})
        if "image_size" in policy:
            return values
        try:
            train = TrainSettings.model_validate(values.get("train", {}))
        except ValidationError:
            return values  # said once, with its line, when the fields are validated
        size = describe(train.model, train.weights).image_size
        return values | {"policy": policy | {"image_size": size}}

    @field_validator("source")
    @classmethod
    def _no_secrets(cls, value: str) -> str:
        refuse_secrets(value)
        return value

    def ingest_settings(self) -> IngestSettings:
        """The settings that decide on the data set."""
        return IngestSettings.model_validate({name: getattr(self, name) for name in IngestSettings.model_fields})


def recipe_names() -> list[str]:
    """The recipes that come with Darkroom."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def load_recipe(reference: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name or by the path of a YAML file; anything else is a source, with defaults for all settings.

    Args:
        reference: A recipe's name, alone or as `recipe:NAME`, a YAML file, or a source.
        changes: Settings that replace the recipe's, nested as in a recipe.

    Raises:
        SettingError: naming the file, the line and the field that is wrong; where there is no such recipe; or where a
            name alone is a recipe and a file or folder here as well.
        ValidationError: pydantic's, where `changes` are wrong.
    """
    changes = _stored(changes or {})
    name = _recipe_name(reference)
    if name is not None:
        return _parse((_folder() / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml", changes)
    if reference.endswith((".yaml", ".yml")):
        try:
            return _parse(Path(reference).read_text(encoding="utf-8"), reference, changes)
        except (OSError, UnicodeDecodeError) as error:
            what = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise SettingError(f"The recipe {reference} cannot be read: {what}. Check the path.") from None
    return Recipe.model_validate(merged({"name": name_from(reference), "source": reference}, changes))


def _recipe_name(reference: str) -> str | None:
    """The recipe that a reference means; None where it means a file or a source."""
    name, names = reference.removeprefix(_RECIPE), recipe_names()
    if name not in names:
        if name != reference:
            raise SettingError(f"There is no recipe {name!r}. The recipes are: {', '.join(names)}.")
        return None
    if name == reference and os.path.lexists(name):
        what = "folder" if os.path.isdir(name) else "file"
        raise SettingError(
            f"{name} is a recipe and a {what} in {Path.cwd()}. Write {_RECIPE}{name} for the recipe, or ./{name} for "
            f"the {what}."
        )
    return name


def _folder() -> Any:
    return files("darkroom.flows.recipes")


def _stored(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings with the names of those of the training as they are stored, so that one takes the other's place."""
    train = values.get("train")
    return {**values, "train": with_stored_names(train)} if isinstance(train, Mapping) else values


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested mappings merged level by level.

    Args:
        below: Values that count where `above` has none.
        above: Values that replace them.
    """
    found = dict(below)
    for name, value in above.items():
        old = found.get(name)
        found[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return found


def _parse(text: str, name: str, changes: Mapping[str, Any]) -> Recipe:
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingError(f"{name} is not YAML: {' '.join(str(error).split())}. Correct it.") from None
    if not isinstance(values, dict):
        raise SettingError(f"{name} holds no settings. Begin it with 'name:' and 'source:'.")
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        line, said = _line_of(tree, first["loc"]), what_is_wrong(Recipe, dict(first), _key)
        raise SettingError(f"{name}, line {line}: {said}. Correct that line.") from None
    return Recipe.model_validate(merged(_stored(values), changes)) if changes else recipe


def _key(place: tuple[Any, ...]) -> str:
    """What a recipe calls the setting at a place."""
    return ".".join(_OF_STORED.get(str(part), str(part)) for part in place) or "The recipe"


def _line_of(node: Any, location: tuple[Any, ...]) -> int:
    """The line, from 1, of the deepest part of `location` that the YAML has."""
    line = node.start_mark.line + 1 if node is not None else 1
    for part in location:
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if STORED_NAMES.get(key.value, key.value) == part:
                node, line = value, key.start_mark.line + 1
                break
        else:
            break
    return int(line)
