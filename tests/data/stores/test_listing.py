"""Every file of a folder is listed once, whatever its name and kind, and read only where it is what was listed."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.data.errors import ImageError, SourceError
from darkroom.data.stores.listing import (
    STRAY_FOLDERS,
    STRAY_NAMES,
    STRAY_SUFFIXES,
    has_files,
    iter_files,
    list_files,
    printable,
    read_file,
    scan_files,
)
from tests.corpus import deep_folder


def reason_of(folder: Path, os_path: str, max_bytes: int = 100) -> str:
    with pytest.raises(ImageError) as caught:
        read_file(folder, os_path, max_bytes)
    return caught.value.reason


def reasons(folder: Path) -> dict[str, str | None]:
    return {entry.path: entry.reason for entry in list_files(folder)}


def back(path: str) -> bytes:
    """The bytes of the name that a printable path stands for."""
    parts = re.split(r"\\x([0-9a-f]{2})", path)
    return b"".join(bytes.fromhex(part) if place % 2 else part.encode() for place, part in enumerate(parts))


# Linux takes any byte but these two in a name.
NAMES = (
    st.binary(min_size=1, max_size=20)
    .map(lambda name: name.translate(bytes(range(256)), b"\0/"))
    .filter(lambda name: name not in (b"", b".", b".."))
)


@given(name=st.one_of(NAMES, st.text("\\xf5c0e\udcff", max_size=12).map(os.fsencode)))
def test_a_printable_name_is_utf8_and_stands_for_one_name_only(name: bytes) -> None:
    shown = printable(os.fsdecode(name))
    assert back(shown) == name
    shown.encode("utf-8")


def test_a_name_that_is_utf8_is_printed_as_it_is() -> None:
    for name in ("cat 1.png", "猫/ü.png", "a\\b.png", "new\nline", "\\x", "\\xg0", "\\n"):
        assert printable(name) == name
    assert printable(os.fsdecode(b"caf\xe9.png")) == "caf\\xe9.png"
    assert printable("caf\\xe9.png") == "caf\\x5cxe9.png"


@settings(deadline=None, max_examples=40)
@given(paths=st.sets(st.lists(NAMES, min_size=1, max_size=3).map(tuple), max_size=12))
def test_every_file_is_listed_once_and_sorted(
    paths: set[tuple[bytes, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    for parts in paths:
        path = os.path.join(os.fsencode(folder), *parts)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as stream:
                stream.write(b"x" * len(parts))
        except OSError:  # another path has it as a folder, or as a file
            continue
    root = os.fsencode(folder)
    walked = {os.path.relpath(os.path.join(at, file), root) for at, _, files in os.walk(root) for file in files}
    entries = list_files(folder)
    assert {os.fsencode(entry.os_path) for entry in entries} == walked
    assert len(entries) == len(walked)
    assert [entry.path for entry in entries] == sorted(entry.path for entry in entries)
    assert len({entry.path for entry in entries}) == len(entries)
    for entry in entries:
        found = os.stat(os.path.join(root, os.fsencode(entry.os_path)))
        assert (entry.size_bytes, entry.mtime_ns) == (found.st_size, found.st_mtime_ns)
        assert entry.path == printable(entry.os_path)


def test_the_order_is_the_same_on_every_machine(tmp_path: Path) -> None:
    names = ["b.png", "B.png", "a/z.png", "a.png", "10.png", "9.png", "é.png", "Z/a.png", "-.png", " .png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    want = [" .png", "-.png", "10.png", "9.png", "B.png", "Z/a.png", "a.png", "a/z.png", "b.png", "é.png"]
    assert [entry.path for entry in list_files(tmp_path)] == want


def test_the_names_of_one_folder_at_a_time_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png", "c/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    opened, scandir = [], os.scandir

    def noted(folder: str) -> Any:
        opened.append(os.path.basename(folder.rstrip("/")))
        return scandir(folder)

    entries = iter_files(tmp_path)
    monkeypatch.setattr(os, "scandir", noted)
    assert [next(entries).path for _ in range(2)] == ["a/1.png", "a/2.png"]
    assert opened == [tmp_path.name, "a"]
    assert [entry.path for entry in entries] == ["b/1.png", "c/1.png"]
    assert opened == [tmp_path.name, "a", "b", "c"]


def test_folders_nested_deeper_than_pythons_stack_are_listed() -> None:
    folder = Path(tempfile.mkdtemp())  # pytest could not remove its own
    try:
        level = os.open(folder, os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("d", dir_fd=level)
            below = os.open("d", os.O_RDONLY, dir_fd=level)
            os.close(level)
            level = below
        os.close(os.open("x.png", os.O_CREAT | os.O_WRONLY, dir_fd=level))
        os.close(level)
        assert reasons(folder) == {"d/" * 1500 + "x.png": None}
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)


def test_a_path_that_is_too_long_to_open_is_unreadable_even_for_root(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats/a.png").touch()
    deep = deep_folder(tmp_path, "cats")
    assert reasons(tmp_path) == {"cats/a.png": None, deep: "unreadable"}
    assert reason_of(tmp_path, f"{deep}x.png") == "unreadable"


def test_links_are_followed_only_to_files_inside(tmp_path: Path) -> None:
    folder, outside = tmp_path / "images", tmp_path / "images-outside"
    for path in (folder / "sub", outside):
        path.mkdir(parents=True)
    (folder / "sub/a.png").write_bytes(b"inside")
    (outside / "b.png").write_bytes(b"outside")
    links = {
        "inside.png": "sub/a.png",
        "chain.png": "inside.png",
        "absolute.png": str(folder / "sub/a.png"),
        "roundabout.png": "../images/sub/../sub/a.png",
        "outside.png": str(outside / "b.png"),
        "relative.png": "../images-outside/b.png",
        "chain-outside.png": "outside.png",
        "folder-outside": str(outside),
        "up": "..",
        "folder": "sub",
        "self": ".",
        "loop-a.png": "loop-b.png",
        "loop-b.png": "loop-a.png",
        "nothing.png": "missing.png",
        "through-file.png": "sub/a.png/x",
        "zero.png": "/dev/zero",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    want: dict[str, str | None] = dict.fromkeys(["inside.png", "chain.png", "absolute.png", "roundabout.png"])
    want |= dict.fromkeys(
        ["outside.png", "relative.png", "chain-outside.png", "folder-outside", "up", "zero.png"], "link_outside"
    )
    want |= dict.fromkeys(["folder", "self"], "link_to_folder")
    want |= dict.fromkeys(["loop-a.png", "loop-b.png", "nothing.png", "through-file.png"], "broken_link")
    assert reasons(folder) == {**want, "sub/a.png": None}
    for entry in list_files(folder):
        if entry.reason is None:
            assert entry.size_bytes == len(b"inside")
            assert read_file(folder, entry.os_path, 100) == b"inside"


def test_a_linked_folder_may_be_the_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.png").write_bytes(b"1")
    (tmp_path / "link").symlink_to("real")
    assert reasons(tmp_path / "link") == {"a.png": None}
    assert read_file(tmp_path / "link", "a.png", 1) == b"1"


def test_what_is_no_file_is_said_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    os.mknod(tmp_path / "socket.jpg", stat.S_IFSOCK | 0o600)
    (tmp_path / "to-fifo.jpg").symlink_to("fifo.jpg")
    assert reasons(tmp_path) == dict.fromkeys(["fifo.jpg", "socket.jpg", "to-fifo.jpg"], "not_a_file")


def test_what_systems_and_people_leave_behind_is_stray_and_hidden_images_are_not(tmp_path: Path) -> None:
    stray = [
        *(name.upper() for name in STRAY_NAMES),
        "._photo.jpg",
        "NOTES.TXT",
        *(f"x{end}" for end in STRAY_SUFFIXES),
    ]
    stray += [f"{name}/photo.jpg" for name in STRAY_FOLDERS] + ["__MACOSX/deep/er/photo.jpg"]
    kept = [".hidden.jpg", "txt", "photo.txt.jpg", "macosx/photo.jpg", "no ending"]
    for name in stray + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert reasons(tmp_path) == {**dict.fromkeys(stray, "stray_file"), **dict.fromkeys(kept)}


def test_a_folder_that_is_none_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match=r"missing does not exist\. Give the folder"):
        list_files(tmp_path / "missing")
    with pytest.raises(SourceError, match=r"file is a file, not a folder\. Give the folder"):
        list_files(tmp_path / "file")
    with pytest.raises(SourceError, match=r"caf\\xe9 does not exist"):
        list_files(tmp_path / os.fsdecode(b"caf\xe9"))


def test_a_folder_that_may_not_be_opened_is_not_said_to_hold_nothing() -> None:
    with tempfile.TemporaryDirectory() as name:  # root closes pytest's folders to others
        folder = Path(name)
        user = os.geteuid()
        folder.chmod(0)
        os.seteuid(user or 65534)  # root reads everything
        try:
            for asks in (has_files, list_files):
                with pytest.raises(SourceError, match="cannot be listed: Permission denied"):
                    asks(folder)
        finally:
            os.seteuid(user)


def test_what_may_not_be_read_is_unreadable() -> None:
    with tempfile.TemporaryDirectory() as name:  # root closes pytest's folders to others
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "locked").mkdir(mode=0)
        (folder / "file.png").touch(mode=0)
        user = os.geteuid()
        os.seteuid(user or 65534)  # root reads everything
        try:
            assert reasons(folder) == {"locked/": "unreadable", "file.png": None}
            assert reason_of(folder, "file.png") == "unreadable"
        finally:
            os.seteuid(user)


def test_an_empty_folder_lists_nothing(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    assert list_files(tmp_path) == []


def test_a_file_is_read_to_the_byte_limit_and_not_over_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    assert read_file(tmp_path, "a.png", 5) == b"12345"
    assert reason_of(tmp_path, "a.png", 4) == "too_large"
    (tmp_path / "empty.png").touch()
    assert read_file(tmp_path, "empty.png", 5) == b""


def test_a_sparse_file_of_a_terabyte_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse.jpg").open("wb") as stream:
        stream.truncate(2**40)
    assert reason_of(tmp_path, "sparse.jpg", 2**28) == "too_large"


def test_a_file_swapped_after_listing_is_not_taken_for_the_one_that_was_listed(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/a.png").write_bytes(b"secret")
    for name in ("gone", "fifo", "folder", "link", "loop"):
        (folder / name).write_bytes(b"1")
    (folder / "sub/a.png").write_bytes(b"1")
    assert set(reasons(folder).values()) == {None}
    for name in ("gone", "fifo", "folder", "link", "loop"):
        (folder / name).unlink()
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(tmp_path / "secret/a.png")
    (folder / "loop").symlink_to("loop")
    (folder / "sub").rename(folder / "moved")
    (folder / "sub").symlink_to(tmp_path / "secret")
    want = {"gone": "unreadable", "fifo": "unreadable", "folder": "unreadable", "link": "link_outside"}
    want |= {"loop": "unreadable", "sub/a.png": "link_outside"}
    assert {name: reason_of(folder, name) for name in want} == want


def test_files_that_cannot_be_read_leave_no_file_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"12")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        for name in ("fifo", "folder", "large", "missing"):
            reason_of(tmp_path, name, 1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_changes_while_it_is_listed_ends_in_rows_not_in_an_error(tmp_path: Path) -> None:
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            path = tmp_path / f"{number % 7}"
            path.mkdir()
            (path / "x.png").touch()
            (path / "link.png").symlink_to("x.png")
            (path / "link.png").unlink()
            (path / "x.png").unlink()
            path.rmdir()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(300):
            assert {entry.reason for entry in list_files(tmp_path)} <= {None, "unreadable", "broken_link"}
    finally:
        stop.set()
        thread.join()


def test_a_folder_whose_own_name_is_not_utf8_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff"))
    folder.mkdir()
    (folder / "a.png").touch()
    with pytest.raises(SourceError, match=r"odd\\xff has a name that is not UTF-8\. Rename it\."):
        list_files(folder)


def test_files_are_found_however_deep_and_folders_alone_are_none(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    assert not has_files(tmp_path)
    (tmp_path / "a" / "b" / "c" / "x").touch()
    assert has_files(tmp_path)


def test_a_scan_gives_the_entries_of_the_listing_in_any_order(tmp_path: Path) -> None:
    (tmp_path / ".hidden/deep").mkdir(parents=True)
    for name in ("b.png", "a.png", ".hidden/deep/c.png", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "link.png").symlink_to("a.png")
    (tmp_path / "broken.png").symlink_to("nowhere")
    (tmp_path / "out.png").symlink_to("/etc/hostname")
    assert sorted(scan_files(tmp_path), key=lambda entry: entry.path) == list_files(tmp_path)
    with pytest.raises(SourceError, match="does not exist"):
        list(scan_files(tmp_path / "gone"))
