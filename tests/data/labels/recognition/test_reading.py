"""What people bring: layouts after public reports, each with the reading that is right, or the options it stops with.

Add a report as a `Brought`: small made files, and either the images by class and split, or the options that the
sentence must offer. No case may end in labels that nobody meant.
"""

from __future__ import annotations

import io
import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.data.errors import LabelError
from darkroom.data.labels.recognition.labelling import Labelling, label_files
from darkroom.data.labels.rules import LabelRules
from darkroom.data.stores.listing import list_files
from darkroom.data.tables.matching import Names

Counts = Mapping[tuple[str, str | None], int]


@dataclass(frozen=True)
class Brought:
    """A source as somebody has it.

    Attributes:
        report: Where such a source was reported.
        files: Paths of images; a path ending in `*N` stands for N files.
        tables: Name to content, text or bytes.
        rules: What the user says.
        expected: Images by label and split; None where nothing may be guessed.
        offered: Words that the refusal must hold.
        left_out: Words to a number that the reading must show.
    """

    report: str
    files: Sequence[str]
    expected: Counts | None = None
    tables: Mapping[str, str | bytes] = field(default_factory=dict)
    rules: LabelRules = field(default_factory=LabelRules)
    offered: Sequence[str] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


def rows(header: str, *lines: str) -> str:
    return "\n".join([header, *lines]) + "\n"


def coco(classes: Mapping[str, Sequence[str]]) -> str:
    """The classes of each image's boxes."""
    names = ["cat", "dog"]
    return json.dumps(
        {
            "images": [{"id": n + 10, "file_name": path} for n, path in enumerate(classes)],
            "annotations": [
                {"image_id": n + 10, "category_id": names.index(label) + 1, "bbox": [0, 0, 1, 1]}
                for n, labels in enumerate(classes.values())
                for label in labels
            ],
            "categories": [{"id": n + 1, "name": name} for n, name in enumerate(names)],
        }
    )


def studio(choices: Mapping[str, str | None]) -> str:
    """Each image with its choice; None for one that was skipped."""
    return json.dumps(
        [
            {
                "id": n,
                "data": {"image": image},
                "annotations": [
                    {
                        "was_cancelled": choice is None,
                        "result": [{"type": "choices", "from_name": "fruit", "value": {"choices": [choice]}}],
                    }
                ],
            }
            for n, (image, choice) in enumerate(choices.items())
        ]
    )


def voc(file: str, *objects: str) -> str:
    boxes = "".join(f"<object><name>{name}</name><bndbox><xmin>1</xmin></bndbox></object>" for name in objects)
    return f"<annotation><folder>x</folder><filename>{file}</filename>{boxes}</annotation>"


def parquet(columns: Mapping[str, Sequence[object]], label: Sequence[str]) -> bytes:
    """As `datasets` writes it: numbers of classes, and their names in the schema."""
    features = {"label": {"names": label, "_type": "ClassLabel"}}
    table = pa.table(dict(columns)).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


