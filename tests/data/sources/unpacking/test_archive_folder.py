"""A folder of archives is read as what they hold; archives beside images stop the run."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from darkroom.data.errors import LabelError, SourceError
from darkroom.data.labels.recognition.labelling import Labelling, label_files
from darkroom.data.labels.rules import LabelRules
from darkroom.data.sources.resolve import at_hand, resolve
from darkroom.data.sources.unpacking.archive_folder import may_hold_images
from darkroom.data.stores.listing import list_files
from darkroom.data.stores.workspace import Workspace


def pack(path: Path, files: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as opened:
            for name, text in files.items():
                opened.writestr(name, text)
        return
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


def shard(*classes: int, names: str = "") -> dict[str, str]:
    """Samples 0000, 0001 and so on of these classes; with the names of the classes in a `.json` too."""
    found: dict[str, str] = {}
    for number, label in enumerate(classes):
        found |= {f"{number:04d}.jpg": f"image {label}", f"{number:04d}.cls": str(label)}
        if names:
            found[f"{number:04d}.json"] = json.dumps({"label": names[label], "width": 3})
    return found


def read(folder: Path, workspace: Path, rules: LabelRules | None = None) -> Labelling:
    found = resolve(str(folder), Workspace(workspace)).folder
    return label_files(found, list_files(found), rules or LabelRules())


def counts(labelling: Labelling) -> Counter[tuple[str | None, str | None]]:
    return Counter((file.label, file.source_split) for file in labelling.files if file.label)


@pytest.mark.parametrize(
    "names",
    [
        # https://github.com/webdataset/webdataset, "train-{000000..000001}.tar"
        ("train-000000.tar", "train-000001.tar", "val-000000.tar", "test-000000.tar"),
        ("train-00000-of-00002.tar", "train-00001-of-00002.tar", "validation-00000-of-00001.tar", "test.tar.gz"),
        # https://github.com/webdataset/webdataset/issues/195
        ("i1k-train-000000.tar", "i1k-train-000001.tar", "i1k-val-000000.tar", "i1k-test-000000.tar"),
        ("shards/train-0.tgz", "shards/train-1.tgz", "shards/valid-0.zip", "shards/test-0.zip"),
    ],
)  # fmt: skip
def test_shards_are_read_with_the_splits_of_their_names_and_keys_may_repeat(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    for name, classes in zip(names, [(0, 1, 1), (0, 0, 1), (0, 1), (1, 0)], strict=True):
        pack(tmp_path / "shards" / name, shard(*classes))
    found = read(tmp_path / "shards", tmp_path / "w")
    assert counts(found) == {
        ("0", "train"): 3, ("1", "train"): 3, ("0", "validation"): 1, ("1", "validation"): 1, ("0", "test"): 1,
        ("1", "test"): 1,
    }  # fmt: skip
    assert len({file.entry.path for file in found.files}) == 20


def test_shards_without_splits_in_their_names_have_none(tmp_path: Path) -> None:
    """https://github.com/rom1504/img2dataset names them by number alone."""
    for number in range(3):
        pack(tmp_path / "shards" / f"{number:05d}.tar", shard(0, 1, 1))
    assert counts(read(tmp_path / "shards", tmp_path / "w")) == {("0", None): 3, ("1", None): 6}


def test_the_names_of_the_classes_win_over_their_numbers_where_they_say_the_same(tmp_path: Path) -> None:
    for name in ("train-0.tar", "test-0.tar"):
        pack(tmp_path / "a" / name, shard(0, 1, 1, names="xy"))
        pack(tmp_path / "b" / name, shard(0, 1, 1, names="xx"))
    assert counts(read(tmp_path / "a", tmp_path / "w")) == {
        ("x", "train"): 1, ("y", "train"): 2, ("x", "test"): 1, ("y", "test"): 2,
    }  # fmt: skip
    with pytest.raises(LabelError, match=r"\*\.cls"):  # numbers that do not follow the names
        read(tmp_path / "b", tmp_path / "w")


