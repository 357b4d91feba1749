"""The report is whole, self-contained and harmless, whatever the labels and file names are."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from darkroom.data.errors import FormatError, WorkError
from darkroom.data.figures import percent
from darkroom.data.labels.label_map import LabelMap
from darkroom.models.evaluation.reporting.report import (
    CorrectPrediction,
    EvaluationReport,
    Mistake,
    Reference,
    TrainingSummary,
    correct_predictions,
    headline,
    most_confident,
    read_report,
    worst_mistakes,
)
from darkroom.models.evaluation.reporting.report_page import Illustrations, write_report
from darkroom.models.measures.curves import Curve
from darkroom.models.measures.intervals import Interval
from darkroom.models.measures.metrics import measure
from darkroom.models.measures.resampling import resampled_intervals

# The text of the page is checked; that a picture lacks a glyph is not its business.

SCRIPT = "<script>alert(1)</script>"
HOSTILE_PATH = "a/\"><img src=x onerror=alert(1)>'.jpg"
VOID = {"meta", "img", "br", "link", "input", "hr"}


@dataclass(frozen=True)
class Epoch:
    loss: float = 0.5
    accuracy: float = 0.8
    val_loss: float | None = 0.6
    val_accuracy: float | None = 0.7


class Page(HTMLParser):
    """The elements of a page; fails where they do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(stream, kind)
    return stream.getvalue()


def make_report(names: tuple[str, ...] = ("cat", "dog"), path: str = "test/1.jpg") -> EvaluationReport:
    num_classes = len(names)
    probabilities = np.full((4 * num_classes, num_classes), 0.2 / (num_classes - 1))
    truth = np.arange(4 * num_classes) % num_classes
    predicted = truth.copy()
    predicted[0] = 1
    probabilities[np.arange(len(truth)), predicted] = 0.8
    paths = [path, *(f"test/{row}.png" for row in range(1, len(truth)))]
    metrics = measure(probabilities, truth, LabelMap(names))
    return EvaluationReport(
        bundle=Reference(name="cats_dogs", version="0123456789ab"),
        dataset=Reference(name=names[0], version="ba9876543210"),
        split="test",
        metrics=metrics,
        intervals=resampled_intervals(probabilities, truth, metrics),
        slices=(),
        calibration="temperature",
        temperature=1.5,
        uncalibrated_ece=0.1,
        threshold=0.4,
        min_precision=0.9,
        min_coverage=0.0,
        coverage=1.0,
        coverage_interval=Interval(low=0.7, high=1.0),
        accuracy_at_threshold=0.9,
        accuracy_at_threshold_interval=Interval(low=0.5, high=1.0),
        training=TrainingSummary(model="starter", num_epochs=2, best_epoch=2, train_seconds=12.3),
        worst_mistakes=worst_mistakes(paths, probabilities, truth, LabelMap(names)),
        library_versions={"keras": "3.15.1"},
        generated_by="darkroom evaluate cats_dogs",
    )


def illustrations(report: EvaluationReport, history: Sequence[Epoch] = ()) -> Illustrations:
    """Curves, and a correct image of each kind, for any report."""
    names = tuple(row.label for row in report.metrics.per_class)
    curves = [Curve(name, np.array([0.0, 0.5, 1.0]), np.array([0.5, 0.9, 1.0]), 0.8) for name in names]
    return Illustrations(
        history=history,
        roc=curves,
        precision_recall=curves,
        most_confident=[CorrectPrediction("test/2.png", names[0], 0.99)],
        least_confident=[CorrectPrediction("test/3.png", names[1], 0.51)],
    )


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    report = make_report()
    write_report(tmp_path / "report", report, Illustrations(history=[Epoch(), Epoch()]))
    assert read_report(tmp_path / "report") == report
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["report.html", "report.json"]


def test_the_page_shows_the_headline_and_every_section(tmp_path: Path) -> None:
    report = make_report()
    write_report(tmp_path, report, illustrations(report, [Epoch()]))
    page = Page(page_of(tmp_path))
    assert headline(report.metrics) in " ".join(page.text.split(" "))
    assert [section["id"] for section in page.attributes("section")] == [
        "summary", "confusion", "classes", "curves", "slices", "calibration", "mistakes", "correct", "training", "about"
    ]  # fmt: skip


def test_the_page_asks_for_nothing_from_outside(tmp_path: Path) -> None:
    report = make_report()
    shown = illustrations(report, [Epoch()] * 3)
    write_report(tmp_path, report, replace(shown, thumbnails={"test/1.jpg": picture("JPEG")}))
    text = page_of(tmp_path)
    page = Page(text)
    assert {name for name, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object", "a", "form", "base"})
    for _, attributes in page.elements:
        assert not {name for name in attributes if name.startswith("on")} | ({"style", "href"} & set(attributes))
    sources = [image["src"] or "" for image in page.attributes("img")]
    assert len(sources) == 8
    assert all(re.match(r"data:image/(png|jpeg);base64,", source) for source in sources)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    assert not re.search(r"url\(|@import", style[1])
    assert "//" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)


def test_a_heat_map_stands_beside_the_picture_of_its_mistake(tmp_path: Path) -> None:
    shown = Illustrations(thumbnails={"test/1.jpg": picture("JPEG")})
    write_report(tmp_path / "with", make_report(), replace(shown, heat_maps={"test/1.jpg": picture("PNG")}))
    write_report(tmp_path / "without", make_report(), shown)
    counts = {}
    for name in ("with", "without"):
        page = Page(page_of(tmp_path / name))
        counts[name] = [image["alt"] for image in page.attributes("img")].count("Grad-CAM heat map")
    assert counts == {"with": 1, "without": 0}
    assert "Selvaraju" in page_of(tmp_path / "with")
    assert "Selvaraju" not in page_of(tmp_path / "without")