AB = rows("file,label", *(f"images/{n}.jpg,{'ab'[n % 2]}" for n in range(8)))
OAKS = [("Quercus", "alba"), ("Quercus", "rubra")] * 2 + [("Acer", "rubrum")] * 2
GT = "ISIC2018_Task3_{}_GroundTruth"
BROUGHT: dict[str, Brought] = {
    "days inside the class folders": Brought(
        "https://github.com/pytorch/vision/pull/80",
        ["cats/day1/*3", "cats/day2/*3", "dogs/day1/*3", "dogs/day3/*3"],
        {("cats", None): 6, ("dogs", None): 6},
    ),
    "one day of all classes": Brought(
        "https://github.com/keras-team/keras/pull/4637",
        ["cats/day1/*3", "dogs/day1/*3"],
        {("cats", None): 3, ("dogs", None): 3},
    ),
    "patients inside the class folders": Brought(
        "https://github.com/pytorch/vision/issues/3130",
        ["train/benign/P001/*2", "train/malignant/P003/*2", "test/benign/P005/*1", "test/malignant/P006/*1"],
        {("benign", "train"): 2, ("malignant", "train"): 2, ("benign", "test"): 1, ("malignant", "test"): 1},
    ),
    "dates above the class folders": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/88",
        ["2018-03-29/ripe/*2", "2018-03-29/unripe/*2", "2018-04-02/ripe/*2"],
        {("ripe", None): 4, ("unripe", None): 2},
    ),
    "kinds inside kinds": Brought(
        "https://github.com/keras-team/keras/pull/4637",
        ["animals/cats/*2", "animals/dogs/*2", "vehicles/cars/*2", "vehicles/buses/*2"],
        offered=["--labels-from top-folder", "--labels-from parent-folder", "animals", "cats"],
    ),
    "kinds inside kinds, the outer ones asked for": Brought(
        "https://github.com/keras-team/keras/pull/4637",
        ["animals/cats/*2", "animals/dogs/*2", "vehicles/cars/*2", "vehicles/buses/*2"],
        {("animals", None): 4, ("vehicles", None): 4},
        rules=LabelRules(source="top-folder"),
    ),
    "kinds inside kinds, the inner ones asked for": Brought(
        "https://github.com/keras-team/keras/pull/4637",
        ["animals/cats/*2", "animals/dogs/*2", "vehicles/cars/*2"],
        {("cats", None): 2, ("dogs", None): 2, ("cars", None): 2},
        rules=LabelRules(source="parent-folder"),
    ),
    "some images of a class in a folder of their own": Brought(
        "https://github.com/jolibrain/deepdetect/pull/503",
        ["cats/*3", "cats/extra/*2", "dogs/*3"],
        offered=["--labels-from top-folder", "--labels-from parent-folder"],
    ),
    "splits inside the class folders": Brought(
        "https://github.com/pytorch/vision/issues/3130",
        ["cats/train/*3", "cats/test/*1", "dogs/train/*3", "dogs/test/*1"],
        {("cats", "train"): 3, ("cats", "test"): 1, ("dogs", "train"): 3, ("dogs", "test"): 1},
    ),
    "folders of nothing but days": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/92",
        ["day1/*3", "day2/*3"],
        offered=["--labels-from parent-folder", "--labels-csv"],
    ),
    "a table beside folders of cameras": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/88",
        ["camera1/*2", "camera2/*2"],
        {("ripe", None): 2, ("unripe", None): 2},
        {"labels.csv": rows("path,label", "camera1/0.jpg,ripe", "camera1/1.jpg,unripe", "camera2/0.jpg,ripe",
                            "camera2/1.jpg,unripe")},
    ),
    "a table that contradicts the folders": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/92",
        ["front/*2", "side/*2"],
        tables={"labels.csv": rows("path,label", "front/0.jpg,ripe", "front/1.jpg,unripe", "side/0.jpg,ripe",
                                   "side/1.jpg,unripe")},
        offered=["--labels-from folders", "--labels-csv labels.csv"],
    ),
    "a table that agrees with the folders": Brought(
        "https://github.com/huggingface/datasets/issues/7201",
        ["ripe/*2", "unripe/*2"],
        {("ripe", None): 2, ("unripe", None): 2},
        {"all.csv": rows("path,label", "ripe/0.jpg,ripe", "unripe/1.jpg,unripe")},
    ),
    "a table whose columns say nothing, beside folders": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/92",
        ["front/*2", "side/*2"],
        tables={"facts.csv": rows("photo,sex,age", "front/0.jpg,f,30", "front/1.jpg,m,31", "side/0.jpg,f,30",
                                  "side/1.jpg,m,31")},
        offered=["--labels-from folders", "facts.csv", "'sex'", "'age'"],
    ),
    "semicolons": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/92",
        ["images/*8"], {("a", None): 4, ("b", None): 4}, {"labels.csv": AB.replace(",", ";")},
    ),
    "tabs": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/92",
        ["images/*8"], {("a", None): 4, ("b", None): 4}, {"labels.tsv": AB.replace(",", "\t")},
    ),
    "UTF-16": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/92",
        ["images/*8"], {("ä", None): 4, ("b", None): 4},
        {"labels.csv": AB.replace(",a", ",ä").encode("utf-16")},
    ),
    "Windows-1252": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/92",
        ["images/*8"], {("ä", None): 4, ("b", None): 4},
        {"labels.csv": AB.replace(",a", ",ä").encode("cp1252")},
    ),
    "an unquoted comma": Brought(
        "https://github.com/Lightning-Universe/lightning-flash/issues/728",
        ["images/*3"],
        tables={"l.csv": rows("file,label", "0.jpg,owl", "1.jpg,owl, barn", "2.jpg,jay")},
        offered=["l.csv line 3", "double quotes"],
    ),
    "columns Image and Id": Brought(
        "https://github.com/pudae/kaggle-humpback",
        ["train/*4", "test/*2"],
        {("w_1", "train"): 2, ("w_2", "train"): 2},
        {"train.csv": rows("Image,Id", *(f"{n}.jpg,w_{n // 2 + 1}" for n in range(4)))},
        left_out={"images without a label": 2},
    ),
    "one column a class": Brought(
        "https://github.com/voxel51/fiftyone/issues/2248",
        ["images/*4"],
        {("MEL", None): 2, ("NV", None): 2},
        {"gt.csv": rows("image,MEL,NV", "0,1.0,0.0", "1,0.0,1.0", "2,1.0,0.0", "3,0.0,1.0")},
    ),
    "one column a class, tables and folders of the splits": Brought(
        "https://github.com/yang-ruixin/PyTorch-Image-Models-Multi-Label-Classification/issues/8",
        ["ISIC2018_Task3_Training_Input/a*2", "ISIC2018_Task3_Validation_Input/b*2"],
        {("MEL", "train"): 1, ("NV", "train"): 1, ("MEL", "validation"): 1, ("NV", "validation"): 1},
        {
            f"{GT.format('Training')}.csv": rows("image,MEL,NV", "a0,1,0", "a1,0,1"),
            f"{GT.format('Validation')}.csv": rows("image,MEL,NV", "b0,1,0", "b1,0,1"),
        },
        rules=LabelRules(source="csv"),
    ),
    "two ones in a row": Brought(
        "https://github.com/yang-ruixin/PyTorch-Image-Models-Multi-Label-Classification/issues/8",
        ["images/*2"],
        tables={"gt.csv": rows("image,rust,scab", "0,1,1", "1,0,1")},
        offered=["gt.csv line 2", "several labels"],
    ),
    "several labels in a cell, by blanks": Brought(
        "https://github.com/Lightning-Universe/lightning-flash/issues/728",
        ["images/*4"],
        tables={"train.csv": rows("image,labels", "0.jpg,scab", "1.jpg,rust", "2.jpg,scab rust", "3.jpg,rust")},
        offered=["1 images have several labels", "'scab rust'", "--combined-labels keep"],
    ),
    "several labels in a cell, by bars": Brought(
        "https://github.com/Lightning-Universe/lightning-flash/issues/728",
        ["images/*4"],
        tables={"l.csv": rows("image,labels", "0.jpg,Mass|Edema", "1.jpg,Edema", "2.jpg,Mass|Hernia", "3.jpg,Hernia")},
        offered=["--combined-labels keep"],
    ),
    "classes of two words": Brought(
        "https://github.com/Lightning-Universe/lightning-flash/issues/728",
        ["images/*3"],
        {("air hockey", None): 1, ("ice hockey", None): 1, ("archery", None): 1},
        {"l.csv": rows("image,label", "0.jpg,air hockey", "1.jpg,ice hockey", "2.jpg,archery")},
    ),
    "masks named after their images": Brought(
        "https://github.com/FengheTan9/CMUNeXt/issues/3",
        ["benign/b (1)", "benign/b (1)_mask", "benign/b (1)_mask_1", "normal/n (1)", "normal/n (1)_mask"],
        {("benign", None): 1, ("normal", None): 1},
        left_out={"masks": 3},
    ),
    "masks in folders": Brought(
        "https://github.com/FengheTan9/CMUNeXt/issues/3",
        ["COVID/images/*2", "COVID/masks/*2", "Normal/images/n*2", "Normal/masks/n*2"],
        {("COVID", None): 2, ("Normal", None): 2},
        left_out={"masks": 4},
    ),
    "a class called mask": Brought(
        "https://github.com/FengheTan9/CMUNeXt/issues/3",
        ["mask/a*2", "no_mask/b*2"],
        {("mask", None): 2, ("no_mask", None): 2},
    ),
    "a column of splits": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["images/*4"],
        {("a", "train"): 1, ("b", "train"): 1, ("a", "test"): 1, ("b", "test"): 1},
        {"m.csv": rows("name,label,split", "0.jpg,a,train", "1.jpg,b,train", "2.jpg,a,test", "3.jpg,b,test")},
    ),
    "a table for each split": Brought(
        "https://github.com/antoyang/NAS-Benchmark/issues/5",
        ["images/*6"],
        {(label, split): 1 for label in "ab" for split in ("train", "validation", "test")},
        {
            f"{name}.csv": rows("filename,label", f"{2 * n}.jpg,a", f"{2 * n + 1}.jpg,b")
            for n, name in enumerate(["train", "val", "test"])
        },
    ),
    "metadata.csv in each split folder": Brought(
        "https://github.com/huggingface/datasets/issues/5098",
        ["train/*2", "test/*2"],
        {("a", "train"): 1, ("b", "train"): 1, ("a", "test"): 1, ("b", "test"): 1},
        {f"{part}/metadata.csv": rows("file_name,label", "0.jpg,a", "1.jpg,b") for part in ("train", "test")},
    ),
    "a Test.csv beside class folders": Brought(
        "https://github.com/antoyang/NAS-Benchmark/issues/5",
        ["Train/stop/*2", "Train/yield/*2", "Test/*2"],
        {("stop", "train"): 2, ("yield", "train"): 2, ("stop", "test"): 1, ("yield", "test"): 1},
        {"Test.csv": rows("Path,Class", "Test/0.jpg,stop", "Test/1.jpg,yield")},
    ),
    "suffixes in another case": Brought(
        "https://github.com/mikeyEcology/MLWIC2/issues/4",
        ["images/*2"], {("a", None): 1, ("b", None): 1},
        {"l.csv": rows("file,label", "images/0.JPG,a", "images/1.JPG,b")},
    ),
    "another suffix": Brought(
        "https://github.com/mikeyEcology/MLWIC2/issues/4",
        ["images/*2"], {("a", None): 1, ("b", None): 1},
        {"l.csv": rows("file,label", "0.png,a", "1.png,b")},
    ),
    "absolute paths of another machine": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/102",
        ["images/*2"], {("a", None): 1, ("b", None): 1},
        {"l.csv": rows("file,label", "/home/bob/images/0.jpg,a", "C:\\Users\\bob\\images\\1.jpg,b")},
    ),
    "accents in another form": Brought(
        "https://github.com/mikeyEcology/MLWIC2/issues/4",
        [unicodedata.normalize("NFD", "images/é"), "images/b"],
        {("a", None): 1, ("b", None): 1},
        {"l.csv": rows("file,label", unicodedata.normalize("NFC", "é.jpg,a"), "b.jpg,b")},
    ),
    "half of the rows name nothing": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/102",
        ["images/*8"],
        tables={"l.csv": rows("file,label", *(f"images/{n}.jpg,{'ab'[n % 2]}" for n in range(4)),
                              *(f"images/IMG_{n}.jpg,a" for n in range(4)))},
        offered=["4 of 8 rows", "images/IMG_0.jpg", "images/4.jpg", "--bad-rows leave-out"],
    ),
    "blank labels": Brought(
        "https://github.com/stanfordmlgroup/chexpert-labeler/issues/9",
        ["images/*3"],
        tables={"l.csv": rows("file,label", "0.jpg,a", "1.jpg,", "2.jpg,b")},
        offered=["line 3", "--bad-rows leave-out"],
    ),
    "blank and contradicting labels, left out": Brought(
        "https://github.com/aligholami/CheXpert-Keras/issues/1",
        ["images/*4"],
        {("a", None): 1, ("b", None): 1},
        {"l.csv": rows("file,label", "0.jpg,a", "1.jpg,", "2.jpg,b", "3.jpg,a", "3.jpg,b")},
        rules=LabelRules(bad_rows="leave-out"),
        left_out={"rows of l.csv without a label": 2, "images without a label": 2},
    ),
    "sidecars of a telephone": Brought(
        "https://github.com/replicate/dreambooth/issues/23",
        ["beach/*2", "city/*2"],
        {("beach", None): 2, ("city", None): 2},
        {"beach/0.AAE": "x", "beach/0.MOV": "x", "city/0.xmp": "x", "notes.xlsx": "x"},
        left_out={"files that are not images": 4},
    ),
    "a recycle bin and a hidden folder": Brought(
        "https://github.com/replicate/dreambooth/issues/23",
        ["cats/*2", "dogs/*2", ".Trash-1000/*2", "$RECYCLE.BIN/*2"],
        {("cats", None): 2, ("dogs", None): 2},
        left_out={"files that are not images": 4},
    ),
    "a class called valid": Brought(
        "https://github.com/huggingface/datasets/issues/7201",
        ["valid/*2", "invalid/*2", "unclear/*2"],
        offered=["--class-folder valid", "--exclude 'valid/*'"],
    ),
    "a class called valid, said": Brought(
        "https://github.com/huggingface/datasets/issues/7201",
        ["valid/*2", "invalid/*2"],
        {("valid", None): 2, ("invalid", None): 2},
        rules=LabelRules(class_folders=("valid",)),
    ),
    "a folder test beside classes, left out": Brought(
        "https://github.com/fastai/fastai/issues/1552",
        ["cats/*2", "dogs/*2", "test/*2"],
        {("cats", None): 2, ("dogs", None): 2},
        rules=LabelRules(exclude=("test/*",)),
        left_out={"--exclude": 2},
    ),
    "a class called photos": Brought(
        "https://github.com/fastai/fastai/issues/1552",
        ["photos/*2", "drawings/*2"],
        {("photos", None): 2, ("drawings", None): 2},
    ),
    "files named like another class": Brought(
        "https://github.com/fastai/fastai/issues/1552",
        ["cats/dog.*3", "dogs/dog.*3"],
        offered=["3 files in 'cats'", "'dogs'", "--labels-from folders", "--labels-from filename"],
    ),
    "most classes of one image": Brought(
        "https://github.com/CozyDoomer/Machine-Learning",
        ["train/*6"],
        {("new", "train"): 2, ("w_1", "train"): 2},
        {"train.csv": rows("Image,Id", "0,new", "1,new", "2,w_1", "3,w_1", "4,w_2", "5,w_3")},
        rules=LabelRules(min_class_size=2),
        left_out={"classes of fewer than 2": 2},
    ),
    "nothing but archives": Brought(
        "https://github.com/tensorflow/datasets/issues/2267",
        [],
        tables={"train.zip": b"PK", "test.zip": b"PK"},
        offered=["2 archives", "test.zip", "unpack"],
    ),
    "names that pandas takes for missing": Brought(
        "https://github.com/fastai/fastai/issues/1008",
        ["images/*7"],
        {(label, None): 1 for label in ("NA", "null", "None", "nan", "001", "1.0", "1")},
        {"l.csv": rows("id,label", "0,NA", "1,null", "2,None", "3,nan", "4,001", "5,1.0", "6,1")},
    ),
    "a table whose bare names stand in two folders": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/88",
        ["a/*2", "b/*2"],
        tables={"labels.csv": rows("file,label", "0.jpg,cat", "1.jpg,dog")},
        offered=["labels.csv", "several images", "--labels-from folders"],
    ),
    "class folders in one part, a table in the other": Brought(
        "https://github.com/antoyang/NAS-Benchmark/issues/5",
        ["train/cat/*2", "train/dog/*2", "test/images/*2"],
        {("cat", "train"): 2, ("dog", "train"): 2, ("cat", "test"): 1, ("dog", "test"): 1},
        {"test/labels.csv": rows("file,label", "0.jpg,cat", "1.jpg,dog")},
    ),
    "class folders that differ in case": Brought(
        "https://github.com/immich-app/immich/issues/14044",
        ["Train/Cat/*2", "Train/Dog/*2", "Test/cat/*2", "Test/dog/*2"],
        offered=["'Cat' and 'cat'", "--labels-from parent-folder"],
    ),
    "the column Usage of a competition": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["images/*3"],
        {("a", "train"): 1, ("b", "validation"): 1, ("a", "test"): 1},
        {"l.csv": rows("file,label,Usage", "0.jpg,a,Training", "1.jpg,b,PublicTest", "2.jpg,a,PrivateTest")},
    ),
    "a flag for the training part": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["images/*3"],
        {("a", "train"): 1, ("b", "train"): 1, ("a", "test"): 1},
        {"l.csv": rows("file,label,is_train", "0.jpg,a,1", "1.jpg,b,1", "2.jpg,a,0")},
    ),
    "a column of splits with a blank": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["images/*3"],
        tables={"l.csv": rows("file,label,split", "0.jpg,a,train", "1.jpg,b,", "2.jpg,a,test")},
        offered=["'split'", "''", "--split-column none"],
    ),
    "a column of splits in numbers": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["images/*3"],
        tables={"l.csv": rows("file,label,split", "0.jpg,a,0", "1.jpg,b,1", "2.jpg,a,2")},
        offered=["'split'", "'0'", "--split-column none"],
    ),
    "a column of splits in numbers, ignored": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["images/*3"],
        {("a", None): 2, ("b", None): 1},
        {"l.csv": rows("file,label,split", "0.jpg,a,0", "1.jpg,b,1", "2.jpg,a,2")},
        rules=LabelRules(split_column="none"),
    ),
    "folds": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["images/*2"],
        {("a", None): 1, ("b", None): 1},
        {"l.csv": rows("file,label,fold", "0.jpg,a,0", "1.jpg,b,1")},
        left_out={"column 'fold'": 1},
    ),
    "lists of the parts as text": Brought(
        "https://github.com/antoyang/NAS-Benchmark/issues/5",
        ["images/pie/*2", "images/soup/*2"],
        tables={"meta/train.txt": "pie/0\nsoup/0\n", "meta/test.txt": "pie/1\nsoup/1\n"},
        offered=["meta/test.txt", "--labels-csv", "--exclude 'meta/test.txt'"],
    ),
    "labels as text": Brought(
        "https://github.com/antoyang/NAS-Benchmark/issues/5",
        ["images/*3"],
        tables={"labels.txt": "images/0.jpg 0\nimages/1.jpg 1\nimages/2.jpg 0\n"},
        offered=["labels.txt", "--labels-csv"],
    ),
    "COCO without classes": Brought(
        "https://github.com/huggingface/datasets/issues/5098",
        ["cats/a*2", "dogs/b*2"],
        tables={"annotations/instances.json": '{"images": [{"file_name": "a0.jpg"}, {"file_name": "a1.jpg"}, '
                                              '{"file_name": "b0.jpg"}]}'},
        offered=["annotations/instances.json", "JSON", "--exclude"],
    ),
    "COCO": Brought(
        "https://github.com/HumanSignal/label-studio/issues/7294",
        ["images/cb0618f6-a*4"],
        {("cat", None): 2, ("dog", None): 1},
        {"result.json": coco({"..\\..\\media\\upload\\4\\cb0618f6-a0.jpg": ["cat", "cat"],
                              "images\\cb0618f6-a1.jpg": ["cat"], "cb0618f6-a2.jpg": ["dog"], "cb0618f6-a3.jpg": []})},
        left_out={"boxes and outlines": 4, "images without a label": 1},
    ),
    "COCO, a file for each split": Brought(
        "https://github.com/ctuning/ck-mlperf/pull/14",
        ["train2017/*2", "val2017/*2"],
        {("cat", "train"): 1, ("dog", "train"): 1, ("cat", "validation"): 1, ("dog", "validation"): 1},
        {"annotations/instances_train2017.json": coco({"0.jpg": ["cat"], "1.jpg": ["dog"]}),
         "annotations/instances_val2017.json": coco({"0.jpg": ["cat"], "1.jpg": ["dog"]})},
    ),
    "COCO with two classes in an image": Brought(
        "https://github.com/penghui-yang/L2D/issues/4",
        ["images/*3"],
        tables={"train.json": coco({"0.jpg": ["cat", "dog"], "1.jpg": ["cat"], "2.jpg": ["dog"]})},
        offered=["train.json", "record 1", "'dog'", "'cat'"],
    ),
    "Label Studio, uploaded files": Brought(
        "https://github.com/HumanSignal/label-studio/issues/5438",
        ["photos/*3"],
        {("ripe", None): 1, ("unripe", None): 1},
        {"project-1.json": studio({"/data/upload/1/5a1b2c3d-0.jpg": "ripe", "/data/upload/1/00000000-1.jpg": "unripe",
                                   "/data/upload/1/ffffffff-2.jpg": None})},
        left_out={"images without a label": 1},
    ),
    "Label Studio, files on disk": Brought(
        "https://github.com/HumanSignal/label-studio/issues/7001",
        ["a/*2", "b/*2"],
        {("ripe", None): 2, ("unripe", None): 2},
        {"export.json": studio({"/data/local-files/?d=photos%2Fa%2F0.jpg": "ripe",
                                "/data/local-files/?d=a/1.jpg": "unripe",
                                "/data/local-files/?d=b/0.jpg": "ripe", "/data/local-files/?d=b/1.jpg": "unripe"})},
        rules=LabelRules(csv="export.json"),
    ),
    "Label Studio's short form": Brought(
        "https://github.com/HumanSignal/label-studio/issues/1350",
        ["photos/*2"],
        {("ripe", None): 1, ("unripe", None): 1},
        {"min.json": json.dumps([
            {"image": "/data/upload/1/5a1b2c3d-0.jpg", "id": 1, "choice": "ripe", "lead_time": 2.5},
            {"image": "/data/upload/1/5a1b2c3e-1.jpg", "id": 2, "choice": "unripe", "lead_time": 3.5}])},
    ),
    "CVAT": Brought(
        "https://github.com/voxel51/fiftyone/pull/1686",
        ["images/*4"],
        {("cat", "train"): 1, ("dog", "train"): 1, ("cat", "test"): 1},
        {"annotations.xml": '<?xml version="1.0"?><annotations><version>1.1</version><meta/>'
            '<image id="0" name="0.jpg" subset="Train"><tag label="cat"><attribute name="a">1</attribute></tag></image>'
            '<image id="1" name="1.jpg" subset="Train"><tag label="dog"/><box label="nose"/></image>'
            '<image id="2" name="2.jpg" subset="Test"><tag label="cat"/></image>'
            '<image id="3" name="3.jpg" subset="Test"/></annotations>'},
        left_out={"boxes and outlines": 1, "images without a label": 1},
    ),
    "Pascal VOC": Brought(
        "https://github.com/by256/emps/issues/5",
        ["JPEGImages/*3"],
        {("cat", "train"): 1, ("dog", "train"): 1, ("cat", "test"): 1},
        {"Annotations/0.xml": voc("0.jpg", "cat", "cat"), "Annotations/1.xml": voc("old_name.jpg", "dog"),
         "Annotations/2.xml": voc("2", "cat"), "ImageSets/Main/train.txt": "0\n1\n", "ImageSets/Main/test.txt": "2\n",
         "ImageSets/Main/cat_train.txt": "0 1\n1 -1\n"},
        left_out={"boxes of *.xml": 4},
    ),
    "XML with a document type": Brought(
        "https://github.com/cvat-ai/cvat/issues/8294",
        ["cats/*2", "dogs/*2"],
        {("cats", None): 2, ("dogs", None): 2},
        {"a.xml": '<!DOCTYPE annotations [<!ENTITY a "aaaa">]><annotations><image name="cats/0.jpg"/></annotations>'},
    ),
    "metadata.jsonl in each split": Brought(
        "https://github.com/huggingface/datasets/issues/7599",
        ["train/*2", "test/*2"],
        {("a", "train"): 1, ("b", "train"): 1, ("a", "test"): 1, ("b", "test"): 1},
        {f"{split}/metadata.jsonl": '{"file_name": "0.jpg", "label": "a"}\n{"file_name": "1.jpg", "label": "b"}\n'
         for split in ("train", "test")},
    ),
    "metadata.jsonl above the splits": Brought(
        "https://github.com/huggingface/datasets/issues/4548",
        ["train/*2", "test/x*1"],
        {("a", "train"): 1, ("b", "train"): 1, ("b", "test"): 1},
        {"metadata.jsonl": '{"file_name": "train/0.jpg", "label": "a"}\n{"file_name": "train/1.jpg", "label": "b"}\n'
                           '{"file_name": "test/x0.jpg", "label": "b"}\n'},
    ),
    "metadata.parquet with numbered classes": Brought(
        "https://github.com/huggingface/datasets/issues/6777",
        ["images/*3"],
        {("cat", None): 2, ("dog", None): 1},
        {"metadata.parquet": parquet({"file_name": [f"images/{n}.jpg" for n in range(3)], "label": [0, 1, 0],
                                      "score": [0.5, 0.25, 0.75]}, label=["cat", "dog"])},
    ),
    "captions, and no labels": Brought(
        "https://github.com/huggingface/datasets/issues/6777",
        ["images/*24"],
        tables={"metadata1000.jsonl": "".join(f'{{"caption": "drawing {n}", "image": "images/{n}.jpg"}}\n'
                                              for n in range(24))},
        rules=LabelRules(csv="metadata1000.jsonl"),
        offered=["metadata1000.jsonl", "--label-column"],
    ),
    "a map of files to labels": Brought(
        "https://github.com/webdataset/webdataset/pull/100",
        ["images/*3"],
        {("cat", None): 2, ("dog", None): 1},
        {"labelfile.json": '{"0.jpg": "cat", "1.jpg": "dog", "images/2": "cat"}'},
    ),
    "a map of labels to files": Brought(
        "https://github.com/webdataset/webdataset/pull/100",
        ["images/*3"],
        {("cat", None): 2, ("dog", None): 1},
        {"labels.json": '{"cat": ["0.jpg", "2.jpg"], "dog": ["1.jpg"]}'},
    ),
    "JSON that contradicts the folders": Brought(
        "https://github.com/webdataset/webdataset/pull/100",
        ["cats/a*2", "dogs/b*2"],
        tables={"labels.json": '{"a0.jpg": "tom", "a1.jpg": "tim", "b0.jpg": "rex", "b1.jpg": "rex"}'},
        offered=["--labels-from folders", "--labels-csv labels.json"],
    ),
    "webdataset, unpacked": Brought(
        "https://github.com/webdataset/webdataset/issues/195",
        ["091*3"],
        {("281", None): 2, ("7", None): 1},
        {"0910.cls": "281", "0911.cls": "7\n", "0912.cls": "281"},
    ),
    "webdataset with objects": Brought(
        "https://github.com/facebookresearch/MetaCLIP/issues/59",
        ["00/uuid*3"],
        {("cat", None): 2, ("dog", None): 1},
        {f"00/uuid{n}.json": json.dumps({"label": ("cat", "dog", "cat")[n], "width": 64 + n}) for n in range(3)},
    ),
    "a note beside the classes": Brought(
        "https://github.com/huggingface/datasets/issues/5098",
        ["cats/*2", "dogs/*2"],
        {("cats", None): 2, ("dogs", None): 2},
        {"README.txt": "Photographs of pets.\nTaken in 2024.\n", "licence.json": '{"licence": "CC0"}'},
    ),
    "tables that refer to each other": Brought(
        "https://github.com/voxel51/fiftyone/issues/2248",
        ["images/*4"],
        tables={
            "images.csv": rows("image_id,path", *(f"{n + 1},images/{n}.jpg" for n in range(4))),
            "image_class_labels.csv": rows("image_id,class_id", *(f"{n + 1},{n % 2}" for n in range(4))),
        },
        rules=LabelRules(csv="image_class_labels.csv"),
        offered=["image_class_labels.csv", "images.csv", "'image_id'", "Join"],
    ),
    "a table without a header": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/92",
        ["images/*3"],
        tables={"l.csv": rows("0.jpg,cat", "1.jpg,dog", "2.jpg,cat")},
        offered=["l.csv", "no header", "path,label"],
    ),
    "two columns of labels": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/92",
        ["images/*3"],
        tables={"l.csv": rows("file,label,label", "0.jpg,a,x", "1.jpg,b,x", "2.jpg,a,y")},
        offered=["l.csv", "several columns", "--label-column"],
    ),
    "a class as number and as word": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/92",
        ["images/*3"],
        {("cat", None): 2, ("dog", None): 1},
        {"l.csv": rows("file,label,class_id", "0.jpg,cat,0", "1.jpg,dog,1", "2.jpg,cat,0")},
    ),
    "overlays and heat maps": Brought(
        "https://github.com/FengheTan9/CMUNeXt/issues/3",
        ["cat/0", "cat/0_overlay", "cat/0_heatmap", "dog/1", "dog/1_thumb"],
        {("cat", None): 1, ("dog", None): 1},
        left_out={"masks": 3},
    ),
    "ids that have lost their zeros": Brought(
        "https://github.com/fastai/fastai/issues/1008",
        ["images/000", "images/001"],
        tables={"l.csv": rows("id,label", "0,a", "1,b")},
        rules=LabelRules(csv="l.csv"),
        offered=["l.csv", "'0'", "images/000.jpg", "--path-column"],
    ),
    "two tables of one split": Brought(
        "https://github.com/antoyang/NAS-Benchmark/issues/5",
        ["images/*4"],
        {("a", None): 2, ("b", None): 2},
        {
            "train.csv": rows("file,label", "0.jpg,a", "1.jpg,b"),
            "train_extra.csv": rows("file,label", "2.jpg,a", "3.jpg,b"),
        },
        rules=LabelRules(csv="train.csv,train_extra.csv"),
    ),
    "a column of 0 and 1 that is no class": Brought(
        "https://github.com/voxel51/fiftyone/issues/2248",
        ["images/*3"],
        {("MEL", None): 2, ("NV", None): 1},
        {"l.csv": rows("image,MEL,NV,male", "0,1,0,1", "1,0,1,0", "2,1,0,1")},
        rules=LabelRules(label_column="MEL,NV"),
    ),
    "genus and species": Brought(
        "https://github.com/visipedia/iwildcam_comp/issues/3",
        ["images/*6"],
        tables={"l.csv": rows("file,genus,species", *(f"{n}.jpg,{g},{s}" for n, (g, s) in enumerate(OAKS)))},
        offered=["--label-column 'genus'", "--label-column 'species'", "(Acer, Quercus)", "alba", "more than one way"],
    ),
    "genus and species, said": Brought(
        "https://github.com/visipedia/iwildcam_comp/issues/3",
        ["images/*6"],
        {("Quercus", None): 4, ("Acer", None): 2},
        {"l.csv": rows("file,genus,species", *(f"{n}.jpg,{g},{s}" for n, (g, s) in enumerate(OAKS)))},
        rules=LabelRules(label_column="genus"),
    ),
    "class and subclass": Brought(
        "https://github.com/visipedia/iwildcam_comp/issues/3",
        ["images/*6"],
        tables={"l.csv": rows("file,Sub-class,Class", *(f"{n}.jpg,{s},{g}" for n, (g, s) in enumerate(OAKS)))},
        offered=["--label-column 'Sub-class'", "--label-column 'Class'"],
    ),
    "species of one genus": Brought(
        "https://github.com/visipedia/iwildcam_comp/issues/3",
        ["images/*4"],
        {("alba", None): 2, ("rubra", None): 2},
        {"l.csv": rows("file,genus,species", *(f"{n}.jpg,{g},{s}" for n, (g, s) in enumerate(OAKS[:4])))},
    ),
    "a genus of each species": Brought(
        "https://github.com/visipedia/iwildcam_comp/issues/3",
        ["images/*2"],
        {("alba", None): 1, ("rubrum", None): 1},
        {"l.csv": rows("file,genus,species", "0.jpg,Quercus,alba", "1.jpg,Acer,rubrum")},
    ),
    "folders of species, and a table of genus and species": Brought(
        "https://github.com/visipedia/iwildcam_comp/issues/3",
        ["alba/*2", "rubra/*2", "rubrum/*2"],
        {("alba", None): 2, ("rubra", None): 2, ("rubrum", None): 2},
        {"l.csv": rows("file,genus,species", "alba/0.jpg,Quercus,alba", "rubra/0.jpg,Quercus,rubra",
                       "rubrum/1.jpg,Acer,rubrum")},
    ),
    "a label beside its family": Brought(
        "https://github.com/visipedia/iwildcam_comp/issues/3",
        ["images/*6"],
        {("alba", None): 2, ("rubra", None): 2, ("rubrum", None): 2},
        {"l.csv": rows("file,family,label", *(f"{n}.jpg,{g},{s}" for n, (g, s) in enumerate(OAKS)))},
    ),
    "splits in a table beside class folders": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["cats/c*2", "dogs/d*2"],
        {("cats", "train"): 1, ("dogs", "train"): 1, ("cats", "test"): 1, ("dogs", "test"): 1},
        {"splits.csv": rows("file,split", "c0.jpg,train", "c1.jpg,test", "d0.jpg,train", "d1.jpg,test")},
    ),
    "a first line that says what separates the cells": Brought(
        "https://github.com/pandas-dev/pandas/issues/47303",
        ["images/*4"],
        {("a", None): 2, ("b", None): 2},
        {"l.csv": "sep=;\r\npath;label\r\n" + "".join(f"images/{n}.jpg;{'ab'[n % 2]}\r\n" for n in range(4))},
    ),
    "the same for 0 and 1 in columns, in UTF-16": Brought(
        "https://github.com/shenwei356/csvtk/issues/13",
        ["images/*4"],
        {("a", None): 2, ("b", None): 2},
        {"l.csv": rows('"sep=\t"', "path\ta\tb", *(f"{n}\t{n % 2}\t{1 - n % 2}" for n in range(4))).encode("utf-16")},
    ),
    "blank lines above the header": Brought(
        "https://github.com/pandas-dev/pandas/issues/47303",
        ["images/*8"],
        {("a", None): 4, ("b", None): 4},
        {"l.csv": "\n\n" + AB},
    ),
    "UTF-16 and UTF-32 without and with a mark": Brought(
        "https://github.com/pandas-dev/pandas/issues/40201",
        ["images/*8"],
        {("a", None): 4, ("b", None): 4},
        {"train.csv": AB.encode("utf-16-le"), "val.tsv": rows("path,label", "x,y").encode("utf-32")},
    ),
    "a quote that is never closed": Brought(
        "https://github.com/apple/turicreate/issues/1692",
        ["images/*6"],
        tables={"l.csv": rows("path,label", "0.jpg,a", "1.jpg,b", "2.jpg,a", '3.jpg,"b', "4.jpg,a", "5.jpg,b")},
        offered=["l.csv line 5 opens a double quote that is never closed"],
    ),
    "a quote that another one closes further down": Brought(
        "https://github.com/apple/turicreate/issues/1692",
        ["images/*6"],
        tables={"l.csv": rows("path,note,label", "images/0.jpg,\"5 cm,a", "images/1.jpg,,b", "images/2.jpg,6\",a",
                              "images/3.jpg,,b", "images/4.jpg,,a")},
        offered=["l.csv line 4 ends a cell that holds other rows, as 'images/1.jpg,,b'"],
    ),
    "what a model predicted, as the only table": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["images/*6"],
        tables={"out.csv": rows("path,label,confidence", *(f"images/{n}.jpg,{'ab'[n % 2]},0.9{n}" for n in range(6)))},
        offered=["out.csv looks like what a model predicted (column 'confidence')", "--labels-csv out.csv",
                 "--exclude 'out.csv'"],
    ),
    "predictions in JSON lines, told by their name": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["images/*6"],
        tables={"predictions.jsonl": "".join(f'{{"path": "{n}.jpg", "label": "{"ab"[n % 2]}"}}\n' for n in range(6))},
        offered=["what a model predicted (its name)", "--labels-csv predictions.jsonl"],
    ),
    "a prediction table in Parquet, scores alike": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["images/*4"],
        tables={"part-00000.parquet": parquet({"path": [f"images/{n}.jpg" for n in range(4)],
                                               "label": list("abab"), "score": [0.5] * 4}, [])},
        offered=["what a model predicted (column 'score')"],
    ),
    "the column of predictions alone": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["images/*4"],
        tables={"t.csv": rows("file,predicted_class", *(f"{n}.jpg,{'ab'[n % 2]}" for n in range(4)))},
        offered=["what a model predicted (column 'predicted_class')"],
    ),
    "predictions that are to be learned": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["images/*4"],
        {("a", None): 2, ("b", None): 2},
        {"out.csv": rows("path,label,confidence", *(f"images/{n}.jpg,{'ab'[n % 2]},0.9{n}" for n in range(4)))},
        LabelRules(csv="out.csv"),
    ),
    "predictions that are left out, and class folders": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["cats/*2", "dogs/*2"],
        {("cats", None): 2, ("dogs", None): 2},
        {"out.csv": rows("path,label,confidence", "cats/0.jpg,dogs,0.9", "cats/1.jpg,cats,0.8")},
        LabelRules(exclude=("out.csv",)),
    ),
    "the truth beside what was predicted": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["images/*4"],
        {("a", None): 2, ("b", None): 2},
        {"t.csv": rows("file,label,predicted,score", *(f"{n}.jpg,{'ab'[n % 2]},b,0.{n}" for n in range(4)))},
    ),
    "how sure a person was, in words": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["images/*4"],
        {("a", None): 2, ("b", None): 2},
        {"t.csv": rows("file,label,confidence", *(f"{n}.jpg,{'ab'[n % 2]},{n}" for n in range(4)))},
    ),
    "patients in the only other column": Brought(
        "https://github.com/pytorch/vision/issues/3130",
        ["images/*6"],
        tables={"l.csv": rows("path,patient", *(f"{n}.jpg,mr {n % 3}" for n in range(6)))},
        offered=["column 'patient' looks like days, patients or the like (mr 0, mr 1, m", "--label-column 'patient'"],
    ),
    "dates in the only other column": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/88",
        ["images/*6"],
        tables={"l.csv": rows("path,taken", *(f"{n}.jpg,2020-01-0{n % 3 + 1}" for n in range(6)))},
        offered=["column 'taken' looks like days, patients", "--label-column 'taken'"],
    ),
    "patients asked for": Brought(
        "https://github.com/pytorch/vision/issues/3130",
        ["images/*6"],
        {("P001", None): 3, ("P002", None): 3},
        {"l.csv": rows("path,patient", *(f"{n}.jpg,P00{n % 2 + 1}" for n in range(6)))},
        LabelRules(label_column="patient"),
    ),
    "one table of two that cannot be read": Brought(
        "https://github.com/huggingface/datasets/pull/3221",
        ["images/*8"],
        tables={"train.csv": AB, "test.csv": rows("path,label", "images/7.jpg,a,b")},
        offered=["test.csv may hold more labels", "line 2 has 3 cells", "--labels-csv train.csv"],
    ),
    "a table of something else beside the labels": Brought(
        "https://github.com/huggingface/datasets/pull/3221",
        ["images/*8"],
        {("a", None): 4, ("b", None): 4},
        {"labels.csv": AB, "wines.csv": rows("id,class,order", "x,red,i", "y,white,ii", "z,red,iii")},
        left_out={"unused table": 1},
    ),
    "addresses with blanks": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/151",
        ["images/a b*2", "images/c d*2"],
        {("x", None): 2, ("y", None): 2},
        {"l.csv": rows("url,label", *(f"https://h.example/images/{p}{n}.jpg,{label}"
                                      for p, label in (("a%20b", "x"), ("c%20d", "y")) for n in range(2)))},
    ),
    "accents in two encodings": Brought(
        "https://github.com/owncloud/client/issues/12104",
        ["train/caf\u00e9/*2", "train/b/*2", "test/cafe\u0301/*2", "test/b/*2"],
        offered=["'cafe\\u0301' and 'caf\\xe9' differ in spelling", "--labels-from parent-folder"],
    ),
    "a blank and an underscore": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["red fox/*2", "red_fox/*2", "wolf/*2"],
        offered=["'red fox' and 'red_fox' differ in spelling"],
    ),
    "an invisible character": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["images/*4"],
        tables={"l.csv": rows("path,label", "0.jpg,cat", "1.jpg,cat\u200b", "2.jpg,dog", "3.jpg,dog")},
        offered=["'cat' and 'cat\\u200b' differ in spelling"],
    ),
    "numbers of classes that pandas made fractions of": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/152",
        ["images/*4"],
        tables={"l.csv": rows("path,label", "0.jpg,0", "1.jpg,1", "2.jpg,0.0", "3.jpg,1.0")},
        offered=["'0' and '0.0' differ in spelling"],
    ),
    "two spellings that are two classes": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["red fox/*2", "red_fox/*2", "wolf/*2"],
        {("red fox", None): 2, ("red_fox", None): 2, ("wolf", None): 2},
        rules=LabelRules(source="parent-folder"),
    ),
    "validation inside training": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["train/train/a/*2", "train/train/b/*2", "train/val/a/*1", "train/val/b/*1", "test/a/*1", "test/b/*1"],
        {("a", "train"): 2, ("b", "train"): 2, ("a", "validation"): 1, ("b", "validation"): 1,
         ("a", "test"): 1, ("b", "test"): 1},
    ),
    "training, validation, evaluation": Brought(
        "https://github.com/huggingface/datasets/pull/3221",
        ["training/a/*2", "training/b/*2", "validation/a/*1", "validation/b/*1", "evaluation/a/*1", "evaluation/b/*1"],
        {("a", "train"): 2, ("b", "train"): 2, ("a", "validation"): 1, ("b", "validation"): 1,
         ("a", "test"): 1, ("b", "test"): 1},
    ),
    "training and holdout": Brought(
        "https://github.com/huggingface/datasets/pull/3221",
        ["train/a/*2", "train/b/*2", "Hold-out/a/*1", "Hold-out/b/*1"],
        {("a", "train"): 2, ("b", "train"): 2, ("a", "test"): 1, ("b", "test"): 1},
    ),
    "training, eval, test": Brought(
        "https://github.com/huggingface/datasets/pull/3221",
        ["train/a/*2", "train/b/*2", "eval/a/*1", "eval/b/*1", "test/a/*1", "test/b/*1"],
        {("a", "train"): 2, ("b", "train"): 2, ("a", "validation"): 1, ("b", "validation"): 1,
         ("a", "test"): 1, ("b", "test"): 1},
    ),
    "Label Studio's CSV, whose files were uploaded": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/102",
        ["images/*4"],
        {("a", None): 2, ("b", None): 2},
        {"p.csv": rows("annotation_id,choice,id,image",
                       *(f"{n},{'ab'[n // 2]},{3 - n},/data/upload/1/5a1b2c3d-{n}.jpg" for n in range(4)))},
    ),
    "the numbers of rows beside paths that are not here": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/102",
        ["images/*4"],
        tables={"l.csv": rows("n,file,label", *(f"{n},cat_{n}.jpg,{'ab'[n % 2]}" for n in range(4)))},
        offered=["l.csv names no image here"],
    ),
    "COCO with an annotation of an image that it does not list": Brought(
        "https://github.com/visipedia/iwildcam_comp/issues/3",
        ["images/*4"],
        {("cat", None): 2, ("dog", None): 2},
        {"a.json": coco({f"{n}.jpg": [("cat", "dog")[n % 2]] for n in range(4)}).replace(
            '"annotations": [', '"annotations": [{"image_id": 77, "category_id": 1, "bbox": [0, 0, 1, 1]}, ')},
        left_out={"annotations of images that are not listed": 1, "boxes and outlines": 4},
    ),
    "COCO with a category that has no name": Brought(
        "https://github.com/visipedia/iwildcam_comp/issues/3",
        ["images/*4"],
        tables={"a.json": coco({f"{n}.jpg": [("cat", "dog")[n % 2]] for n in range(4)}).replace('"dog"', "null")},
        offered=["record 2 has no category"],
    ),
    "an object of JSON that says two things of an image": Brought(
        "https://github.com/visipedia/iwildcam_comp/issues/3",
        ["images/*3"],
        tables={"l.json": '{"0.jpg": "a", "0.jpg": "b", "1.jpg": "b", "2.jpg": "a"}'},
        offered=["A JSON object has '0.jpg' twice"],
    ),
    "JSON whose labels are no numbers": Brought(
        "https://github.com/fastai/fastai/issues/1008",
        ["images/*3"],
        tables={"l.jsonl": rows('{"file": "0.jpg", "label": NaN}', '{"file": "1.jpg", "label": 1}',
                                '{"file": "2.jpg", "label": 2}')},
        offered=["record 1 has no label"],
    ),
    "Pascal VOC with an image in two lists": Brought(
        "https://github.com/pytorch/vision/issues/3130",
        ["JPEGImages/*4"],
        tables={**{f"Annotations/{n}.xml": voc(f"{n}.jpg", "ab"[n % 2]) for n in range(4)},
                "ImageSets/Main/train.txt": "0\n1\n2\n", "ImageSets/Main/val.txt": "2\n3\n"},
        offered=["val.txt puts '2' into the validation part, another list into the train part"],
    ),
    "classes of webdataset that are no text": Brought(
        "https://github.com/huggingface/datasets/pull/3221",
        ["shard/*3"],
        tables={"shard/0.cls": b"0", "shard/1.cls": b"\0\xff", "shard/2.cls": b"1"},
        offered=["shard/1.cls holds bytes that are no text"],
    ),
    "fractions for classes in Parquet": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/152",
        ["images/*4"],
        {("0", None): 2, ("1", None): 2},
        {"l.parquet": parquet({"file": [f"{n}.jpg" for n in range(4)], "label": [0.0, 1.0, 0.0, 1.0]}, [])},
    ),
    "splits in a column of another name": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["images/*4"],
        {("a", "train"): 1, ("b", "train"): 1, ("a", "test"): 1, ("b", "test"): 1},
        {"l.csv": rows("path,label,purpose", "0.jpg,a,Train", "1.jpg,b,TRAIN", "2.jpg,a,test", "3.jpg,b,Test")},
    ),
    "two columns of splits": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["images/*4"],
        tables={"l.csv": rows("path,label,split,fold_1", *(f"{n}.jpg,{'ab'[n % 2]},{s}" for n, s in enumerate(
            ("train,train", "train,train", "test,train", "train,test"))))},
        offered=["'split' and 'fold_1'", "--split-column"],
    ),
    "classes that are called train and test": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["images/*4"],
        {("train", None): 2, ("test", None): 2},
        {"l.csv": rows("path,label", *(f"{n}.jpg,{('train', 'test')[n % 2]}" for n in range(4)))},
    ),
    "a list of numbers and paths": Brought(
        "https://github.com/xfflzl/CIM-CIL/issues/2",
        ["images/a/*2", "images/b/*2"],
        tables={"images.txt": rows("1 a/0.jpg", "2 a/1.jpg", "3 b/0.jpg", "4 b/1.jpg"),
                "train_test_split.txt": rows("1 0", "2 1", "3 0", "4 1")},
        offered=["images.txt lists images of this source", "--labels-csv", "--exclude 'images.txt'"],
    ),
    "Excel's errors among the labels": Brought(
        "https://github.com/fastai/fastai/issues/1008",
        ["images/*3"],
        tables={"l.csv": rows("file,label", "0.jpg,a", "1.jpg,#N/A", "2.jpg,b")},
        offered=["line 3 holds Excel's error #N/A", "--bad-rows leave-out"],
    ),
    "Git's pointer in the place of the table": Brought(
        "https://github.com/huggingface/datasets/pull/3221",
        ["canon/*2", "nikon/*2"],
        tables={"labels.csv": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"},
        offered=["labels.csv is not here, only Git's pointer to it", "git lfs pull"],
    ),
    "images that are still to be sorted": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["cats/*2", "dogs/*2", "unlabelled/*2"],
        offered=["--class-folder unlabelled", "--exclude 'unlabelled/*'"],
    ),
    "a class that is called unsorted": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["cats/*2", "dogs/*2", "unsorted/*2"],
        {("cats", None): 2, ("dogs", None): 2, ("unsorted", None): 2},
        rules=LabelRules(class_folders=("unsorted",)),
    ),
    "a copy of a class folder": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["cats/*2", "cats - Copy/*2", "dogs/*2"],
        offered=["'cats' and 'cats - Copy' differ in the mark of a copy"],
    ),
    "numbered classes are no copies of each other": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["type (1)/*2", "type (2)/*2"],
        {("type (1)", None): 2, ("type (2)", None): 2},
    ),
    "a blank at the end of a folder's name": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["cats /*2", "cats/*2", "dogs/*2"],
        offered=["'cats' and 'cats ' differ in spelling"],
    ),
    "a class folder that is not there": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["cats/*2", "dogs/*2"],
        rules=LabelRules(class_folders=("bird",)),
        offered=["--class-folder names 'bird'", "cats, dogs"],
    ),
    "a pattern that leaves nothing out": Brought(
        "https://github.com/keras-team/keras-preprocessing/issues/240",
        ["cats/*2", "dogs/*2"],
        {("cats", None): 2, ("dogs", None): 2},
        rules=LabelRules(exclude=("raw/*",)),
        left_out={"files that --exclude 'raw/*' names": 0},
    ),
    "a column of splits of no table": Brought(
        "https://github.com/liaopeiyuan/artbench/issues/2",
        ["cats/*2", "dogs/*2"],
        rules=LabelRules(split_column="part"),
        offered=["--split-column asks for the column 'part'", "--labels-csv"],
    ),
    "label images and predictions beside the photographs": Brought(
        "https://github.com/pytorch/vision/issues/3130",
        ["cats/0", "cats/0_label", "cats/1", "cats/1_pred", "dogs/2", "dogs/2_alpha"],
        {("cats", None): 2, ("dogs", None): 1},
        left_out={"masks of other images": 3},
    ),
    "Pascal VOC with a damaged file": Brought(
        "https://github.com/pytorch/vision/issues/3130",
        ["JPEGImages/*3"],
        {("a", None): 1, ("b", None): 1},
        {"Annotations/0.xml": voc("0.jpg", "a"), "Annotations/1.xml": voc("1.jpg", "b"), "Annotations/2.xml": "<annot"},
        left_out={"XML files that cannot be read": 1, "images without a label": 1, "boxes of": 2},
    ),
    "spreadsheets alone": Brought(
        "https://github.com/fastai/fastai/issues/1008",
        ["images/*6"],
        tables={"labels.xlsx": b"PK"},
        offered=["labels.xlsx may hold labels, and spreadsheets are not read: save it as CSV"],
    ),
}  # fmt: skip


