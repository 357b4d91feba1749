"""Drift is found where images have changed, and hardly ever where they have not, over years of nights."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from darkroom.models.watching.drift import RUN_LEVEL, drift, holm
from darkroom.models.watching.observed import Observed, pooled

NAMES = ("cat", "dog", "owl")


def images(rng: np.random.Generator, num_images: int, shift: float = 0.0, embeddings: bool = True) -> Observed:
    """Images as a camera might give them, all quantities known; `shift` moves brightness and embeddings."""
    labels = rng.choice(NAMES, num_images, p=(0.6, 0.3, 0.1))
    formats = rng.choice(["JPEG", "PNG"], num_images, p=(0.9, 0.1))
    return Observed(
        labels={name: int((labels == name).sum()) for name in NAMES},
        confidences=np.round(rng.beta(9, 1, num_images), 3),  # with ties
        unfamiliarity=rng.gamma(9, 0.06, num_images),
        widths=rng.choice([640, 800, 1024], num_images),
        heights=rng.choice([480, 600], num_images),
        formats={name: int((formats == name).sum()) for name in ("JPEG", "PNG")},
        brightness=rng.normal(120 + shift, 30, num_images),
        embeddings=rng.normal(shift / 30, 1, (num_images, 16)) if embeddings else np.empty((0, 0)),
    )


def test_a_run_of_unchanged_images_has_drift_no_more_often_than_its_level_says() -> None:
    rng = np.random.default_rng(7)
    level, num_nights = 0.2, 80
    alarms = 0
    for _ in range(num_nights):
        references = {"training": images(rng, 300), "last runs": images(rng, 200, embeddings=False)}
        found = drift(images(rng, 60), references, level)  # type: ignore[arg-type]
        assert len(found.differences) == 15
        alarms += min(each.p_value for each in found.differences) <= level / 15
    assert alarms <= binom.ppf(0.999, num_nights, level)
    assert alarms >= 1  # a test that can raise one


def test_a_year_of_unchanged_nights_against_the_same_training_images_raises_no_alarm() -> None:
    rng = np.random.default_rng(3)
    training = images(rng, 400)
    for night in range(365):
        tonight = images(rng, int(rng.integers(1, 100)), embeddings=night % 20 == 0)
        assert drift(tonight, {"training": training}).found == ()


def test_a_shift_is_found_and_named() -> None:
    rng = np.random.default_rng(5)
    found = drift(images(rng, 200, shift=40), {"training": images(rng, 500)})
    assert {each.quantity for each in found.found} == {"brightness", "embeddings"}
    assert found.auc is not None
    assert found.auc > 0.9
    assert found.size == max(each.distance for each in found.found) > 0.4
    said = {each.quantity: each.found for each in found.found}
    assert said["embeddings"] == f"a classifier tells these images from training's with AUC {found.auc:.2f}"
    assert said["brightness"].startswith("brightness: median 1")
    assert "of 255, in training 12" in said["brightness"]


def test_other_shares_of_labels_and_a_new_format_are_found() -> None:
    before = Observed(labels={"cat": 500, "dog": 500}, formats={"JPEG": 1000})
    tonight = Observed(labels={"cat": 90, "dog": 10}, formats={"JPEG": 60, "BMP": 40})
    found = {each.quantity: each for each in drift(tonight, {"last runs": before}).found}
    assert found["labels"].distance == pytest.approx(0.4)
    assert found["labels"].found == "labels: 90% are cat, in the last runs 50%"
    assert found["formats"].distance == pytest.approx(0.4)
    assert found["formats"].p_value < 1e-20


def test_a_tiny_difference_of_many_images_is_no_drift() -> None:
    before = Observed(labels={"cat": 500_000, "dog": 500_000})
    (difference,) = drift(Observed(labels={"cat": 52_000, "dog": 48_000}), {"training": before}).differences
    assert difference.p_value < RUN_LEVEL
    assert difference.distance == pytest.approx(0.02)
    assert not difference.is_drift


def test_what_is_not_known_on_both_sides_is_not_compared() -> None:
    rng = np.random.default_rng(1)
    found = drift(Observed(brightness=rng.normal(size=50)), {"training": images(rng, 50)})
    assert [each.quantity for each in found.differences] == ["brightness"]
    assert drift(Observed(), {"training": images(rng, 50)}).differences == ()
    few = drift(images(rng, 19), {"training": images(rng, 500)})
    assert few.auc is None  # too few to learn from


def test_the_same_images_give_the_same_findings() -> None:
    training, tonight = images(np.random.default_rng(1), 3000), images(np.random.default_rng(2), 2500, shift=9)
    assert drift(tonight, {"training": training}) == drift(tonight, {"training": training})


def test_holm_stops_at_the_first_hypothesis_that_stands() -> None:
    # By hand: 0.001 <= 0.05/4, 0.015 <= 0.05/3, 0.03 > 0.05/2, and what follows is not rejected either.
    assert holm([0.03, 0.001, 0.04, 0.015], 0.05).tolist() == [False, True, False, True]
    assert holm([], 0.05).tolist() == []


def test_runs_are_pooled() -> None:
    rng = np.random.default_rng(0)
    first, second = images(rng, 10), images(rng, 20)
    both = pooled([first, second])
    assert sum(both.labels.values()) == 30
    assert both.labels["cat"] == first.labels["cat"] + second.labels["cat"]
    assert both.brightness.tolist() == [*first.brightness, *second.brightness]
    assert len(both.embeddings) == 0
    assert pooled([]).labels == {}


def test_the_last_digits_of_a_number_are_no_drift() -> None:
    rng = np.random.default_rng(0)
    sure = 1 - rng.uniform(0, 1e-4, 200)
    stored = Observed(confidences=np.round(sure, 5))
    (difference,) = drift(Observed(confidences=sure.astype(np.float32)), {"last runs": stored}).differences
    assert difference.distance == 0.0
