"""What a command may be given as its source, and what it says where that is wrong."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from darkroom.data.errors import InputError, SourceError
from darkroom.data.sources import kaggle
from darkroom.data.sources.resolve import at_hand, resolve
from darkroom.data.stores.workspace import Workspace, check_name


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def files_in(folder: Path) -> Path:
    (folder / "cats").mkdir(parents=True)
    (folder / "cats" / "1.png").write_bytes(b"1")
    return folder


def test_a_folder_is_used_as_it_lies(tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files_in(tmp_path / "my pictures")
    monkeypatch.chdir(tmp_path)
    source = resolve("my pictures", workspace)
    assert source.folder == folder
    assert (source.kind, source.name, source.reference) == ("folder", "my-pictures", "my pictures")
    assert source.licence is None
    assert source.new_images is None
    assert not workspace.root.exists()
    monkeypatch.chdir(folder)
    assert resolve(".", workspace).name == "my-pictures"
    assert resolve("..", workspace).folder == tmp_path


def test_an_archive_is_unpacked_into_the_workspace(tmp_path: Path, workspace: Workspace) -> None:
    archive = tmp_path / "Cats & Dogs.v2.ZIP"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("cats/1.png", b"1")
    source = resolve(str(archive), workspace)
    assert source.kind == "archive"
    assert source.name == "Cats-Dogs.v2"
    assert source.folder.parent == workspace.sources
    assert (source.folder / "cats" / "1.png").read_bytes() == b"1"
    assert resolve(str(archive), workspace) == source


def test_a_source_is_at_hand_once_it_is_unpacked(tmp_path: Path, workspace: Workspace) -> None:
    archive, folder = tmp_path / "cats.zip", files_in(tmp_path / "photos")
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("cats/1.png", b"1")
    assert at_hand(str(folder), workspace) == resolve(str(folder), workspace)
    for reference in (str(archive), "sample:digits"):
        assert at_hand(reference, workspace) is None
        assert not workspace.root.exists() or not list(workspace.sources.glob("sample*"))
        assert resolve(reference, workspace) == at_hand(reference, workspace)
    assert at_hand("kaggle:owner/cats", workspace) is None
    assert at_hand("s3://photos/cats", workspace) is None
    with pytest.raises(SourceError, match="There is no folder or archive 'gone'"):
        at_hand("gone", workspace)


def test_a_sample_comes_with_new_images_licence_and_citation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = resolve("sample:digits", Workspace(Path("workspace")))
    assert source.folder == tmp_path / "workspace" / "sources" / "sample-digits-v1" / "images"
    assert source.new_images == source.folder.parent / "new"
    assert (source.kind, source.name) == ("sample", "digits")
    assert source.licence == "CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits, Alpaydin & Kaynak 1998)"
    assert "Alpaydin" in (source.citation or "")


def test_kaggle_is_fetched_by_its_handle(tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    handles = []

    def fetch(handle: str) -> kaggle.Fetched:
        handles.append(handle)
        return kaggle.Fetched(files_in(tmp_path / "cache"), "cats-and-dogs", "CC0")

    monkeypatch.setattr(kaggle, "fetch", fetch)
    source = resolve("kaggle:owner/cats-and-dogs/versions/3", workspace)
    assert handles == ["owner/cats-and-dogs/versions/3"]
    assert (source.kind, source.name, source.licence) == ("kaggle", "cats-and-dogs", "CC0")
    assert source.folder == tmp_path / "cache"


def test_a_folder_named_like_a_scheme_is_reached_by_its_path(tmp_path: Path, workspace: Workspace) -> None:
    assert resolve(str(files_in(tmp_path / "sample:mine")), workspace).kind == "folder"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("", "There is no folder or archive"),
        ("nowhere/at/all", "There is no folder or archive 'nowhere/at/all'"),
        ("nowhere.zip", "There is no folder or archive 'nowhere.zip'"),
        ("notes.txt", "notes.txt is a file that is no known archive"),
        ("s3:///cats", "s3:///cats names no bucket"),
        ("https://example.org/cats.zip", "https:// is not a supported file system"),
        ("kagle:owner/cats", "'kagle:', which is unknown"),
        ("sample:", "The samples are: sample:digits"),
        ("sample:digit", "The samples are: sample:digits"),
        ("kaggle:cats", "is not a Kaggle source"),
        ("empty", "holds no file"),
        ("caf\udce9", "caf\\\\xe9"),
        ("a\0b", "There is no folder or archive"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_with_a_remedy(
    reference: str, words: str, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        resolve(reference, workspace)
    sentence = str(caught.value)
    assert words in sentence
    assert "\n" not in sentence
    assert any(word in sentence for word in ("Give", "The samples are", "Write"))
    sentence.encode("utf-8")
    assert caught.value.exit_status == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_without_permission_is_named(tmp_path: Path, workspace: Workspace) -> None:
    folder = files_in(tmp_path / "closed")
    folder.chmod(0)
    with pytest.raises(SourceError, match="closed cannot be listed"):
        resolve(str(folder), workspace)
    folder.chmod(0o700)


@pytest.mark.parametrize("name", ["…", "-x-", "a" * 300, "データ"])
def test_the_suggested_name_is_always_valid(name: str, tmp_path: Path, workspace: Workspace) -> None:
    folder = files_in(tmp_path / name[:80])
    assert check_name(resolve(str(folder), workspace).name)
