"""Scoring by a service: each image is a row, is sent once, and without what is not picture; limits stop in time."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import darkroom
from darkroom.data.errors import DarkroomError, InputError, SettingError, WorkError
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.cloud_options import CloudOptions, agree
from darkroom.flows.results import ScoreResult
from darkroom.flows.score_cloud import asked_of, estimate, score_cloud
from darkroom.models.cloud.service import Word
from darkroom.models.cloud.settings import ServiceName
from darkroom.models.cloud.word_map import WordMap, draft_word_map, read_word_map, write_word_map
from tests.stand_ins import Seen

COLOURS = {"amber": (200, 140, 40), "blue": (40, 70, 200), "green": (50, 170, 60)}
Start = Callable[[ServiceName], Seen]
MODEL = "cloud:aws-rekognition"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine photographs with a place in their EXIF, a duplicate, and what is no photograph."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, colour in enumerate(["amber", "blue", "green"] * 3):
        exif = Image.Exif()
        exif[0x010E] = f"secret place {number}"
        shades = np.full((40, 60, 3), COLOURS[colour]) + np.random.default_rng(number).integers(-9, 9, (40, 60, 3))
        Image.fromarray(shades.astype(np.uint8)).save(folder / f"{number}.jpg", exif=exif, quality=95)
    (folder / "again.jpg").write_bytes((folder / "1.jpg").read_bytes())
    (folder / "notes.jpg").write_text("no image")
    (folder / "cut.jpg").write_bytes((folder / "2.jpg").read_bytes()[:-300])
    return folder


def scored(photos: Path, **more: Any) -> tuple[ScoreResult, Any]:
    out = photos.parent / "out"
    made = score_cloud.plain(
        str(photos), more.pop("model", MODEL), str(out), workspace=str(photos.parent / "workspace"), **more
    )
    return made, pd.read_parquet(out).set_index("path")


def test_every_file_is_a_row_and_every_image_is_sent_once_without_its_metadata(photos: Path, start: Start) -> None:
    seen = start("aws-rekognition")
    result, table = scored(photos)
    assert sorted(table.index) == sorted(path.name for path in photos.iterdir())
    assert table.loc["1.jpg", "label"] == table.loc["again.jpg", "label"] == "Sky"
    assert table.loc["1.jpg", "confidence"] == np.float32(0.91)
    assert [each["label"] for each in table.loc["0.jpg", "top_k"]] == ["Honey", "Surface"]
    assert table["reason"].dropna().to_dict() == {"cut.jpg": "truncated", "notes.jpg": "not_an_image"}
    assert len(seen.pictures) == 9
    for picture in seen.pictures:
        image = Image.open(io.BytesIO(picture))
        assert (image.format, image.size, dict(image.getexif())) == ("JPEG", (640, 640), {})
        assert b"secret place" not in picture
    assert result.precision == "service"
    assert result.remarks == ("9 requests in this run, $0.0090; the others were answered before.",)
    again, _ = scored(photos)
    assert (again.rows_reused, len(seen.pictures)) == (12, 9)
    elsewhere = score_cloud.plain(
        str(photos), MODEL, str(photos.parent / "two"), workspace=str(photos.parent / "workspace")
    )
    assert (elsewhere.rows_reused, len(seen.pictures)) == (0, 9)


def test_words_become_classes_by_a_map(photos: Path, start: Start, tmp_path: Path) -> None:
    start("google-vision")
    words = tmp_path / "words.yaml"
    words.write_text("warm: [honey, Surface]\ncold: [sky]\n")
    _, table = scored(photos, model="cloud:google-vision", word_map=str(words))
    assert table.loc["0.jpg", ["label", "abstained"]].tolist() == ["warm", False]
    assert table.loc["1.jpg", "label"] == "cold"
    assert [each["label"] for each in table.loc["1.jpg", "top_k"]] == ["cold", "warm"]
    words.write_text("warm: [honey]\ncold: [sky]\n")
    with pytest.raises(InputError, match="was made by cloud:google-vision@"):
        scored(photos, model="cloud:google-vision", word_map=str(words))
    _, table = scored(photos, model="cloud:google-vision", word_map=str(words), rescore=True)
    green = table.loc["2.jpg"]
    assert pd.isna(green["label"])
    assert (green["confidence"], bool(green["abstained"]), len(green["top_k"])) == (0.0, True, 0)


def test_a_prompted_model_chooses_one_of_the_classes_and_its_tokens_are_counted(photos: Path, start: Start) -> None:
    start("openai-compatible")
    result, table = scored(
        photos,
        model="cloud:openai-compatible",
        service_model="vision",
        classes=["amber", "blue"],
        token_price=[1.0, 10.0],
    )
    assert table.loc[["0.jpg", "1.jpg"], "label"].tolist() == ["amber", "blue"]
    assert bool(table.loc["2.jpg", "abstained"])
    assert result.remarks[0].startswith("9 requests in this run, $0.0099;")  # 9 x (1000 x 1 + 10 x 10) / 1e6


def test_what_was_answered_before_a_failure_is_not_asked_again(
    photos: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from darkroom.models.cloud.vendors import rekognition

    monkeypatch.setattr(rekognition, "_ATTEMPTS", 1)
    seen = start("aws-rekognition")
    down = threading.Event()
    seen.refuse = lambda number: (503, {"__type": "ServiceUnavailable"}) if number >= 5 and not down.is_set() else None
    with pytest.raises(WorkError, match=r"does not answer .* are kept"):
        scored(photos)
    asked = len(seen.pictures)
    down.set()
    result, table = scored(photos)
    assert len(table) == 12
    assert len(seen.pictures) == asked + 4
    assert result.remarks[0].startswith("4 requests in this run")


def test_a_picture_that_is_refused_is_a_row_and_is_asked_about_again_when_told(photos: Path, start: Start) -> None:
    seen = start("aws-rekognition")
    seen.refuse = lambda number: (400, {"__type": "InvalidImageFormatException"}) if number == 0 else None
    _, table = scored(photos)
    assert sorted(table["reason"].dropna()) in (
        ["no_answer", "not_an_image", "truncated"],
        ["not_an_image", "truncated"],  # of two files with the same bytes, the second is asked about again
    )
    seen.refuse = lambda number: None
    _, table = scored(photos, retry_quarantined=True)
    assert sorted(table["reason"].dropna()) == ["not_an_image", "truncated"]


def test_limits_are_held_before_and_during_a_run(photos: Path, start: Start) -> None:
    seen = start("aws-rekognition")
    with pytest.raises(WorkError, match="--max-requests 4 is reached"):
        scored(photos, max_requests=4)
    assert len(seen.pictures) == 4
    with pytest.raises(WorkError, match=r"--max-cost 0\.003 is reached"):
        scored(photos, max_cost=0.003)
    assert len(seen.pictures) == 7


def test_an_estimate_counts_what_is_not_answered_yet_and_is_asked_about(
    photos: Path, start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = start("aws-rekognition")
    place = Workspace(photos.parent / "workspace")
    found = estimate(photos, asked_of(MODEL), None, place)
    assert (found.num_files, found.num_requests, round(found.cost or 0, 9), len(seen.pictures)) == (12, 9, 0.009, 0)
    with pytest.raises(InputError, match="9 requests are needed, and --max-requests allows 8"):
        agree(estimate(photos, asked_of(MODEL, max_requests=8), None, place), yes=True)
    with pytest.raises(InputError, match=r"--max-cost allows \$0\.00"):
        agree(estimate(photos, asked_of(MODEL, max_cost=0.001), None, place), yes=True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(InputError, match="Give --yes"):
        agree(found, yes=False)
    agree(found, yes=True)
    assert "9 pictures of 640 x 640 pixels" in capsys.readouterr().err
    scored(photos)
    assert estimate(photos, asked_of(MODEL), None, place).num_requests == 0


@pytest.mark.parametrize(
    ("model", "given", "sentence"),
    [
        ("cloud:nobody", {}, "There is no service 'nobody'"),
        ("cloud:openai-compatible", {"service_model": "x"}, "--classes"),
        ("cloud:openai-compatible", {"service_model": "x", "classes": ["a", "a"]}, "different names"),
        ("cloud:openai-compatible", {"service_model": "x", "classes": ["a", "b"], "max_cost": 1.0}, "needs a price"),
        ("cloud:google-vision", {"classes": ["a", "b"]}, "--word-map"),
        ("cloud:google-vision", {"word_map": "/none.yaml"}, "cannot be read"),
    ],
)
def test_what_does_not_fit_together_is_said_before_anything_is_read(
    model: str, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DarkroomError, match=sentence):
        asked_of(model, **given)


def test_options_of_services_go_with_no_other_model() -> None:
    CloudOptions().check_unused()
    with pytest.raises(InputError, match="--max-cost goes with --model cloud:NAME alone"):
        CloudOptions(max_cost=0.5).check_unused()
    with pytest.raises(InputError, match="two numbers"):
        CloudOptions(token_price="1").parameters()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cats: [cat]\n", "at least two classes"),
        ("cats: cat\ndogs: [dog]\n", "list of texts"),
        ("cats: [cat, 1]\ndogs: [dog]\n", "list of texts"),
        ("cats: [cat, pet]\ndogs: [dog, Pet]\n", "'pet' stands for 'cats' and 'dogs'"),
        ("cats: [", "cannot be read"),
        ("[" * 5000, "cannot be read"),
        ("a: &x [b]\nc: *x\n", "'b' stands for"),
    ],
)
def test_a_word_map_that_cannot_be_followed_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_word_map(tmp_path / "map.yaml")


def test_a_map_is_drafted_from_labelled_images(tmp_path: Path) -> None:
    cat, dog, pet, rare = Word("Cat", 0.9), Word("Dog", 0.9), Word("Pet", 0.99), Word("Rug", 0.5)
    answers = [("cats", (cat, pet))] * 4 + [("cats", (cat, dog, rare))] + [("dogs", (dog, pet))] * 20
    found = draft_word_map(answers)
    assert found.words == {"cats": ("Cat",), "dogs": ("Dog",)}
    (tmp_path / "map.yaml").write_text(write_word_map(found))
    assert read_word_map(tmp_path / "map.yaml") == found
    assert found.key == WordMap({"dogs": ("dog",), "cats": ("CAT",)}).key
    assert [word.text for word in found.classes_of([pet, dog, cat])] == ["cats", "dogs"]


def test_python_sends_nothing_without_being_told(photos: Path, start: Start, tmp_path: Path) -> None:
    seen = start("aws-rekognition")
    workspace = tmp_path / "workspace"
    with pytest.raises(InputError, match=r"9 pictures of 640 x 640 .* Give yes=True"):
        darkroom.score(photos, MODEL, workspace=workspace)
    with pytest.raises(SettingError, match="goes with a model such as 'cloud:google-vision' alone"):
        darkroom.score(photos, "imagenet", yes=True, workspace=workspace)
    assert not seen.pictures
    result = darkroom.score(photos, MODEL, max_cost=0.01, yes=True, workspace=workspace)
    assert result.num_files == len(pd.read_parquet(result.out)) == 12
    assert len(seen.pictures) == 9