def lay(folder: Path, brought: Brought) -> None:
    for file in brought.files:
        stem, _, number = file.partition("*")
        names = [f"{stem}{n}.jpg" for n in range(int(number))] if number else [f"{file}.jpg"]
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"")
    for name, content in brought.tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def read(folder: Path, rules: LabelRules) -> Labelling:
    return label_files(folder, list_files(folder), rules)


@pytest.mark.parametrize("name", BROUGHT)
def test_a_source_is_read_as_it_is_meant_or_not_at_all(name: str, tmp_path: Path) -> None:
    brought = BROUGHT[name]
    assert brought.report.startswith("https://")
    lay(tmp_path, brought)
    if brought.expected is None:
        with pytest.raises(LabelError) as caught:
            read(tmp_path, brought.rules)
        said = str(caught.value)
        assert [words for words in brought.offered if words not in said] == []
        assert (caught.value.exit_status, "\n" in said) == (2, False)
        return
    found = read(tmp_path, brought.rules)
    assert Counter((file.label, file.source_split) for file in found.files if file.label) == brought.expected
    shown = {words: number for words in brought.left_out for each in found.reading.left_out
             if words in each.what for number in [each.number]}  # fmt: skip
    assert shown == brought.left_out


@pytest.mark.parametrize("name", [name for name, brought in BROUGHT.items() if brought.expected is not None])
def test_the_reading_accounts_for_every_image(name: str, tmp_path: Path) -> None:
    brought = BROUGHT[name]
    lay(tmp_path, brought)
    entries = list_files(tmp_path)
    found = label_files(tmp_path, entries, brought.rules)
    reading = found.reading
    assert reading.num_labelled == sum(each.num_images for each in reading.classes)
    assert reading.num_images == sum(file.entry.reason is None for file in found.files)
    left = [each for each in reading.left_out if each.what == "images without a label"]
    assert reading.num_images - reading.num_labelled == sum(each.number for each in left)
    assert len(found.files) == len(entries)
    assert all(len(each.examples) == min(3, each.number) for each in reading.left_out)


