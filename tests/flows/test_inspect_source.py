"""`darkroom inspect` looks at a source and leaves nothing behind but the page and its figures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.shards.shards import ShardRules
from darkroom.flows import up_to_date
from darkroom.flows.inspect_source import inspect
from darkroom.models.inspecting.inspection import read_inspection
from tests.datasets import BAD_FILES, NUM_IMAGES, write_images

SETTINGS = IngestSettings(
    name="colours", policy=DecodePolicy(image_size=(32, 32)), shards=ShardRules(rows_per_shard=30)
)
NUM_OK = 3 * sum(NUM_IMAGES.values())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("source") / "colours")


def test_every_file_is_counted_every_label_judged_and_nothing_ingested(
    prefect_server: str, images: Path, tmp_path: Path
) -> None:
    found = inspect(str(images), SETTINGS, workspace=str(tmp_path))
    assert (found.num_files, found.num_ok, found.num_judged) == (NUM_OK + len(BAD_FILES), NUM_OK, NUM_OK)
    assert {count.reason: count.num_files for count in found.quarantined} == dict.fromkeys(BAD_FILES.values(), 1)
    folder = tmp_path / "inspections" / "colours"
    assert found.page == str(folder / "dataset.html")
    assert read_inspection(folder).quality.num_ok == NUM_OK
    assert not (tmp_path / "datasets").exists()
    left = [path.name for path in (tmp_path / "inspections").rglob("*") if path.is_file()]
    assert sorted(left) == [".lock", "dataset.html", "inspection.json", "label.html", "made.json"]


def test_no_label_is_judged_where_none_is_asked_for_and_the_page_goes_where_it_is_told(
    prefect_server: str, images: Path, tmp_path: Path
) -> None:
    found = inspect(str(images), SETTINGS, str(tmp_path / "page"), 0, str(tmp_path / "work"))
    assert (found.num_judged, found.num_suspected) == (0, None)
    assert Path(found.page).is_file()
    assert read_inspection(tmp_path / "page").label_errors is None


def test_an_inspection_is_up_to_date_until_the_source_or_a_setting_changes(
    prefect_server: str, images: Path, tmp_path: Path
) -> None:
    source, place = tmp_path / "colours", str(tmp_path / "work")
    shutil.copytree(images, source)
    assert up_to_date.inspected(str(source), SETTINGS, None, 0, place) is None
    first = inspect(str(source), SETTINGS, max_judged=0, workspace=place)
    again = first.model_copy(update={"reused": True})
    assert not first.reused
    assert up_to_date.inspected(str(source), SETTINGS, None, 0, place) == again
    assert inspect(str(source), SETTINGS, max_judged=0, workspace=place) == again
    assert up_to_date.inspected(str(source), SETTINGS, None, 5, place) is None
    other = SETTINGS.model_copy(update={"policy": DecodePolicy(image_size=(16, 16))})
    assert up_to_date.inspected(str(source), other, None, 0, place) is None
    page = Path(first.page)
    page.write_text(page.read_text() + "edited")
    assert up_to_date.inspected(str(source), SETTINGS, None, 0, place) is None
    assert not inspect(str(source), SETTINGS, max_judged=0, workspace=place).reused
    next(source.rglob("*.png")).unlink()
    assert up_to_date.inspected(str(source), SETTINGS, None, 0, place) is None
