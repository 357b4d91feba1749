"""`--quality`: what one word sets, what it leaves alone, and what it contradicts."""

from __future__ import annotations

from pathlib import Path

import pytest

import darkroom
from darkroom.data.errors import SettingError
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.quality import check_image_size, with_quality
from darkroom.flows.recipe import load_recipe, recipe_names
from tests.command_line import in_process
from tests.datasets import ingest, write_images


@pytest.mark.parametrize("recipe", recipe_names())
def test_balanced_and_none_leave_every_recipe_and_so_every_version_as_it_is(recipe: str) -> None:
    for quality in (None, "balanced"):
        assert load_recipe(recipe, with_quality(quality, {})) == load_recipe(recipe)  # type: ignore[arg-type]


def test_a_quality_takes_the_place_of_the_recipes_network_and_of_nothing_else() -> None:
    own, fast, best = (load_recipe("galaxies", with_quality(name, {})) for name in (None, "fast", "best"))  # type: ignore[arg-type]
    assert (fast.train.model, fast.policy.image_size) == ("efficientnet-lite0", (160, 160))
    assert (fast.train.fine_tune_blocks, fast.train.flip_average) == (0, False)
    assert (best.train.model, best.policy.image_size) == ("efficientnet-lite2", (260, 260))
    assert (best.train.fine_tune_blocks, best.train.flip_average) == (60, True)
    for plan in (fast, best):
        own_network = {name: getattr(own.train, name) for name in ("model", "fine_tune_blocks", "flip_average")}
        assert plan.train.model_copy(update=own_network) == own.train
        assert plan.policy.model_copy(update={"image_size": own.policy.image_size}) == own.policy


def test_a_recipe_from_scratch_gets_pretrained_weights() -> None:
    plan = load_recipe("digits", with_quality("fast", {}))
    assert (plan.train.model, plan.train.weights, plan.policy.image_size) == (
        "efficientnet-lite0",
        "imagenet",
        (160, 160),
    )
    assert plan.train.epochs == 25


def test_an_option_beside_it_counts_but_not_another_architecture() -> None:
    changes = {"policy": {"image_size": "128"}, "train": {"fine_tune_blocks": 5, "epochs": 3}}
    plan = load_recipe("cats_dogs", with_quality("fast", changes))
    assert (plan.policy.image_size, plan.train.fine_tune_blocks, plan.train.epochs) == ((128, 128), 5, 3)
    with pytest.raises(SettingError, match=r"--quality best chooses efficientnet-lite2.*leave out --architecture"):
        with_quality("best", {"train": {"model": "starter"}})
    with pytest.raises(SettingError, match="leave out --weights"):
        with_quality("fast", {"train": {"weights": "none"}})
    assert with_quality("balanced", {"train": {"model": "starter"}}) == {"train": {"model": "starter"}}
    with pytest.raises(SettingError, match=r"no quality 'perfect'. Use fast, balanced, best\."):
        with_quality("perfect", {})  # type: ignore[arg-type]


def test_a_data_set_of_smaller_images_is_refused_with_the_size_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = ingest(write_images(tmp_path / "photos"), tmp_path / "workspace")
    monkeypatch.chdir(tmp_path)
    status, said = in_process(monkeypatch, capsys, "train", "tiny", "--quality", "best")
    wanted = (
        f"--quality best takes images of 260 x 260, those of {dataset.reference} are 32 x 32. Ingest the source again "
        "with --image-size 260, or leave out --quality."
    )
    assert (status, said) == (2, wanted)
    with pytest.raises(darkroom.InputError, match="takes images of 160 x 160"):
        darkroom.train("tiny", quality="fast")
    check_image_size("balanced", "tiny", Workspace(tmp_path / "workspace"))
