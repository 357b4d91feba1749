"""Locks: who waits is told for whom, and a failure leaves no folder that was made for a lock."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from darkroom.data.errors import InputError, WorkError
from darkroom.data.files.locks import Waiting, exclusive


def test_who_waits_too_long_is_told_the_holder_and_one_that_has_ended_is_not_named(tmp_path: Path) -> None:
    with exclusive(tmp_path, waiting=Waiting("first")):
        expected = pytest.raises(WorkError, match=rf"run first, process {os.getpid()} on .+, since \d{{4}}-")
        with expected, exclusive(tmp_path, waiting=Waiting("second", 0)):
            pytest.fail("two at once")
    with exclusive(tmp_path, waiting=Waiting("third", 0)):
        pass
    assert (tmp_path / ".lock").read_text() == ""


def test_a_failure_removes_the_folders_made_for_the_lock_and_no_others(tmp_path: Path) -> None:
    place = tmp_path / "new/deep/.table.scoring"
    with pytest.raises(RuntimeError), exclusive(place):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with suppress(RuntimeError), exclusive(place):
        (place.parent / "table").mkdir()
        raise RuntimeError
    assert [path.name for path in (tmp_path / "new/deep").iterdir()] == ["table"]
    with exclusive(place):
        pass
    with pytest.raises(RuntimeError), exclusive(place):
        raise RuntimeError
    assert (place / ".lock").is_file()


def test_who_waits_for_one_that_fails_and_removes_the_folder_still_is_alone(tmp_path: Path) -> None:
    place, inside, most = tmp_path / "work", [0], [0]
    lock = threading.Lock()

    def work(fails: bool) -> None:
        try:
            with exclusive(place):
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                waiting.wait(0.01)
                with lock:
                    inside[0] -= 1
                if fails:
                    raise RuntimeError
        except RuntimeError:
            pass

    waiting = threading.Event()
    threads = [threading.Thread(target=work, args=(number % 2 == 0,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    expected = pytest.raises(InputError, match="cannot be written to: Not a directory")
    with expected, exclusive(tmp_path / "file/work"):
        pytest.fail("no such place")
