"""The blessing: decided on images that neither bundle was made with, moved by a pointer, never by itself backwards.

Images are dark or light noise, and a bundle is one number: the brightness above which it says `light`. So the images
that a bundle gets wrong are known beforehand.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.errors import FormatError, InputError
from darkroom.data.files.cards import FileFact
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.labels.corrections import CorrectionSummary
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.labels.reading import ClassSize
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.blessed import bless, promote, read_blessed, roll_back
from darkroom.models.bundle.bundle import Bundle, open_bundle, write_card
from darkroom.models.evaluation.blessing import decide, still_stands
from darkroom.models.evaluation.blessing_checks import check_minimum_thresholds
from darkroom.models.evaluation.evaluate import EvaluateRequest, evaluate_bundle
from darkroom.models.evaluation.reporting.report import read_report
from darkroom.models.evaluation.reporting.split_predictions import predict_split
from darkroom.models.evaluation.validation_images import validation_images
from darkroom.models.measures.calibration import Calibration
from darkroom.models.measures.comparison import Decision
from darkroom.models.measures.metrics import measure
from darkroom.models.settings import BlessingRules
from tests.bundles import tiny_bundle
from tests.datasets import ingest

SIDE = 16
# 40 test images of each class; those of `dark` have levels from 20 to 98, those of `light` from 150 to 228.
DARK, LIGHT = [20 + 2 * n for n in range(40)], [150 + 2 * n for n in range(40)]
GOOD = 124.0
RULES = BlessingRules()

pytestmark = pytest.mark.usefixtures("plain_pictures")


def write_noise(path: Path, level: int, seed: int) -> None:
    noise = np.random.default_rng([level, seed]).integers(-19, 20, (SIDE, SIDE, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((level + noise).astype(np.uint8)).save(path)


def write_source(folder: Path, test: Sequence[tuple[str, int, int]], train_seeds: Sequence[int]) -> Path:
    """`test` images by (label, level, seed), and images for training and validation with these seeds."""
    for label, level, seed in test:
        write_noise(folder / "test" / label / f"{level}-{seed}.png", level, seed)
    for seed in train_seeds:
        for split, offset in (("train", 0), ("validation", 1)):
            write_noise(folder / split / "dark" / f"{seed}.png", 60 + offset, seed)
            write_noise(folder / split / "light" / f"{seed}.png", 190 + offset, seed)
    return folder


ALL_TEST = [("dark", level, 0) for level in DARK] + [("light", level, 0) for level in LIGHT]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("template") / "tiny", ["dark", "light"], (SIDE, SIDE))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the data set `photos`, for copying."""
    place = Workspace(tmp_path_factory.mktemp("world"))
    make_dataset(place, tmp_path_factory.mktemp("source"), "photos", ALL_TEST, range(100, 106))
    return place


def make_dataset(
    place: Workspace, source: Path, name: str, test: Sequence[tuple[str, int, int]], seeds: Sequence[int], **policy: str
) -> Dataset:
    settings = IngestSettings(name=name, policy=DecodePolicy(image_size=(SIDE, SIDE), **policy), leaks="keep")
    return ingest(write_source(source, test, seeds), place.root, settings)


