"""What each result says, in the terminal and as Markdown: the values, one or several, and nothing that can do harm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from darkroom.data.dataset.dataset import ReasonCount
from darkroom.data.dataset.duplicate_summary import DuplicateSummary
from darkroom.data.stores.model_choice import ModelChoice
from darkroom.flows.descriptions import describe, describe_decision
from darkroom.flows.metric_tables import metric_tables
from darkroom.flows.results import (
    BlessingResult,
    EvaluateResult,
    ExplainResult,
    ExportResult,
    FoundCount,
    IngestResult,
    InspectResult,
    RunResult,
    ScoreResult,
    SplitSize,
    Target,
    TrainResult,
)
from darkroom.flows.terminal import show
from darkroom.flows.versus_result import VersusResult
from darkroom.models.evaluation.reporting.report import EvaluatedOn
from darkroom.models.evaluation.versus import Right as Counts
from darkroom.models.evaluation.versus import SideBySide
from darkroom.models.measures.comparison import Check, Decision
from darkroom.models.measures.metrics import measure
from darkroom.models.pages.description import Description, Row, Table
from darkroom.models.scoring.summary import NamedCount
from tests.told import told


def ingested(**changes: Any) -> IngestResult:
    values: dict[str, Any] = {
        "dataset": "pets@1",
        "folder": "/w/datasets/pets/1",
        "source_folder": "/photos",
        "new_images": None,
        "labels": ("cats", "dogs"),
        "num_files": 1700,
        "num_ok": 1697,
        "splits": (SplitSize(split="train", num_images=1500), SplitSize(split="test", num_images=197)),
        "quarantined": (ReasonCount(reason="truncated", num_files=3),),
        "decisions": ("labels from class folders",),
        "duplicates": DuplicateSummary(
            leaks="drop", num_exact=1, num_near=2, num_leaked=1, num_conflicting=0, num_set_aside=1, max_distance=10
        ),
        "page": "/w/datasets/pets/1/dataset.html",
        "num_known": 0,
        "reused": False,
    }
    return IngestResult(**values | changes)


def trained(**changes: Any) -> TrainResult:
    values: dict[str, Any] = {
        "bundle": "pets-cifar4@a",
        "folder": "/w/models/pets-cifar4/a",
        "dataset": "pets@1",
        "model": "cifar4",
        "num_epochs": 17,
        "best_epoch": 9,
        "train_seconds": 19.4,
        "validation_accuracy": 0.98534,
        "int8_same_label": 1.0,
        "int8_refused": None,
        "reused": False,
    }
    return TrainResult(**values | changes)


def evaluated(**changes: Any) -> EvaluateResult:
    values: dict[str, Any] = {
        "bundle": "pets-cifar4@a",
        "chosen": ModelChoice(by="version"),
        "dataset": "pets@1",
        "split": "test",
        "num_images": 351,
        "num_correct": 347,
        "accuracy": 0.98860,
        "accuracy_low": 0.9711,
        "accuracy_high": 0.9956,
        "macro_f1": 0.9891,
        "calibration_error": 0.01,
        "num_weak_slices": 0,
        "blessed": True,
        "blessing": "first version",
        "report": "/w/report.html",
        "reused": False,
    }
    return EvaluateResult(**values | changes)


def explained(**changes: Any) -> ExplainResult:
    values = {
        "bundle": "pets-cifar4@a",
        "chosen": ModelChoice(by="version"),
        "folder": "/w/e",
        "page": "/w/e/explain.html",
        "pictures": ("/w/e/1.png",),
    }
    return ExplainResult(**{**values, "reused": False} | changes)


def scored(**changes: Any) -> ScoreResult:
    values: dict[str, Any] = {
        "bundle": "pets-cifar4@a",
        "chosen": ModelChoice(by="version"),
        "precision": "int8",
        "folder": "/new",
        "out": "s3://bucket/table",
        "num_files": 1200,
        "statuses": (NamedCount(name="ok", num_rows=1199), NamedCount(name="quarantined", num_rows=1)),
        "labels": (NamedCount(name="cats", num_rows=1000), NamedCount(name="dogs", num_rows=199)),
        "reasons": (NamedCount(name="truncated", num_rows=1),),
        "num_abstained": 0,
        "num_parts": 2,
        "rows_reused": 0,
        "seconds": 1.5,
        "images_per_second": 1386.6,
    }
    return ScoreResult(**values | changes)


def test_a_data_set_is_told_with_its_counts() -> None:
    lines = told(ingested())
    assert lines["data set"] == "pets@1"
    assert lines["read"] == "1,700 files, 2 classes; labels from class folders"
    assert lines["used"] == "1,697 images: train 1,500, test 197"
    assert lines["quarantined"] == "3 files: 3 truncated"
    assert lines["duplicates"].startswith("1 exact pair, 2 near; 1 image duplicates a held-out one")
    again = told(ingested(reused=True, num_known=1699))
    assert again["data set"] == "pets@1 (already built)"
    assert again["read"].startswith("1,700 files (1,699 unchanged), ")


@pytest.mark.parametrize(
    ("result", "label", "said"),
    [
        (ingested(num_ok=1, num_files=2, quarantined=()), "used", "1 image: "),
        (ingested(num_ok=1, num_files=2, quarantined=()), "quarantined", "1 file"),
        (ingested(labels=("cats",)), "read", "1,700 files, 1 class; "),
        (trained(num_epochs=1), "trained", "cifar4, 1 epoch in 19 s, "),
        (evaluated(num_images=1), "accuracy", "0.9886 on 1 test image (95 % interval 0.971 to 0.996)"),
        (scored(num_files=1, num_abstained=1), "scored", "1 file: "),
        (scored(num_abstained=1), "abstained", "1 file"),
        (scored(num_abstained=2), "abstained", "2 files"),
    ],
)
def test_one_thing_is_not_several(result: Any, label: str, said: str) -> None:
    assert told(result)[label].startswith(said)


def test_what_was_up_to_date_is_told_so() -> None:
    assert told(trained(reused=True))["model"].endswith(" (already built)")
    for result, label in ((evaluated(), "report"), (explained(), "pictures"), (scored(), "scored")):
        assert "up to date" not in told(result)[label]
    assert told(evaluated(reused=True))["report"] == "/w/report.html (up to date)"
    assert told(explained(reused=True))["pictures"].startswith("1 (up to date), ")
    everything = told(scored(rows_reused=1200, images_per_second=None))["scored"]
    assert everything == "1,200 files (up to date): 1,199 ok, 1 quarantined; int8"
    some = told(scored(rows_reused=200))["scored"]
    assert some == "1,200 files (200 unchanged): 1,199 ok, 1 quarantined; 1,387 images/s, int8"


def test_an_inspection_says_what_it_found_and_what_it_did_not_look_for() -> None:
    values: dict[str, Any] = {
        "source": "photos",
        "page": "/w/dataset.html",
        "inspection": "/w/inspection.json",
        "num_files": 1001,
        "num_ok": 1000,
        "num_classes": 1,
        "quarantined": (ReasonCount(reason="truncated", num_files=1),),
        "outliers": (FoundCount(name="blank", num_images=0), FoundCount(name="dark", num_images=1)),
        "num_exact_duplicates": 0,
        "num_near_duplicates": 2,
        "num_leaked": 2,
        "num_judged": 1000,
        "num_suspected": 12,
        "remarks": ("One class only.",),
        "reused": True,
    }
    described = describe(InspectResult(**values))
    lines = {row.label: row.text for row in described.rows}
    assert lines["read"] == "1,001 files, 1,000 usable, 1 class"
    assert (lines["labels"], lines["outliers"]) == ("12 of 1,000 may be wrong", "1 dark")
    assert lines["duplicates"] == "0 exact pairs, 2 near; 2 images duplicate a held-out one"
    assert lines["page"].endswith("(up to date)")
    assert described.remarks == ("One class only.",)
    unchecked = {**values, "num_suspected": None, "outliers": ()}
    assert told(InspectResult(**unchecked))["labels"] == "not checked"


def test_a_refused_model_comes_with_the_limit_and_the_way_out() -> None:
    why = "minimum accuracy: 85.0 %, required: at least 90.0 %"
    refused = describe(evaluated(blessed=False, blessing=why))
    assert {row.label: row.text for row in refused.rows}["blessed"] == f"no: {why}"
    assert "darkroom promote pets-cifar4@a" in refused.remarks[0]
    assert describe(evaluated()).remarks == ()
    nothing = describe(evaluated(blessed=None, blessing=None))
    assert (nothing.remarks, [row.label for row in nothing.rows]) == ((), ["model", "accuracy", "macro F1", "report"])
    decision = Decision(blessed=False, why=why, checks=(Check(name="Accuracy", passed=False, found="low"),))
    shown = describe_decision("pets-cifar4@a", decision).as_markdown()
    assert "| Accuracy | no | low |" in shown
    assert "darkroom promote" in shown


def test_a_comparison_with_a_table_counts_what_is_missing_in_it() -> None:
    both = SideBySide(model=Counts.of(90, 100), table=Counts.of(80, 100))
    values: dict[str, Any] = {
        "bundle": "pets-cifar4@a",
        "chosen": ModelChoice(by="version"),
        "dataset": "pets@1",
        "split": "test",
        "table": "answers.csv",
        "overall": both,
        "answered": both,
        "classes": (),
        "num_only_model": 12,
        "num_only_table": 2,
        "p_value": 0.0129,
        "num_unanswered": 1,
        "num_unknown_rows": 0,
        "rows": "/w/versus.parquet",
    }
    lines = told(VersusResult(**values))
    assert lines["table"].endswith("answers.csv; 1 image without an answer counts as wrong")
    assert lines["model"].startswith("0.9000 (")
    assert "p = 0.013" in lines["difference"]
    two = told(VersusResult(**{**values, "num_unanswered": 0, "num_unknown_rows": 2}))
    assert two["table"].endswith("answers.csv; 2 rows match no image")
    assert "answered" not in two


def test_a_moved_blessing_names_both_versions() -> None:
    result = BlessingResult(
        name="pets", blessed="b", replaced="a", why="by hand", evaluated=None, already=False, folder="/w/models/pets/b"
    )
    assert told(result)["blessed"] == "pets@b, replaces pets@a"
    assert told(result)["evaluated"] == "never on test images"
    known = EvaluatedOn(dataset="photos@1", num_images=200, accuracy=0.9, macro_f1=0.8)
    again = told(result.model_copy(update={"already": True, "evaluated": known}))
    assert again["blessed"] == "pets@b (already blessed)"
    assert again["accuracy"] == "0.9000 on 200 test images of photos@1; macro F1 0.8000"
    assert describe(result).title == "pets@b is blessed"


def test_very_many_labels_are_cut_to_the_most_frequent() -> None:
    labels = tuple(NamedCount(name=f"c{number}", num_rows=number) for number in range(1, 31))
    said = told(scored(labels=labels))["labels"]
    assert said.startswith("c30: 30, c29: 29, ")
    assert said.endswith(" and 21 more")


def test_a_run_tells_all_steps_and_whether_its_target_was_reached(capsys: pytest.CaptureFixture[str]) -> None:
    target = Target(figure="accuracy", target=0.97, value=0.9886, reached=True, public="0.95")
    steps = {"ingest": ingested(), "train": trained(), "evaluate": evaluated(blessed=False), "explain": explained()}
    result = RunResult(**steps, score=scored(), targets=(target,))
    lines = [row.label for row in describe(result).rows]
    assert "folder" not in lines
    assert lines.index("data set") < lines.index("model") < lines.index("accuracy") < lines.index("scored")
    assert told(result)["target"] == "accuracy 0.97: reached (0.9886); public: 0.95"
    show(result, as_json=False)
    shown = capsys.readouterr().out
    assert re.search(r"^accuracy +0\.9886 on 351 test images", shown, re.MULTILINE)
    assert "darkroom promote pets-cifar4@a" in shown
    show(result, as_json=True)
    assert RunResult.model_validate_json(capsys.readouterr().out) == result


def test_the_confusion_matrix_counts_what_was_predicted_and_a_very_large_one_is_left_out() -> None:
    import numpy as np

    from darkroom.data.labels.label_map import LabelMap

    chances = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    _, matrix = metric_tables(measure(chances, np.array([0, 1, 1]), LabelMap(("cats", "dogs"))))
    assert matrix.cells == (("cats", "1", "0"), ("dogs", "1", "1"))
    labels = LabelMap(tuple(f"c{number:02d}" for number in range(60)))
    assert len(metric_tables(measure(np.full((60, 60), 1 / 60), np.arange(60), labels))) == 1


HOSTILE = Description(
    title="Data set <b>x</b>|y",
    rows=(Row(label="name", text="a\x1b[31mred\n# heading"), Row(label="share", text="97.9\N{NO-BREAK SPACE}%")),
    remarks=("<script>",),
    tables=(Table(title="By class", columns=("class", "images"), cells=(("a|b", "1"), *([("c", "2")] * 30))),),
)


def test_a_name_from_outside_is_text_in_markdown() -> None:
    shown = HOSTILE.as_markdown()
    assert not re.search(r"<(b|script)>", shown)
    assert [line for line in shown.splitlines() if line.startswith("#")] == [
        "# Data set &lt;b&gt;x&lt;/b&gt;\\|y",
        "## By class",
    ]
    assert shown.count("| c | 2 |") == 30


def test_a_name_from_outside_is_text_in_a_terminal_and_a_long_table_is_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("darkroom.flows.terminal.describe", lambda result: HOSTILE)
    show(ingested(), as_json=False)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "97.9 %" in shown
    assert shown.count("\nc ") == 19
    assert shown.rstrip().endswith("...")


def test_nothing_else_words_a_result() -> None:
    """The renderers hold no word of their own: no string of theirs that is not a path, a key or a format has one."""
    root = Path(__file__).parents[2]
    rendered = (root / "models/pages/description.py").read_text() + (root / "tasks/artifacts.py").read_text()
    for word in ("accuracy", "image", "quarantined", "blessed", "epoch", "class"):
        assert not re.search(rf'"[^"\n]*\b{word}', re.sub(r'"""(.|\n)*?"""', "", rendered)), word


@pytest.mark.parametrize(("form", "what"), [("csv", "1 row"), ("folders", "1 image")])
def test_an_export_says_what_it_wrote_where(form: Any, what: str) -> None:
    result = ExportResult(table="scored", bundle="pets@1", format=form, out="x", num_rows=1, remarks=("One is gone.",))
    described = describe(result)
    assert described.rows[-1].text == f"{what}: x"
    assert described.remarks == ("One is gone.",)
