"""`darkroom inspect` looks at a source and leaves nothing behind but the page and its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.data.dataset.shards import ShardRules
from darkroom.data.images.decode import DecodePolicy
from darkroom.data.ingest.plan import IngestSettings
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
    assert sorted(left) == [".lock", "dataset.html", "inspection.json"]


def test_no_label_is_judged_where_none_is_asked_for_and_the_page_goes_where_it_is_told(
    prefect_server: str, images: Path, tmp_path: Path
) -> None:
    found = inspect(str(images), SETTINGS, str(tmp_path / "page"), 0, str(tmp_path / "work"))
    assert (found.num_judged, found.num_suspected) == (0, None)
    assert Path(found.page).is_file()
    assert read_inspection(tmp_path / "page").label_errors is None