@pytest.fixture
def place(world: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(world.datasets, tmp_path / "datasets")
    return Workspace(tmp_path)


@pytest.fixture
def photos(place: Workspace) -> Dataset:
    return open_dataset(place.find_dataset("photos"))


def make_bundle(
    template: Path, place: Workspace, version: str, dataset: Dataset, border: float, sureness: float = 40.0
) -> Bundle:
    """Says `light` above the brightness `border`, with confidence that grows with the distance from it."""
    folder = place.model("night", version)
    shutil.copytree(template, folder)
    network = onnx.load(folder / "model.onnx")
    graph = network.graph
    for weight in graph.initializer:
        if weight.dims[:] == [SIDE * SIDE * 3, 2]:  # of pixels scaled to -1 to 1
            new = np.tile(np.array([0, sureness / weight.dims[0]], np.float32), (weight.dims[0], 1))
            weight.CopyFrom(numpy_helper.from_array(new, weight.name))
    last = next(node for node in graph.node if graph.output[0].name in node.output)
    last.output[0] = "weighted"
    bias = np.array([0, -sureness * (border / 127.5 - 1)], np.float32)
    graph.initializer.append(numpy_helper.from_array(bias, "bias"))
    graph.node.append(onnx.helper.make_node("Add", ["weighted", "bias"], [graph.output[0].name]))
    onnx.save(network, folder / "model.onnx")
    card = open_card(folder).model_copy(
        update={
            "name": "night",
            "version": version,
            "dataset": dataset.reference,
            "policy": dataset.card.policy,
            "files": tuple(FileFact.of(folder, name) for name in ("model.keras", "model.onnx")),
        }
    )
    write_card(folder, card)
    return open_bundle(folder)


def open_card(folder: Path):
    from darkroom.data.files.cards import read_card
    from darkroom.models.bundle.bundle import SCHEMA_VERSION, BundleCard

    return read_card(folder / "bundle.json", BundleCard, SCHEMA_VERSION)


def failed(decision: Decision) -> list[str]:
    """The names of the checks that a bundle did not pass."""
    return [check.name for check in decision.checks if not check.passed]


def decision_on(bundle: Bundle, dataset: Dataset, place: Workspace, rules: BlessingRules = RULES) -> Decision:
    judged = predict_split(bundle, dataset, "test")
    decision = decide(judged, measure(judged.probabilities, judged.truth, dataset.labels), rules, place)
    assert decision is not None
    bless(bundle.folder, decision, place, "run")
    return decision


def test_the_bundles_of_these_tests_err_where_they_are_meant_to(template, place, photos) -> None:
    bundle = make_bundle(template, place, "a1", photos, border=160.0)
    judged = predict_split(bundle, photos, "test")
    right = judged.probabilities.argmax(axis=1) == judged.truth
    wrong = {path for path, is_right in zip(judged.paths, right, strict=True) if not is_right}
    assert {path.split("/")[1] for path in wrong} == {"light"}
    assert 4 <= len(wrong) <= 6


def test_the_first_bundle_is_blessed_where_it_passes_the_floors(template, place, photos) -> None:
    make_bundle(template, place, "a0", photos, border=250.0)
    with pytest.raises(InputError, match=r"No version of night is blessed yet.*darkroom promote night@a0"):
        place.find_model("night@blessed")
    decision = decision_on(open_bundle(place.model("night", "a0")), photos, place)
    assert not decision.blessed
    assert failed(decision) == ["Better than chance"]
    assert "50.0 %" in decision.why
    assert read_blessed(place, "night") is None
    first = make_bundle(template, place, "a1", photos, border=GOOD)
    decision = decision_on(first, photos, place)
    assert (decision.blessed, decision.comparison, decision.current) == (True, None, None)
    assert place.find_model("night@blessed") == first.folder


@pytest.mark.parametrize(
    ("rules", "name"),
    [({"min_accuracy": 0.99}, "minimum accuracy"), ({"min_recall": 0.9}, "minimum recall"),
     ({"max_calibration_error": 0.01}, "maximum calibration error")],
)  # fmt: skip
def test_a_floor_holds_for_the_first_too(template, place, photos, rules, name) -> None:
    bundle = make_bundle(template, place, "a1", photos, border=170.0)  # a quarter of `light` is wrong
    decision = decision_on(bundle, photos, place, BlessingRules(**rules))
    assert not decision.blessed
    assert name in decision.why


def test_a_bundle_that_is_surely_worse_is_not_blessed_and_the_pointer_stays(template, place, photos) -> None:
    first = make_bundle(template, place, "a1", photos, border=GOOD)
    decision_on(first, photos, place)
    decision = decision_on(make_bundle(template, place, "a2", photos, border=170.0), photos, place)
    assert not decision.blessed
    assert decision.compared_by == "run_again"
    assert decision.comparison
    pairs = decision.comparison.overall
    assert (pairs.num_images, pairs.num_current_correct) == (80, 80)
    assert pairs.num_only_current == 80 - pairs.num_new_correct >= 8
    assert pairs.p_value == pytest.approx(2 * 0.5**pairs.num_only_current)
    assert "accuracy: " in decision.why
    assert place.find_model("night@blessed") == first.folder


def test_a_loss_within_chance_is_none(template, place, photos) -> None:
    decision_on(make_bundle(template, place, "a1", photos, border=GOOD), photos, place)
    second = make_bundle(template, place, "a2", photos, border=153.0)
    decision = decision_on(second, photos, place)
    assert decision.comparison
    assert 1 <= decision.comparison.overall.num_only_current <= 3
    assert decision.blessed
    assert place.find_model("night@blessed") == second.folder
    strict = decision_on(
        make_bundle(template, place, "a3", photos, border=157.0), photos, place, BlessingRules(max_possible_loss=0.01)
    )
    assert not strict.blessed
    assert "Possible loss of accuracy" in failed(strict)


def test_a_class_that_is_lost_is_not_outweighed_by_another_that_is_gained(template, place, photos) -> None:
    decision_on(make_bundle(template, place, "a1", photos, border=80.0), photos, place)
    other = make_bundle(template, place, "a2", photos, border=168.0)
    decision = decision_on(other, photos, place, BlessingRules(max_possible_loss=1.0))
    assert decision.comparison
    assert abs(decision.comparison.overall.difference) < 0.05
    assert not decision.blessed
    assert failed(decision) == ["Recall per class"]
    assert "light: " in decision.why


def test_probabilities_that_mean_less_are_worse(template, place, photos) -> None:
    decision_on(make_bundle(template, place, "a1", photos, border=GOOD), photos, place)
    unsure = make_bundle(template, place, "a2", photos, border=GOOD, sureness=0.5)
    decision = decision_on(unsure, photos, place)
    assert decision.comparison
    assert decision.comparison.overall.difference == 0
    assert decision.why.startswith("calibration: error ")
    repaired = open_bundle(unsure.folder)
    write_card(repaired.folder, repaired.card.model_copy(update={"calibration": Calibration(temperature=0.0125)}))
    assert decision_on(open_bundle(unsure.folder), photos, place).blessed


def test_images_that_either_was_made_with_are_left_out(template, place, photos, tmp_path) -> None:
    """The test images of the new data set hold 12 that the current bundle was trained and calibrated on."""
    decision_on(make_bundle(template, place, "a1", photos, border=GOOD), photos, place)
    known = [("dark", 60 + offset, seed) for seed in range(100, 103) for offset in (0, 1)]
    known += [("light", 190 + offset, seed) for seed in range(100, 103) for offset in (0, 1)]
    grown = make_dataset(place, tmp_path / "grown", "grown", ALL_TEST + known, range(200, 206))
    decision = decision_on(make_bundle(template, place, "a2", grown, border=GOOD), grown, place)
    assert decision.comparison
    assert (decision.comparison.overall.num_images, decision.num_left_out) == (80, 12)
    assert decision.compared_by == "run_again"
    # On the old data set, whose training images are no test images, the other way round.
    other = make_dataset(place, tmp_path / "other", "other", known, range(300, 303))
    bundle = make_bundle(template, place, "a3", other, border=GOOD)
    decision = decision_on(bundle, photos, place)
    assert decision.comparison
    assert decision.comparison.overall.num_images == 80


def test_without_a_fair_image_there_is_no_blessing(template, place, photos, tmp_path) -> None:
    decision_on(make_bundle(template, place, "a1", photos, border=GOOD), photos, place)
    known = [(label, level, 100) for label, level in (("dark", 60), ("light", 190))]
    only = make_dataset(place, tmp_path / "only", "only", known, range(200, 203))
    rules = RULES.model_copy(update={"min_test_images": 0})
    decision = decision_on(make_bundle(template, place, "a2", only, border=GOOD), only, place, rules)
    assert not decision.blessed
    assert decision.comparison is None
    assert "a1" in decision.why


@pytest.mark.parametrize("num_light", [0, 1, 4, 5])
def test_a_class_that_too_few_test_images_speak_for_is_not_blessed_unless_asked(num_light) -> None:
    truth = np.array([0] * 40 + [1] * num_light, np.int32)
    metrics = measure(np.eye(2)[truth] * 0.98 + 0.01, truth, LabelMap(("dark", "light")))
    assert metrics.accuracy == 1.0
    checks = {check.name: check for check in check_minimum_thresholds(metrics, BlessingRules())}
    assert checks["Test images per class"].passed == (num_light >= 5)
    assert (f"light has {num_light}" in checks["Test images per class"].found) == (num_light < 5)
    asked = check_minimum_thresholds(metrics, BlessingRules(min_test_images=0))
    assert "Test images per class" not in [check.name for check in asked]


def without_validation(dataset: Dataset, label: str, several: bool = False) -> Dataset:
    """The same data set with a card that counts no validation image of a label, or of several labels every one."""
    num_images = dataset.card.num_images("validation") if several else 0
    counts = tuple(
        each.model_copy(update={"num_images": num_images})
        if (each.split, each.label) == ("validation", label)
        else each
        for each in dataset.card.counts
    )
    task = "multi-label" if several else "single-label"
    return replace(dataset, card=dataset.card.model_copy(update={"counts": counts, "task": task}))


def test_a_class_that_no_validation_image_shows_is_named_and_not_blessed_unless_asked(
    template, place, photos, plain_pictures
) -> None:
    bundle, spoiled = make_bundle(template, place, "a1", photos, border=GOOD), without_validation(photos, "light")
    report = evaluate_bundle(EvaluateRequest(bundle, spoiled, "test", "pytest", place))
    assert report.unvalidated == ("light",)
    assert report.blessing
    assert failed(report.blessing) == ["Validation images per class"]
    assert "light has 0, required: at least 1" in report.blessing.why
    assert "<bdi>light</bdi>: calibration" in " ".join((bundle.report_folder / "report.html").read_text().split())
    rules = RULES.model_copy(update={"min_validation_images": 0})
    asked = evaluate_bundle(EvaluateRequest(bundle, spoiled, "test", "pytest", place, rules))
    assert asked.blessing
    assert asked.blessing.blessed
    assert asked.unvalidated == ("light",)


def test_the_report_says_what_people_corrected_before_and_after(template, place, photos, plain_pictures) -> None:
    said = CorrectionSummary(
        num_images=5,
        num_changed=3,
        num_new=0,
        num_confirmed=1,
        num_excluded=1,
        changes=(),
        people=(),
        before=(ClassSize(label="<b>dark", num_images=40), ClassSize(label="light", num_images=40)),
        after=(ClassSize(label="<b>dark", num_images=37), ClassSize(label="light", num_images=42)),
        digest="",
    )
    corrected = replace(photos, card=photos.card.model_copy(update={"corrections": said}))
    bundle = make_bundle(template, place, "a1", photos, border=GOOD)
    report = evaluate_bundle(EvaluateRequest(bundle, corrected, "test", "pytest", place))
    assert report.corrections == said
    page = " ".join((bundle.report_folder / "report.html").read_text().split())
    assert "corrections of 5 images: 3 changed, 1 confirmed, 1 left out" in page
    assert "<bdi>&lt;b&gt;dark</bdi></td><td>40</td><td>37</td>" in page


def test_of_several_labels_one_that_every_validation_image_has_is_as_little_known(photos) -> None:
    assert min(validation_images(photos.card).values()) > 0
    assert validation_images(without_validation(photos, "light", several=True).card)["light"] == 0


@pytest.mark.parametrize("reason", ["policy", "gone"])
def test_what_the_current_bundle_said_stands_in_where_it_cannot_run_again(
    template, place, photos, tmp_path, reason
) -> None:
    first = make_bundle(template, place, "a1", photos, border=156.0)
    report = evaluate_bundle(EvaluateRequest(first, photos, "test", "pytest", place))
    assert report.blessing
    bless(first.folder, report.blessing, place, None)
    half = [row for number, row in enumerate(ALL_TEST) if number % 2] + [("dark", 33, 7), ("light", 201, 7)]
    policy = {"interpolation": "nearest"} if reason == "policy" else {}
    other = make_dataset(place, tmp_path / "half", "half", half, range(400, 404), **policy)
    if reason == "gone":
        shutil.rmtree(place.datasets / "photos")
    second = make_bundle(template, place, "a2", other, border=GOOD)
    decision = decision_on(second, other, place)
    assert decision.compared_by == "stored_predictions"
    assert decision.comparison
    stored = {mistake.path for mistake in read_report(first.report_folder).worst_mistakes} & {
        f"test/{label}/{level}-{seed}.png" for label, level, seed in half
    }
    assert decision.comparison.overall.num_images == 40
    assert decision.num_left_out == 2
    assert decision.comparison.overall.num_only_new == len(stored) > 0
    assert decision.blessed


def test_stored_predictions_that_are_gone_or_damaged_compare_nothing(template, place, photos, tmp_path) -> None:
    first = make_bundle(template, place, "a1", photos, border=GOOD)
    report = evaluate_bundle(EvaluateRequest(first, photos, "test", "pytest", place))
    assert report.blessing
    bless(first.folder, report.blessing, place, None)
    other = make_dataset(place, tmp_path / "other", "other", ALL_TEST, range(400, 404))
    shutil.rmtree(place.datasets / "photos")
    second = make_bundle(template, place, "a2", other, border=GOOD)
    (first.report_folder / "predictions.parquet").write_bytes(b"no table")
    assert "stored predictions cannot be read" in decision_on(second, other, place).why
    shutil.rmtree(first.report_folder)
    decision = decision_on(second, other, place)
    assert not decision.blessed
    assert "has no report.json" in decision.why


def test_other_labels_cannot_be_compared(template, place, photos) -> None:
    first = make_bundle(template, place, "a1", photos, border=GOOD)
    write_card(first.folder, first.card.model_copy(update={"labels": ("day", "night")}))
    promote(first.folder, place, "by hand", None)
    decision = decision_on(make_bundle(template, place, "a2", photos, border=GOOD), photos, place)
    assert not decision.blessed
    assert decision.why == "cannot be compared with a1: its labels are day, night"


def test_a_second_evaluation_of_the_blessed_bundle_says_the_same(template, place, photos) -> None:
    decision_on(make_bundle(template, place, "a1", photos, border=153.0), photos, place)
    second = make_bundle(template, place, "a2", photos, border=GOOD)
    decision = decision_on(second, photos, place)
    card = read_blessed(place, "night")
    assert decision_on(second, photos, place) == decision
    assert read_blessed(place, "night") == card


def test_a_decision_stands_until_what_it_was_compared_with_changes(template, place, photos) -> None:
    def stands(decision: Decision, bundle: Bundle) -> bool:
        return still_stands(decision, bundle, "test", place)

    low = make_bundle(template, place, "a0", photos, border=250.0)
    no_better_than_guessing = decision_on(low, photos, place)
    assert stands(no_better_than_guessing, low)
    first = make_bundle(template, place, "a1", photos, border=GOOD)
    blessed = decision_on(first, photos, place)
    assert stands(blessed, first)
    assert not stands(no_better_than_guessing, low)  # there is one to name by now
    worse = make_bundle(template, place, "a2", photos, border=170.0)
    refused = decision_on(worse, photos, place)
    assert stands(refused, worse)
    (first.folder / "model.onnx").rename(place.root / "kept")
    assert not stands(refused, worse)
    assert decision_on(worse, photos, place).why.startswith("cannot be compared with a1")
    assert not stands(decision_on(worse, photos, place), worse)
    (place.root / "kept").rename(first.folder / "model.onnx")
    third = make_bundle(template, place, "a3", photos, border=GOOD)
    newest = decision_on(third, photos, place)
    assert newest.blessed
    assert stands(newest, third)
    assert not stands(refused, worse)
    assert not stands(blessed, first)
    assert stands(decision_on(first, photos, place), first)
    assert not still_stands(newest, third, "validation", place)
    assert still_stands(None, third, "validation", place)
    assert still_stands(None, third, "test", None)


def test_a_refused_bundle_is_judged_again_when_another_is_blessed(template, place, photos) -> None:
    decision_on(make_bundle(template, place, "a1", photos, border=GOOD), photos, place)
    worse = make_bundle(template, place, "a2", photos, border=170.0)
    refused = evaluate_bundle(EvaluateRequest(worse, photos, "test", "pytest", place))
    assert refused.blessing
    assert refused.blessing.current == "a1"
    assert evaluate_bundle(EvaluateRequest(worse, photos, "test", "pytest", place)) == refused
    decision_on(make_bundle(template, place, "a3", photos, border=GOOD), photos, place)
    again = evaluate_bundle(EvaluateRequest(worse, photos, "test", "pytest", place))
    assert again.blessing
    assert again.blessing.current == "a3"


def test_the_pointer_goes_back_step_by_step_and_nothing_is_deleted(template, place, photos) -> None:
    for version, border in (("a1", 153.0), ("a2", GOOD), ("a3", GOOD)):
        assert decision_on(make_bundle(template, place, version, photos, border=border), photos, place).blessed
    files = {path for path in place.models.rglob("*") if path.is_file()}
    assert roll_back("night", place, "it failed on rainy days", "run-7").current == "a2"
    assert place.find_model("night@blessed") == place.model("night", "a2")
    assert roll_back("night", place, "again", None).current == "a1"
    with pytest.raises(InputError, match=r"No version of night .* before a1.*darkroom promote night@"):
        roll_back("night", place, "once more", None)
    assert {path for path in place.models.rglob("*") if path.is_file()} == files
    card = read_blessed(place, "night")
    assert card
    assert [(event.action, event.version, event.replaced) for event in card.history] == [
        ("bless", "a1", None), ("bless", "a2", "a1"), ("bless", "a3", "a2"),
        ("rollback", "a2", "a3"), ("rollback", "a1", "a2"),
    ]  # fmt: skip
    assert (card.history[3].why, card.history[3].run_id) == ("it failed on rainy days", "run-7")
    assert promote(place.model("night", "a3"), place, "it was the camera", None).line() == ("a1", "a3")
    assert roll_back("night", place, "no", None).current == "a1"


def test_a_bundle_that_was_rolled_back_is_not_blessed_by_the_next_evaluation(template, place, photos) -> None:
    """Otherwise the nightly run would undo what a person has decided."""
    first, second = (make_bundle(template, place, version, photos, border=GOOD) for version in ("a1", "a2"))
    assert decision_on(first, photos, place).blessed
    assert decision_on(second, photos, place).blessed
    roll_back("night", place, "by hand", None)
    decision = decision_on(second, photos, place)
    assert not decision.blessed
    assert "has been replaced" in decision.why
    assert place.find_model("night@blessed") == first.folder


def test_a_rollback_passes_over_versions_that_were_removed(template, place, photos) -> None:
    for version in ("a1", "a2", "a3"):
        decision_on(make_bundle(template, place, version, photos, border=GOOD), photos, place)
    shutil.rmtree(place.model("night", "a2"))
    assert roll_back("night", place, "by hand", None).current == "a1"


def test_where_the_blessed_bundle_is_gone_scoring_says_so_and_the_next_good_one_is_blessed(
    template, place, photos
) -> None:
    decision_on(make_bundle(template, place, "a1", photos, border=GOOD), photos, place)
    shutil.rmtree(place.model("night", "a1"))
    with pytest.raises(InputError, match=r"The blessed version a1 of night is no longer in .*darkroom rollback night"):
        place.find_model("night@blessed")
    decision = decision_on(make_bundle(template, place, "a2", photos, border=150.0), photos, place)
    assert decision.blessed
    assert (decision.current, decision.comparison) == ("a1", None)
    assert "a1 no longer exists" in decision.why


def test_nothing_is_decided_outside_the_workspace_or_on_other_images_than_the_test_images(
    template, place, photos, tmp_path
) -> None:
    bundle = make_bundle(template, place, "a1", photos, border=GOOD)
    elsewhere = open_bundle(shutil.copytree(bundle.folder, tmp_path / "elsewhere" / "a1"))
    assert evaluate_bundle(EvaluateRequest(elsewhere, photos, "test", "pytest", place)).blessing is None
    other = make_dataset(place, tmp_path / "other", "other", ALL_TEST, range(400, 404))
    assert evaluate_bundle(EvaluateRequest(bundle, other, "validation", "pytest", place)).blessing is None
    assert evaluate_bundle(EvaluateRequest(bundle, photos, "test", "pytest")).blessing is None
    with pytest.raises(InputError, match=r"outside .*models"):
        promote(elsewhere.folder, place, "by hand", None)
    assert not (elsewhere.folder.parent / "blessed.json").exists()


def test_a_damaged_bundle_is_not_promoted_and_the_blessed_one_not_twice(template, place, photos) -> None:
    first = make_bundle(template, place, "a1", photos, border=GOOD)
    card = promote(first.folder, place, "by hand", None)
    assert promote(first.folder, place, "again", None) == card
    second = make_bundle(template, place, "a2", photos, border=GOOD)
    (second.folder / "model.onnx").write_bytes(b"?")
    with pytest.raises(FormatError, match=r"model\.onnx has 1 bytes"):
        promote(second.folder, place, "by hand", None)
    assert place.find_model("night@blessed") == first.folder


def test_nothing_to_go_back_from_is_said(place) -> None:
    with pytest.raises(InputError, match="No version of 'night' is blessed"):
        roll_back("night", place, "by hand", None)
    with pytest.raises(InputError, match="There is no model 'night'"):
        place.find_model("night@blessed")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"current": 7}', '{"current": "../../x"}', '{"schema_version": 1, "current": ""}']
)
def test_a_damaged_pointer_is_refused_in_a_sentence(template, place, photos, content) -> None:
    bundle = make_bundle(template, place, "a1", photos, border=GOOD)
    place.blessed_card("night").write_text(content)
    with pytest.raises(FormatError, match=r"blessed\.json is damaged"):
        place.find_model("night@blessed")
    with pytest.raises(FormatError, match=r"blessed\.json"):
        promote(bundle.folder, place, "by hand", None)


def test_the_pointer_names_no_folder_outside(template, place, photos) -> None:
    promote(make_bundle(template, place, "a1", photos, border=GOOD).folder, place, "by hand", None)
    path = place.blessed_card("night")
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"current": "../../datasets"}))
    with pytest.raises(FormatError, match="damaged at current"):
        read_blessed(place, "night")


def test_the_decision_stands_in_the_report_for_people_and_for_programs(template, place, photos) -> None:
    decision_on(make_bundle(template, place, "a1", photos, border=GOOD), photos, place)
    worse = make_bundle(template, place, "a2", photos, border=170.0)
    report = evaluate_bundle(EvaluateRequest(worse, photos, "test", "pytest", place))
    assert read_report(worse.report_folder).blessing == report.blessing
    page = (worse.report_folder / "report.html").read_text(encoding="utf-8")
    assert '<b class="no">No' in page
    assert "McNemar p" in page
    assert "not blessed" not in (worse.report_folder / "model_card.md").read_text().split("## Intended")[1]
