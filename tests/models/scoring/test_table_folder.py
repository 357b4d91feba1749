"""A table's folder holds parts and nothing else: every reader opens it, and it is continued wherever it was moved."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from darkroom.data.errors import FormatError, InputError
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.prediction_table.part_file import is_intact, read_facts
from darkroom.models.prediction_table.schema import flatten_top_k
from darkroom.models.scoring.parts import open_runner, score_part
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.score import score
from darkroom.models.scoring.summary import ScoreSummary, read_summary
from tests.bundles import tiny_bundle
from tests.datasets import COLOURS, write_images
from tests.scoring import make_earlier, plan

ROWS_PER_PART = 20
PAGE = Path(__file__).parents[3] / "docs" / "scoring.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = write_images(tmp_path_factory.mktemp("colours"))
    (images / "notes.txt").write_text("stray")
    return images


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny/1", sorted(COLOURS), (32, 32)))


@pytest.fixture(scope="module")
def made(folder: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ScoreSummary]:
    """A table, not to be changed, and its summary."""
    out = tmp_path_factory.mktemp("tables") / "scored"
    return out, scored(folder, bundle, out)


def scored(folder: Path, bundle: Bundle, out: Path) -> ScoreSummary:
    return score(ScoreRequest(folder, bundle.folder, TableOutput(out), ROWS_PER_PART, precision="fp32"))


@pytest.fixture
def out(made: tuple[Path, ScoreSummary], tmp_path: Path) -> Path:
    """A copy of that table's folder alone, as if it had been moved."""
    return shutil.copytree(made[0], tmp_path / "moved")


def files(place: Path) -> dict[str, tuple[int, bytes]]:
    """Every file's inode and bytes."""
    found = (path for path in place.rglob("*") if path.is_file())
    return {path.relative_to(place).as_posix(): (path.stat().st_ino, path.read_bytes()) for path in found}


def parts(out: Path) -> dict[str, bytes]:
    return {name: data for name, (_, data) in files(out).items()}


def test_the_folder_holds_parts_alone_and_the_rest_stands_beside_it(made: tuple[Path, ScoreSummary]) -> None:
    out, summary = made
    names = [part.file for part in summary.parts]
    assert names == [f"part-{index:05d}.parquet" for index in range(4)]
    assert set(files(out.parent)) == {
        *(f"scored/{name}" for name in names),
        "scored.summary.json",
        "scored.run.json",
        ".scored.scoring/.lock",
    }
    assert read_summary(out) == summary


