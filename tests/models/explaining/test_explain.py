"""The pictures and the page of `darkroom explain`: complete, the same each time, whole or not at all."""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.data.errors import InputError, SettingError, WorkError
from darkroom.data.images.decoder_fingerprint import decoder
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.evaluation.evaluate import EvaluateRequest, evaluate_bundle
from darkroom.models.explaining.explain import (
    MAX_IMAGES,
    ExplainRequest,
    choose_examples,
    explain_images,
    explanation_folder,
)
from darkroom.models.explaining.techniques.activation_maximisation import maximise
from darkroom.models.explaining.techniques.maximally_activating import ImageSearch, most_activating
from darkroom.models.explaining.views import NetworkView, strongest_channels, view_network
from darkroom.models.networks.layers import feature_maps, unmirrored
from tests.bundles import tiny_bundle

WHOLE = {"classes.png", "channels.png", "filters.png", "explain.html", "made.json"}


@pytest.fixture
def quick(monkeypatch):
    """A few steps of gradient ascent in place of many."""
    monkeypatch.setattr(
        "darkroom.models.explaining.views.maximise",
        lambda model, goals, size, progress: maximise(model, goals, size, num_steps=2, progress=progress),
    )


@pytest.fixture
def hostile(images, tmp_path):
    """A readable image under a hostile name, and two files that are no images."""
    folder = tmp_path / "new"
    folder.mkdir()
    good = folder / "..$(touch x) <script>é.png"
    shutil.copy(sorted((images / "test/green").glob("*.png"))[0], good)
    return [images / "test/blue/cut.jpg", good, folder / "missing.png"]


