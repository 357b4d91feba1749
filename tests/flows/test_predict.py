"""`darkroom predict`: the rows of the prediction table for a few images, shown at once, and nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import darkroom
from darkroom.models.bundle.bundle import open_bundle, write_card
from darkroom.models.multi_label.calibration import LabelCalibration
from tests.bundles import tiny_bundle
from tests.command_line import ROOT, call
from tests.datasets import photograph

LABELS = ("amber", "blue", "green", "red")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model in its workspace, another for several labels an image, and images."""
    home = tmp_path_factory.mktemp("home")
    tiny_bundle(home / "workspace/models/colours/1", LABELS, (32, 32))
    several = tiny_bundle(home / "several", LABELS, (32, 32))
    calibration = LabelCalibration(scales=(1.0,) * 4, offsets=(0.0,) * 4)
    changes = {"task": "multi-label", "thresholds": (0.0, 1.0, 0.0, 1.0), "calibration": calibration}
    write_card(several, open_bundle(several).card.model_copy(update=changes))
    for number in range(25):
        Image.fromarray(photograph("blue", number, 40, 40)).save(home / f"{number:02d}.png")
    (home / "cut.png").write_bytes((home / "00.png").read_bytes()[:100])
    return home


@pytest.fixture(autouse=True)
def _in_that_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def predicted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> list[dict[str, object]]:
    call(monkeypatch, "predict", *words, "--json")
    images: list[dict[str, object]] = json.loads(capsys.readouterr().out)["images"]
    return images


def test_the_rows_are_those_of_the_table_in_the_order_given(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["03.png", "cut.png", str(place / "01.png"), "03.png"]
    before = sorted(place.rglob("*"))
    rows = predicted(monkeypatch, capsys, *files)
    wanted = darkroom.load_model("colours").predict(files, top_k=3)
    assert [row["path"] for row in rows] == files
    assert [row["reason"] for row in rows] == [None, "truncated", None, None]
    for row, label, confidence, top in zip(rows, wanted.label, wanted.confidence, wanted.top_k, strict=True):
        if row["status"] == "ok":
            assert (row["label"], row["confidence"]) == (label, pytest.approx(confidence))
            found: list[dict[str, object]] = row["top_k"]  # type: ignore[assignment]
            assert [each["label"] for each in found] == [each["label"] for each in top]
            assert len(found) == 3
        else:
            assert (row["label"], row["confidence"], row["abstained"], row["top_k"]) == (None, None, None, [])
    assert sorted(place.rglob("*")) == before


def test_a_multi_label_model_gives_each_image_its_labels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = predicted(monkeypatch, capsys, "03.png", "--model", "several")
    assert (row["label"], row["labels"]) == (None, ["amber", "green"])
    call(monkeypatch, "predict", "03.png", "--model", "several")
    assert "amber, green" in capsys.readouterr().out


def test_every_image_is_a_line_with_what_is_the_matter_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [f"{number:02d}.png" for number in range(25)]
    call(monkeypatch, "predict", *files, "cut.png")
    shown = capsys.readouterr().out
    assert [name for name in files if name in shown] == files
    (line,) = [line for line in shown.splitlines() if "cut.png" in line]
    assert line.split() == ["cut.png", "quarantined:", "truncated"]


def test_it_fails_where_no_image_could_be_predicted_and_shows_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "predict", "cut.png")
    written = capsys.readouterr()
    assert ended.value.code == 2
    assert "truncated" in written.out
    assert "quarantined" in written.err


def test_a_quick_look_loads_neither_prefect_nor_tensorflow(place: Path) -> None:
    script = (
        "import sys\nfrom darkroom.flows import cli\nsys.argv = ['darkroom', 'predict', '03.png']\ncli.main()\n"
        "print(*({'prefect', 'tensorflow', 'keras', 'matplotlib', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", script], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""