def documented() -> tuple[str, list[str]]:
    """How docs/scoring.md reads the folder: the imports, and a line for each reader."""
    (block,) = re.findall(r"^```python\n(import duckdb.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    imports, _, lines = block.partition("\n\n")
    return imports, lines.splitlines()


@pytest.mark.parametrize("line", documented()[1])
def test_every_line_of_the_documentation_reads_the_folder_as_one_table(
    line: str, made: tuple[Path, ScoreSummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    pytest.importorskip("polars")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(made[0].parent)
    names: dict[str, Any] = {}
    exec(documented()[0], names)
    assert len(eval(line, names)) == made[1].num_files


def test_a_part_tells_what_its_rows_were_made_from(
    made: tuple[Path, ScoreSummary], folder: Path, bundle: Bundle
) -> None:
    for index, part in enumerate(TablePaths(made[0]).parts()):
        facts = read_facts(part)
        assert facts is not None
        assert (facts.bundle, facts.precision, facts.engine) == (bundle.reference, "fp32", "fp32")
        assert (facts.folder, facts.decode_policy) == (str(folder), bundle.card.policy)
        assert (facts.first_row, facts.num_rows) == (index * ROWS_PER_PART, pq.read_metadata(part).num_rows)
        assert is_intact(part)


def test_a_folder_that_was_moved_alone_is_continued(out: Path, folder: Path, bundle: Bundle) -> None:
    before = files(out)
    summary = scored(folder, bundle, out)
    assert summary.rows_reused == summary.num_files
    assert files(out) == before
    assert read_summary(out) == summary


def test_a_rerun_with_nothing_to_do_writes_nothing(out: Path, folder: Path, bundle: Bundle) -> None:
    first = scored(folder, bundle, out)
    before = files(out.parent)
    again = scored(folder, bundle, out)
    assert files(out.parent) == before
    assert (again.rows_reused, again.parts) == (first.num_files, first.parts)


def test_a_table_without_its_run_record_gets_one(out: Path, folder: Path, bundle: Bundle) -> None:
    scored(folder, bundle, out)
    TablePaths(out).run_record.unlink()
    scored(folder, bundle, out)
    assert TablePaths(out).run_record.is_file()


def edited(part: Path) -> None:
    """Rows changed by a program that keeps the footer's metadata."""
    rows = pq.read_table(part)
    with pq.ParquetWriter(part.with_suffix(".new"), rows.schema) as writer:
        writer.add_key_value_metadata(pq.read_metadata(part).metadata)
        writer.write_table(rows.set_column(0, "path", rows["path"].take(list(range(len(rows)))[::-1])))
    part.with_suffix(".new").rename(part)


def flipped(part: Path) -> None:
    data = bytearray(part.read_bytes())
    data[100] ^= 1
    part.write_bytes(data)


def cut(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-1])


def empty(part: Path) -> None:
    part.write_bytes(b"")


@pytest.mark.parametrize("damage", [edited, flipped, cut, empty])
def test_a_part_that_is_not_as_it_was_written_is_made_again(damage, out: Path, folder: Path, bundle: Bundle) -> None:  # type: ignore[no-untyped-def]
    before = parts(out)
    damage(out / "part-00001.parquet")
    assert not is_intact(out / "part-00001.parquet")
    summary = scored(folder, bundle, out)
    assert summary.rows_reused == summary.num_files - ROWS_PER_PART
    assert parts(out) == before


def test_only_rows_of_parts_that_are_overwritten_are_kept_aside(out: Path, folder: Path, bundle: Bundle) -> None:
    last = max(path for path in folder.rglob("*.png") if path.is_file())
    time_ns = last.stat().st_mtime_ns
    try:
        os.utime(last, ns=(time_ns, time_ns + 1))
        planned = plan(folder, bundle, out, ROWS_PER_PART)
        assert pq.read_metadata(TablePaths(out).known_rows).num_rows == planned.num_files % ROWS_PER_PART
    finally:
        os.utime(last, ns=(time_ns, time_ns))


@pytest.fixture
def earlier(made: tuple[Path, ScoreSummary], folder: Path, bundle: Bundle, tmp_path: Path) -> TablePaths:
    table = TablePaths(tmp_path / "earlier")
    scored(folder, bundle, table.folder)
    make_earlier(table, folder, bundle, ROWS_PER_PART)
    assert set(files(table.folder)) > {"summary.json", "run.json", ".scoring/plan.json"}
    assert [read_facts(part) for part in table.parts()] == [None] * 4
    return table


def test_a_table_in_the_earlier_layout_is_read(earlier: TablePaths, made: tuple[Path, ScoreSummary]) -> None:
    assert read_summary(earlier.folder).num_files == made[1].num_files


@pytest.mark.parametrize("num_parts", [0, 1, 3, 4], ids="killed after {} parts".format)
def test_a_table_in_the_earlier_layout_is_continued_and_converted(
    num_parts: int, earlier: TablePaths, folder: Path, bundle: Bundle, made: tuple[Path, ScoreSummary]
) -> None:
    (earlier.folder / f".tmp-{'0' * 32}").write_bytes(b"of a run that was killed")
    plan(folder, bundle, earlier.folder, ROWS_PER_PART)
    with pytest.raises(FormatError, match=r"no summary\.json"):
        read_summary(earlier.folder)
    runner, _ = open_runner(bundle.folder)
    for index in range(num_parts):
        score_part(earlier.folder, index, runner, bundle)
    assert (earlier.folder / ".scoring/plan.parquet").is_file()  # until the new table is whole
    summary = scored(folder, bundle, earlier.folder)
    assert summary.rows_reused == summary.num_files
    assert parts(earlier.folder) == parts(made[0])
    assert read_summary(earlier.folder) == summary


def test_a_summary_whose_folder_is_gone_does_not_stand_in_the_way(out: Path, folder: Path, bundle: Bundle) -> None:
    scored(folder, bundle, out)
    shutil.rmtree(out)
    assert scored(folder, bundle, out).rows_reused == 0
    assert read_summary(out).num_files > 0


def test_the_root_of_a_file_system_is_refused(
    folder: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path)
    with pytest.raises(InputError, match=r"is the root of a file system\. Give a folder in it: --out .*/scored"):
        scored(folder, bundle, tmp_path)


def test_a_flattened_table_comes_back_from_csv(made: tuple[Path, ScoreSummary], tmp_path: Path) -> None:
    table = pd.read_parquet(made[0])
    flatten_top_k(table).to_csv(tmp_path / "scored.csv", index=False)
    assert len((tmp_path / "scored.csv").read_text().splitlines()) == made[1].num_files + 1
    found = pd.read_csv(tmp_path / "scored.csv")
    assert list(found)[:9] == [name for name in table if name != "top_k"]
    assert list(found)[9:] == [f"top_{k}_{field}" for k in (1, 2, 3) for field in ("label", "probability")]
    for (_, row), (_, flat) in zip(table.iterrows(), found.iterrows(), strict=True):
        top = list(row.top_k) if row.status == "ok" else []
        assert [flat[f"top_{k + 1}_label"] for k in range(len(top))] == [each["label"] for each in top]
        given = [flat[f"top_{k + 1}_probability"] for k in range(len(top))]
        assert given == pytest.approx([each["probability"] for each in top])
    assert found[found.status == "quarantined"].filter(like="top_").isna().all().all()
