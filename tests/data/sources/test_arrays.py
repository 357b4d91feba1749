"""Arrays as a source: every pixel and label as NumPy has it, and nothing believed that the file says of itself."""

from __future__ import annotations

import io
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom.data.errors import SourceError
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.ingest.request import IngestSettings
from darkroom.data.sources.arrays import write_images
from darkroom.data.sources.resolve import resolve
from darkroom.data.stores.workspace import Workspace
from tests.datasets import ingest


def pictures(num_images: int, *shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(num_images).integers(0, 256, (num_images, *shape)).astype(dtype)


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "galaxies.npz"
    np.savez(path, **arrays)
    return path


def read_back(folder: Path) -> dict[int, tuple[str, np.ndarray]]:
    """Class folder and pixels by the number in the file's name."""
    return {
        int(path.stem.removeprefix("image-")): (path.parent.name, np.asarray(Image.open(path)))
        for path in folder.rglob("*.png")
    }


@settings(max_examples=25, deadline=None)
@given(
    num_images=st.integers(1, 7),
    sides=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.sampled_from([(), (1,), (3,)]),
    dtype=st.sampled_from(["uint8", "int32", "uint16", "float32", "float64", ">i8", "<f2"]),
    one_hot=st.booleans(),
    compressed=st.booleans(),
)
def test_every_image_is_written_with_its_pixels_into_the_folder_of_its_class(
    tmp_path_factory, num_images, sides, channels, dtype, one_hot, compressed
):
    where = tmp_path_factory.mktemp("arrays")
    data = pictures(num_images, *sides, *channels, dtype=dtype)
    data[0] = 255  # so that fractions of this test are never all below 1
    classes = np.arange(num_images) % 3
    path = where / "made.npz"
    save = np.savez_compressed if compressed else np.savez
    save(path, data=data, labels=np.eye(3)[classes] if one_hot else classes)
    found = read_back(write_images(path, where / "sources"))
    assert sorted(found) == list(range(num_images))
    for number, (label, pixels) in found.items():
        assert label == str(classes[number])
        expected = data[number].astype(np.uint8)
        np.testing.assert_array_equal(pixels, expected[..., 0] if channels == (1,) else expected)


def test_fractions_up_to_one_stand_for_the_whole_range(tmp_path):
    data = pictures(6, 5, 4, 3)
    path = saved(tmp_path, data=data.astype(np.float32) / 255, labels=np.eye(2)[[0, 1] * 3])
    for number, (_, pixels) in read_back(write_images(path, tmp_path / "sources")).items():
        np.testing.assert_array_equal(pixels, data[number])


def test_classes_have_the_names_that_the_file_gives_them(tmp_path):
    names = np.array(["spiral galaxy", "elliptical", "irregular"])
    path = saved(tmp_path, data=pictures(6, 4, 4, 3), labels=np.eye(3)[[2, 0, 1, 2, 0, 1]], names=names)
    found = read_back(write_images(path, tmp_path / "sources"))
    assert [found[number][0] for number in range(6)] == [str(names[k]) for k in (2, 0, 1, 2, 0, 1)]


def test_folders_of_many_classes_sort_as_their_numbers_do(tmp_path):
    path = saved(tmp_path, data=pictures(12, 3, 3, 3), labels=np.eye(12))
    assert sorted(p.name for p in write_images(path, tmp_path / "sources").iterdir()) == [f"{n:02d}" for n in range(12)]


def test_the_same_file_is_written_once(tmp_path):
    path = saved(tmp_path, data=pictures(4, 3, 3, 3), labels=np.eye(2)[[0, 1, 0, 1]])
    folder = write_images(path, tmp_path / "sources")
    made = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert write_images(path, tmp_path / "sources") == folder
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == made


def test_arrays_are_ingested_as_any_source(tmp_path):
    classes = np.arange(60) % 4
    path = saved(tmp_path, data=pictures(60, 16, 16, 3), labels=np.eye(4)[classes])
    source = resolve(str(path), Workspace(tmp_path / "workspace"))
    assert (source.kind, source.name) == ("arrays", "galaxies")
    wanted = IngestSettings(name="galaxies", policy=DecodePolicy(image_size=(16, 16)))
    dataset = ingest(source.folder, tmp_path / "workspace", wanted)
    assert dataset.card.labels == ("0", "1", "2", "3")
    assert (dataset.card.num_files, dataset.card.num_ok) == (60, 60)


GOOD: dict[str, Any] = {"data": pictures(4, 3, 3, 3), "labels": np.eye(2)[[0, 1, 0, 1]]}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"labels": GOOD["labels"]}, r"holds no array 'data' \(it holds: labels\)"),
        ({"data": GOOD["data"]}, "holds no array 'labels'"),
        ({"data": np.zeros((4, 3))}, r"'data' has the shape \[4, 3\], which is not that of images"),
        ({"data": np.zeros((4, 3, 3, 2))}, r"'data' has the shape \[4, 3, 3, 2\]"),
        ({"data": np.zeros((0, 3, 3, 3))}, r"'data' has the shape \[0, 3, 3, 3\]: 1 to"),
        ({"data": np.zeros((4, 1, 5000))}, r"\[4, 1, 5000\]: 1 to .* images of 1 to 4096 pixels"),
        ({"data": np.zeros((4, 3, 3, 3), complex)}, "'data' is of type complex128, not of numbers"),
        ({"data": np.full((4, 3, 3, 3), "a")}, "'data' is of type <U1"),
        ({"data": np.full((4, 3, 3, 3), -1.0)}, "'data' holds values that are not from 0 to 255"),
        ({"data": np.full((4, 3, 3, 3), 256)}, "'data' holds values that are not from 0 to 255"),
        ({"data": np.full((4, 3, 3, 3), np.nan)}, "'data' holds values that are not from 0 to 255"),
        ({"data": np.asfortranarray(GOOD["data"])}, "'data' lies column by column"),
        ({"data": np.zeros((4, 3, 3), [("x", "u1")])}, "only plain numbers and text are read"),
        ({"labels": np.eye(2)[[0, 1, 0]]}, r"'labels' has the shape \[3, 2\].*there are 4 images"),
        ({"labels": np.full((4, 2), 0.5)}, "'labels' is not one-hot"),
        ({"labels": np.ones((4, 2))}, "'labels' is not one-hot"),
        ({"labels": np.array([0, 1, 0, -1])}, "'labels' does not hold class numbers"),
        ({"labels": np.array([0, 1, 0, 1 << 40])}, "'labels' does not hold class numbers"),
        ({"labels": np.array([0.0, 1.0, 0.0, 1.0])}, "'labels' does not hold class numbers"),
        ({"names": np.array(["a"])}, "'names' is not 2 texts"),
        ({"names": np.array(["a", "../b"])}, "'names' holds '../b', which cannot be the name of a folder"),
        ({"names": np.array(["a", "A"])}, "'names' names a class twice"),
        ({"names": np.array(["a", ""])}, "'names' holds ''"),
    ],
)
def test_what_is_not_of_that_form_is_refused_in_one_sentence_and_leaves_nothing(tmp_path, arrays, said):
    whole = {
        k: v for k, v in (GOOD | arrays).items() if len(arrays) > 1 or k in arrays or said.find(f"no array '{k}'") < 0
    }
    with pytest.raises(SourceError, match=said) as caught:
        write_images(saved(tmp_path, **whole), tmp_path / "sources")
    assert "\n" not in str(caught.value)
    assert not [p for p in (tmp_path / "sources").glob("*") if not p.name.startswith(".")]
    assert not list((tmp_path / "sources").rglob("*.png"))


