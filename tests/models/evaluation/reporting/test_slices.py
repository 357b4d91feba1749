"""Slices: each image is in one slice of each kind, with the figures of counting by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from darkroom.models.evaluation.reporting.slices import FEW_IMAGES, _folders, slices_of, thirds
from darkroom.models.evaluation.reporting.split_predictions import SplitPredictions, predict_split


@pytest.fixture(scope="module")
def judged(bundle, dataset) -> SplitPredictions:
    return predict_split(bundle, dataset, "test")


def wilson(num_correct: int, num_images: int) -> tuple[float, float]:
    """Wilson 1927, as the textbook writes it."""
    z, share = NormalDist().inv_cdf(0.975), num_correct / num_images
    centre = (share + z**2 / (2 * num_images)) / (1 + z**2 / num_images)
    half = z * np.sqrt(share * (1 - share) / num_images + z**2 / (4 * num_images**2)) / (1 + z**2 / num_images)
    return centre - half, centre + half


def test_the_figures_are_those_of_grouping_the_predictions_by_hand(judged, images) -> None:
    rows = pd.DataFrame({"path": judged.paths, "right": judged.probabilities.argmax(axis=1) == judged.truth})
    rows["label"] = [path.split("/")[1] for path in rows.path]
    sizes = [Image.open(images / path).size for path in rows.path]
    rows["area"] = [width * height for width, height in sizes]
    expected = {name: (len(group), group.right.sum()) for name, group in rows.groupby("label")}
    expected |= {area: (len(group), group.right.sum()) for area, group in rows.groupby("area")}
    found = slices_of(judged)
    labels = [item for item in found if item.kind == "label"]
    assert {item.name: (item.num_images, item.num_correct) for item in labels} == {
        name: expected[name] for name in judged.bundle.card.labels
    }
    sizes_found = [item for item in found if item.kind == "size"]  # the images are of three heights
    assert [(item.num_images, item.num_correct) for item in sizes_found] == [
        expected[area] for area in sorted(set(rows.area))
    ]
    assert [item.name.split(":")[0] for item in sizes_found] == ["small", "medium", "large"]
    for item in found:
        assert (item.interval.low, item.interval.high) == pytest.approx(wilson(item.num_correct, item.num_images))
        assert item.is_small == (item.num_images < FEW_IMAGES)


def test_brightness_is_that_of_the_pixels_and_each_kind_counts_every_image_once(judged, images) -> None:
    found = slices_of(judged)
    for kind in ("label", "size", "brightness"):
        assert sum(item.num_images for item in found if item.kind == kind) == len(judged.paths)
    light = [np.asarray(Image.open(images / path).convert("L")).mean() for path in judged.paths]
    right = judged.probabilities.argmax(axis=1) == judged.truth
    darkest = np.argsort(light)[: len(light) // 3]
    dark = next(item for item in found if item.name.startswith("dark"))
    assert (dark.num_images, dark.num_correct) == (len(darkest), right[darkest].sum())


def test_a_slice_whose_interval_lies_below_the_wholes_is_weak_and_no_other(judged) -> None:
    """The same images a hundred times over, and all of one label wrong."""
    chances = np.full((len(judged.truth), 3), 0.1)
    named = np.where(judged.truth == 1, 0, judged.truth)
    chances[np.arange(len(named)), named] = 0.8
    times = 20
    many = replace(
        judged,
        paths=judged.paths * times,
        truth=np.tile(judged.truth, times),
        probabilities=np.tile(chances, (times, 1)),
    )
    weak = {item.name for item in slices_of(many) if item.kind == "label" and item.is_weak}
    assert weak == {"blue"}
    assert not any(item.is_small for item in slices_of(many) if item.kind == "label")


@given(st.lists(st.one_of(st.none(), st.integers(0, 50)), min_size=1, max_size=60))
def test_thirds_cut_between_values_and_never_through_equal_ones(values: list[int | None]) -> None:
    members, names = thirds(values, ("small", "medium", "large"), "pixels")
    assert set(members) <= set(names)
    by_value: dict[int | None, set[str]] = {}
    for value, name in zip(values, members, strict=True):
        by_value.setdefault(value, set()).add(name)
    assert all(len(found) == 1 for found in by_value.values())
    known = [(value, names.index(name)) for value, name in zip(values, members, strict=True) if value is not None]
    assert [place for _, place in sorted(known)] == sorted(place for _, place in known)
    assert all(name == "unknown" for value, name in zip(values, members, strict=True) if value is None)


def test_thirds_of_values_that_all_differ_are_equal_in_number() -> None:
    members, names = thirds(list(range(90)), ("dark", "medium", "bright"), "of 255")
    assert Counter(members) == dict.fromkeys(names[:3], 30)
    assert names == ["dark: up to 29 of 255", "medium", "bright: over 59 of 255", "unknown"]
    assert set(thirds([7, 7, 7], ("dark", "medium", "bright"), "of 255")[0]) == {"all: 7 of 255"}


def test_the_source_folder_is_the_first_that_differs() -> None:
    members, names = _folders(["test/north/cats/1.png", "test/north/dogs/1.png", "test/south/cats/1.png"])
    assert names == ["test/north", "test/south"]
    assert members.tolist() == ["test/north", "test/north", "test/south"]
    assert _folders(["1.png", "2.png"])[1] == ["."]
    assert _folders(["a/1.png", "2.png"])[1] == [".", "a"]


def test_folders_that_are_the_labels_are_not_shown_twice(judged) -> None:
    assert {item.kind for item in slices_of(judged)} == {"label", "size", "brightness"}
    paths = judged.dataset.paths("test")
    moved = {path: f"test/{'north' if number % 2 else 'south'}/{path}" for number, path in enumerate(paths)}
    found = _folders([moved[path] for path in judged.paths])[1]
    assert found == ["test/north", "test/south"]
