"""Recipes: what comes with Darkroom is valid, and a mistake is found on its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import ValidationError

from benchmarks.recipes import COPIES, course_arrays
from darkroom.data.errors import SettingError
from darkroom.data.ingest.plan import plan_ingest, read_plan
from darkroom.data.ingest.request import IngestRequest
from darkroom.data.sources.resolve import resolve
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.recipe import Recipe, load_recipe, recipe_names
from darkroom.flows.results import EvaluateResult, targets_of
from darkroom.models.networks.architectures import build_scratch, describe


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


@pytest.mark.parametrize("made", [Path.mkdir, Path.touch], ids=["folder", "file"])
def test_a_name_that_is_a_recipe_and_something_here_is_not_guessed(
    made: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("digits")
    made(tmp_path / "digits")
    with pytest.raises(SettingError, match=r"recipe:digits .* \./digits") as refused:
        load_recipe("digits")
    assert refused.value.exit_status == 2
    assert load_recipe("recipe:digits") == recipe
    for typed in ("./digits", "digits/", str(tmp_path / "digits")):
        assert load_recipe(typed).source == typed
    (tmp_path / "cats_dogs.yaml").touch()  # no more than another name
    assert load_recipe("recipe:digits", {"name": "mine"}).name == "mine"


def test_a_recipe_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(SettingError, match=r"no recipe 'digit'\. The recipes are: .*digits"):
        load_recipe("recipe:digit")


def test_anything_else_is_a_source_with_all_defaults() -> None:
    recipe = load_recipe("kaggle:owner/cats-and-dogs")
    assert recipe == Recipe(name="cats-and-dogs", source="kaggle:owner/cats-and-dogs")
    assert recipe.policy.image_size == (160, 160)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\nsource: y\ntrain:\n  epoch: 3\n", "line 4: train.epoch is not a setting."),
        (
            "name: x\nsource: y\ntrain:\n  seed: 1\n  epochs: many\n",
            "line 5: train.epochs takes a whole number from 1 to 10,000, not 'many'.",
        ),
        ("# a comment\nname: x\ntrain:\n  epochs: 3\n", "line 2: source is missing."),
        (
            "name: x\nsource: y\nsplits:\n  test: 0.7\n  validation: 0.7\n",
            "line 3: splits.validation of 0.7 and splits.test of 0.7",
        ),
        (
            "name: x\nsource: y\ntrain: {augmentation: wild}\n",
            "line 3: train.augmentation: There is no augmentation 'wild'",
        ),
        ("name: x\nsource: y\ntrain: 3\n", "line 3: train takes a group of settings, not 3."),
        (
            "name: x\nsource: y\npolicy:\n  image_size:\n  - 1\n  - 2\n",
            "line 4: policy.image_size.0 takes a whole number from 8 to",
        ),
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


GALAXIES = Path(__file__).parents[3] / "shared" / "data" / "galaxies_efigi.zip"
# A small source laid out as each recipe's own, its classes, and the split that it judges by, where it has one.
LAYOUTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str | None]] = {
    "digits": (("{}",), tuple("0123456789"), None),
    "cats_dogs": (("train/{}", "validation/{}"), ("cats", "dogs"), "validation"),
    "cats_dogs_scratch": (("train/{}", "validation/{}"), ("cats", "dogs"), "validation"),
    "cifar10": (("train/{}",), ("airplane", "bird", "cat"), None),
    "cifar10_gpu": (("train/{}", "test/{}"), ("airplane", "bird", "cat"), "test"),
    "covid19_xray": (("train/{}", "test/{}"), ("Covid", "Normal", "Pneumonia"), "test"),
    "galaxies": (("images",), ("elliptical", "irregular", "lenticular"), None),
    "galaxies_npz": ((), ("0", "1", "2", "3"), None),
}


def made_source(folder: Path, places: tuple[str, ...], labels: tuple[str, ...]) -> Path:
    """Two images of each label in each place; in a CSV where the place does not name the label, in arrays for none."""
    random = np.random.default_rng(0)
    if not places:
        np.savez(
            folder / "made.npz",
            data=random.integers(0, 256, (8, 9, 9, 3), np.uint8),
            labels=np.eye(4)[[0, 1, 2, 3] * 2],
        )
        return folder / "made.npz"
    rows = ["file,label"]
    for place in places:
        for label in labels:
            target = folder / "source" / place.format(label)
            target.mkdir(parents=True, exist_ok=True)
            for number in range(2):
                name = f"{label}-{number}.png"
                Image.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8)).save(target / name)
                rows.append(f"{place}/{name},{label}")
    if "{}" not in places[0]:
        (folder / "source" / "labels.csv").write_text("\n".join(rows))
    return folder / "source"


def test_every_recipe_has_a_layout_here() -> None:
    assert set(LAYOUTS) == set(recipe_names())


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_recipe_finds_the_labels_and_the_judge_in_a_source_laid_out_as_its_own(name: str, tmp_path: Path) -> None:
    places, labels, judge = LAYOUTS[name]
    workspace = Workspace(tmp_path / "workspace")
    source = resolve(str(made_source(tmp_path, places, labels)), workspace)
    plan = read_plan(plan_ingest(IngestRequest(source, load_recipe(name).ingest_settings(), workspace)).staging)
    assert plan.labels == labels
    assert plan.splits.held_out == ((judge,) if judge else ())
    if judge is None:
        assert 0.1 <= plan.splits.rules.test <= 0.2  # of what is drawn, by content hash


@pytest.mark.parametrize("name", recipe_names())
def test_the_network_of_a_recipe_can_be_built_for_its_images(name: str) -> None:
    recipe = load_recipe(name)
    train, size = recipe.train, recipe.policy.image_size
    facts = describe(train.model, train.weights)
    assert facts.pretrained == (train.weights == "imagenet")
    assert facts.pretrained or not train.fine_tune_blocks
    if not facts.pretrained:
        assert build_scratch(train.model, size, 10, train.dropout).output_shape == (None, 10)


@pytest.mark.parametrize("name", recipe_names())
def test_the_name_of_a_recipe_is_not_its_network_s_alone(name: str) -> None:
    """Two recipes of one data set give bundles of different names, so that neither hides the other."""
    others = [load_recipe(other) for other in recipe_names() if other != name]
    mine = load_recipe(name)
    names = {(recipe.name, recipe.train.name or recipe.train.model) for recipe in others}
    assert (mine.name, mine.train.name or mine.train.model) not in names


@pytest.mark.parametrize(("accuracy", "macro_f1", "reached"), [(0.9, 0.8, [True, True]), (0.899, 0.81, [False, True])])
def test_the_result_says_which_of_the_recipe_s_figures_were_reached(accuracy, macro_f1, reached) -> None:
    plan = Recipe(name="x", source="y", target_accuracy=0.9, target_macro_f1=0.8, public="0.7")
    figures: dict[str, Any] = {"accuracy": accuracy, "macro_f1": macro_f1}
    report = EvaluateResult.model_construct(**figures)
    targets = targets_of(plan, report)
    assert [(t.figure, t.target, t.value, t.reached) for t in targets] == [
        ("accuracy", 0.9, accuracy, reached[0]),
        ("macro F1", 0.8, macro_f1, reached[1]),
    ]
    assert targets_of(Recipe(name="x", source="y"), report) == ()


def test_every_recipe_but_the_one_for_a_gpu_is_run_by_the_benchmark() -> None:
    assert {*COPIES} == {*recipe_names()} - {"cifar10_gpu"}


@pytest.mark.skipif(not GALAXIES.is_file(), reason="there is no ../shared/data/galaxies_efigi.zip")
def test_the_arrays_of_the_course_are_a_source_of_their_recipe(tmp_path: Path) -> None:
    path = course_arrays(GALAXIES, tmp_path)
    with np.load(path) as arrays:
        assert arrays["data"].shape == (1400, 128, 128, 3)
        assert arrays["labels"].shape == (1400, 4)
        data, labels, names = arrays["data"], arrays["labels"], arrays["names"]
    workspace = Workspace(tmp_path / "workspace")
    planned = plan_ingest(
        IngestRequest(resolve(str(path), workspace), load_recipe("galaxies_npz").ingest_settings(), workspace)
    )
    plan = read_plan(planned.staging)
    assert plan.labels == ("elliptical", "lenticular", "spiral_early", "spiral_late")
    assert plan.num_files == 1400
    for index in (0, 500, 1399):
        written = Path(plan.folder) / names[labels[index].argmax()] / f"image-{index:05d}.png"
        np.testing.assert_array_equal(np.asarray(Image.open(written)), data[index])
