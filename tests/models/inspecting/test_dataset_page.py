"""The page of a data set tells what its manifest says, asks for nothing from outside, and takes hostile names."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import FormatError, WorkError
from darkroom.models.inspecting.dataset_page import source_thumbnails, write_inspection
from darkroom.models.inspecting.inspection import Inspection, choose_examples, inspect_dataset, read_inspection
from darkroom.models.inspecting.label_errors import LabelError, LabelErrors
from tests.datasets import BAD_FILES, ingest

HOSTILE = "<img src=x onerror=alert(1)>"


class Text(HTMLParser):
    """The text of a page, and its elements by name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {name for name, _ in attrs} & {"style", "href", "onerror", "onload"}
        self.sources += [value or "" for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def odd_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in two classes, one of them with a hostile name, a blank image, a copy and a file that is no image."""
    folder = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    for label in ("plain", HOSTILE):
        (folder / label).mkdir()
        for number in range(30):
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / label / f"{number}.png")
    Image.new("RGB", (200, 20), (90, 90, 90)).save(folder / HOSTILE / "strip.png")
    (folder / "plain" / "copy.png").write_bytes((folder / "plain" / "0.png").read_bytes())
    (folder / "plain" / "no.jpg").write_text("This is no photograph.")
    return folder


@pytest.fixture(scope="module")
def odd(odd_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return ingest(odd_images, tmp_path_factory.mktemp("workspace"))


def with_errors(inspection: Inspection) -> Inspection:
    error = LabelError(path=f"{HOSTILE}/3.png", label=HOSTILE, suggested="plain", score=0.02, suggested_probability=0.9)
    found = LabelErrors(num_images=60, accuracy=0.75, num_suspected=1, suspected=(error,))
    return inspection.model_copy(update={"label_errors": found})


def test_what_is_written_is_read_back_the_same(odd: Dataset, tmp_path: Path) -> None:
    inspection = with_errors(inspect_dataset(odd, [], "a test"))
    write_inspection(tmp_path / "out", inspection, {})
    assert read_inspection(tmp_path / "out") == inspection
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dataset.html", "inspection.json"]


def test_the_page_shows_findings_copies_errors_and_quarantined_files(
    odd: Dataset, odd_images: Path, tmp_path: Path
) -> None:
    inspection = with_errors(inspect_dataset(odd, [], "a test"))
    thumbnails = source_thumbnails(odd_images, inspection)
    examples = {example.path for example in inspection.examples}
    findings = {f"{HOSTILE}/strip.png", f"{HOSTILE}/3.png", "plain/0.png", "plain/copy.png"}
    assert set(thumbnails) == findings | examples
    write_inspection(tmp_path, inspection, thumbnails)
    page = Text((tmp_path / "dataset.html").read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    assert "62 of 63 files" in text
    assert f"{HOSTILE} (2.0 %)" in text
    assert "plain (90.0 %)" in text
    assert "Blank: 1" in text
    assert "Very elongated: 1" in text
    assert "10.0 : 1" in text
    assert "plain/no.jpg" in text
    assert "not_an_image" in text
    assert len(page.sources) == 5 + len(examples)  # the strip stands out in two ways
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)


def test_a_few_images_of_each_class_are_chosen_by_their_hashes(odd: Dataset) -> None:
    rows = [row for row in odd.manifest().to_pylist() if row["status"] == "ok"]
    rows.sort(key=lambda row: (row["sha256"], row["path"]))
    expected = {label: [row["path"] for row in rows if row["label"] == label] for label in odd.card.labels}
    chosen = inspect_dataset(odd, [], "").examples
    assert [(example.label, example.path) for example in chosen] == [
        (label, path) for label in sorted(odd.card.labels) for path in expected[label][:8]
    ]


def test_of_many_classes_the_first_are_shown_with_an_image_each() -> None:
    labels = [f"class {number:03d}" for number in range(300)]
    table = pa.table({"path": labels, "sha256": labels, "label": labels, "status": ["quarantined", *["ok"] * 299]})
    assert [example.label for example in choose_examples(table)] == labels[1:97]
    assert choose_examples(table.slice(0, 1)) == ()


def test_the_page_asks_for_nothing_and_names_are_text(odd: Dataset, tmp_path: Path) -> None:
    write_inspection(tmp_path, with_errors(inspect_dataset(odd, [], f"{HOSTILE}")), {})
    raw = (tmp_path / "dataset.html").read_text(encoding="utf-8")
    page = Text(raw)
    assert not {"script", "link", "iframe", "object", "a", "form", "base"} & set(page.tags)
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in raw
    assert not re.search(r"url\(|@import|https?:", raw)
    assert HOSTILE not in raw
    assert HOSTILE in page.text
    assert "no image" in page.text


def test_a_thumbnail_is_the_whole_picture_undistorted(odd: Dataset, odd_images: Path) -> None:
    import io

    thumbnail = source_thumbnails(odd_images, inspect_dataset(odd, [], ""))[f"{HOSTILE}/strip.png"]
    with Image.open(io.BytesIO(thumbnail)) as image:
        pixels = np.asarray(image.convert("L")).astype(int)
    rows = np.flatnonzero(abs(pixels[:, pixels.shape[1] // 2] - 90) < 20)
    assert pixels.shape == (140, 140)
    assert len(rows) == pytest.approx(14, abs=1)


def test_labels_that_were_not_judged_are_not_called_good(dataset: Dataset, tmp_path: Path) -> None:
    write_inspection(tmp_path, inspect_dataset(dataset, [], ""), {})
    text = Text((tmp_path / "dataset.html").read_text(encoding="utf-8")).text
    assert "Labels were not checked" in text
    for path, reason in BAD_FILES.items():
        assert path in text
        assert reason in text


def test_a_source_that_is_gone_gives_a_page_without_pictures(odd: Dataset, tmp_path: Path) -> None:
    assert source_thumbnails(tmp_path / "gone", inspect_dataset(odd, [], "")) == {}


def test_the_figures_come_last_and_strange_pictures_are_refused(odd: Dataset, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="neither JPEG nor PNG"):
        write_inspection(tmp_path / "out", inspect_dataset(odd, [], ""), {f"{HOSTILE}/strip.png": b"<svg>"})
    assert not (tmp_path / "out").exists()
    with pytest.raises(FormatError, match=r"no inspection\.json"):
        read_inspection(tmp_path / "out")