def test_an_archive_a_class_is_a_class_and_tables_beside_them_are_read(tmp_path: Path) -> None:
    """https://github.com/tensorflow/datasets/issues/2267"""
    pack(tmp_path / "zips" / "cats.zip", {"1.jpg": "", "2.jpg": ""})
    pack(tmp_path / "zips" / "dogs.zip", {"1.jpg": ""})
    (tmp_path / "zips" / "LICENSE").write_text("CC0")
    assert counts(read(tmp_path / "zips", tmp_path / "w")) == {("cats", None): 2, ("dogs", None): 1}
    pack(tmp_path / "kaggle" / "train.zip", {"1.jpg": "", "2.jpg": ""})
    pack(tmp_path / "kaggle" / "test.zip", {"3.jpg": ""})
    (tmp_path / "kaggle" / "train.csv").write_text("id,label\n1,cat\n2,dog\n")
    found = read(tmp_path / "kaggle", tmp_path / "w")
    assert counts(found) == {("cat", "train"): 1, ("dog", "train"): 1}
    assert "train.csv" in found.reading.labels_from


def test_archives_are_unpacked_once_and_again_when_one_has_changed(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "w")
    for name in ("a", "b"):
        pack(tmp_path / "zips" / f"{name}.zip", {"1.jpg": name})
    assert at_hand(str(tmp_path / "zips"), place) is None
    first = resolve(str(tmp_path / "zips"), place)
    assert (first.kind, first.name, first.folder.parent) == ("archive", "zips", place.sources)
    assert (first.folder / "a" / "1.jpg").read_text() == "a"
    assert at_hand(str(tmp_path / "zips"), place) == resolve(str(tmp_path / "zips"), place) == first
    pack(tmp_path / "zips" / "b.zip", {"1.jpg": "c"})
    second = resolve(str(tmp_path / "zips"), place)
    assert second.folder != first.folder
    assert (second.folder / "b" / "1.jpg").read_text() == "c"


def test_a_bad_archive_refuses_them_all_and_leaves_nothing(tmp_path: Path) -> None:
    pack(tmp_path / "zips" / "a.zip", {"1.jpg": "a"})
    (tmp_path / "zips" / "b.zip").write_bytes(b"PK")
    with pytest.raises(SourceError, match=r"The archives in .*zips are refused: .*'b\.zip'.* damaged"):
        resolve(str(tmp_path / "zips"), Workspace(tmp_path / "w"))
    assert not (tmp_path / "w").exists()
    (tmp_path / "zips" / "b.zip").unlink()
    pack(tmp_path / "zips" / "a.tar", {"2.jpg": "a"})
    with pytest.raises(SourceError, match="two archives of one name"):
        resolve(str(tmp_path / "zips"), Workspace(tmp_path / "w"))


@pytest.mark.parametrize("name", ["more.zip", "more.tar", "more.tar.gz", "more.tgz"])
def test_archives_beside_images_stop_unless_they_are_excluded_hold_none_or_lie_unpacked(
    name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    for label in ("cats", "dogs"):
        (folder / label).mkdir(parents=True)
        (folder / label / "1.jpg").touch()
    expected = {("cats", None): 1, ("dogs", None): 1}
    pack(folder / name, {"code/train.py": "", "README.md": "", "LICENSE": ""})
    assert counts(read(folder, tmp_path / "w")) == expected
    pack(folder / name, {"cats/2.jpg": "x"})
    suffix = name.removeprefix("more")
    with pytest.raises(LabelError) as caught:
        read(folder, tmp_path / "w")
    assert all(words in str(caught.value) for words in ("2 images", "1 archives", name, f"--exclude '*{suffix}'"))
    assert counts(read(folder, tmp_path / "w", LabelRules(exclude=(f"*{suffix}",)))) == expected
    (folder / name).rename(folder / f"cats{suffix}")
    assert counts(read(folder, tmp_path / "w")) == expected


def test_what_cannot_be_looked_at_may_hold_images(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar", "a.tgz"):
        (tmp_path / name).write_bytes(os.urandom(600))
        assert may_hold_images(tmp_path / name)
    pack(tmp_path / "outer.tar", {"inner.zip": "x"})
    assert may_hold_images(tmp_path / "outer.tar")
