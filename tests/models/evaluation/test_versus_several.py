"""A multi-label bundle beside a table of answers: each form of table, every figure, and what is no answer."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_score, recall_score

from darkroom.data.errors import InputError
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.stores.model_choice import ModelChoice
from darkroom.data.task import MULTI_LABEL
from darkroom.flows.versus_result import VersusResult
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.evaluation import versus as module
from darkroom.models.evaluation.versus import AnswerTable, versus

LABELS = LabelMap(("cat", "dog", "eel"), MULTI_LABEL)
NUM_IMAGES = 60


def sets(rng: np.random.Generator, flips: float, start: np.ndarray | None = None) -> np.ndarray:
    base = rng.random((NUM_IMAGES, 3)) < (0.5, 0.4, 0.2) if start is None else start
    return base ^ (rng.random(base.shape) < flips)


RNG = np.random.default_rng(3)
TRUTH = sets(RNG, 0)
MODEL, SERVICE = sets(RNG, 0.1, TRUTH), sets(RNG, 0.25, TRUTH)
PATHS = [f"{number:02d}.jpg" for number in range(NUM_IMAGES)]


def names(row: Iterable[bool]) -> list[str]:
    return [name for name, given in zip(LABELS.names, row, strict=True) if given]


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """What an evaluation of 60 images left behind."""
    folder = tmp_path / "report"
    folder.mkdir()
    rows = [
        {"path": path, "truth": names(truth), "predicted": names(given)}
        for path, truth, given in zip(PATHS, TRUTH, MODEL, strict=True)
    ]
    kind = pa.list_(pa.string())
    schema = pa.schema([("path", pa.string()), ("truth", kind), ("predicted", kind)])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "predictions.parquet")
    facts = SimpleNamespace(dataset=SimpleNamespace(name="zoo", version="v"), split="test")
    monkeypatch.setattr(module, "read_report", lambda _: facts)
    return cast(Bundle, SimpleNamespace(report_folder=folder, labels=LABELS, reference="zoo-net@1"))


def write(path: Path, rows: Iterable[Sequence[str]], header: Sequence[str] = ("image", "labels")) -> AnswerTable:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return AnswerTable(path)


def written(form: str, path: Path) -> AnswerTable:
    """The service's answers in one of the forms of a table."""
    given = [(name, names(row)) for name, row in zip(PATHS, SERVICE, strict=True)]
    if form == "bars":
        return write(path, [(name, "|".join(row)) for name, row in given])
    if form == "commas":
        return write(path, [(name, ", ".join(row)) for name, row in given])
    if form == "JSON":
        return write(path, [(name, json.dumps(row)) for name, row in given])
    if form == "rows":
        return write(path, [(name, label.upper()) for name, row in given for label in row or ["no answer"]])
    columns = [(name, *(str(int(cell)) for cell in row)) for name, row in zip(PATHS, SERVICE, strict=True)]
    return write(path, columns, ("image", *LABELS.names))


@pytest.mark.parametrize("form", ["bars", "commas", "JSON", "rows", "columns"])
def test_every_form_of_table_gives_the_same_figures_as_scikit_learn(judged: Bundle, tmp_path: Path, form: str) -> None:
    found = versus(judged, written(form, tmp_path / "service.csv"))
    assert found.several is not None
    assert (found.num_unanswered, found.num_unknown_rows) == (0, 0)
    for side, given in (("model", MODEL), ("table", SERVICE)):
        several = found.several
        assert getattr(several.macro_f1, side) == pytest.approx(f1_score(TRUTH, given, average="macro"))
        assert getattr(several.micro_f1, side) == pytest.approx(f1_score(TRUTH, given, average="micro"))
        assert getattr(several.decisions, side) == pytest.approx((given == TRUTH).mean())
        for place, label in enumerate(several.labels):
            decisions = getattr(label, side)
            assert decisions.f1 == pytest.approx(f1_score(TRUTH[:, place], given[:, place]))
            assert decisions.precision == pytest.approx(precision_score(TRUTH[:, place], given[:, place]))
            assert decisions.recall == pytest.approx(recall_score(TRUTH[:, place], given[:, place]))
    right = [(given == TRUTH).all(axis=1) for given in (SERVICE, MODEL)]
    assert (found.overall.num_current_correct, found.overall.num_new_correct) == tuple(
        int(each.sum()) for each in right
    )
    only = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    assert found.overall.p_value == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    assert found.other_words == (("NO ANSWER",) if form == "rows" else ())


