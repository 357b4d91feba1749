"""Files and folders appear whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.data.errors import WorkError
from darkroom.data.files.atomic import TEMPORARY_PREFIX, atomic_file, atomic_folder, remove_folder, write_json
from darkroom.data.files.locks import exclusive

Opener = Callable[[Path], AbstractContextManager[Path]]


def fill(path: Path, text: str) -> None:
    (path / "inner.txt" if path.is_dir() else path).write_text(text)


@pytest.mark.parametrize("opener", [atomic_file, atomic_folder])
def test_nothing_stands_at_the_name_before_the_end_and_all_of_it_after(opener: Opener, tmp_path: Path) -> None:
    final = tmp_path / "deep" / "er" / "final"
    with opener(final) as temporary:
        fill(temporary, "whole")
        assert temporary.parent == final.parent
        assert temporary.name.startswith(TEMPORARY_PREFIX)
        assert not final.exists()
    assert (final / "inner.txt" if final.is_dir() else final).read_text() == "whole"
    assert list(final.parent.iterdir()) == [final]


@pytest.mark.parametrize("opener", [atomic_file, atomic_folder])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_after_an_exception_nothing_appears_and_nothing_is_left(
    opener: Opener, error: type[BaseException], tmp_path: Path
) -> None:
    def write() -> None:
        with opener(tmp_path / "final") as temporary:
            fill(temporary, "half")
            raise error

    with pytest.raises(error):
        write()
    assert list(tmp_path.iterdir()) == []


def test_after_an_exception_the_file_that_stood_there_still_does(tmp_path: Path) -> None:
    final = tmp_path / "card.json"
    final.write_text("old")
    with pytest.raises(TypeError):
        write_json(final, {"a": "new", "value": object()})
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_file_is_replaced_and_of_two_folders_the_first_is_kept(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_file(tmp_path / "file") as temporary:
            temporary.write_text(text)
        with atomic_folder(tmp_path / "folder") as temporary:
            fill(temporary, text)
    assert (tmp_path / "file").read_text() == "second"
    assert (tmp_path / "folder" / "inner.txt").read_text() == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_two_that_work_on_one_folder_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "x") as slow:
        fill(slow, "slow")
        with atomic_folder(tmp_path / "x") as fast:
            assert fast != slow
            fill(fast, "fast")
    assert (tmp_path / "x" / "inner.txt").read_text() == "fast"


def test_a_folder_does_not_take_the_name_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")
    with pytest.raises(OSError, match="x"), atomic_folder(tmp_path / "x"):
        pass
    assert (tmp_path / "x").read_text() == "a file"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_killed_process_leaves_no_half_written_final_name(tmp_path: Path) -> None:
    code = f"""
import os, sys
from pathlib import Path
from darkroom.data.files.atomic import atomic_file, atomic_folder
with atomic_folder(Path({str(tmp_path)!r}) / "folder") as folder, atomic_file(Path({str(tmp_path)!r}) / "file") as file:
    (folder / "a").write_text("half"); file.write_text("half")
    os.kill(os.getpid(), {int(signal.SIGKILL)})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == -signal.SIGKILL
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 2
    assert all(name.startswith(TEMPORARY_PREFIX) for name in names)


def test_what_is_named_has_been_synced_to_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def noted_rename(old: Path, new: Path) -> None:
        events.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    with atomic_folder(tmp_path / "x") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "deep.bin").write_bytes(b"1")
        (temporary / "top.bin").write_bytes(b"2")
    assert {"deep.bin", "top.bin", "inner"} <= set(events[: events.index("rename")])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(json_values)
def test_json_comes_back_as_it_was_and_the_same_value_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    folder = tmp_path_factory.mktemp("json")
    write_json(folder / "a.json", value)
    assert json.loads((folder / "a.json").read_text(encoding="utf-8")) == value
    turned = dict(reversed(list(value.items()))) if isinstance(value, dict) else value
    write_json(folder / "b.json", turned)
    assert (folder / "a.json").read_bytes() == (folder / "b.json").read_bytes()


def test_what_a_killed_run_left_unfinished_is_removed_and_nothing_else(tmp_path: Path) -> None:
    name = ".tmp-" + "0f" * 16
    ours = [name, f"{name}.keras", f"{name}.weights.h5", f".staging-1/parts/{name}/inner", f".fingerprints/{name}"]
    others = [
        "part-00000.parquet",
        f"version/features/{name}",
        ".tmp-notes.txt",
        f"{name[:-1]}x",
        ".staging-1/plan.json",
    ]
    for path in (*ours, *others):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("half")
    with exclusive(tmp_path):
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*others, ".lock"}


def test_the_sweep_follows_no_link_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / (".tmp-" + "0" * 32)).write_text("another's")
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / ".hidden").symlink_to(outside)
    (tmp_path / "locked" / (".tmp-" + "1" * 32)).symlink_to(outside)
    with exclusive(tmp_path / "locked"):
        assert [path.name for path in outside.iterdir()] == [".tmp-" + "0" * 32]


def test_a_removed_folder_is_gone_at_once(tmp_path: Path) -> None:
    (tmp_path / "work" / "deep").mkdir(parents=True)
    (tmp_path / "work" / "deep" / "file").write_text("done")
    remove_folder(tmp_path / "work")
    remove_folder(tmp_path / "work")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("UNKNOWN: ...; No space left on device")]
)
@pytest.mark.parametrize("opener", [atomic_file, atomic_folder])
def test_a_full_disk_is_named_with_what_to_do(opener: Opener, error: Exception, tmp_path: Path) -> None:
    with (
        pytest.raises(WorkError, match=f"Disk full: {tmp_path}/final .* Free some space"),
        opener(tmp_path / "final"),
    ):
        raise error
    assert list(tmp_path.iterdir()) == []
