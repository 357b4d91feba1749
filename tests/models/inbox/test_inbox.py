"""An inbox: what is new is scored once, by content, whatever happens to its files and to the runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset  # type: ignore[import-untyped]
from PIL import Image

from darkroom.data.errors import FormatError, InputError, SettingError, SourceError, WorkError
from darkroom.data.files.locks import Waiting, exclusive
from darkroom.data.stores.storage import Url
from darkroom.models.bundle.bundle import Bundle, open_bundle, write_card
from darkroom.models.inbox.parts import publish_part
from darkroom.models.inbox.request import InboxRequest, now_in
from darkroom.models.inbox.score import score_inbox
from darkroom.models.inbox.summary import InboxSummary, read_inbox_summary
from darkroom.models.prediction_table.export import write_csv, write_jsonl
from darkroom.models.prediction_table.inbox_table import NightTable
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.scoring.request import ScoreRequest
from darkroom.models.scoring.score import score
from tests.bundles import tiny_bundle
from tests.datasets import COLOURS, photograph

ROOT = Path(__file__).parents[3]
TONIGHT = datetime(2026, 11, 28, 2, 0, tzinfo=ZoneInfo("Europe/Berlin"))
OLD = (TONIGHT - timedelta(days=1)).timestamp()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny/1", sorted(COLOURS), (32, 32)))


@pytest.fixture(scope="module")
def newer(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = shutil.copytree(bundle.folder, tmp_path_factory.mktemp("models") / "tiny/2")
    write_card(folder, bundle.card.model_copy(update={"version": "1" * 16}))
    return open_bundle(folder)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
def run(inbox: Path, bundle: Bundle, tmp_path: Path) -> Callable[..., InboxSummary]:
    """Score what is new; each night follows the one before."""
    nights = iter(range(1000))

    def run(
        model: Bundle = bundle,
        started: datetime | None = None,
        exclude: tuple[str, ...] = (),
        settle_seconds: float = 60,
        waiting: Waiting = Waiting(),  # noqa: B008
        folder: Path | Url = inbox,
        **how: Any,
    ) -> InboxSummary:
        how = {"precision": "fp32", "rows_per_part": 4, **how}
        asked = ScoreRequest(folder, model.folder, TableOutput(tmp_path / "table"), **how)
        at = started or TONIGHT + timedelta(days=next(nights))
        return score_inbox(InboxRequest(asked, at, exclude, settle_seconds), waiting)

    return run


def drop(folder: Path, first: int, number: int, when: float = OLD) -> list[str]:
    """Put images of their own into a folder; gives their names."""
    names = []
    for index in range(first, first + number):
        path = folder / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(sorted(COLOURS)[index % 3], index)).save(path)
        os.utime(path, (when, when))
        names.append(path.name)
    return names


def rows(place: Path) -> pd.DataFrame:
    return pd.read_parquet(place / "table")


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are read from now on."""
    from darkroom.data.stores.folders import LocalFolder

    read, found = LocalFolder.read_file, list[str]()

    def reading(self: LocalFolder, os_path: str, max_bytes: int) -> bytes:
        found.append(os_path)
        return read(self, os_path, max_bytes)

    monkeypatch.setattr(LocalFolder, "read_file", reading)
    return found


def test_each_night_adds_its_new_files_and_says_by_which_model(
    run: Callable[..., InboxSummary], inbox: Path, bundle: Bundle, tmp_path: Path
) -> None:
    drop(inbox, 0, 6)
    first = run()
    assert (first.num_new, first.num_known, first.num_rows, first.night) == (6, 0, 6, "2026-11-28")
    drop(inbox / "later", 6, 3)
    second = run()
    assert (second.num_new, second.num_known, second.num_rows, second.night) == (3, 6, 9, "2026-11-29")
    assert second.parts == ("night=2026-11-29/part-00000.parquet",)
    table = rows(tmp_path)
    assert table.groupby("night", observed=True).size().to_dict() == {"2026-11-28": 6, "2026-11-29": 3}
    assert set(table.model) == {bundle.reference}
    assert sorted(set(table.scored_at)) == [TONIGHT, TONIGHT + timedelta(days=1)]
    assert sorted(path.name for path in (tmp_path / "table").rglob("*") if path.is_file()) == [
        "part-00000.parquet", "part-00000.parquet", "part-00001.parquet",
    ]  # fmt: skip