def test_intervals_hold_their_figures_and_the_difference_is_paired(judged: Bundle, tmp_path: Path) -> None:
    found = versus(judged, written("bars", tmp_path / "service.csv"))
    assert found.several is not None
    for figure in (found.several.macro_f1, found.several.micro_f1, found.several.decisions):
        assert figure.model_interval is not None
        assert figure.table_interval is not None
        assert figure.difference is not None
        assert figure.model_interval.low < figure.model < figure.model_interval.high
        assert figure.table_interval.low < figure.table < figure.table_interval.high
        assert 0 < figure.difference.low < figure.model - figure.table < figure.difference.high
    label = found.several.labels[0]
    ours, theirs = MODEL[:, 0] == TRUTH[:, 0], SERVICE[:, 0] == TRUTH[:, 0]
    assert (label.num_only_model, label.num_only_table) == (int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))
    same = [(path, "|".join(names(row))) for path, row in zip(PATHS, MODEL, strict=True)]
    both = versus(judged, write(tmp_path / "same.csv", same))
    assert both.several is not None
    assert both.several.macro_f1.difference is None  # no resample tells them apart
    assert both.overall.p_value == 1


def test_an_image_without_a_row_is_wrong_and_one_with_an_empty_cell_is_answered(judged: Bundle, tmp_path: Path) -> None:
    empty = next(path for path, row in zip(PATHS, TRUTH, strict=True) if not row.any())
    full = next(path for path, row in zip(PATHS, TRUTH, strict=True) if row.any())
    rows = [(empty, ""), (full, "|".join(names(TRUTH[PATHS.index(full)]))), ("gone.jpg", "cat")]
    found = versus(judged, write(tmp_path / "few.csv", rows))
    assert (found.num_unanswered, found.num_unknown_rows) == (NUM_IMAGES - 2, 1)
    assert found.overall.num_current_correct == 2  # not the other images to which no label applies
    assert found.answered.num_images == 2
    assert found.several_answered is not None
    assert found.several_answered.num_images == 2
    assert found.several_answered.micro_f1.table == 1
    stored = {row["path"]: row for row in pq.read_table(found.rows).to_pylist()}
    assert stored[empty]["table"] == []
    assert sum(row["table"] is None for row in stored.values()) == NUM_IMAGES - 2


def test_other_words_are_named_and_means_says_what_they_are(judged: Bundle, tmp_path: Path) -> None:
    rows = [(PATHS[0], "Feline|whiskers"), (PATHS[1], "dog|whiskers"), (PATHS[2], "feline|eel")]
    table = write(tmp_path / "words.csv", rows)
    found = versus(judged, table)
    assert found.other_words == ("whiskers", "Feline", "feline")
    found = versus(judged, replace(table, means={"Feline": "cat"}))
    assert found.other_words == ("whiskers",)
    stored = {row["path"]: row["table"] for row in pq.read_table(found.rows).to_pylist()}
    assert (stored[PATHS[0]], stored[PATHS[2]]) == (["cat"], ["cat", "eel"])
    with pytest.raises(InputError, match="--means WORD=CLASS"):
        versus(judged, write(tmp_path / "none.csv", [(PATHS[0], "whiskers|fur")]))


def test_the_result_in_words_has_the_figures_of_both(judged: Bundle, tmp_path: Path) -> None:
    found = versus(judged, written("bars", tmp_path / "service.csv"))
    said = VersusResult.of(found, ModelChoice(by="version")).description()
    rows = {row.label: row.text for row in said.rows}
    assert rows["macro F1"].startswith(f"model {f1_score(TRUTH, MODEL, average='macro'):.4f} (")
    assert rows["model"].startswith("every label right ")
    assert [cells[0] for cells in said.tables[0].cells] == list(LABELS.names)
