"""Labels and splits from the layouts that real data sets have, and what is said where that cannot work."""

from __future__ import annotations

import csv
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from darkroom.data.errors import LabelError
from darkroom.data.labels.layout import read_layout
from darkroom.data.labels.recognition.labelling import Labelling, label_files
from darkroom.data.labels.rules import LabelRules
from darkroom.data.stores.listing import FileEntry, list_files

Answer = tuple[str | None, str | None]


def lay(folder: Path, files: Sequence[str], tables: Mapping[str, str] | None = None) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"")
    for name, text in (tables or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder


def label(folder: Path, rules: LabelRules | None = None) -> Labelling:
    return label_files(folder, list_files(folder), rules or LabelRules())


def answers(labelling: Labelling) -> dict[str, Answer]:
    return {file.entry.path: (file.label, file.source_split) for file in labelling.files if file.entry.reason is None}


def refused(folder: Path, rules: LabelRules | None = None) -> str:
    with pytest.raises(LabelError) as caught:
        label(folder, rules)
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Published layouts, with the label and the split of each file as their authors mean them.
LAYOUTS: dict[str, tuple[dict[str, Answer], dict[str, str]]] = {
    "tongpython/cat-and-dog": (
        {
            "training_set/training_set/cats/cat.1.jpg": ("cats", "train"),
            "training_set/training_set/dogs/dog.1.jpg": ("dogs", "train"),
            "test_set/test_set/cats/cat.4001.jpg": ("cats", "test"),
            "test_set/test_set/dogs/dog.4001.jpg": ("dogs", "test"),
        },
        {},
    ),
    "dogs-vs-cats": (
        {
            "train/cat.0.jpg": ("cat", "train"),
            "train/cat.1.jpg": ("cat", "train"),
            "train/dog.0.jpg": ("dog", "train"),
            "train/dog.1.jpg": ("dog", "train"),
            "test1/1.jpg": (None, "test"),
            "test1/2.jpg": (None, "test"),
            "test1/3.jpg": (None, "test"),
            "test1/4.jpg": (None, "test"),
            "test1/5.jpg": (None, "test"),
        },
        {"sampleSubmission.csv": "id,label\n1,0\n2,0\n3,0\n"},
    ),
    "paultimothymooney/chest-xray-pneumonia": (
        {
            f"chest_xray/{folder}/{name}/{n}.jpeg": (name, split)
            for folder, split in (("train", "train"), ("val", "validation"), ("test", "test"))
            for name in ("NORMAL", "PNEUMONIA")
            for n in (1, 2)
        },
        {},
    ),
    "cifar as folders": (
        {"train/airplane/0001.png": ("airplane", "train"), "train/truck/0001.png": ("truck", "train")},
        {},
    ),
    "abdallahalidev/plantvillage-dataset": (
        {
            "plantvillage dataset/color/Apple___Apple_scab/a.JPG": ("Apple___Apple_scab", None),
            "plantvillage dataset/color/Corn_(maize)___healthy/b.JPG": ("Corn_(maize)___healthy", None),
            "plantvillage dataset/grayscale/Apple___Apple_scab/a.JPG": ("Apple___Apple_scab", None),
        },
        {},
    ),
    "dog-breed-identification": (
        {
            "train/000bec180eb18c7604dcecc8fe0dba07.jpg": ("boston_bull", "train"),
            "train/001513dfcb2ffafc82cccf4d8bbaba97.jpg": ("dingo", "train"),
            "test/000621fb3cbb32d8935728e48679680e.jpg": (None, "test"),
        },
        {
            "labels.csv": "id,breed\n000bec180eb18c7604dcecc8fe0dba07,boston_bull\n"
            "001513dfcb2ffafc82cccf4d8bbaba97,dingo\n",
            "sample_submission.csv": "id,boston_bull,dingo\n000621fb3cbb32d8935728e48679680e,0.5,0.5\n",
        },
    ),
    "puneet6060/intel-image-classification": (
        {
            "seg_train/seg_train/buildings/0.jpg": ("buildings", "train"),
            "seg_train/seg_train/forest/8.jpg": ("forest", "train"),
            "seg_test/seg_test/buildings/20.jpg": ("buildings", "test"),
            "seg_pred/seg_pred/3.jpg": (None, None),
            "seg_pred/seg_pred/5.jpg": (None, None),
        },
        {},
    ),
    "alxmamaev/flowers-recognition": (
        {
            "flowers/daisy/100080576_f52e8ee070_n.jpg": ("daisy", None),
            "flowers/rose/10090824183_d02c613f10_m.jpg": ("rose", None),
        },
        {},
    ),
    "plant-seedlings-classification": (
        {
            "train/Black-grass/0050f38b3.png": ("Black-grass", "train"),
            "train/Sugar beet/00d090cde.png": ("Sugar beet", "train"),
            "test/0021e90e4.png": (None, "test"),
            "test/003d61042.png": (None, "test"),
            "test/007b3da8b.png": (None, "test"),
        },
        {"sample_submission.csv": "file,species\n0021e90e4.png,Sugar beet\n003d61042.png,Sugar beet\n"},
    ),
    "histopathologic-cancer-detection": (
        {
            "train/f38a6374.tif": ("0", "train"),
            "train/c18f2d88.tif": ("1", "train"),
            "test/a7ea26360.tif": (None, "test"),
        },
        {
            "train_labels.csv": "id,label\nf38a6374,0\nc18f2d88,1\n",
            "sample_submission.csv": "id,label\na7ea26360,0\n",
        },
    ),
    "cifar-10 (both parts count from 1)": (
        {
            "train/1.png": ("frog", "train"),
            "train/2.png": ("truck", "train"),
            "test/1.png": (None, "test"),
            "test/2.png": (None, "test"),
        },
        {"trainLabels.csv": "id,label\n1,frog\n2,truck\n", "sampleSubmission.csv": "id,label\n1,cat\n2,cat\n"},
    ),
    "butterfly-image-classification": (
        {
            "train/Image_1.jpg": ("SOUTHERN DOGFACE", "train"),
            "train/Image_2.jpg": ("ADONIS", "train"),
            "test/Image_1.jpg": (None, "test"),
        },
        {
            "Training_set.csv": "filename,label\nImage_1.jpg,SOUTHERN DOGFACE\nImage_2.jpg,ADONIS\n",
            "Testing_set.csv": "filename\nImage_1.jpg\n",
        },
    ),
    "aptos2019-blindness-detection": (
        {
            "train_images/000c1434d8d7.png": ("2", "train"),
            "train_images/001639a390f0.png": ("4", "train"),
            "test_images/0005cfc8afb6.png": (None, "test"),
        },
        {
            "train.csv": "id_code,diagnosis\n000c1434d8d7,2\n001639a390f0,4\n",
            "test.csv": "id_code\n0005cfc8afb6\n",
            "sample_submission.csv": "id_code,diagnosis\n0005cfc8afb6,0\n",
        },
    ),
    "kmader/skin-cancer-mnist-ham10000": (
        {
            "HAM10000_images_part_1/ISIC_0027419.jpg": ("bkl", None),
            "HAM10000_images_part_2/ISIC_0032258.jpg": ("mel", None),
        },
        {
            "HAM10000_metadata.csv": "lesion_id,image_id,dx,dx_type\nHAM_1,ISIC_0027419,bkl,histo\n"
            "HAM_2,ISIC_0032258,mel,histo\n",
            "hmnist_8_8_L.csv": "pixel0000,pixel0001,label\n1,2,3\n",
        },
    ),
    "grassknoted/asl-alphabet": (
        {
            "asl_alphabet_train/asl_alphabet_train/A/A1.jpg": ("A", "train"),
            "asl_alphabet_train/asl_alphabet_train/del/del1.jpg": ("del", "train"),
            "asl_alphabet_test/asl_alphabet_test/A_test.jpg": (None, "test"),
        },
        {},
    ),
    "tiny-imagenet": (
        {
            "tiny-imagenet-200/train/n01443537/images/n01443537_0.JPEG": ("n01443537", "train"),
            "tiny-imagenet-200/train/n01629819/images/n01629819_0.JPEG": ("n01629819", "train"),
            "tiny-imagenet-200/val/images/val_0.JPEG": (None, "validation"),
            "tiny-imagenet-200/test/images/test_0.JPEG": (None, "test"),
        },
        {},
    ),
    "meowmeowmeowmeowmeow/gtsrb-german-traffic-sign": (
        {
            "Train/0/00000_00000_00000.png": ("0", "train"),
            "Train/1/00001_00000_00000.png": ("1", "train"),
            "Test/00000.png": ("1", "test"),
            "Meta/0.png": (None, None),
        },
        {
            "Train.csv": "Width,ClassId,Path\n29,0,Train/0/00000_00000_00000.png\n",
            "Test.csv": "Width,ClassId,Path\n53,1,Test/00000.png\n",
            "Meta.csv": "Path,ClassId\nMeta/0.png,0\n",
        },
    ),
    "gpiosenka/sports-classification": (
        {
            "train/air hockey/001.jpg": ("air hockey", "train"),
            "train/archery/001.jpg": ("archery", "train"),
            "valid/air hockey/1.jpg": ("air hockey", "validation"),
            "test/archery/1.jpg": ("archery", "test"),
        },
        {"sports.csv": "class id,filepaths,labels,data set\n0,train/air hockey/001.jpg,air hockey,train\n"},
    ),
    "Oxford-IIIT pets": (
        {
            "images/Abyssinian_100.jpg": ("Abyssinian", None),
            "images/american_bulldog_10.jpg": ("american_bulldog", None),
            "images/keeshond_1.jpg": ("keeshond", None),
        },
        {},
    ),
    "moltean/fruits (with a folder of mixed plates)": (
        {
            "fruits-360/Training/Apple Red 1/0_100.jpg": ("Apple Red 1", "train"),
            "fruits-360/Training/Banana/0_100.jpg": ("Banana", "train"),
            "fruits-360/Test/Banana/3_100.jpg": ("Banana", "test"),
            "fruits-360/test-multiple_fruits/apple_1.jpg": (None, None),
        },
        {},
    ),
    "vehicles, one of them a train": (
        {"bus/1.jpg": ("bus", None), "car/1.jpg": ("car", None), "train/1.jpg": ("train", None)},
        {},
    ),
    "vehicles in parts": (
        {
            f"{part}/{name}/1.jpg": (name, split)
            for part, split in (("train", "train"), ("test", "test"))
            for name in ("bus", "car", "train")
        },
        {},
    ),
    "trains by their engine": (
        {"steam_train/1.jpg": ("steam_train", None), "diesel_train/1.jpg": ("diesel_train", None)},
        {},
    ),
    "a CSV inside the folder that wraps all": (
        {"galaxies/images/PGC218.jpg": ("spiral", None), "galaxies/images/PGC243.jpg": ("elliptical", None)},
        {"galaxies/labels.csv": "file,label\nimages/PGC218.jpg,spiral\nimages/PGC243.jpg,elliptical\n"},
    ),
    "classes beside each other with a test part for the judge": (
        {
            "cats/1.jpg": ("cats", None),
            "dogs/1.jpg": ("dogs", None),
            "birds/1.jpg": ("birds", None),
            "test/cats/1.jpg": ("cats", "test"),
            "test/dogs/1.jpg": ("dogs", "test"),
        },
        {},
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_known_layout_is_recognised_as_its_authors_mean_it(name: str, tmp_path: Path) -> None:
    expected, tables = LAYOUTS[name]
    found = label(lay(tmp_path, list(expected), tables))
    assert answers(found) == expected
    without = sum(label is None for label, _ in expected.values())
    assert (f"{without} files without a label" in found.decision) == (without > 0)


def test_every_listed_file_is_there_in_listing_order_and_stray_ones_have_no_label(tmp_path: Path) -> None:
    lay(tmp_path, ["b/2.jpg", "a/1.jpg", "a/.DS_Store", "a/notes.txt", "__MACOSX/a/1.jpg"])
    entries = list_files(tmp_path)
    found = label_files(tmp_path, entries, LabelRules())
    assert [file.entry for file in found.files] == entries
    assert {file.entry.path: file.label for file in found.files} == {
        "a/1.jpg": "a",
        "b/2.jpg": "b",
        "a/.DS_Store": None,
        "a/notes.txt": None,
        "__MACOSX/a/1.jpg": None,
    }


@pytest.mark.parametrize("written", ["Train", "TRAINING", "training_set", "training set", "train-data", "trainset"])
@pytest.mark.parametrize("held", ["test", "Testing", "test_set", "Test Images", "testset", "test1"])
def test_split_folders_are_known_however_they_are_written(written: str, held: str) -> None:
    layout = read_layout({f"x/{written}/a", f"x/{written}/b", f"x/{held}/a", f"x/{held}/b"}).places
    assert Counter((place.label, place.split) for place in layout.values()) == {
        ("a", "train"): 1,
        ("b", "train"): 1,
        ("a", "test"): 1,
        ("b", "test"): 1,
    }


@pytest.mark.parametrize("written", ["val", "valid", "Validation", "validation_set", "val2017", "dev"])
def test_validation_folders_are_known_however_they_are_written(written: str) -> None:
    assert read_layout({f"{written}/a", "train/a"}).places[f"{written}/a"].split == "validation"


@pytest.mark.parametrize("name", ["contest", "trainer", "crash_test", "invalid", "latest", "evaluation"])
def test_a_class_whose_name_only_holds_a_split_word_is_a_class(name: str) -> None:
    layout = read_layout({name, "other"}).places
    assert (layout[name].label, layout[name].split) == (name, None)


@settings(deadline=None)
@given(
    st.sets(st.text("abcxyz é", min_size=1, max_size=5).filter(lambda name: name.strip() == name), min_size=2),
    st.booleans(),
)
def test_one_folder_a_class_is_read_back_with_and_without_splits(names: set[str], split: bool) -> None:
    tops = ("train", "test") if split else ("all",)
    layout = read_layout({f"{top}/{name}" for top in tops for name in names}).places
    for top in tops:
        for name in names:
            place = layout[f"{top}/{name}"]
            assert (place.label, place.split) == (name, top if split else None)


def test_what_is_decided_is_said_with_its_numbers(tmp_path: Path) -> None:
    lay(tmp_path, ["train/a/1.jpg", "train/b/1.jpg", "train/b/2.jpg", "test/a/3.jpg", "test/4.jpg"])
    assert (
        label(tmp_path).decision == "labels from class folders; split folders: test 1, train 3; 1 files without a label"
    )


def test_a_setting_overrides_what_was_recognised(tmp_path: Path) -> None:
    files = ["a/cat.1.jpg", "a/dog.2.jpg", "b/cat.3.jpg", "b/dog.4.jpg"]
    rows = "\n".join(f"{file},{number % 2}" for number, file in enumerate(files))
    lay(tmp_path, files, {"truth.csv": f"path,label\n{rows}\n", "other.csv": f"path,label\n{rows}\n"})

    def labels(rules: LabelRules) -> list[str | None]:
        found = answers(label(tmp_path, rules))
        return [found[file][0] for file in files]

    everything = refused(tmp_path)
    offered = ("--labels-from folders", "--labels-csv other.csv", "--labels-csv truth.csv")
    assert all(option in everything for option in offered)
    assert labels(LabelRules(source="folders")) == ["a", "a", "b", "b"]
    assert labels(LabelRules(source="filename")) == ["cat", "dog", "cat", "dog"]
    assert labels(LabelRules(csv="truth.csv")) == ["0", "1", "0", "1"]
    assert labels(LabelRules(csv=str(tmp_path / "truth.csv"))) == ["0", "1", "0", "1"]
    assert labels(LabelRules(pattern=r"\.(?P<label>[12])\.jpg")) == ["1", "2", None, None]
    assert "several tables of labels: other.csv, truth.csv" in refused(tmp_path, LabelRules(source="csv"))


def test_numbered_folders_are_classes_only_where_that_is_said(tmp_path: Path) -> None:
    lay(tmp_path, ["batch_1/x.jpg", "batch_2/y.jpg"])
    assert "--labels-from parent-folder" in refused(tmp_path)
    found = answers(label(tmp_path, LabelRules(source="parent-folder")))
    assert found == {"batch_1/x.jpg": ("batch_1", None), "batch_2/y.jpg": ("batch_2", None)}


@pytest.mark.parametrize("stem", ["IMG_{}", "DSC_{}", "image-{}", "Train_{}", "Test_{}", "{}", "photo {}"])
def test_a_name_that_every_file_has_is_no_label(stem: str, tmp_path: Path) -> None:
    lay(tmp_path, [f"pictures/{stem.format(n)}.jpg" for n in range(4)] + ["pictures/val_9.jpg"])
    assert "--labels-csv" in refused(tmp_path)


def test_a_pattern_is_searched_and_files_without_it_have_no_label(tmp_path: Path) -> None:
    lay(tmp_path, ["x/2020-cat-a.jpg", "x/2021-dog-b.jpg", "x/plain.jpg"])
    found = label(tmp_path, LabelRules(pattern=r"\d{4}-(?P<label>[a-z]+)"))
    assert [file.label for file in found.files] == ["cat", "dog", None]
    assert r"\d{4}-(?P<label>[a-z]+)" in found.decision


def rows_of(*rows: tuple[str, str], header: str = "id,label") -> str:
    return "\n".join([header, *(f"{path},{name}" for path, name in rows)]) + "\n"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("deep/1.jpg", "deep/2.jpg"),
        ("./deep/1.jpg", "deep//2.jpg"),
        ("deep\\1.jpg", "deep\\2.jpg"),
        ("1.jpg", "2.jpg"),
        ("1", "2"),
        ("deep/1", "deep/2"),
        (" 1 ", "2 "),
    ],
)
def test_a_row_may_name_its_file_by_path_name_or_id(first: str, second: str, tmp_path: Path) -> None:
    lay(tmp_path, ["deep/1.jpg", "deep/2.jpg"], {"labels.csv": rows_of((first, "a"), (second, "b"))})
    assert answers(label(tmp_path)) == {"deep/1.jpg": ("a", None), "deep/2.jpg": ("b", None)}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_byte_order_mark_windows_newlines_and_quotes_change_nothing(newline: str, start: str, tmp_path: Path) -> None:
    lay(tmp_path, ["a, b.jpg", "ü.jpg"])
    lines = ["note,ID,Label", '"said ""so""","a, b.jpg",first', "", 'x,ü.jpg,"second, class"', ""]
    (tmp_path / "l.csv").write_bytes((start + newline.join(lines)).encode())
    assert answers(label(tmp_path)) == {"a, b.jpg": ("first", None), "ü.jpg": ("second, class", None)}


@settings(deadline=None)
@given(st.dictionaries(st.text("abc,\"'\n é", min_size=1).map(str.strip).filter(bool), st.integers(0, 99), min_size=2))
def test_any_label_that_csv_can_hold_comes_back(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, int]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        for number, name in enumerate(names):
            writer.writerow([f"{number}.png", name])
            (folder / f"{number}.png").touch()
    rules = LabelRules(combined_labels="keep")
    assert [answers(label(folder, rules))[f"{number}.png"][0] for number in range(len(names))] == list(names)


def test_columns_are_found_by_their_usual_names_or_named(tmp_path: Path) -> None:
    text = "taken,photo_no,kind,label\n2020,1,owl,x\n2021,2,jay,y\n"
    lay(tmp_path, ["1.jpg", "2.jpg"], {"t.csv": text})
    for rules in (LabelRules(), LabelRules(csv="t.csv"), LabelRules(csv="t.csv", path_column="photo_no")):
        found = label(tmp_path, rules)
        assert [file.label for file in found.files if file.label] == ["x", "y"]
        assert "t.csv, columns 'photo_no' and 'label'" in found.decision
    both = LabelRules(path_column="photo_no", label_column="kind")
    found = label(tmp_path, both)
    assert [file.label for file in found.files if file.label] == ["owl", "jay"]
    assert "t.csv, columns 'photo_no' and 'kind'" in found.decision
    wrong = refused(tmp_path, LabelRules(csv="t.csv", path_column="photo_no", label_column="sort"))
    assert "no column 'sort' for the labels" in wrong
    assert "--label-column" in wrong


def test_rows_that_name_no_file_are_counted(tmp_path: Path) -> None:
    rows = rows_of(("1", "a"), ("2", "b"), ("3", "b"), ("4", "a"))
    lay(tmp_path, ["1.jpg", "2.jpg"], {"labels.csv": rows})
    assert "2 rows name no file here" in label(tmp_path).decision


def test_rows_that_could_mean_two_files_are_counted_and_label_neither(tmp_path: Path) -> None:
    rows = rows_of(("1", "a"), ("2", "b"), ("3", "a"))
    lay(tmp_path, ["x/1.jpg", "y/1.jpg", "z/2.jpg", "z/3.jpg"], {"labels.csv": rows})
    found = label(tmp_path, LabelRules(source="csv"))
    assert "1 rows name more than one file" in found.decision
    assert answers(found) == {
        "x/1.jpg": (None, None),
        "y/1.jpg": (None, None),
        "z/2.jpg": ("b", None),
        "z/3.jpg": ("a", None),
    }


def test_a_row_given_twice_counts_once_and_a_contradiction_names_its_line(tmp_path: Path) -> None:
    lay(tmp_path, ["1.jpg", "2.jpg"], {"labels.csv": rows_of(("1", "a"), ("2", "b"), ("1", "a"))})
    assert answers(label(tmp_path)) == {"1.jpg": ("a", None), "2.jpg": ("b", None)}
    (tmp_path / "labels.csv").write_text(rows_of(("1", "a"), ("2", "b"), ("1.jpg", "b")))
    sentence = refused(tmp_path)
    assert "labels.csv: line 4 gives '1.jpg' the label 'b', an earlier row 'a'" in sentence


def test_the_line_of_a_wrong_row_is_that_of_the_file(tmp_path: Path) -> None:
    text = 'id,label\n1,a\n\n2,"b\nb"\n1,\n'
    lay(tmp_path, ["1.jpg", "2.jpg"], {"labels.csv": text})
    assert "labels.csv: line 6 has no label" in refused(tmp_path)


def test_a_label_that_is_none_of_the_classes_is_named_with_its_line(tmp_path: Path) -> None:
    lay(tmp_path, ["1.jpg", "2.jpg"], {"train.csv": rows_of(("1", "dog"), ("2", "catt"))})
    rules = LabelRules(classes=("cat", "dog"))
    assert "Label 'catt' in train.csv line 3 is not one of cat, dog. Correct the row" in refused(tmp_path, rules)
    folders = lay(tmp_path / "f", ["cat/1.jpg", "dgo/1.jpg"])
    assert "dgo/1.jpg has the label 'dgo'" in refused(folders, rules)
    assert label(folders, LabelRules(classes=("cat", "dgo"))).decision == "labels from class folders"


def test_a_csv_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    lay(tmp_path, ["1.jpg", "2.jpg"])
    (tmp_path / "l.csv").write_bytes(b"id,label\n1,\x81\n")
    assert "UTF-8, UTF-16 or Windows-1252" in refused(tmp_path, LabelRules(csv="l.csv"))
    (tmp_path / "l.csv").write_bytes(b"")
    assert "it has no header" in refused(tmp_path, LabelRules(csv="l.csv"))
    assert "nowhere.csv" in refused(tmp_path, LabelRules(csv="nowhere.csv"))


def test_a_fifo_named_like_a_csv_does_not_block(tmp_path: Path) -> None:
    lay(tmp_path, ["a/1.jpg", "b/1.jpg"])
    os.mkfifo(tmp_path / "labels.csv")
    assert label(tmp_path).decision == "labels from class folders"


def test_no_label_at_all_says_what_was_tried_and_what_to_do(tmp_path: Path) -> None:
    lay(tmp_path, ["1.jpg", "2.jpg"])
    sentence = refused(tmp_path)
    assert sentence.startswith(f"No image in {tmp_path} has a label (labels from class folders).")
    assert "--labels-csv" in sentence
    assert "--label-pattern" in sentence


def test_one_class_alone_is_refused_with_the_class_and_the_count(tmp_path: Path) -> None:
    lay(tmp_path, ["photos/cats/1.jpg", "photos/cats/2.jpg"])
    assert f"All 2 labelled images in {tmp_path} are of one class, 'cats'" in refused(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "words"), [("(?P<label>[a-z", "is not a regular expression"), ("([a-z]+)", "needs a group named label")]
)
def test_a_pattern_that_cannot_work_is_refused(pattern: str, words: str, tmp_path: Path) -> None:
    assert words in refused(lay(tmp_path, ["a.jpg"]), LabelRules(pattern=pattern))