def test_a_folder_that_is_a_link_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    source = tmp_path / "source"
    lay(source, Brought("", ["a/*2", "b/*2"]))
    (source / "valid").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LabelError, match=r"valid is a link to a folder.*--exclude 'valid'"):
        read(source, LabelRules())
    assert read(source, LabelRules(exclude=("valid",))).reading.num_labelled == 4


def test_a_table_that_is_a_link_is_not_passed_over(tmp_path: Path) -> None:
    source = tmp_path / "source"
    lay(source, Brought("", ["canon/*2", "nikon/*2"]))
    lines = [f"{folder}/{n}.jpg,{'ab'[n]}" for folder in ("canon", "nikon") for n in (0, 1)]
    (tmp_path / "elsewhere.csv").write_text(rows("file,label", *lines))
    (source / "labels.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(LabelError, match=r"labels\.csv is a link to a file outside.*--labels-csv 'labels\.csv'"):
        read(source, LabelRules())
    assert {each.label for each in read(source, LabelRules(csv="labels.csv")).reading.classes} == {"a", "b"}
    folders = read(source, LabelRules(exclude=("labels.csv",))).reading
    assert {each.label for each in folders.classes} == {"canon", "nikon"}


def test_settings_that_came_later_change_no_hash_unless_they_are_set() -> None:
    """The settings are part of a data set's version."""
    assert set(LabelRules().model_dump(mode="json")) == {
        "source", "pattern", "csv", "path_column", "label_column", "classes"
    }  # fmt: skip
    changed = LabelRules(exclude=("a/*",), min_class_size=2)
    assert LabelRules.model_validate_json(changed.model_dump_json()) == changed
    assert changed.model_dump()["min_class_size"] == 2
    assert LabelRules.model_validate({"exclude": "a/*, b/*"}).exclude == ("a/*", "b/*")


@pytest.mark.parametrize("agrees", [True, False])
def test_the_rows_of_a_table_are_matched_to_the_files_once(
    agrees: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the first 500, by which the column of paths is known; whether class folders lie beside it or not."""
    names = [f"{'ab'[n % 2]}/{n}.jpg" if agrees else f"all/{n}.jpg" for n in range(2000)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "labels.csv").write_text(rows("file,label", *(f"{name},{'ab'[n % 2]}" for n, name in enumerate(names))))
    matched: Counter[str] = Counter()
    find = Names.find

    def counting(self: Names, written: str, folder: str, table_name: str) -> list[str]:
        matched[written] += 1
        return find(self, written, folder, table_name)

    monkeypatch.setattr(Names, "find", counting)
    labelled = label_files(tmp_path, list_files(tmp_path), LabelRules())
    assert Counter(file.label for file in labelled.files if file.label) == {"a": 1000, "b": 1000}
    assert {matched[name] for name in names[500:]} == {1}
