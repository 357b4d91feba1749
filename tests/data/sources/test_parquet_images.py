"""Parquet files with images in them, and data frames, as folders with a table."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from darkroom.data.errors import LabelError, SourceError
from darkroom.data.labels.recognition.labelling import label_files
from darkroom.data.labels.rules import LabelRules
from darkroom.data.sources.frames import write_frame
from darkroom.data.sources.parquet_images import ImageParquet, image_parquet, write_images
from darkroom.data.sources.resolve import at_hand, resolve
from darkroom.data.stores.listing import list_files
from darkroom.data.stores.workspace import Workspace


def image_bytes(seed: int, form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def write_parquet(file: Path, images: list[bytes | None], labels: list[int], struct: bool = True) -> None:
    """As `datasets` writes one: a struct of bytes and path, and numbers of classes with their names in the schema."""
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    column = pa.array([{"bytes": image, "path": "x.png"} for image in images]) if struct else pa.array(images)
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": column, "label": labels}).replace_schema_metadata(metadata)
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=2)


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("struct", [True, False])
def test_the_rows_of_a_hugging_face_data_set_keep_bytes_labels_and_splits(tmp_path: Path, struct: bool) -> None:
    jpeg = image_bytes(4, "JPEG")
    write_parquet(
        tmp_path / "hf/data/train-00000-of-00002.parquet", [image_bytes(0), image_bytes(1), jpeg], [0, 1, 1], struct
    )
    write_parquet(tmp_path / "hf/data/test-00000-of-00001.parquet", [image_bytes(2), None], [0, 1], struct)
    (tmp_path / "hf/README.md").write_text("# Pets")
    workspace = Workspace(tmp_path / "workspace")
    assert at_hand(str(tmp_path / "hf"), workspace) is None
    source = resolve(str(tmp_path / "hf"), workspace)
    assert (source.kind, source.name) == ("parquet", "hf")
    found = table_of(source.folder)
    assert [(row["label"], row["split"]) for row in found] == [
        ("cat", "test"), ("dog", "test"), ("cat", "train"), ("dog", "train"), ("dog", "train"),
    ]  # fmt: skip
    written = [(source.folder / row["path"]).read_bytes() for row in found]
    assert written == [image_bytes(2), b"", image_bytes(0), image_bytes(1), jpeg]
    assert [Path(row["path"]).suffix for row in found] == [".png", ".img", ".png", ".png", ".jpg"]
    labelled = label_files(source.folder, list_files(source.folder), LabelRules())
    assert sorted((file.label, file.source_split) for file in labelled.files if file.label) == [
        ("cat", "test"), ("cat", "train"), ("dog", "test"), ("dog", "train"), ("dog", "train"),
    ]  # fmt: skip
    again = at_hand(str(tmp_path / "hf"), workspace)
    assert again is not None
    assert again.folder == source.folder


def test_a_folder_of_photographs_beside_parquet_is_a_folder(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [image_bytes(0)], [0])
    assert image_parquet(tmp_path) == ImageParquet(tmp_path, ("train.parquet",))
    (tmp_path / "a.jpg").write_bytes(b"")
    assert image_parquet(tmp_path) is None


def test_parquet_without_images_is_no_source_of_images(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file": ["a.jpg"], "label": [1], "thumb": [b"no image"]}), tmp_path / "l.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    assert image_parquet(tmp_path / "l.parquet") is None
    assert image_parquet(tmp_path / "broken.parquet") is None
    with pytest.raises(SourceError, match=r"broken\.parquet is a file that is no known archive"):
        resolve(str(tmp_path / "broken.parquet"), Workspace(tmp_path / "workspace"))


def test_files_of_different_columns_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [image_bytes(0)], [0])
    pq.write_table(pa.table({"photo": [image_bytes(1)], "label": [1]}), tmp_path / "b.parquet")
    with pytest.raises(SourceError, match=r"a\.parquet and b\.parquet have different columns"):
        write_images(ImageParquet(tmp_path, ("a.parquet", "b.parquet")), tmp_path / "sources")
    assert [path.name for path in (tmp_path / "sources").glob("*-parquet-*")] == []


def test_a_frame_of_arrays_and_pillow_images_keeps_their_pixels(tmp_path: Path) -> None:
    arrays = [np.full((4, 6, 3), n, np.uint8) for n in range(3)]
    frame = pd.DataFrame(
        {"photo": [arrays[0], Image.fromarray(arrays[1]), arrays[2][..., 0]], "label": ["a", "b", "a"]}
    )
    folder = write_frame(frame, tmp_path)
    rows = table_of(folder)
    assert [row["label"] for row in rows] == ["a", "b", "a"]
    pixels = [np.asarray(Image.open(folder / row["path"])) for row in rows]
    assert [each.shape for each in pixels] == [(4, 6, 3), (4, 6, 3), (4, 6)]
    assert [each.max() for each in pixels] == [0, 1, 2]
    assert write_frame(frame, tmp_path) == folder
    assert write_frame(frame.assign(label=["a", "b", "b"]), tmp_path) != folder


def test_a_frame_of_paths_links_the_files_under_the_names_that_they_have(tmp_path: Path) -> None:
    for name in ("pets/cats/1.png", "pets/dogs/1.png", "pets/dogs/not-in-the-frame.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(image_bytes(len(name)))
    paths = [tmp_path / "pets/cats/1.png", str(tmp_path / "pets/dogs/1.png")]
    folder = write_frame(
        pd.DataFrame({"file": paths, "species": ["cat", "dog"], "split": ["train", None]}), tmp_path / "s"
    )
    assert [(row["path"], row["species"], row["split"]) for row in table_of(folder)] == [
        ("images/cats/1.png", "cat", "train"), ("images/dogs/1.png", "dog", ""),
    ]  # fmt: skip
    written = (folder / "images/cats/1.png").read_bytes()
    assert hashlib.sha256(written).digest() == hashlib.sha256((tmp_path / "pets/cats/1.png").read_bytes()).digest()
    assert sum(path.is_file() for path in (folder / "images").rglob("*")) == 2


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"label": ["a", "b"]}, "No column of the frame holds images: it has 'label'"),
        ({"a": [image_bytes(0)] * 2, "b": [image_bytes(1)] * 2}, "several columns of images: 'a', 'b'"),
        ({"x": [np.zeros((4, 4, 4), np.uint8)], "label": ["a"]}, r"Row 0 of the frame holds uint8\[4, 4, 4\]"),
        ({"x": [np.zeros((4, 4), np.float32)], "label": ["a"]}, r"Row 0 of the frame holds float32\[4, 4\]"),
    ],
)
def test_a_frame_that_cannot_be_read_is_refused_in_a_sentence(
    tmp_path: Path, columns: dict[str, list[object]], said: str
) -> None:
    with pytest.raises(SourceError, match=said):
        write_frame(pd.DataFrame(columns), tmp_path)


def test_a_file_that_a_frame_names_and_that_is_gone_is_named(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.png" for n in range(7)]
    for file in files[:-1]:
        file.write_bytes(image_bytes(0))
    with pytest.raises(SourceError, match=r"Row 6 of the frame names .*6\.png"):
        write_frame(pd.DataFrame({"file": files, "label": ["a"] * 7}), tmp_path / "s")


def labels_of(folder: Path, workspace: Path, **rules: Any) -> list[tuple[str | None, str | None]]:
    source = resolve(str(folder), Workspace(workspace))
    files = label_files(source.folder, list_files(source.folder), LabelRules(**rules)).files
    return sorted((str(file.label), file.source_split) for file in files if file.entry.reason is None)


def test_what_lies_beside_parquet_files_of_images_is_in_the_reading(tmp_path: Path) -> None:
    folder = tmp_path / "hf"
    write_parquet(folder / "train.parquet", [image_bytes(n) for n in range(4)], [0, 1, 0, 1])
    for name in ("README.md", "LICENSE", "notes.csv"):
        (folder / name).write_text("a,b\n1,2\n")
    source = resolve(str(folder), Workspace(tmp_path / "w"))
    labelling = label_files(source.folder, list_files(source.folder), LabelRules())
    said = "\n".join(map(str, labelling.reading.left_out))
    assert all(f"beside/{name}" in said for name in ("README.md", "notes.csv"))
    assert sum(file.label is not None for file in labelling.files) == 4
    again = at_hand(str(folder), Workspace(tmp_path / "w"))
    assert again is not None
    assert again.folder == source.folder


def test_archives_and_other_tables_of_labels_beside_parquet_files_of_images_stop(tmp_path: Path) -> None:
    for name in ("zip", "csv"):
        write_parquet(tmp_path / name / "train.parquet", [image_bytes(n) for n in range(4)], [0, 1, 0, 1])
    with zipfile.ZipFile(tmp_path / "zip" / "more.zip", "w") as archive:
        archive.writestr("cats/1.png", image_bytes(9))
    with pytest.raises(LabelError, match=r"4 images, and 1 archives .* beside/more\.zip.* --exclude '\*\.zip'"):
        labels_of(tmp_path / "zip", tmp_path / "w")
    assert len(labels_of(tmp_path / "zip", tmp_path / "w", exclude="*.zip")) == 4
    (tmp_path / "csv" / "better.csv").write_text("file,label\n0000000.png,tom\n0000001.png,rex\n")
    with pytest.raises(LabelError, match=r"several tables of labels: beside/better\.csv, labels\.csv"):
        labels_of(tmp_path / "csv", tmp_path / "w")


def test_parquet_files_of_images_beside_photographs_stop(tmp_path: Path) -> None:
    for number, name in enumerate(("cats/1.png", "dogs/1.png")):
        (tmp_path / "pets" / name).parent.mkdir(parents=True)
        (tmp_path / "pets" / name).write_bytes(image_bytes(number))
    write_parquet(tmp_path / "pets" / "more.parquet", [image_bytes(5)], [0])
    with pytest.raises(LabelError, match=r"2 images, and 1 Parquet files .* more\.parquet.* --exclude '\*\.parquet'"):
        labels_of(tmp_path / "pets", tmp_path / "w")
    assert labels_of(tmp_path / "pets", tmp_path / "w", exclude="*.parquet") == [("cats", None), ("dogs", None)]


def test_split_folders_of_parquet_files_are_splits(tmp_path: Path) -> None:
    write_parquet(tmp_path / "hf/default/train/0000.parquet", [image_bytes(0), image_bytes(1)], [0, 1])
    write_parquet(tmp_path / "hf/default/test/0000.parquet", [image_bytes(2), image_bytes(3)], [0, 1])
    write_parquet(tmp_path / "hf/.cache/train/old.parquet", [image_bytes(4)], [0])
    assert labels_of(tmp_path / "hf", tmp_path / "w") == [
        ("cat", "test"), ("cat", "train"), ("dog", "test"), ("dog", "train"),
    ]  # fmt: skip


def test_a_number_that_no_class_has_is_no_class(tmp_path: Path) -> None:
    """The test parts of many data sets have -1, since their labels are held back."""
    write_parquet(tmp_path / "hf/train.parquet", [image_bytes(0), image_bytes(1)], [0, 1])
    write_parquet(tmp_path / "hf/test.parquet", [image_bytes(2), image_bytes(3)], [-1, 7])
    with pytest.raises(LabelError, match=r"line 2 has no label; line 3 has no label.* --bad-rows leave-out"):
        labels_of(tmp_path / "hf", tmp_path / "w")
    assert labels_of(tmp_path / "hf", tmp_path / "w", bad_rows="leave-out") == [
        ("None", None), ("None", None), ("cat", "train"), ("dog", "train"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["string", "Int64", "boolean", "object"])
def test_a_gap_in_any_kind_of_column_is_a_gap(tmp_path: Path, kind: Any) -> None:
    labels = {
        "string": ["a", None, "b"],
        "Int64": [0, None, 1],
        "boolean": [True, None, False],
        "object": ["a", None, "b"],
    }
    images = [np.full((4, 6, 3), n, np.uint8) for n in range(3)]
    frame = pd.DataFrame({"photo": images, "label": pd.Series(labels[kind], dtype=kind)})
    found = [row["label"] for row in table_of(write_frame(frame, tmp_path))]
    assert found == {"Int64": ["0", "", "1"], "boolean": ["1", "", "0"]}.get(kind, ["a", "", "b"])


def test_a_frame_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    images = [np.full((4, 6, 3), n, np.uint8) for n in range(2)]
    frame = pd.DataFrame([[images[0], "a", "b"], [images[1], "b", "a"]], columns=["photo", "label", "label"])
    with pytest.raises(SourceError, match="several columns called 'label'"):
        write_frame(frame, tmp_path)


def test_a_linked_parquet_file_is_not_passed_over(tmp_path: Path) -> None:
    write_parquet(tmp_path / "hf" / "train.parquet", [image_bytes(0)], [0])
    write_parquet(tmp_path / "blobs" / "b.parquet", [image_bytes(1)], [1])
    (tmp_path / "hf" / "test.parquet").symlink_to(tmp_path / "blobs" / "b.parquet")
    with pytest.raises(SourceError, match=r"test\.parquet cannot be used \(link_outside\)"):
        resolve(str(tmp_path / "hf"), Workspace(tmp_path / "w"))
