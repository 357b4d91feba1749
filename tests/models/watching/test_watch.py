"""Nights of real images: quiet ones raise no alarm, inverted images and garbage do."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from darkroom.data.figures import percent
from darkroom.data.stores.folders import folder_at
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.watching.history import MAX_LINES, WatchHistory, WatchLine, read_history
from darkroom.models.watching.limits import Limit, Limits
from darkroom.models.watching.request import WatchRequest
from darkroom.models.watching.watch import watch, watched_before
from tests.models.watching.conftest import Nights


def garbage(folder: Path, num_files: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(num_files):
        (folder / f"garbage-{number}.png").write_bytes(rng.bytes(300))


def test_inverted_digits_and_garbage_raise_their_alarms_and_quiet_nights_none(nights: Nights) -> None:
    said = {}
    for night in range(6):
        nights.put([ImageOps.invert(image) for image in nights.take(200)] if night == 3 else nights.take(80))
        if night == 4:
            garbage(nights.inbox, 60)
        found = nights.score()
        said[night] = [breach.name for breach in found.line.breaches]
        assert found.failed is None
        if night == 3:
            assert found.line.drift is not None
            assert found.line.drift.size > 0.8
            assert found.line.drift.auc == pytest.approx(1.0, abs=0.05)
            assert {each.quantity for each in found.line.drift.found} >= {"brightness", "embeddings", "unfamiliarity"}
            assert found.line.expected_accuracy is not None
            assert found.line.expected_accuracy.value is None
        else:
            assert found.line.drift is not None
            assert found.line.drift.found == ()
            assert found.line.expected_accuracy is not None
            assert found.line.expected_accuracy.value is not None
    assert "max_drift" in said.pop(3)
    assert said.pop(4) == ["max_quarantined"]
    assert said == {0: [], 1: [], 2: [], 5: []}
    history = read_history(nights.table.paths.watch)
    assert history is not None
    assert [line.num_new for line in history.lines] == [80, 80, 80, 200, 140, 80]
    assert history.lines[4].reasons == {"not_an_image": 60}
    assert {path.suffix for path in nights.table.folder.rglob("*") if path.is_file()} == {".parquet"}


def test_a_limit_fails_the_night_and_an_empty_one_is_not_red(nights: Nights) -> None:
    limits = Limits(max_quarantined=Limit(limit=0.3, then="fail"))
    nights.put(nights.take(30))
    garbage(nights.inbox, 20)
    found = nights.score(limits)
    assert found.failed is not None
    assert (
        found.failed.sentence
        == f"{percent(0.4)} of the new files are quarantined; max_quarantined allows {percent(0.3)}"
    )
    empty = nights.score(limits)
    assert empty.failed is None
    assert empty.line.num_new == 0
    assert empty.line.drift is None
    none = nights.score(Limits(min_new_files=Limit(limit=1, then="fail")))
    assert none.failed is not None
    assert none.failed.name == "min_new_files"


def test_the_page_shows_the_last_runs_and_the_least_certain_images(nights: Nights) -> None:
    for _ in range(2):
        nights.put(nights.take(40))
        found = nights.score()
    page = nights.table.paths.watch_page.read_text()
    assert found.page == str(nights.table.paths.watch_page)
    assert page.count("<svg ") == 7
    assert page.count("<polyline") >= 4
    assert "Least certain" in page
    rows = pq.read_table(nights.table.folder / "night=2026-11-02", partitioning=None).to_pylist()
    least = sorted(rows, key=lambda row: row["confidence"])[:12]
    assert list(re.findall(r'alt="(1-\d+\.png)"', page))[-12:] == [row["path"] for row in least]
    assert "http" not in re.sub(r"http-equiv", "", page)  # nothing is fetched


def test_runs_without_a_line_get_one_from_the_table(nights: Nights) -> None:
    for _ in range(3):
        nights.put(nights.take(40))
        whole = nights.score()
    nights.table.paths.watch.write_text("{ damaged")
    nights.put(nights.take(40))
    found = nights.score().history
    assert [line.num_new for line in found.lines] == [40] * 4
    for made_again, line in zip(found.lines[:3], whole.history.lines, strict=True):
        assert made_again.began == line.began
        assert made_again.model == line.model
        assert made_again.kept.labels == line.kept.labels
        assert made_again.kept.confidences == line.kept.confidences
        assert made_again.kept.widths == line.kept.widths
        assert made_again.drift is None


def test_a_model_without_a_profile_is_compared_with_its_last_runs(nights: Nights, tmp_path: Path) -> None:
    earlier = shutil.copytree(nights.bundle.folder, tmp_path / "earlier")
    shutil.rmtree(earlier / "profile")
    alone = Nights(type(nights.bundle)(earlier, nights.bundle.card), tmp_path)
    for _ in range(2):
        alone.put(alone.take(100))
        found = alone.score()
    assert found.line.drift is not None
    assert {each.against for each in found.line.drift.differences} == {"last runs"}
    assert found.line.expected_accuracy is not None
    assert found.line.expected_accuracy.withheld == "the model has no training profile"
    alone.put([ImageOps.invert(image) for image in alone.take(100)])
    assert alone.score().line.drift.size > 0.5  # type: ignore[union-attr]


def test_images_that_have_gone_are_watched_by_their_rows(nights: Nights, tmp_path: Path) -> None:
    nights.put(nights.take(60))
    first = nights.score()
    shutil.copytree(nights.table.folder, tmp_path / "other")
    for path in nights.inbox.iterdir():
        Image.new("L", (8, 8)).save(path)  # other bytes than those that were scored
    request = WatchRequest(
        table=TableOutput(tmp_path / "other"),
        parts=tuple((tmp_path / "other").rglob("*.parquet")),
        images=folder_at(str(nights.inbox)),
        bundle=nights.bundle,
        started_at=first.line.started_at,
    )
    found = watch(request)
    assert found.line.kept.confidences == first.line.kept.confidences
    assert found.line.kept.brightness == ()
    assert "<figure><img" not in nights.table.paths.watch_page.with_name("other.watch.html").read_text()
    assert watched_before(request, 60) is not None
    assert watched_before(request, 61) is None


def test_a_history_keeps_thirty_lines_of_each_model(tmp_path: Path) -> None:
    history = WatchHistory()
    for day in range(1, 29):
        for hour in (1, 2):
            started = f"2026-11-{day:02d}T0{hour}:00:00+00:00"
            history = history.with_line(WatchLine(started_at=started, model="a@1", num_new=day))
    history = history.with_line(WatchLine(started_at="2026-11-01T00:00:00+00:00", model="b@1", num_new=7))
    assert len(history.of_model("a@1")) == MAX_LINES
    assert history.of_model("a@1")[0].started_at == "2026-11-14T01:00:00+00:00"
    assert [line.num_new for line in history.of_model("b@1")] == [7]
    assert history.lines[0].model == "b@1"
    assert read_history(tmp_path / "none.watch.json") is None
    (tmp_path / "later.watch.json").write_text(json.dumps({"schema_version": 2, "lines": []}))
    assert read_history(tmp_path / "later.watch.json") is None
