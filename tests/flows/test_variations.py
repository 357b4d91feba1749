"""What `--vary` makes of a recipe: every combination, each as `darkroom run` would take it, and what is refused."""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext
from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError

from darkroom.data.errors import SettingError
from darkroom.data.images.pixels.augment import PRESETS
from darkroom.flows import cli, launch
from darkroom.flows.options import INGEST_OPTIONS, TRAIN_OPTIONS, wrong_setting
from darkroom.flows.recipe import load_recipe
from darkroom.flows.variations import MAX_COMBINATIONS, VARIED_OPTIONS, command, parse_vary, variations


def test_every_combination_comes_once_and_in_order() -> None:
    vary = {"optimizer": ["adam", "sgd", "rmsprop"], "augment": ["none", "strong"], "class-weights": ["true", "false"]}
    made = variations("digits", vary, {})
    assert [tuple(value for _, value in variation.values) for variation in made] == list(product(*vary.values()))
    for variation in made:
        optimizer, augment, weights = (value for _, value in variation.values)
        train = variation.recipe.train
        assert (train.optimizer, train.class_weights) == (optimizer, weights == "true")
        assert train.augmentation == PRESETS[augment]
        assert variation.recipe.splits == load_recipe("digits").splits


def test_a_variation_is_the_recipe_that_run_makes_of_the_same_options() -> None:
    changes = {"train": {"epochs": 2}, "name": "mine"}
    (_, second) = variations("photos", {"image-size": ["64", "48x80"]}, changes)
    assert second.recipe == load_recipe("photos", {**changes, "policy": {"image_size": (48, 80)}})
    networks = variations("photos", {"architecture": ["starter", "cifar4"]}, {"train": {"weights": "none"}})
    assert [variation.recipe.policy.image_size for variation in networks] == [(96, 96), (32, 32)]
    fixed = variations("digits", {"architecture": ["cifar4", "cifar6"]}, {})  # the recipe says its own size
    assert len({variation.recipe.ingest_settings().model_dump_json() for variation in fixed}) == 1


@pytest.mark.parametrize("option", sorted({*TRAIN_OPTIONS, *INGEST_OPTIONS} - {*VARIED_OPTIONS}))
def test_what_would_change_the_judge_or_nothing_at_all_is_not_varied(option: str) -> None:
    with pytest.raises(SettingError, match=rf"^--vary {option}: .*Set it .*with --{option}\.$"):
        variations("digits", {option: ["1", "2"]}, {})


@pytest.mark.parametrize(
    ("vary", "changes", "said"),
    [
        ({}, {}, "There is nothing to compare"),
        ({"colour": ["a"]}, {}, r"--vary colour: there is no such option\. Use one of architecture, "),
        ({"optimizer": ["adam", ""]}, {}, "--vary optimizer: a value is empty"),
        ({"optimizer": ["adam", "adam"]}, {}, "optimizer=adam and optimizer=adam are the same settings"),
        ({"learning-rate": ["1e-3", "0.001"]}, {}, "learning-rate=1e-3 and learning-rate=0.001 are the same"),
        ({"epochs": ["1", "2"]}, {"train": {"epochs": 3}}, "--epochs is set and varied"),
        ({"seed": list("0123456789"), "batch-size": [str(n) for n in range(1, 102)]}, {}, "make 1,010 combinations"),
    ],
    ids=["nothing", "unknown", "empty", "twice", "twice-otherwise", "set", "too-many"],
)
def test_what_cannot_be_compared_is_refused(vary: dict[str, list[str]], changes: dict[str, Any], said: str) -> None:
    assert MAX_COMBINATIONS < 1010
    with pytest.raises(SettingError, match=said):
        variations("digits", vary, changes)


def test_a_wrong_value_is_told_as_run_tells_it() -> None:
    with pytest.raises(ValidationError) as caught:
        variations("digits", {"optimizer": ["adam", "best"]}, {})
    assert wrong_setting(caught.value).startswith("--optimizer takes adam, ")


def test_values_are_split_at_commas_and_an_option_stands_once() -> None:
    assert parse_vary(["optimizer=adam, sgd", "augment=none"]) == {"optimizer": ["adam", "sgd"], "augment": ["none"]}
    with pytest.raises(SettingError, match="--vary optimizer: write an option and its values"):
        parse_vary(["optimizer"])
    assert parse_vary(["model=cifar4"]) == {"architecture": ["cifar4"]}  # its old name
    with pytest.raises(SettingError, match="--vary augment is given twice"):
        parse_vary(["augment=none", "augment=light"])


def test_the_command_line_and_the_command_that_is_kept_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr("darkroom.flows.compare.compare", lambda *given, **workers: calls.append((*given, workers)))
    monkeypatch.setattr("darkroom.data.sources.resolve.at_hand", lambda *_: None)
    monkeypatch.setattr(launch, "prepared", lambda *_, **__: nullcontext())
    monkeypatch.setattr(launch, "show", lambda result, as_json: None)
    words = [
        "darkroom",
        "compare",
        "my photos",
        "--vary",
        "optimizer=adam,sgd",
        "--vary",
        "dropout=0,0.5",
        "--trials",
        "3",
    ]
    words += ["--epochs", "4", "--image-size", "48x64", "--no-class-weights", "--name", "mine", "--prune-after", "2"]
    monkeypatch.setattr(sys, "argv", words)
    cli.main()
    reference, vary, changes, trials, prune_after = calls[0][:5]
    assert (vary, trials, prune_after) == ({"optimizer": ["adam", "sgd"], "dropout": ["0", "0.5"]}, 3, 2)
    assert changes == {
        "train": {"epochs": "4", "class_weights": False}, "policy": {"image_size": "48x64"}, "name": "mine"
    }  # fmt: skip
    monkeypatch.setattr(sys, "argv", shlex.split(command(reference, vary, changes, trials, prune_after)))
    cli.main()
    assert calls[1] == calls[0]