def test_the_policy_allows_only_this_style_and_inline_pictures(tmp_path: Path) -> None:
    write_report(tmp_path, make_report(), Illustrations())
    text = page_of(tmp_path)
    (policy,) = [m["content"] for m in Page(text).attributes("meta") if m.get("http-equiv")]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    assert policy
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'")


def test_hostile_labels_and_file_names_are_text(tmp_path: Path) -> None:
    report = make_report((SCRIPT, "$\\frac{", "日本語"), HOSTILE_PATH)
    shown = replace(illustrations(report), most_confident=[CorrectPrediction(HOSTILE_PATH, SCRIPT, 0.5)])
    write_report(tmp_path, report, replace(shown, thumbnails={HOSTILE_PATH: picture("PNG")}))
    text = page_of(tmp_path)
    page = Page(text)
    assert "<script" not in text
    assert SCRIPT in page.text
    assert HOSTILE_PATH in page.text
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert HOSTILE_PATH in [image["alt"] for image in page.attributes("img")]
    assert read_report(tmp_path) == report


def test_a_hundred_classes_give_one_page_of_moderate_size(tmp_path: Path) -> None:
    report = make_report(tuple(f"class {n}" for n in range(100)))
    write_report(tmp_path, report, illustrations(report, [Epoch()]))
    assert "the 40 lowest of 100" in Page(page_of(tmp_path)).text
    assert (tmp_path / "report.html").stat().st_size < 1_500_000


def test_a_mistake_without_a_picture_and_training_without_history_are_said(tmp_path: Path) -> None:
    write_report(tmp_path, make_report(), Illustrations(thumbnails={"not/in/the/report.jpg": b"never looked at"}))
    page = Page(page_of(tmp_path))
    assert [div.get("class") for div in page.attributes("div")].count("nopicture") == 1
    assert "No training history" in page.text
    assert "curves" not in [section["id"] for section in page.attributes("section")]


def test_what_is_no_picture_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="neither JPEG nor PNG"):
        write_report(
            tmp_path / "report", make_report(), Illustrations(thumbnails={"test/1.jpg": b"<svg onload=alert(1)>"})
        )
    assert not (tmp_path / "report").exists()


def test_the_card_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, value: object) -> None:
        assert (path.parent / "report.html").is_file()
        raise OSError("disk full")

    monkeypatch.setattr("darkroom.models.evaluation.reporting.report_page.write_json", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(tmp_path, make_report(), Illustrations())
    with pytest.raises(FormatError, match=r"no report\.json"):
        read_report(tmp_path)


def test_another_schema_version_is_refused_and_both_are_named(tmp_path: Path) -> None:
    write_report(tmp_path, make_report(), Illustrations())
    card = json.loads((tmp_path / "report.json").read_text())
    (tmp_path / "report.json").write_text(json.dumps({**card, "schema_version": 7}))
    with pytest.raises(FormatError, match=r"version 7.*reads 2"):
        read_report(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 1}', "\udcff"])
def test_a_damaged_card_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FormatError, match=r"report\.json"):
        read_report(tmp_path)


def test_worst_mistakes_are_the_least_probable_truths_and_ties_go_by_path() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
    found = worst_mistakes(["z", "y", "a", "right"], probabilities, np.array([1, 1, 1, 1]), LabelMap(("cat", "dog")))
    assert [mistake.path for mistake in found] == ["a", "z", "y"]
    assert found[0] == Mistake(path="a", truth="dog", predicted="cat", confidence=0.9, truth_probability=0.1)
    many = [f"{number:02d}" for number in range(40)]
    assert len(worst_mistakes(many, np.tile([0.8, 0.2], (40, 1)), np.ones(40, int), LabelMap(("c", "d")))) == 24
    with pytest.raises(WorkError, match="1 paths for 4"):
        worst_mistakes(["z"], probabilities, np.ones(4, int), LabelMap(("cat", "dog")))


def test_correct_predictions_come_by_confidence_and_the_most_confident_are_of_every_class() -> None:
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.95, 0.05], [0.4, 0.6], [0.7, 0.3]])
    found = correct_predictions(
        ["d", "c", "b", "a", "wrong"], probabilities, np.array([0, 0, 0, 1, 1]), LabelMap(("cat", "dog"))
    )
    assert [(item.path, item.label, item.confidence) for item in found] == [
        ("b", "cat", 0.95), ("c", "cat", 0.95), ("d", "cat", 0.9), ("a", "dog", 0.6)
    ]  # fmt: skip
    assert [item.path for item in most_confident(found, 3)] == ["a", "b", "c"]
    assert [item.path for item in most_confident(found, 10)] == ["a", "b", "c", "d"]
    assert most_confident([], 3) == []


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.97875, "97.9"), (1.0, "100.0"), (0.99999, "99.9"), (0.0, "0.0"), (0.00001, "0.1")],
)
def test_nearly_all_is_never_called_all(share: float, text: str) -> None:
    assert percent(share) == f"{text}\u00a0%"


def test_the_headline_names_counts_and_interval() -> None:
    metrics = make_report().metrics
    assert headline(metrics).replace("\u00a0", " ") == "7 of 8 correct (87.5 %, 95 % interval 52.9 to 97.8 %)"


def test_a_report_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        make_report().temperature = 2.0  # type: ignore[misc]
