"""Files that are named in place of a folder: the same rows, and a list that grows costs only what is new."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.data.errors import InputError, SettingError
from darkroom.data.stores.named_files import find_named
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.prediction_table.part_file import read_facts
from darkroom.models.scoring.finished import find_table
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.score import score
from darkroom.models.scoring.summary import ScoreSummary, read_summary
from tests.bundles import tiny_bundle
from tests.datasets import write_images

LABELS = [f"class {number}" for number in range(8)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny/1", LABELS, (32, 32)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    """Three folders of images, to be changed."""
    return shutil.copytree(photos / "test", tmp_path / "photos")


def request(images: Path | list[Path], bundle: Bundle, out: Path, **how: Any) -> ScoreRequest:
    given = images if isinstance(images, Path) else find_named([str(path) for path in images])
    return ScoreRequest(given, bundle.folder, TableOutput(out), 5, precision="fp32", **how)


def scored(images: Path | list[Path], bundle: Bundle, out: Path, **how: Any) -> ScoreSummary:
    return score(request(images, bundle, out, **how))


def table(out: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(part) for part in TablePaths(out).parts()])


def part_bytes(out: Path) -> list[bytes]:
    return [part.read_bytes() for part in TablePaths(out).parts()]


def files_in(folder: Path, *names: str) -> list[Path]:
    return [path for name in names for path in sorted((folder / name).iterdir())]


def test_named_files_get_the_rows_that_they_have_in_their_folder(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    scored(folder, bundle, tmp_path / "whole")
    named = files_in(folder, "blue", "green")
    summary = scored(named, bundle, tmp_path / "out")
    wanted = [row for row in table(tmp_path / "whole").to_pylist() if not row["path"].startswith("amber")]
    assert table(tmp_path / "out").to_pylist() == wanted
    assert (summary.folder, summary.listed, summary.num_files) == (str(folder), True, len(named))
    facts = read_facts(tmp_path / "out/part-00000.parquet")
    assert facts is not None
    assert facts.listed


def test_the_same_files_are_up_to_date_and_others_are_not(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    out, named = tmp_path / "out", files_in(folder, "blue")
    made = scored(named, bundle, out)
    assert find_table(request([*named[::-1], named[0]], bundle, out), bundle) == made
    assert find_table(request(named[1:], bundle, out), bundle) is None
    assert find_table(request(files_in(folder, "blue", "green"), bundle, out), bundle) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [(("blue", "green"), ("amber", "blue", "green")), (("blue",), ("amber", "blue")), (("blue", "green"), ("green",))],
    ids=["grown", "grown beyond its folder", "shrunk to one folder"],
)
def test_a_list_that_changes_costs_only_what_is_new_and_gives_the_bytes_of_a_fresh_table(
    folder: Path, bundle: Bundle, tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    scored(files_in(folder, *before), bundle, out)
    again = scored(files_in(folder, *after), bundle, out)
    assert again.rows_reused == len(files_in(folder, *(set(before) & set(after))))
    scored(files_in(folder, *after), bundle, tmp_path / "fresh")
    assert part_bytes(out) == part_bytes(tmp_path / "fresh")
    assert not TablePaths(out).known_rows.exists()


def test_a_file_that_changed_is_scored_again_also_where_its_path_changes(
    folder: Path, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    scored(files_in(folder, "blue"), bundle, out)
    changed = next(path for path in files_in(folder, "blue") if path.suffix == ".png" and path.stat().st_size)
    shutil.copyfile(next((folder / "green").glob("*.png")), changed)
    named = files_in(folder, "blue", "amber")
    assert scored(named, bundle, out).rows_reused == len(files_in(folder, "blue")) - 1
    scored(named, bundle, tmp_path / "fresh")
    assert part_bytes(out) == part_bytes(tmp_path / "fresh")


def test_rows_that_leave_a_table_are_counted(
    folder: Path, bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scored(files_in(folder, "blue", "green"), bundle, tmp_path / "out")
    with caplog.at_level(logging.WARNING):
        scored(files_in(folder, "green"), bundle, tmp_path / "out")
    assert f"loses {len(files_in(folder, 'blue'))} rows" in caplog.text


def test_the_table_of_other_images_is_not_replaced(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scored(files_in(folder, "blue"), bundle, out)
    before = part_bytes(out)
    with pytest.raises(InputError, match="table of other files"):
        scored(files_in(folder, "green"), bundle, out)
    with pytest.raises(InputError, match="table of named files"):
        scored(folder / "blue", bundle, out)
    scored(folder / "green", bundle, tmp_path / "whole")
    with pytest.raises(InputError, match="table of the whole folder"):
        scored(files_in(folder, "green"), bundle, tmp_path / "whole")
    assert part_bytes(out) == before


def test_a_table_may_lie_beside_named_files_and_no_split_is_taken_of_them(
    folder: Path, bundle: Bundle, tmp_path: Path
) -> None:
    assert scored(files_in(folder, "blue"), bundle, folder / "blue/table").num_files > 0
    with pytest.raises(SettingError, match="split"):
        scored(files_in(folder, "green"), bundle, tmp_path / "out", dataset=tmp_path)


@pytest.mark.parametrize("top_k", [1, 7, "all"])
def test_a_row_keeps_as_many_classes_as_asked_for(folder: Path, bundle: Bundle, tmp_path: Path, top_k: Any) -> None:
    scored(folder, bundle, tmp_path / "five")
    summary = scored(folder, bundle, tmp_path / "out", top_k=top_k)
    kept = 8 if top_k == "all" else top_k
    found, five = (table(tmp_path / name).to_pylist() for name in ("out", "five"))
    for row, usual in zip(found, five, strict=True):
        if row["status"] == "ok":
            assert len(row["top_k"]) == kept
            assert row["top_k"][:5] == usual["top_k"][:kept]
            assert sum(entry["probability"] for entry in row["top_k"]) == pytest.approx(1) or kept < 8
        assert row | {"top_k": None} == usual | {"top_k": None}
    facts = read_facts(tmp_path / "out/part-00000.parquet")
    assert facts is not None
    assert facts.top_k == summary.top_k == kept


def test_another_number_of_classes_is_another_table(
    folder: Path, bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    made = scored(folder, bundle, out)
    assert find_table(request(folder, bundle, out, top_k=5), bundle) == made
    assert find_table(request(folder, bundle, out, top_k="all"), bundle) is None
    with caplog.at_level(logging.WARNING):
        assert scored(folder, bundle, out, top_k="all").rows_reused == 0
    assert "8 most likely classes in place of 5" in caplog.text
    assert scored(folder, bundle, out, top_k=100).rows_reused == made.num_files
    with pytest.raises(SettingError, match="--top-k takes a whole number of at least 1, or all, not 0"):
        scored(folder, bundle, out, top_k=0)


def test_where_all_classes_are_kept_anyway_it_is_the_same_table(folder: Path, tmp_path: Path) -> None:
    few = open_bundle(tiny_bundle(tmp_path / "few/1", ["amber", "blue", "green"], (32, 32)))
    scored(folder, few, tmp_path / "out")
    before = part_bytes(tmp_path / "out")
    made = scored(folder, few, tmp_path / "out", top_k="all")
    assert (made.rows_reused, part_bytes(tmp_path / "out")) == (made.num_files, before)


def test_what_a_table_says_of_itself_is_what_it_said_before_files_could_be_named(
    folder: Path, bundle: Bundle, tmp_path: Path
) -> None:
    """With the defaults a table has the bytes that earlier versions gave it, and they take it over."""
    out = tmp_path / "out"
    scored(folder, bundle, out)
    facts = pq.read_metadata(out / "part-00000.parquet").metadata[b"darkroom"].decode()
    record, card = (path.read_text() for path in (TablePaths(out).run_record, TablePaths(out).summary))
    for text in (facts, record, card):
        assert "listed" not in text
        assert "top_k" not in text
    assert read_summary(out).top_k == 5
