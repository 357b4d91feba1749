"""A prediction table is the work of one decoder, and a model that was trained on another one's images says so."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from darkroom.data.errors import InputError, WorkError
from darkroom.data.files.provenance import LibraryVersion
from darkroom.data.images.decoder_fingerprint import Decoder, decoder
from darkroom.data.stores.model_choice import ModelChoice
from darkroom.data.stores.workspace import BUNDLE_CARD
from darkroom.models.bundle.bundle import open_bundle, write_card
from darkroom.models.prediction_table.part_file import read_facts
from darkroom.models.scoring import plan as plan_module
from darkroom.models.scoring.parts import open_runner, score_part
from darkroom.models.scoring.summary import read_summary
from tests.bundles import tiny_bundle
from tests.models.scoring.test_reuse import SIZE, assert_as_fresh, picture, score, table_bytes
from tests.scoring import plan

Upgrade = Callable[[], Decoder]
OTHER = Decoder(fingerprint="0" * 12, packages=(LibraryVersion(name="pillow", version="9.9.9"),))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It does not name a decoder, as bundles of an earlier Darkroom."""
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", ("blue", "green", "red"), SIZE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    place.mkdir()
    for number in range(10):
        picture(place / f"m{number:02d}.png", number)
    return place


def trained_with(found: Decoder | None, bundle: Path) -> Path:
    write_card(bundle, open_bundle(bundle).card.model_copy(update={"decoder": found}))
    return bundle


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_summary_names_the_decoder_of_the_rows(folder: Path, bundle: Path, tmp_path: Path) -> None:
    score(folder, bundle, tmp_path / "out")
    assert read_summary(tmp_path / "out").decoder == decoder()


def test_rows_of_another_decoder_are_scored_again_and_the_log_says_so(
    folder: Path, bundle: Path, tmp_path: Path, upgrade_decoder: Upgrade, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    assert score(folder, bundle, out) == (10, 0)
    before, rows = decoder(), table_bytes(out)
    other = upgrade_decoder()
    picture(folder / "a.png", 99)
    assert score(folder, bundle, out) == (11, 0)
    (said,) = warnings(caplog)
    assert before.fingerprint in said
    assert other.fingerprint in said
    assert read_summary(out).decoder == other
    assert not set(rows.values()) & set(table_bytes(out).values())
    assert_as_fresh(folder, bundle, out)
    caplog.clear()
    assert score(folder, bundle, out) == (0, 11)
    assert warnings(caplog) == []


def test_the_same_files_are_scored_again_by_another_decoder(
    folder: Path, bundle: Path, tmp_path: Path, upgrade_decoder: Upgrade
) -> None:
    out = tmp_path / "out"
    score(folder, bundle, out)
    upgrade_decoder()
    assert score(folder, bundle, out) == (10, 0)
    assert_as_fresh(folder, bundle, out)


def test_a_killed_scoring_does_not_go_on_with_another_decoder(
    folder: Path, bundle: Path, tmp_path: Path, upgrade_decoder: Upgrade
) -> None:
    out = tmp_path / "out"
    assert score(folder, bundle, out, num_parts=2) == (8, 0)
    upgrade_decoder()
    assert score(folder, bundle, out) == (10, 0)
    assert_as_fresh(folder, bundle, out)


def test_strict_refuses_rows_of_another_decoder_and_leaves_the_table_whole(
    folder: Path, bundle: Path, tmp_path: Path, upgrade_decoder: Upgrade
) -> None:
    out = tmp_path / "out"
    score(folder, bundle, out)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    other = upgrade_decoder()
    with pytest.raises(InputError, match=other.fingerprint) as refused:
        plan(folder, open_bundle(bundle), out, 4, decoder_mismatch="strict")
    assert refused.value.exit_status == 2
    assert {
        path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"
    } == before


def test_a_table_of_another_model_is_replaced_only_when_told_and_both_models_are_named(
    folder: Path, bundle: Path, tmp_path: Path, upgrade_decoder: Upgrade, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    score(folder, bundle, out)
    upgrade_decoder()
    opened = open_bundle(bundle)
    newer = type(opened)(opened.folder, opened.card.model_copy(update={"version": "1" * 16}))
    before = table_bytes(out), read_summary(out)
    with pytest.raises(InputError, match="--rescore") as refused:
        plan(folder, newer, out, 4, decoder_mismatch="strict", chosen=ModelChoice(by="newest", newest="1" * 16))
    assert str(refused.value).index(opened.reference) < str(refused.value).index(newer.reference)
    assert "the newest version; none is blessed" in str(refused.value)
    assert (table_bytes(out), read_summary(out)) == before
    planned = plan(folder, newer, out, 4, decoder_mismatch="strict", rescore=True)
    assert planned.decoder == decoder()
    (said,) = warnings(caplog)
    assert str(out) in said
    assert said.index(opened.reference) < said.index(f"{newer.card.name}@{'1' * 16}")


def test_rows_whose_decoder_is_not_recorded_are_scored_again_without_a_warning_or_a_refusal(
    folder: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(plan_module, "decoder", lambda: None)  # as an earlier Darkroom
        score(folder, bundle, out)
    facts = read_facts(out / "part-00000.parquet")
    assert facts is not None
    assert facts.decoder is None
    assert read_summary(out).decoder is None
    assert score(folder, bundle, out, decoder_mismatch="strict") == (10, 0)
    assert read_summary(out).decoder == decoder()
    assert warnings(caplog) == []


def test_a_model_trained_on_another_decoders_images_warns_and_scores_or_is_refused(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = trained_with(OTHER, tiny_bundle(tmp_path / "tiny", ("blue", "green", "red"), SIZE))
    with pytest.raises(InputError, match=r"pillow 9\.9\.9") as refused:
        plan(folder, open_bundle(bundle), tmp_path / "refused", 4, decoder_mismatch="strict")
    assert refused.value.exit_status == 2
    assert not (tmp_path / "refused").exists()
    assert score(folder, bundle, tmp_path / "out") == (10, 0)
    (said,) = warnings(caplog)
    assert "tiny@" in said
    assert "pillow 9.9.9" in said
    assert str(decoder()) in said


@pytest.mark.parametrize("known", [True, False], ids=["the same", "not recorded"])
def test_a_model_of_this_decoder_or_of_an_earlier_darkroom_scores_without_a_word(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, known: bool
) -> None:
    bundle = trained_with(decoder() if known else None, tiny_bundle(tmp_path / "tiny", ("blue", "green", "red"), SIZE))
    plan(folder, open_bundle(bundle), tmp_path / "out", 4, decoder_mismatch="strict")
    assert warnings(caplog) == []


def test_a_bundle_that_does_not_name_a_decoder_is_opened(bundle: Path) -> None:
    card = json.loads((bundle / BUNDLE_CARD).read_text(encoding="utf-8"))
    del card["decoder"]
    (bundle / BUNDLE_CARD).write_text(json.dumps(card), encoding="utf-8")
    assert open_bundle(bundle).card.decoder is None


def test_a_worker_with_another_decoder_writes_no_part(
    folder: Path, bundle: Path, tmp_path: Path, upgrade_decoder: Upgrade
) -> None:
    runner, opened = open_runner(bundle)
    plan(folder, opened, tmp_path / "out", 4)
    score_part(tmp_path / "out", 0, runner, opened)
    upgrade_decoder()
    with pytest.raises(WorkError):
        score_part(tmp_path / "out", 1, runner, opened)
    assert [path.name for path in (tmp_path / "out").glob("part-*")] == ["part-00000.parquet"]
    assert pq.read_metadata(tmp_path / "out" / "part-00000.parquet").num_rows == 4