def test_unreadable_images_become_reasons_and_the_others_pictures_with_the_same_bytes_each_time(
    bundle, dataset, hostile, tmp_path, quick
):
    done = explain_images(ExplainRequest(bundle, hostile, tmp_path / "one", "pytest", dataset))
    assert done.quarantined == ((str(hostile[0]), "truncated"), (str(hostile[2]), "unreadable"))
    name = "001-.._touch_x_script_"
    names = [f"{name}.png", f"{name}-activations.png", "filters.png", "classes.png", "channels.png"]
    assert [path.name for path in done.pictures] == names
    assert {path.name for path in (tmp_path / "one").iterdir()} == {*names, "explain.html", "made.json"}
    for picture in done.pictures:
        with Image.open(picture) as opened:
            opened.load()
            assert opened.format == "PNG"
    again = explain_images(ExplainRequest(bundle, hostile, tmp_path / "two", "pytest", dataset))
    for first, second in zip((*done.pictures, done.page), (*again.pictures, again.page), strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


def test_the_page_shows_every_part_escapes_names_and_fetches_nothing(bundle, dataset, hostile, tmp_path, quick):
    page = explain_images(ExplainRequest(bundle, hostile, tmp_path / "out", "pytest", dataset, 1000)).page.read_text(
        encoding="utf-8"
    )
    assert "&lt;script&gt;é.png" in page
    assert "<script" not in page
    assert set(re.findall(r'src="(data:image/png)?', page)) == {"data:image/png"}
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    for paper in ("1610.02391", "1311.2901", "1506.06579", "1312.6034", "Feature Visualization", "Krizhevsky"):
        assert paper in page
    assert "of 36 training images" in " ".join(page.split())
    num_layers, num_channels, num_filters = 4, 6, 2
    assert page.count("<img") == 4 + num_layers + 3 + num_channels * (1 + 4) + num_filters
    for reason in ("truncated", "unreadable"):
        assert f": {reason}</li>" in page


@pytest.mark.parametrize("searched", [{}, {"max_searched": 0}])
def test_without_a_data_set_or_a_search_the_maximally_activating_images_are_left_out(
    bundle, dataset, hostile, tmp_path, quick, plain_pictures, searched
):
    given = {"dataset": dataset, **searched} if searched else {}
    done = explain_images(ExplainRequest(bundle, hostile[1:2], tmp_path / "out", "pytest", **given))
    page = done.page.read_text(encoding="utf-8")
    assert "No data set was searched" in page
    assert page.count("<img") == 4 + 4 + 3 + 6 + 2


def test_the_labels_of_judged_images_are_known_by_their_content(
    bundle, dataset, images, tmp_path, quick, plain_pictures
):
    copied = open_bundle(shutil.copytree(bundle.folder, tmp_path / "bundle"))
    report = evaluate_bundle(EvaluateRequest(copied, dataset, "test", "pytest"))
    mistakes = [mistake for mistake in report.worst_mistakes if mistake.path.startswith("test/")][:1]
    right = next(path for path in choose_examples(copied, 0, 1))
    moved = tmp_path / "elsewhere.png"
    shutil.copy(images / right, moved)
    paths = [moved, *(images / mistake.path for mistake in mistakes)]
    page = explain_images(ExplainRequest(copied, paths, tmp_path / "out", "pytest")).page.read_text(encoding="utf-8")
    assert page.count('<span class="yes">') == 1
    assert page.count('<span class="no">') == len(mistakes)
    for mistake in mistakes:
        assert f"Grad-CAM: {mistake.truth}" in page
        assert f"Occlusion: {mistake.predicted}" in page


def test_an_earlier_explanation_is_replaced_and_a_folder_with_other_files_is_refused(
    bundle, hostile, images, tmp_path, quick, plain_pictures
):
    out = tmp_path / "out"
    explain_images(ExplainRequest(bundle, hostile, out, "pytest"))
    other = sorted((images / "test/amber").glob("*.png"))[0]
    explain_images(ExplainRequest(bundle, [other], out, "pytest"))
    assert {path.name for path in out.iterdir()} == WHOLE | {
        f"000-{other.stem}.png", f"000-{other.stem}-activations.png"
    }  # fmt: skip
    (out / "thesis.docx").write_bytes(b"mine")
    before = sorted(out.iterdir())
    with pytest.raises(InputError, match=r"holds other files, such as thesis\.docx"):
        explain_images(ExplainRequest(bundle, [other], out, "pytest"))
    assert sorted(out.iterdir()) == before
    with pytest.raises(InputError, match="holds other files"):
        explain_images(ExplainRequest(bundle, [other], other, "pytest"))


def test_what_was_explained_is_not_drawn_again_unless_something_it_shows_has_changed(
    bundle, dataset, images, tmp_path, quick, plain_pictures, monkeypatch
):
    shown = tmp_path / "shown.png"
    first, second = sorted((images / "test/amber").glob("*.png"))[:2]
    shutil.copy(first, shown)
    given = [shown, tmp_path / "missing.png"]
    out = tmp_path / "out"
    done = explain_images(ExplainRequest(bundle, given, out, "pytest", dataset))
    drawn = []

    def counting(*work: Any) -> NetworkView:
        drawn.append(1)
        return view_network(*work)

    monkeypatch.setattr("darkroom.models.explaining.explain.view_network", counting)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert explain_images(ExplainRequest(bundle, given, out, "pytest", dataset)) == replace(done, reused=True)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert not drawn
    explain_images(ExplainRequest(bundle, given, out, "pytest", dataset, max_searched=3))
    assert len(drawn) == 1
    shutil.copy(second, shown)
    explain_images(ExplainRequest(bundle, given, out, "pytest", dataset, max_searched=3))
    assert len(drawn) == 2
    (out / "classes.png").write_bytes(b"cut")
    explain_images(ExplainRequest(bundle, given, out, "pytest", dataset, max_searched=3))
    assert len(drawn) == 3
    explain_images(ExplainRequest(bundle, given, out, "pytest", dataset, max_searched=3))
    assert len(drawn) == 3


def test_after_a_failure_there_is_nothing_new_and_what_was_there_is_kept(
    bundle, hostile, images, tmp_path, quick, plain_pictures, monkeypatch
):
    out = tmp_path / "out"
    done = explain_images(ExplainRequest(bundle, [images / "test/amber" / "none.png", *hostile[1:2]], out, "pytest"))
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def fails(path: Path, page: str) -> None:
        raise WorkError("no")

    monkeypatch.setattr("darkroom.models.explaining.explain.write_page", fails)
    for place in (out, tmp_path / "new-out"):
        with pytest.raises(WorkError):
            explain_images(ExplainRequest(bundle, hostile[1:2], place, "pytest"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert done.page.is_file()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "new") == ["out"]


def test_what_cannot_be_explained_is_refused_with_a_sentence(bundle, dataset, images, hostile, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"None of the images can be read: .*cut\.jpg \(truncated\)"):
        explain_images(ExplainRequest(bundle, hostile[:1], out, "pytest"))
    with pytest.raises(SettingError, match=f"1 to {MAX_IMAGES} images, not {MAX_IMAGES + 1}"):
        explain_images(ExplainRequest(bundle, hostile[1:2] * (MAX_IMAGES + 1), out, "pytest"))
    linear = open_bundle(tiny_bundle(tmp_path / "tiny", ["amber", "blue", "green"], (16, 16)))
    with pytest.raises(SettingError, match="tiny has no convolutional layer"):
        explain_images(ExplainRequest(linear, hostile[1:2], out, "pytest"))
    with pytest.raises(SettingError, match=r"are 32 x 32, tiny@0+ takes 16 x 16"):
        explain_images(ExplainRequest(linear, hostile[1:2], out, "pytest", dataset))
    assert not out.exists()


def test_the_examples_are_the_worst_mistakes_and_then_the_surest_hits_of_every_class(bundle, dataset, tmp_path):
    copied = open_bundle(shutil.copytree(bundle.folder, tmp_path / "bundle"))
    report = evaluate_bundle(EvaluateRequest(copied, dataset, "test", "pytest"))
    chosen = choose_examples(copied, num_wrong=2, num_right=3)
    wrong = [mistake.path for mistake in report.worst_mistakes[:2]]
    assert chosen[: len(wrong)] == wrong
    assert sorted(Path(path).parent.name for path in chosen[len(wrong) :]) == ["amber", "blue", "green"]


def test_each_image_of_a_channel_has_its_label_and_activation(
    bundle, dataset, hostile, tmp_path, quick, plain_pictures
):
    page = explain_images(ExplainRequest(bundle, hostile[1:2], tmp_path / "out", "pytest", dataset)).page.read_text(
        encoding="utf-8"
    )
    model = unmirrored(bundle.keras_model())
    for number, label in re.findall(r"<h3>Channel (\d+), in favour of <bdi>(\w+)</bdi>", page):
        section = page.split(f"<h3>Channel {number},")[1].split("<h3>")[0].split("</section>")[0]
        (best,), _ = most_activating(model, feature_maps(model)[-1], [int(number)], ImageSearch(dataset))
        for image in best:
            caption = f"<b><bdi>{image.label}</bdi></b>, activation {image.strength:.2f}"
            assert caption in section
            assert image.path in section
        assert f"{sum(image.label == label for image in best)} of the 4 images" in section


def test_images_that_a_user_names_have_a_folder_of_their_own(bundle):
    one, other, both = (
        explanation_folder(bundle, images) for images in (["/a/tom.jpg"], ["/b/tom.jpg"], ["/a/tom.jpg", "/b/tom.jpg"])
    )
    assert len({one, other, both, bundle.report_folder / "explain"}) == 4
    assert {folder.parent for folder in (one, other, both)} == {bundle.report_folder}
    assert all(re.fullmatch(r"explain-tom-[0-9a-f]{12}", folder.name) for folder in (one, other, both))
    assert explanation_folder(bundle, ["/a/tom.jpg"]) == one
    assert re.fullmatch(r"explain-[0-9a-f]{12}", explanation_folder(bundle, ["/a/犬.jpg"]).name)


def test_each_class_in_turn_gets_its_largest_channel_and_none_is_shown_twice():
    contributions = np.array([[9, 8, 0, 0, 1, 0, 0, 0], [9, 2, 7, 6, 0, 5, 0, 0]], np.float32)
    assert strongest_channels(contributions) == [(0, 0), (0, 1), (0, 4), (1, 2), (1, 3), (1, 5)]
    assert strongest_channels(np.array([[1, 2]], np.float32)) == [(0, 0), (0, 1)]
    assert strongest_channels(np.array([[-1, 2], [0, 0]], np.float32)) == [(0, 1)]
    assert strongest_channels(np.eye(10, dtype=np.float32)) == [(row, row) for row in range(6)]


def test_a_model_trained_on_another_decoders_images_is_explained_with_a_warning_or_refused(
    bundle, hostile, tmp_path, quick, plain_pictures, upgrade_decoder, caplog
):
    before, out = decoder(), tmp_path / "out"
    explain_images(ExplainRequest(bundle, hostile[1:2], out, "pytest", decoder_mismatch="strict"))
    pixels = (out / "made.json").read_bytes()
    other = upgrade_decoder()
    with pytest.raises(InputError, match=other.fingerprint) as refused:
        explain_images(ExplainRequest(bundle, hostile[1:2], out, "pytest", decoder_mismatch="strict"))
    assert refused.value.exit_status == 2
    caplog.set_level(logging.WARNING, "darkroom")
    explain_images(ExplainRequest(bundle, hostile[1:2], out, "pytest"))
    (said,) = [text for text in caplog.messages if other.fingerprint in text]
    assert bundle.reference in said
    assert before.fingerprint in said
    assert (out / "made.json").read_bytes() != pixels  # drawn again, from the pixels of this decoder
