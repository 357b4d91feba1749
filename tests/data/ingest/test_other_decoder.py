"""A data set is the work of one decoder: earlier work of another one is not taken over, or refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.errors import InputError, WorkError
from darkroom.data.images.decode import decode, decode_stored
from darkroom.data.images.decoder_fingerprint import Decoder, decoder
from darkroom.data.ingest.parts import write_part
from darkroom.data.ingest.plan import plan_ingest
from darkroom.data.ingest.publication import publish
from darkroom.data.ingest.request import IngestRequest
from darkroom.data.settings import DecoderMismatch
from darkroom.data.sources.resolve import resolve
from darkroom.data.stores.workspace import DATASET_CARD, Workspace
from tests.data.ingest.test_reuse import run, settings, tree
from tests.folders import noise_png, write_classes

Upgrade = Callable[[], Decoder]
NUM_FILES = 42


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "photos", {"cats": 21, "dogs": 21})


def add_one(photos: Path) -> None:
    (photos / "cats" / "a901.png").write_bytes(noise_png(901))


def begin(photos: Path, place: Path, num_parts: int, rule: DecoderMismatch = "warn") -> Path:
    """Plan an ingest and write its first parts, as one that is killed does; the staging folder."""
    workspace = Workspace(place)
    plan = plan_ingest(IngestRequest(resolve(str(photos), workspace), settings(), workspace, decoder_mismatch=rule))
    for index in range(num_parts):
        write_part(plan.staging, index)
    return plan.staging


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_card_names_the_decoder_and_the_version_does_not_depend_on_it(
    photos: Path, tmp_path: Path, upgrade_decoder: Upgrade
) -> None:
    before, _ = run(photos, tmp_path / "before")
    assert before.card.decoder == decoder()
    other = upgrade_decoder()
    after, _ = run(photos, tmp_path / "after")
    assert after.card.decoder == other != before.card.decoder
    assert after.card.version == before.card.version


def test_an_extension_by_another_decoder_decodes_every_file_again_and_says_so(
    photos: Path, tmp_path: Path, upgrade_decoder: Upgrade, caplog: pytest.LogCaptureFixture
) -> None:
    before, _ = run(photos, tmp_path / "w")
    assert before.card.decoder is not None
    other = upgrade_decoder()
    add_one(photos)
    dataset, num_known = run(photos, tmp_path / "w")
    assert num_known == 0
    assert dataset.card.decoder == other
    for record in (record for split in ("train", "validation", "test") for record in dataset.records(split)):
        wanted = decode((photos / record.path).read_bytes(), dataset.card.policy)
        assert (decode_stored(record.encoded) == wanted).all()
    (said,) = warnings(caplog)
    assert before.card.decoder.fingerprint in said
    assert other.fingerprint in said
    fresh, _ = run(photos, tmp_path / "fresh")
    assert tree(dataset) == tree(fresh)
    caplog.clear()
    (photos / "dogs" / "a902.png").write_bytes(noise_png(902))
    _, num_known = run(photos, tmp_path / "w")  # from now on, its own work is taken over
    assert num_known == NUM_FILES + 1
    assert warnings(caplog) == []


def test_strict_refuses_an_extension_by_another_decoder_and_changes_nothing(
    photos: Path, tmp_path: Path, upgrade_decoder: Upgrade
) -> None:
    run(photos, tmp_path / "w")
    before = sorted(path for path in (tmp_path / "w").rglob("*") if ".staging-" not in str(path))
    other = upgrade_decoder()
    add_one(photos)
    with pytest.raises(InputError, match=other.fingerprint) as refused:
        begin(photos, tmp_path / "w", 0, "strict")
    assert refused.value.exit_status == 2
    assert sorted(path for path in (tmp_path / "w").rglob("*") if ".staging-" not in str(path)) == before


def test_strict_extends_by_the_same_decoder(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "w")
    add_one(photos)
    staging = begin(photos, tmp_path / "w", 0, "strict")
    assert sum(write_part(staging, index).num_known for index in range(5)) == NUM_FILES


def test_a_killed_ingest_does_not_go_on_with_another_decoder(
    photos: Path, tmp_path: Path, upgrade_decoder: Upgrade, caplog: pytest.LogCaptureFixture
) -> None:
    staging = begin(photos, tmp_path / "w", 2)
    other = upgrade_decoder()
    with pytest.raises(InputError, match=other.fingerprint):
        begin(photos, tmp_path / "w", 0, "strict")
    assert len(list((staging / "parts").iterdir())) == 2
    assert begin(photos, tmp_path / "w", 0) == staging
    assert len(warnings(caplog)) == 1
    assert not (staging / "parts").exists()
    parts = [write_part(staging, index) for index in range(5)]
    assert [part.reused for part in parts] == [False] * 5
    dataset = open_dataset(publish(staging, Workspace(tmp_path / "w")))
    fresh, _ = run(photos, tmp_path / "fresh")
    assert tree(dataset) == tree(fresh)


def test_a_worker_with_another_decoder_writes_no_part(photos: Path, tmp_path: Path, upgrade_decoder: Upgrade) -> None:
    staging = begin(photos, tmp_path / "w", 1)
    upgrade_decoder()
    with pytest.raises(WorkError):
        write_part(staging, 1)
    assert write_part(staging, 0).reused
    assert len(list((staging / "parts").iterdir())) == 1


def test_a_data_set_that_is_there_stays_as_the_other_decoder_made_it(
    photos: Path, tmp_path: Path, upgrade_decoder: Upgrade, caplog: pytest.LogCaptureFixture
) -> None:
    before, _ = run(photos, tmp_path / "w")
    files = tree(before)
    upgrade_decoder()
    again, _ = run(photos, tmp_path / "w")  # nothing changed: nothing to decode
    assert tree(again) == files
    assert warnings(caplog) == []
    (photos / "cats" / "0000.png").write_bytes(noise_png(0))  # the same bytes at another time
    kept, num_known = run(photos, tmp_path / "w")
    assert (kept.card.version, num_known) == (before.card.version, 0)
    assert tree(kept) == files
    assert len(warnings(caplog)) == 2


def test_work_that_does_not_name_its_decoder_is_done_again_without_a_warning_or_a_refusal(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset, _ = run(photos, tmp_path / "w")
    (plan,) = dataset.folder.parent.glob(".earlier-*/plan.json")
    old = json.loads(plan.read_text(encoding="utf-8"))
    del old["decoder"]
    plan.write_text(json.dumps(old), encoding="utf-8")
    add_one(photos)
    staging = begin(photos, tmp_path / "w", 0, "strict")
    assert sum(write_part(staging, index).num_known for index in range(5)) == 0
    assert warnings(caplog) == []


def test_a_card_that_does_not_name_a_decoder_is_read(photos: Path, tmp_path: Path) -> None:
    dataset, _ = run(photos, tmp_path / "w")
    card = json.loads((dataset.folder / DATASET_CARD).read_text(encoding="utf-8"))
    del card["decoder"]
    (dataset.folder / DATASET_CARD).write_text(json.dumps(card), encoding="utf-8")
    assert open_dataset(dataset.folder).card == dataset.card.model_copy(update={"decoder": None})