@pytest.mark.parametrize(
    "settings",
    [
        {"source": "folders", "csv": "x.csv"},
        {"source": "folders", "pattern": "(?P<label>.)"},
        {"source": "csv", "pattern": "(?P<label>.)"},
        {"source": "filename", "label_column": "x"},
        {"pattern": "(?P<label>.)", "csv": "x.csv"},
        {"source": "guess"},
        {"patern": "x"},
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        LabelRules.model_validate(settings)


def test_the_class_folder_of_a_name_that_is_not_utf8_is_printable(tmp_path: Path) -> None:
    for name in (b"caf\xe9", b"tea"):
        os.mkdir(os.path.join(os.fsencode(tmp_path), name))
        with open(os.path.join(os.fsencode(tmp_path), name, b"1.jpg"), "wb"):
            pass
    assert sorted(str(file.label) for file in label(tmp_path).files) == ["caf\\xe9", "tea"]


def test_labelling_does_not_slow_down_with_the_square_of_the_files(tmp_path: Path) -> None:
    def seconds(number: int) -> float:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        (folder / "labels.csv").write_text("id,label\n" + "".join(f"{n},{n % 7}\n" for n in range(number)))
        images = [FileEntry(f"train/{n}.jpg", f"train/{n}.jpg", 1, 1) for n in range(number)]
        entries = list_files(folder) + images
        start = time.process_time()
        assert sum(1 for file in label_files(folder, entries, LabelRules()).files if file.label) == number
        return time.process_time() - start

    # Ten times the files: ten times the work, or a hundred times where it grows with the square.
    few, many = (statistics.median(seconds(number) for number in [size] * 3) for size in (2_000, 20_000))
    assert many < 40 * max(few, 0.005)
