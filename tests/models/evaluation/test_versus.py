"""A bundle beside a table of answers: who is right, on which images, whatever words and spellings the table has."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from darkroom.data.errors import FormatError, InputError, LabelError
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.evaluation.evaluate import EvaluateRequest, evaluate_bundle
from darkroom.models.evaluation.versus import AnswerTable, versus

LABELS = ("amber", "blue", "green")


@pytest.fixture(scope="module")
def judged(bundle, dataset, tmp_path_factory) -> Bundle:
    """The bundle, evaluated on 18 images, six a class; right about all but the first two of each class."""
    copied = open_bundle(shutil.copytree(bundle.folder, tmp_path_factory.mktemp("versus") / "bundle"))
    evaluate_bundle(EvaluateRequest(copied, dataset, "test", "pytest"))
    path = copied.report_folder / "predictions.parquet"
    rows = pq.read_table(path).to_pylist()
    for label in LABELS:
        for number, row in enumerate(each for each in rows if each["truth"] == label):
            row["predicted"] = label if number >= 2 else LABELS[LABELS.index(label) - 1]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return copied


def truths(judged: Bundle) -> dict[str, str]:
    """The true class of each image, sorted by path."""
    columns = pq.read_table(judged.report_folder / "predictions.parquet", columns=["path", "truth"]).to_pydict()
    return dict(zip(columns["path"], columns["truth"], strict=True))


def write(path: Path, rows: Iterable[tuple[str, str]], header: tuple[str, str] = ("image", "label")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def test_right_answers_are_counted_image_by_image(judged, tmp_path):
    truth = truths(judged)
    answers = dict(truth)
    blues = [path for path, label in truth.items() if label == "blue"]
    answers |= dict.fromkeys(blues[:5], "green")  # of these the model has the first two wrong
    found = versus(judged, AnswerTable(write(tmp_path / "service.csv", answers.items()), {}))
    overall = found.overall
    assert (overall.num_images, overall.num_current_correct, overall.num_new_correct) == (18, 13, 12)
    assert (overall.num_only_current, overall.num_only_new) == (4, 3)
    assert overall.p_value == pytest.approx(binomtest(3, 7).pvalue)
    assert [(each.label, each.num_current_correct, each.num_new_correct) for each in found.classes] == [
        ("amber", 6, 4),
        ("blue", 1, 4),
        ("green", 6, 4),
    ]
    assert (found.num_unanswered, found.num_unknown_rows, found.answered) == (0, 0, overall)
    assert (found.table, found.split, found.bundle) == ("service.csv", "test", judged.reference)
    rows = pq.read_table(found.rows).to_pylist()
    assert {row["path"]: (row["truth"], row["table"]) for row in rows} == {
        path: (truth[path], answers[path]) for path in truth
    }
    assert sum(row["bundle"] == row["truth"] for row in rows) == 12


def test_of_what_a_service_lists_the_first_word_for_a_class_is_its_answer(judged, tmp_path):
    truth = truths(judged)
    first, second, third = list(truth)[:3]  # all amber; the model is right about the third alone
    rows = [
        (first, "Colour"),
        (first, "AMBER"),
        (first, "blue"),
        (second.rpartition("/")[2], "sky"),
        (third, "Colour"),
        ("no-such.png", "amber"),
    ]
    found = versus(judged, AnswerTable(write(tmp_path / "service.csv", rows), {"Sky": "blue"}))
    table = {row["path"]: row["table"] for row in pq.read_table(found.rows).to_pylist()}
    assert table == dict.fromkeys(truth) | {first: "amber", second: "blue"}
    assert (found.num_unanswered, found.num_unknown_rows) == (16, 1)
    assert (found.overall.num_images, found.overall.num_current_correct) == (18, 1)
    answered = found.answered
    assert (answered.num_images, answered.num_current_correct, answered.num_new_correct) == (2, 1, 0)


def test_columns_of_unusual_names_are_named(judged, tmp_path):
    table = write(tmp_path / "t.csv", truths(judged).items(), ("foto", "antwort"))
    assert versus(judged, AnswerTable(table, {})).overall.num_current_correct == 18
    assert versus(judged, AnswerTable(table, {}, "foto", "antwort")).overall.num_current_correct == 18
    with pytest.raises(LabelError, match=r"t\.csv has no column 'photo'.*--path-column"):
        versus(judged, AnswerTable(table, {}, "photo"))


def test_what_cannot_be_compared_is_refused_with_what_to_do(judged, bundle, tmp_path):
    good = write(tmp_path / "good.csv", truths(judged).items())
    with pytest.raises(InputError, match=r"There is no table .*gone\.csv\. Give a CSV"):
        versus(judged, AnswerTable(tmp_path / "gone.csv", {}))
    with pytest.raises(InputError, match=r"Sky=azure.*is not one of amber, blue, green"):
        versus(judged, AnswerTable(good, {"Sky": "azure"}))
    other = write(tmp_path / "other.csv", [("a.png", "amber"), (next(iter(truths(judged))), "Feline")])
    with pytest.raises(InputError, match=r"No row of other\.csv names both.*--means WORD=CLASS"):
        versus(judged, AnswerTable(other, {}))
    never = open_bundle(shutil.copytree(bundle.folder, tmp_path / "bundle", ignore=shutil.ignore_patterns("report")))
    with pytest.raises(FormatError, match="darkroom evaluate"):
        versus(never, AnswerTable(good, {}))