class _Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_in_the_file_is_never_run(tmp_path):
    touched = tmp_path / "touched"
    objects = np.empty(4, object)
    objects[:] = _Touch(touched)
    np.savez(tmp_path / "a.npz", data=objects, labels=GOOD["labels"])
    with pytest.raises(SourceError, match="only plain numbers and text are read"):
        write_images(tmp_path / "a.npz", tmp_path / "sources")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(_Touch(touched)))
    with pytest.raises(SourceError, match=r"is damaged, or not what numpy\.savez writes"):
        write_images(tmp_path / "b.npz", tmp_path / "sources")
    assert not touched.exists()


def hostile(path: Path, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as opened:
        opened.writestr("data.npy", data)
    return path


def header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_a_shape_that_the_bytes_do_not_bear_out_asks_for_no_memory(tmp_path):
    path = hostile(tmp_path / "a.npz", header((5_000_000, 4096, 4096, 3)))
    with pytest.raises(SourceError, match="does not fit its 128 bytes"):
        write_images(path, tmp_path / "sources")


def test_a_member_that_says_it_unpacks_to_more_than_zlib_can_is_refused(tmp_path):
    path = hostile(tmp_path / "a.npz", header((1000, 100, 100, 3)) + bytes(30_000_000))
    with pytest.raises(SourceError, match="unpacks to 30,000,128 bytes, too many"):
        write_images(path, tmp_path / "sources")


def test_other_versions_and_ways_to_compress_are_refused(tmp_path):
    long_header = b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + b" " * 5000
    with pytest.raises(SourceError, match=r"NumPy's format \(2, 0\)"):
        write_images(hostile(tmp_path / "a.npz", long_header, zipfile.ZIP_STORED), tmp_path / "sources")
    with pytest.raises(SourceError, match="other than Deflate"):
        write_images(hostile(tmp_path / "b.npz", header((1, 2, 2, 3)), zipfile.ZIP_LZMA), tmp_path / "sources")


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_gives_every_image(tmp_path_factory, data):
    where = tmp_path_factory.mktemp("damaged")
    path = saved(where, **GOOD)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with suppress(SourceError):
        found = read_back(write_images(path, where / "sources"))
        assert sorted(found) == [0, 1, 2, 3]  # the damage hit what nobody reads


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("point", [0x7FFFFFFF, 0xFFFFFFFF, 0x110000, 0xD800])
def test_a_name_that_is_no_text_is_refused(order, point, tmp_path):
    """NumPy itself fails on such a code point, with a SystemError."""
    points = np.array([ord("a"), point], f"{order}u4")
    path = saved(tmp_path, data=pictures(2, 4, 4), labels=np.array([0, 1]), names=points.view(f"{order}U1"))
    with pytest.raises(SourceError, match=r"'names' holds what is no character of Unicode"):
        write_images(path, tmp_path / "sources")
