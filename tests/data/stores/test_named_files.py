"""Files that are named one by one: what is not there is said at once, and each file is one, however it is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from darkroom.data.errors import ImageError, SourceError
from darkroom.data.stores.listing import iter_files
from darkroom.data.stores.named_files import NamedFiles, find_listed, find_named, read_list


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a few files in two folders."""
    for name in ("a/1.jpg", "a/2.jpg", "b/c/3.jpg", "b/.hidden/4.jpg", "é.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(found: NamedFiles) -> list[str]:
    return [entry.path for entry in found.iter_files()]


def test_paths_are_relative_to_the_folder_that_the_files_have_in_common(place: Path) -> None:
    found = find_named(["b/c/3.jpg", str(place / "a/2.jpg"), "a/1.jpg"])
    assert (found.folder, paths(found)) == (place, ["a/1.jpg", "a/2.jpg", "b/c/3.jpg"])
    alone = find_named(["a/2.jpg"])
    assert (alone.folder, paths(alone)) == (place / "a", ["2.jpg"])


def test_a_file_is_one_however_often_and_in_whatever_way_it_is_named(place: Path) -> None:
    os.symlink("a", "link")
    found = find_named(["a/1.jpg", "./a/1.jpg", str(place / "a/1.jpg"), "b/../a/1.jpg", "link/1.jpg", "a//1.jpg"])
    assert (found.folder, paths(found), found.num_repeated) == (place / "a", ["1.jpg"], 5)


def test_dots_lead_where_the_system_goes_also_behind_a_link(place: Path) -> None:
    os.symlink("b/c", "deep")
    (place / "b/1.jpg").write_text("beside c")
    assert find_named(["deep/../1.jpg"]).folder == place / "b"


def test_entries_are_those_of_the_whole_folder(place: Path) -> None:
    names = ["a/1.jpg", "a/2.jpg", "b/c/3.jpg", "é.jpg"]
    every = {entry.path: entry for entry in iter_files(place)}
    assert list(find_named(names).iter_files()) == [every[name] for name in names]


def test_a_file_that_is_named_is_read_where_a_folder_would_not_look(place: Path, tmp_path: Path) -> None:
    outside = tmp_path.with_name(f"{tmp_path.name}-outside")
    outside.mkdir()
    (outside / "blob").write_text("linked")
    os.symlink(outside / "blob", "a/5.jpg")
    found = find_named(["b/.hidden/4.jpg", "a/5.jpg"])
    assert [entry.reason for entry in found.iter_files()] == [None, None]
    assert [found.read_file(name, 99) for name in found.names] == [b"linked", b"b/.hidden/4.jpg"]
    with pytest.raises(ImageError, match="too_large"):
        found.read_file("a/5.jpg", 3)
    (place / "a/5.jpg").unlink()
    assert [entry.reason for entry in found.iter_files()] == ["unreadable", None]
    with pytest.raises(ImageError, match="unreadable"):
        found.read_file("a/5.jpg", 99)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["gone.jpg"], "no file or folder 'gone.jpg'"),
        (["a/1.jpg", "gone.jpg"], "name 1 file that is not there: 'gone.jpg'"),
        (["a/1.jpg", "a", "b"], "name 2 folders: 'a' and 'b'"),
        (["a/1.jpg", "/dev/null"], "name 1 device or pipe: '/dev/null'"),
        (["list.txt"], "list.txt is no image.*--files list.txt"),
        (["a/1.jpg", "s3://bucket/2.jpg"], "s3://bucket/2.jpg is a URL"),
        (["a/1.jpg", os.fsdecode(b"caf\xe9.jpg")], r"caf\\xe9.jpg has a name that is not UTF-8"),
    ],
)
def test_what_is_no_file_is_refused_with_its_name(place: Path, given: list[str], said: str) -> None:
    (place / "list.txt").touch()
    (place / os.fsdecode(b"caf\xe9.jpg")).touch()
    with pytest.raises(SourceError, match=said):
        find_named(given)


def test_a_list_has_a_path_on_each_line(place: Path) -> None:
    text = "\ufeffa/1.jpg\r\n\n   \nb/c/3.jpg\r\n" + str(place / "é.jpg") + "\na/1.jpg"
    found = find_listed(text.encode(), "lists/monday.v2.txt")
    assert (found.folder, found.num_repeated, found.name) == (place, 1, "monday.v2")
    assert paths(found) == ["a/1.jpg", "b/c/3.jpg", "é.jpg"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "list.txt names no files"),
        (b"\n \n", "list.txt names no files"),
        (b"a/1.jpg\0a/2.jpg\0", "NUL"),
        (b"a/1.jpg\ncaf\xe9.jpg\n", "line 2, is not UTF-8"),
        (b"a/1.jpg\nw\nx\ny\nz\n", r"list\.txt names 4 files that are not there, such as 'w', 'x' and 'y'\."),
        (b"a/1.jpg\nb\n", r"list\.txt names 1 folder: 'b'\."),
    ],
)
def test_a_list_that_cannot_be_followed_is_refused(place: Path, text: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        find_listed(text, "list.txt")


def test_a_list_that_cannot_be_read_is_refused(place: Path) -> None:
    with pytest.raises(SourceError, match=r"list gone\.txt cannot be read"):
        read_list(Path("gone.txt"))
    with pytest.raises(SourceError, match="a is a folder"):
        read_list(Path("a"))


def test_other_files_on_the_line_are_called_otherwise_and_a_list_after_itself(place: Path) -> None:
    names = {find_named(given).name for given in (["a/1.jpg"], ["a/2.jpg"], ["a/1.jpg", "a/2.jpg"], ["é.jpg"])}
    assert len(names) == 4
    assert find_named(["a/1.jpg", "a/2.jpg"]).name == find_named(["a/2.jpg", "./a/1.jpg"]).name
    assert find_listed(b"a/1.jpg", "x/new.txt").name == find_listed(b"a/2.jpg", "new.txt").name == "new"
