"""A recipe: all settings for one known data set, as YAML in `flows/recipes/`, validated here."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data.augment import AugmentPolicy
from data.decode import DecodePolicy
from data.errors import SettingError
from data.ingest import IngestSettings
from data.labelling import LabelRules
from data.shards import ShardRules
from data.splits import SplitRules
from data.workspace import name_from
from models.networks import describe
from models.settings import TrainSettings


class Recipe(BaseModel):
    """What `darkroom run` does.

    Attributes:
        name: Of the data set.
        title: One line for people.
        source: Where the images are.
        labels, splits, policy, shards: Of the ingest; without a policy the network's own image size is taken.
        copies, copy_augmentation: Augmented copies written into the training shards.
        train: Of the training.
        target_accuracy: The figure that the recipe should reach on its test images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str = ""
    source: str
    labels: LabelRules = LabelRules()
    splits: SplitRules = SplitRules()
    policy: DecodePolicy | None = None
    shards: ShardRules = ShardRules()
    copies: int = 0
    copy_augmentation: AugmentPolicy = AugmentPolicy()
    train: TrainSettings = TrainSettings()
    target_accuracy: float | None = Field(default=None, gt=0, le=1)

    def ingest_settings(self) -> IngestSettings:
        """The ingest part; the image size is the network's where the recipe does not say."""
        size = describe(self.train.model, self.train.weights).image_size
        return IngestSettings(
            name=self.name,
            labels=self.labels,
            splits=self.splits,
            policy=self.policy or DecodePolicy(image_size=size),
            shards=self.shards,
            augmentation=self.copy_augmentation,
            copies=self.copies,
        )


def recipe_names() -> list[str]:
    """The recipes that come with Darkroom."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def load_recipe(reference: str) -> Recipe:
    """A recipe by name or by path of a YAML file; anything else is a source with all defaults.

    Raises:
        SettingError: naming the file, the line and the field that is wrong.
    """
    if reference in recipe_names():
        return _parse((_folder() / f"{reference}.yaml").read_text(encoding="utf-8"), f"{reference}.yaml")
    if reference.endswith((".yaml", ".yml")):
        try:
            return _parse(Path(reference).read_text(encoding="utf-8"), reference)
        except OSError as error:
            raise SettingError(f"The recipe {reference} cannot be read: {error.strerror}.") from None
    return Recipe(name=name_from(reference), source=reference)


def _folder() -> Any:
    return files("flows.recipes")


def _parse(text: str, name: str) -> Recipe:
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        return Recipe.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise SettingError(f"{name} is not YAML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the recipe"
        line = _line_of(tree, first["loc"])
        raise SettingError(f"{name}, line {line}: {where}: {first['msg']}. Correct that line.") from None


def _line_of(node: Any, location: tuple[Any, ...]) -> int:
    """The line, from 1, of the deepest part of `location` that the YAML has."""
    line = node.start_mark.line + 1 if node is not None else 1
    for part in location:
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == part:
                node, line = value, key.start_mark.line + 1
                break
        else:
            break
    return int(line)
