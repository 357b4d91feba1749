"""Several labels an image: each form of table and of folders, and that none is taken for one label in silence."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from darkroom.data.errors import LabelError
from darkroom.data.labels.recognition.labelling import Labelling, label_files
from darkroom.data.labels.rules import LabelRules
from darkroom.data.stores.listing import list_files

SEVERAL = LabelRules(task="multi-label")


def source(folder: Path, files: Mapping[str, bytes] | Sequence[str], table: str = "") -> Path:
    contents = files if isinstance(files, Mapping) else {name: name.encode() for name in files}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if table:
        (folder / "labels.csv").write_text(table, encoding="utf-8")
    return folder


def read(folder: Path, rules: LabelRules = SEVERAL) -> Labelling:
    return label_files(folder, list_files(folder), rules)


def labels(found: Labelling) -> dict[str, str]:
    return {file.entry.path: file.label for file in found.files if file.label is not None}


IMAGES = [f"{name}.png" for name in "pqrs"]
TABLES = {
    "columns of 0 and 1": "file,cat,dog\np.png,1,0\nq.png,1,1\nr.png,0,0\ns.png,0,1\n",
    "lists with bars": "file,labels\np.png,cat\nq.png,dog|cat\nr.png,\ns.png,dog\n",
    "lists with commas": 'file,labels\np.png,cat\nq.png,"dog, cat"\nr.png,\ns.png,dog\n',
    "JSON lists": 'file,labels\np.png,"[""cat""]"\nq.png,"[""dog"", ""cat""]"\nr.png,[]\ns.png,"[""dog""]"\n',
    "Python lists": "file,labels\np.png,['cat']\nq.png,\"['dog', 'cat']\"\nr.png,[]\ns.png,['dog']\n",
    "one row a label": "file,label\np.png,cat\nq.png,cat\nq.png,dog\ns.png,dog\nr.png,\n",
}


@pytest.mark.parametrize("form", TABLES)
def test_each_form_of_table_gives_the_same_labels(tmp_path, form):
    folder = source(tmp_path, IMAGES, TABLES[form])
    found = read(folder, SEVERAL.model_copy(update={"empty_labels": "no-label"}))
    assert labels(found) == {"p.png": "cat", "q.png": "cat|dog", "r.png": "", "s.png": "dog"}
    assert [(each.label, each.num_images) for each in found.reading.classes] == [("cat", 2), ("dog", 2)]
    assert (found.reading.task, found.reading.num_negative, found.reading.num_labelled) == ("multi-label", 1, 4)


@pytest.mark.parametrize("form", TABLES)
def test_no_form_is_taken_for_one_label_an_image(tmp_path, form):
    with pytest.raises(LabelError, match="--task multi-label"):
        read(source(tmp_path, IMAGES, TABLES[form]), LabelRules())


@pytest.mark.parametrize("form", ["lists with bars", "lists with commas", "one row a label"])
def test_an_empty_cell_is_no_answer_until_the_user_says_so(tmp_path, form):
    folder = source(tmp_path, IMAGES, TABLES[form])
    with pytest.raises(LabelError, match="no label"):
        read(folder)
    left_out = read(folder, SEVERAL.model_copy(update={"bad_rows": "leave-out"}))
    assert labels(left_out) == {"p.png": "cat", "q.png": "cat|dog", "s.png": "dog"}
    assert any(each.number == 1 for each in left_out.reading.left_out)


def test_an_image_without_a_row_is_not_one_without_labels(tmp_path):
    folder = source(tmp_path, [*IMAGES, "t.png"], TABLES["columns of 0 and 1"])
    assert "t.png" not in labels(read(folder))
    assert labels(read(folder))["r.png"] == ""


def test_the_user_says_what_separates_labels(tmp_path):
    table = 'file,labels\np.png,"cat, tabby"\nq.png,"cat, tabby;dog"\nr.png,dog\ns.png,dog\n'
    folder = source(tmp_path, IMAGES, table)
    with pytest.raises(LabelError, match="--label-separator"):
        read(folder)
    found = read(folder, SEVERAL.model_copy(update={"label_separator": ";"}))
    assert labels(found)["q.png"] == "cat, tabby|dog"


def test_blanks_may_separate_labels_or_not(tmp_path):
    table = "file,labels\np.png,cat dog\nq.png,cat\nr.png,dog\ns.png,dog\n"
    folder = source(tmp_path, IMAGES, table)
    with pytest.raises(LabelError, match="--label-separator"):
        read(folder)
    assert labels(read(folder, SEVERAL.model_copy(update={"label_separator": " "})))["p.png"] == "cat|dog"
    assert labels(read(folder, SEVERAL.model_copy(update={"label_separator": "|"})))["p.png"] == "cat dog"


def test_a_column_that_is_named_holds_0_and_1_only(tmp_path):
    table = "file,cat,dog,age\np.png,1,0,3\nq.png,1,1,4\nr.png,-1,0,5\ns.png,0,1,6\n"
    folder = source(tmp_path, IMAGES, table)
    with pytest.raises(LabelError, match="'-1'"):
        read(folder, SEVERAL.model_copy(update={"label_column": "cat,dog"}))


def test_rows_with_other_lists_for_one_image_contradict_each_other(tmp_path):
    table = "file,labels\np.png,cat|dog\np.png,dog|fox\nq.png,cat\nr.png,fox\ns.png,dog\n"
    folder = source(tmp_path, IMAGES, table)
    with pytest.raises(LabelError, match=r"p\.png"):
        read(folder)
    assert "p.png" not in labels(read(folder, SEVERAL.model_copy(update={"bad_rows": "leave-out"})))


def test_a_label_that_is_no_class_is_named_with_its_line(tmp_path):
    folder = source(tmp_path, IMAGES, TABLES["columns of 0 and 1"])
    with pytest.raises(LabelError, match=r"'dog' in labels\.csv line 3"):
        read(folder, SEVERAL.model_copy(update={"classes": ("cat", "fox")}))


def test_small_classes_leave_the_images_that_have_others(tmp_path):
    table = "file,labels\np.png,cat|rare\nq.png,dog\nr.png,cat|dog\ns.png,rarer\n"
    found = read(source(tmp_path, IMAGES, table), SEVERAL.model_copy(update={"min_class_size": 2}))
    assert labels(found) == {"p.png": "cat", "q.png": "dog", "r.png": "cat|dog"}


def picture(name: str) -> bytes:
    return name.encode().ljust(64, b".")


COPIES = {
    "cats/1.png": picture("one"),
    "dogs/9.png": picture("one"),
    "cats/2.png": picture("two"),
    "dogs/2.png": picture("another two"),
}


def test_an_image_in_several_class_folders_has_the_labels_of_all(tmp_path):
    found = read(source(tmp_path, COPIES))
    assert labels(found) == {"cats/1.png": "cats|dogs", "cats/2.png": "cats", "dogs/2.png": "dogs"}
    reasons = {file.entry.path: file.entry.reason for file in found.files}
    assert reasons["dogs/9.png"] == "merged_copy"
    assert any("dogs/9.png" in each.examples for each in found.reading.left_out)


def test_the_same_image_under_one_name_in_two_class_folders_stops(tmp_path):
    twice = {f"{label}/{name}.png": picture(name) for label in ("cats", "dogs") for name in ("a", "b")}
    folder = source(tmp_path, twice | {"cats/c.png": picture("c"), "dogs/d.png": picture("d")})
    with pytest.raises(LabelError, match=r"--task multi-label.*--labels-from folders"):
        read(folder, LabelRules())
    assert len(labels(read(folder, LabelRules(source="folders")))) == 6
    assert labels(read(folder))["cats/a.png"] == "cats|dogs"


def test_settings_of_several_labels_do_not_go_with_one():
    for wrong in ({"label_separator": ";"}, {"empty_labels": "no-label"}):
        with pytest.raises(ValidationError):
            LabelRules.model_validate(wrong)
    with pytest.raises(ValidationError):
        LabelRules(task="multi-label", combined_labels="keep")


def test_a_single_label_leaves_no_trace_in_the_settings():
    dumped = LabelRules().model_dump(mode="json")
    assert not {"task", "label_separator", "empty_labels"} & dumped.keys()
    assert SEVERAL.model_dump(mode="json")["task"] == "multi-label"


def test_a_label_may_not_hold_what_joins_labels(tmp_path):
    with pytest.raises(LabelError, match=r"a\|b"):
        read(source(tmp_path, ["a|b/1.png", "c/2.png"]))


def test_an_empty_cell_stops_with_the_option_that_gives_it_a_meaning(tmp_path):
    folder = source(tmp_path, IMAGES, TABLES["lists with bars"])
    with pytest.raises(LabelError, match=r"has no labels\. .*--empty-labels no-label\.$"):
        read(folder)