def test_rows_are_those_that_scoring_the_folder_gives(
    run: Callable[..., InboxSummary], inbox: Path, bundle: Bundle, tmp_path: Path
) -> None:
    drop(inbox, 0, 5)
    (inbox / "notes.txt").write_text("stray")
    (inbox / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 not all of it")
    os.utime(inbox / "cut.jpg", (OLD, OLD))
    os.utime(inbox / "notes.txt", (OLD, OLD))
    run(settle_seconds=0)
    score(ScoreRequest(inbox, bundle.folder, TableOutput(tmp_path / "whole"), precision="fp32"))
    whole = pd.read_parquet(tmp_path / "whole")
    mine = rows(tmp_path).sort_values("path", ignore_index=True)[list(whole.columns)]
    pd.testing.assert_frame_equal(mine, whole, check_exact=True)


def test_the_folder_opens_as_one_table_in_pandas_polars_duckdb_and_datasets(
    run: Callable[..., InboxSummary], inbox: Path, newer: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    drop(inbox, 0, 6)
    run()
    drop(inbox, 6, 2)
    run()
    table, names = tmp_path / "table", [f"{index:03d}.png" for index in range(8)]
    assert sorted(pd.read_parquet(table).path) == names
    assert sorted(pl.read_parquet(table)["path"]) == names
    counted = duckdb.sql(f"select night::varchar, count(*) from '{table}/*/*.parquet' group by all order by all")
    assert counted.fetchall() == [("2026-11-28", 6), ("2026-11-29", 2)]
    loaded = load_dataset("parquet", data_dir=str(table), cache_dir=str(tmp_path / "cache"))
    assert sorted(loaded["train"]["path"]) == names
    run(newer, rescore=True)
    shutil.copytree(table, tmp_path / "scores/incoming-photos-efficientnet-lite0")
    page = (ROOT / "docs/inbox.md").read_text()
    told: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(block, told)
    assert set(told["newest"].model) == {newer.reference}
    (query,) = re.findall(r"^```sql\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert sorted(duckdb.sql(query).project("path, model").fetchall()) == [(name, newer.reference) for name in names]


def test_a_known_file_is_not_opened_and_a_renamed_one_is_hashed_and_no_more(
    run: Callable[..., InboxSummary], inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(inbox, 0, 6)
    run()
    read = opened(monkeypatch)
    assert run().num_known == 6
    assert read == []
    (inbox / "sorted").mkdir()
    (inbox / "000.png").rename(inbox / "sorted/tom.png")
    os.utime(inbox / "001.png")  # another time, the same content
    os.utime(inbox / "001.png", (OLD + 5, OLD + 5))
    found = run()
    assert (found.num_new, found.num_known, found.parts) == (0, 6, ())
    assert sorted(read) == ["001.png", "sorted/tom.png"]
    read.clear()
    assert run().num_known == 6
    assert read == []


def test_the_same_content_twice_in_a_night_is_one_row_also_across_parts(
    run: Callable[..., InboxSummary], inbox: Path, tmp_path: Path
) -> None:
    drop(inbox, 0, 6)
    for name in ("aaa.png", "zzz.png"):
        shutil.copy2(inbox / "000.png", inbox / name)
    found = run()
    assert (found.num_files, found.num_new, found.num_known) == (8, 6, 2)
    assert rows(tmp_path).sha256.is_unique
    assert run().num_new == 0


def test_rows_stay_when_the_files_move_on_and_one_that_comes_back_is_known(
    run: Callable[..., InboxSummary], inbox: Path, tmp_path: Path
) -> None:
    drop(inbox, 0, 3)
    run()
    shutil.move(inbox / "000.png", tmp_path / "000.png")
    for name in ("001.png", "002.png"):
        (inbox / name).unlink()
    quiet = run()
    assert (quiet.num_files, quiet.num_new, quiet.num_rows) == (0, 0, 3)
    shutil.move(tmp_path / "000.png", inbox / "back.png")
    assert (run().num_new, len(rows(tmp_path))) == (0, 3)


def test_an_empty_inbox_is_a_good_end_and_a_missing_one_is_not(
    run: Callable[..., InboxSummary], inbox: Path, tmp_path: Path
) -> None:
    assert (run().num_new, run().num_rows) == (0, 0)
    inbox.rmdir()
    with pytest.raises(SourceError, match="does not exist"):
        run()


def test_an_inbox_whose_file_system_is_gone_is_told_from_an_empty_one(
    run: Callable[..., InboxSummary], inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(inbox, 0, 2)
    mounted, real = {str(inbox.resolve())}, os.path.ismount
    monkeypatch.setattr("os.path.ismount", lambda path: str(path) in mounted or real(path))
    run()
    for path in inbox.iterdir():
        path.unlink()
    assert run().num_new == 0
    mounted.clear()
    with pytest.raises(SourceError, match="is not mounted"):
        run()
    drop(inbox, 2, 1)
    assert run().num_new == 1  # it has moved to another file system


def test_a_new_version_scores_again_only_when_asked_and_once(
    run: Callable[..., InboxSummary], inbox: Path, bundle: Bundle, newer: Bundle, tmp_path: Path
) -> None:
    drop(inbox, 0, 5)
    run()
    drop(inbox, 5, 1)
    assert run(newer).num_new == 1
    again = run(newer, rescore=True)
    assert (again.num_new, again.num_known, again.num_rows) == (5, 1, 11)
    assert run(newer, rescore=True).num_new == 0
    table = rows(tmp_path)
    assert not table.duplicated(["sha256", "model"]).any()
    newest = table.sort_values("scored_at").drop_duplicates("sha256", keep="last")
    assert set(newest.model) == {newer.reference}
    assert len(newest) == 6


def test_a_file_being_written_waits_until_it_has_settled(run: Callable[..., InboxSummary], inbox: Path) -> None:
    now = TONIGHT.timestamp()
    drop(inbox, 0, 1)
    drop(inbox, 1, 1, now - 10)
    first = run()
    assert (first.num_new, first.num_waiting) == (1, 1)
    assert (run().num_new, run().num_waiting) == (1, 0)


def test_a_truncated_file_waits_while_it_may_still_be_written_and_is_quarantined_later(
    run: Callable[..., InboxSummary], inbox: Path, tmp_path: Path
) -> None:
    """Its content's time is old, as a copy may set it first; that of its last change is not."""
    drop(inbox, 0, 1)
    Image.fromarray(photograph("blue", 1, 200, 200)).save(tmp_path / "whole.jpg")
    half = (tmp_path / "whole.jpg").read_bytes()[:3000]
    (inbox / "half.jpg").write_bytes(half)
    os.utime(inbox / "half.jpg", (OLD, OLD))
    now = datetime.now().astimezone()
    found = run(started=now)
    assert (found.num_new, found.num_waiting, found.reasons) == (1, 1, ())
    later = run(started=now + timedelta(minutes=5))
    assert [(each.name, each.num_rows) for each in later.reasons] == [("truncated", 1)]
    shutil.copy2(tmp_path / "whole.jpg", inbox / "half.jpg")
    assert run(started=now + timedelta(minutes=10)).num_new == 1


def test_a_file_whose_time_lies_ahead_waits_once_and_not_for_ever(
    run: Callable[..., InboxSummary], inbox: Path
) -> None:
    drop(inbox, 0, 1, (TONIGHT + timedelta(days=365)).timestamp())
    assert (run().num_waiting, run().num_new, run().num_known) == (1, 1, 1)


def test_unfinished_hidden_and_excluded_files_are_left_out_and_counted(
    run: Callable[..., InboxSummary], inbox: Path
) -> None:
    for name in ("a.jpg.part", "b.tmp", "c.CRDOWNLOAD", ".hidden.png", ".cache/d.png", "raw/e.png", "f.xml"):
        (inbox / name).parent.mkdir(exist_ok=True)
        (inbox / name).write_bytes(b"x")
        os.utime(inbox / name, (OLD, OLD))
    drop(inbox, 0, 1)
    found = run(exclude=("raw/*", "*.xml"))
    assert (found.num_files, found.num_left_out, found.num_new) == (8, 7, 1)


def test_a_night_is_dated_in_its_time_zone_and_a_clock_set_back_doubles_nothing(
    run: Callable[..., InboxSummary], inbox: Path, tmp_path: Path
) -> None:
    drop(inbox, 0, 5)
    assert run(started=datetime(2026, 11, 28, 23, 30, tzinfo=ZoneInfo("UTC"))).night == "2026-11-28"
    drop(inbox, 5, 1)
    assert (
        run(started=datetime(2026, 11, 28, 23, 30, tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo("Asia/Tokyo"))).night
        == "2026-11-29"
    )
    drop(inbox, 6, 2)
    before = {path: path.read_bytes() for path in (tmp_path / "table").rglob("*.parquet")}
    back = run(started=datetime(2026, 11, 28, 1, 0, tzinfo=ZoneInfo("UTC")))
    assert (back.night, back.num_new, back.num_rows) == ("2026-11-28", 2, 8)
    assert all(path.read_bytes() == data for path, data in before.items())
    assert now_in("Asia/Tokyo").utcoffset() == timedelta(hours=9)
    with pytest.raises(SettingError, match="Mars"):
        now_in("Mars/Base")


@pytest.mark.parametrize("damage", ["gone", "garbage"])
def test_what_is_known_is_derived_from_the_table_when_lost(
    run: Callable[..., InboxSummary], inbox: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(inbox, 0, 6)
    run()
    known = tmp_path / "table.known.sqlite"
    known.unlink() if damage == "gone" else known.write_bytes(b"no database" * 1000)
    read = opened(monkeypatch)
    found = run()
    assert (found.num_new, found.num_known, found.num_rows, read) == (0, 6, 6, [])


def test_a_part_that_was_removed_is_made_again_and_a_damaged_one_is_named(
    run: Callable[..., InboxSummary], inbox: Path, tmp_path: Path
) -> None:
    drop(inbox, 0, 6)
    first = run()
    (tmp_path / "table" / first.parts[0]).unlink()
    again = run()
    assert (again.num_new, again.num_rows) == (4, 6)
    damaged = tmp_path / "table" / first.parts[1]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(FormatError, match=r"part-00001\.parquet is damaged"):
        run()


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_run_that_ends_between_two_parts_leaves_whole_ones_and_the_next_does_the_rest(
    run: Callable[..., InboxSummary], inbox: Path, tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before it has published a part, or after that and before it has remembered it."""
    drop(inbox, 0, 10)
    done: list[Any] = []

    def dying(*arguments: Any) -> Any:
        if len(done) == 1 and at == "before":
            raise KeyboardInterrupt
        if len(done) == 1:
            monkeypatch.setattr("darkroom.models.inbox.known.Known.add_part", lambda *_: sys.exit(1))
        done.append(publish_part(*arguments))
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr("darkroom.models.inbox.score.publish_part", dying)
        with pytest.raises(KeyboardInterrupt if at == "before" else SystemExit):
            run()
    monkeypatch.undo()
    assert len(rows(tmp_path)) == (4 if at == "before" else 8)
    assert run().num_new == (6 if at == "before" else 2)
    assert sorted(rows(tmp_path).path) == [f"{index:03d}.png" for index in range(10)]


KILLED = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from darkroom.models.inbox.request import InboxRequest
from darkroom.models.inbox.score import score_inbox
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.scoring.request import ScoreRequest
inbox, bundle, out = map(Path, sys.argv[1:])
request = ScoreRequest(inbox, bundle, TableOutput(out), 2, precision="fp32")
print("begun", flush=True)
score_inbox(InboxRequest(request, datetime.now(UTC)))
"""


def test_a_killed_process_leaves_nothing_half_done(
    run: Callable[..., InboxSummary], inbox: Path, bundle: Bundle, tmp_path: Path
) -> None:
    drop(inbox, 0, 60)
    out = tmp_path / "table"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(inbox), str(bundle.folder), str(out)])
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None and len(list(out.rglob("part-*.parquet"))) < 3:
        time.sleep(0.005)
    process.kill()
    process.wait()
    there = {path: path.read_bytes() for path in out.rglob("part-*.parquet")}
    assert there
    run(rows_per_part=100)
    assert sorted(rows(tmp_path).path) == [f"{index:03d}.png" for index in range(60)]
    assert all(path.read_bytes() == data for path, data in there.items())
    assert not list((tmp_path / ".table.scoring").glob("staged-*"))


def test_a_second_run_says_who_holds_the_table_and_does_not_wait_for_ever(
    run: Callable[..., InboxSummary], inbox: Path, tmp_path: Path
) -> None:
    drop(inbox, 0, 2)
    with exclusive(tmp_path / ".table.scoring", waiting=Waiting("red-fox")):
        with pytest.raises(WorkError) as raised:
            run(waiting=Waiting("second", 0.6))
        assert "red-fox" in str(raised.value)
        assert f"process {os.getpid()} on " in str(raised.value)
    assert run().num_new == 2


def test_two_runs_at_once_double_nothing(run: Callable[..., InboxSummary], inbox: Path, tmp_path: Path) -> None:
    drop(inbox, 0, 12)
    found: list[InboxSummary] = []
    both = [threading.Thread(target=lambda: found.append(run(started=TONIGHT))) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert sorted(each.num_new for each in found) == [0, 12]
    assert rows(tmp_path).path.is_unique


def test_a_table_of_another_kind_inbox_or_shape_is_never_added_to(
    run: Callable[..., InboxSummary], inbox: Path, bundle: Bundle, tmp_path: Path
) -> None:
    drop(inbox, 0, 2)
    run()
    drop(tmp_path / "other/incoming", 5, 1)
    before = rows(tmp_path)
    with pytest.raises(InputError, match="another inbox"):
        run(folder=tmp_path / "other/incoming")
    with pytest.raises(InputError, match="--new"):
        score(ScoreRequest(inbox, bundle.folder, TableOutput(tmp_path / "table")))
    with pytest.raises(InputError, match="no column embedding"):
        run(embeddings=True)
    pd.testing.assert_frame_equal(rows(tmp_path), before)
    score(ScoreRequest(inbox, bundle.folder, TableOutput(tmp_path / "plain"), precision="fp32"))
    with pytest.raises(InputError, match="without --new"):
        InboxRequest(ScoreRequest(inbox, bundle.folder, TableOutput(tmp_path / "plain")), TONIGHT)


def test_a_failed_first_run_leaves_no_folder_behind(
    run: Callable[..., InboxSummary], bundle: Bundle, inbox: Path, tmp_path: Path
) -> None:
    (tmp_path / "kept").mkdir()
    before = set(tmp_path.rglob("*"))
    with pytest.raises(SettingError, match="int8"):
        run(precision="int8")
    with suppress(InputError):
        score(ScoreRequest(inbox, bundle.folder, TableOutput(tmp_path / "scores/deep/table")))
    assert set(tmp_path.rglob("*")) == before


def test_a_table_of_before_a_column_was_added_goes_on_without_it(
    run: Callable[..., InboxSummary], inbox: Path, tmp_path: Path
) -> None:
    drop(inbox, 0, 2)
    run()
    table = NightTable(TableOutput(tmp_path / "table"))
    new = pq.read_table(next(iter(table.parts().values())), partitioning=None)
    fitted = table.fitted(new.append_column("brightness", [[0.5, 0.5]]).drop_columns(["width"]))
    assert fitted.column_names == new.column_names
    assert fitted["width"].null_count == 2


def test_the_table_is_exported_as_any_other(run: Callable[..., InboxSummary], inbox: Path, tmp_path: Path) -> None:
    drop(inbox, 0, 5)
    run()
    table = tmp_path / "table"
    assert write_csv(table, tmp_path / "rows.csv").num_rows == 5
    assert write_jsonl(table, tmp_path / "rows.jsonl").num_rows == 5
    assert len(pd.read_json(tmp_path / "rows.jsonl", lines=True)) == 5
    assert read_inbox_summary(NightTable(TableOutput(table))).num_new == 5


@pytest.fixture
def stored() -> Iterator[Any]:
    from tests.stores import s3_server

    with s3_server() as server:
        server.put("photos")
        yield server


def test_an_inbox_in_an_object_store_is_scored_without_waiting_and_once(
    run: Callable[..., InboxSummary], inbox: Path, stored: Any, tmp_path: Path
) -> None:
    drop(inbox, 0, 5)
    stored.put_folder(inbox, "photos/incoming")
    url = Url("s3", "photos/incoming")
    now = datetime.now().astimezone()
    first = run(folder=url, started=now)
    assert (first.num_new, first.num_waiting) == (5, 0)
    with stored.recording() as asked:
        again = run(folder=url, started=now)
    assert (again.num_new, again.num_known) == (0, 5)
    assert not [each for each in asked if each.startswith("GET") and ".png" in each]
    stored.put("photos/incoming/moved/tom.png", (inbox / "000.png").read_bytes())
    stored.delete("photos/incoming/000.png")
    assert (run(folder=url, started=now).num_new, len(rows(tmp_path))) == (0, 5)


def test_a_table_in_an_object_store_is_continued_from_another_machine(
    inbox: Path, bundle: Bundle, stored: Any, tmp_path: Path
) -> None:
    from darkroom.data.stores.mirror import Mirror

    def night(machine: str, index: int) -> InboxSummary:
        mirror = Mirror(Url("s3", "photos/scores"), tmp_path / machine)
        out = TableOutput(mirror.folder / "table", mirror)
        return score_inbox(
            InboxRequest(ScoreRequest(inbox, bundle.folder, out, 4, precision="fp32"), TONIGHT + timedelta(days=index))
        )

    drop(inbox, 0, 5)
    assert night("first", 0).num_new == 5
    drop(inbox, 5, 2)
    found = night("second", 1)
    assert (found.num_new, found.num_known, found.num_rows) == (2, 5, 7)
    assert sorted(stored.objects("photos/scores")) == [
        "table.inbox.json", "table.run.json", "table/night=2026-11-28/part-00000.parquet",
        "table/night=2026-11-28/part-00001.parquet", "table/night=2026-11-29/part-00000.parquet",
    ]  # fmt: skip
