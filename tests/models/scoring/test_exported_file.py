"""The table as CSV or JSON lines beside its folder: what an export writes, and again only where the table changed."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from darkroom.data.errors import InputError
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.prediction_table.export import write_csv, write_jsonl
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.scoring.exported_file import TableFormat, check_form, has_form, say_outdated, write_form
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.score import score
from darkroom.models.scoring.summary import ScoreSummary
from tests.bundles import tiny_bundle
from tests.datasets import COLOURS, write_images


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny/1", sorted(COLOURS), (32, 32)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    return shutil.copytree(photos / "test", tmp_path / "photos")


@pytest.fixture
def out(tmp_path: Path) -> TableOutput:
    return TableOutput(tmp_path / "tables/scored")


def scored(folder: Path, bundle: Bundle, out: TableOutput) -> ScoreSummary:
    return score(ScoreRequest(folder, bundle.folder, out, 10, precision="fp32"))


@pytest.mark.parametrize(("form", "export"), [("csv", write_csv), ("jsonl", write_jsonl)])
def test_it_is_what_an_export_writes_and_stands_beside_a_folder_of_parts_alone(
    folder: Path, bundle: Bundle, out: TableOutput, tmp_path: Path, form: TableFormat, export
) -> None:
    summary = scored(folder, bundle, out)
    file = out.folder.with_name(f"scored.{form}")
    assert write_form(out, form, summary) == str(file)
    export(out.folder, tmp_path / "exported")
    assert file.read_bytes() == (tmp_path / "exported").read_bytes()
    assert sorted(out.folder.iterdir()) == out.paths.parts()
    assert write_form(out, "parquet", summary) is None


def test_it_is_written_again_only_where_the_table_changed_or_it_is_gone(
    folder: Path, bundle: Bundle, out: TableOutput
) -> None:
    summary = scored(folder, bundle, out)
    assert not has_form(out.paths, "csv", summary)
    write_form(out, "csv", summary)
    file = out.folder.with_name("scored.csv")
    before = file.stat()
    assert has_form(out.paths, "csv", summary)
    write_form(out, "csv", scored(folder, bundle, out))
    assert file.stat().st_ino == before.st_ino
    next(folder.rglob("*.jpg")).unlink()
    changed = scored(folder, bundle, out)
    assert not has_form(out.paths, "csv", changed)
    write_form(out, "csv", changed)
    assert len(file.read_text().splitlines()) == changed.num_files + 1
    file.unlink()
    assert not has_form(out.paths, "csv", changed)
    write_form(out, "csv", changed)
    assert has_form(out.paths, "csv", changed)


def test_somebody_s_own_file_is_not_replaced(folder: Path, bundle: Bundle, out: TableOutput) -> None:
    file = out.folder.with_name("scored.csv")
    file.parent.mkdir()
    file.write_text("mine")
    check_form(out, "jsonl")
    check_form(out, "parquet")
    with pytest.raises(InputError, match=r"scored\.csv is there already"):
        check_form(out, "csv")
    with pytest.raises(InputError, match=r"scored\.csv is there already"):
        write_form(out, "csv", scored(folder, bundle, out))
    assert file.read_text() == "mine"
    file.unlink()
    summary = scored(folder, bundle, out)
    write_form(out, "csv", summary)
    check_form(out, "csv")
    file.write_text(file.read_text() + "edited")
    with pytest.raises(InputError, match=r"scored\.csv is there already"):
        check_form(out, "csv")


def test_a_run_that_was_killed_before_the_file_appeared_is_continued(
    folder: Path, bundle: Bundle, out: TableOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_form(out, "csv", scored(folder, bundle, out))
    next(folder.rglob("*.jpg")).unlink()
    summary = scored(folder, bundle, out)
    file, replace, calls = out.folder.with_name("scored.csv"), os.replace, []

    def killed(source: Path, target: Path) -> None:
        if Path(target) == file:
            calls.append(target)
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_form(out, "csv", summary)
    monkeypatch.setattr(os, "replace", replace)
    assert calls == [file]
    assert not has_form(out.paths, "csv", summary)
    check_form(out, "csv")
    write_form(out, "csv", summary)
    assert has_form(out.paths, "csv", summary)


def test_a_file_of_the_table_as_it_was_before_is_named(
    folder: Path, bundle: Bundle, out: TableOutput, caplog: pytest.LogCaptureFixture
) -> None:
    write_form(out, "csv", scored(folder, bundle, out))
    with caplog.at_level(logging.WARNING):
        say_outdated(out.paths, "jsonl", scored(folder, bundle, out))
        next(folder.rglob("*.jpg")).unlink()
        summary = scored(folder, bundle, out)
        say_outdated(out.paths, "csv", summary)
        assert "scored.csv" not in caplog.text
        say_outdated(out.paths, "parquet", summary)
    assert "scored.csv is of the table as it was before" in caplog.text
    assert TablePaths(out.folder).summary.is_file()
