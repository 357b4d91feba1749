"""Recipes: what comes with Darkroom is valid, and a mistake is found on its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from data.errors import SettingError
from flows.recipe import Recipe, load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_each_recipe_says_what_it_is_and_what_it_reaches(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name
    assert recipe.title
    assert recipe.target_accuracy is not None


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_by_path_is_the_recipe_by_name(name: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml.safe_dump(load_recipe(name).model_dump(mode="json")))
    assert load_recipe(str(copy)) == load_recipe(name)


def test_changes_take_the_place_of_single_settings() -> None:
    plain, changed = load_recipe("digits"), load_recipe("digits", {"train": {"epochs": 2}, "splits": {"test": 0.3}})
    assert changed.train == plain.train.model_copy(update={"epochs": 2})
    assert changed.splits == plain.splits.model_copy(update={"test": 0.3})
    assert changed.policy == plain.policy


def test_anything_else_is_a_source_with_all_defaults() -> None:
    recipe = load_recipe("kaggle:owner/cats-and-dogs")
    assert recipe == Recipe(name="cats-and-dogs", source="kaggle:owner/cats-and-dogs")
    assert recipe.policy.image_size == (160, 160)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\nsource: y\ntrain:\n  epoch: 3\n", "line 4: train.epoch is not a setting."),
        ("name: x\nsource: y\ntrain:\n  seed: 1\n  epochs: many\n", "line 5: train.epochs must be a valid integer."),
        ("# a comment\nname: x\ntrain:\n  epochs: 3\n", "line 2: source is missing."),
        (
            "name: x\nsource: y\nsplits:\n  test: 0.7\n  validation: 0.7\n",
            "line 3: splits: validation and test",
        ),
        (
            "name: x\nsource: y\ntrain: {augmentation: wild}\n",
            "line 3: train.augmentation: There is no augmentation 'wild'",
        ),
        ("name: x\nsource: y\ntrain: 3\n", "line 3: train must be a group of settings."),
        ("name: x\nsource: y\npolicy:\n  image_size:\n  - 1\n  - 2\n", "line 4: policy.image_size.0 must be greater"),
        ("name: x\nsource: [\n", "is not YAML: "),
        ("- name: x\n", "holds no settings. Begin it with 'name:' and 'source:'."),
        ("", "holds no settings."),
    ],
    ids=["misspelt", "kind", "missing", "together", "preset", "group", "nested", "no-yaml", "list", "empty"],
)
def test_a_mistake_is_named_with_its_file_and_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(SettingError) as caught:
        load_recipe(str(file))
    assert str(caught.value).startswith((f"{file}, {said}", f"{file} {said}"))
    assert "\n" not in str(caught.value)


def test_a_recipe_cannot_run_code(tmp_path: Path) -> None:
    touched, file = tmp_path / "touched", tmp_path / "mine.yaml"
    file.write_text(f"name: !!python/object/apply:os.system ['touch {touched}']\nsource: x\n")
    with pytest.raises(SettingError, match="is not YAML"):
        load_recipe(str(file))
    assert not touched.exists()


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingError, match="it is not UTF-8 text"):
        load_recipe(str(file))


def test_a_wrong_change_is_not_laid_to_the_file() -> None:
    with pytest.raises(ValidationError):
        load_recipe("digits", {"train": {"epochs": 0}})
