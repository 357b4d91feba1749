"""Several labels an image, the whole way: a table of labels, a data set, a model, its report and a prediction table."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score

import darkroom
from darkroom.data.dataset.dataset import Dataset, open_dataset
from darkroom.data.dataset.input import Shuffle, batches
from darkroom.data.images.decode import decode_stored
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.evaluation.reporting.report import read_report
from darkroom.models.explaining.explain import choose_examples
from darkroom.models.inspecting.inspection import read_inspection
from darkroom.models.multi_label.metrics import MultiLabelMetrics
from darkroom.models.prediction_table.schema import flatten_top_k
from darkroom.models.profile.profile import read_profile

DIGITS = (0, 1, 4, 7)
NAMES = tuple(f"digit {digit}" for digit in DIGITS)
NUM_IMAGES, NUM_LATER = 380, 60
SPLITS = ("train", "validation", "test")


def write_quads(folder: Path, numbers: range) -> None:
    """Squares of four cells, in each of which a scan of a digit lies, or none; and `labels.csv` of all of them."""
    digits = load_digits()
    of_digit = {digit: digits.images[digits.target == digit] for digit in DIGITS}
    (folder / "images").mkdir(parents=True, exist_ok=True)
    table = folder / "labels.csv"
    rows = list(csv.reader(table.open())) if table.is_file() else [["file", *NAMES]]
    for number in numbers:
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 40, (2, 2, 8, 8)).astype(np.float64)
        shown = rng.permutation(4)[: rng.integers(0, 4)]
        for cell, place in zip(rng.permutation(4), shown, strict=False):
            scans = of_digit[DIGITS[place]]
            pixels[cell // 2, cell % 2] += 13 * scans[rng.integers(len(scans))]
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(0, 2, 1, 3).reshape(16, 16))
        image.resize((32, 32), Image.Resampling.NEAREST).save(folder / "images" / f"{number:03d}.png")
        rows.append([f"images/{number:03d}.png", *(str(int(place in shown)) for place in range(4))])
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


@dataclass(frozen=True)
class Journey:
    """What the commands gave."""

    folder: Path
    workspace: Path
    dataset: Dataset
    bundle: Bundle
    evaluated: Any
    scored: Path

    @property
    def truth(self) -> dict[str, tuple[str, ...]]:
        """The labels of each image by its path in the source."""
        rows = list(csv.reader((self.folder / "labels.csv").open()))[1:]
        return {row[0]: tuple(name for name, cell in zip(NAMES, row[1:], strict=True) if cell == "1") for row in rows}


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    home = tmp_path_factory.mktemp("multi-label")
    folder, workspace = home / "quads", home / "workspace"
    write_quads(folder, range(NUM_IMAGES))
    data = darkroom.ingest(
        folder, task="multi-label", image_size=32, rows_per_shard=100, max_judged=500, leaks="keep", workspace=workspace
    )
    made = darkroom.train(
        data.dataset,
        architecture="cifar4",
        epochs=11,
        dropout=0.1,
        augment="none",
        min_coverage=0.8,
        workspace=workspace,
    )
    evaluated = darkroom.evaluate(made.bundle, min_macro_f1=0.5, workspace=workspace)
    scored = home / "scored"
    (folder / "images" / "broken.png").write_bytes(b"no image")
    darkroom.score(folder / "images", made.bundle, out=scored, precision="fp32", workspace=workspace)
    (folder / "images" / "broken.png").unlink()
    dataset, bundle = open_dataset(Path(data.folder)), open_bundle(Path(made.folder))
    return Journey(folder, workspace, dataset, bundle, evaluated, scored)


def test_the_manifest_the_card_and_the_shards_hold_the_labels_of_the_table(journey: Journey) -> None:
    frame = darkroom.load_dataset("quads", journey.workspace).to_pandas().set_index("path")
    assert {path: tuple(frame.labels[path]) for path in journey.truth} == journey.truth
    assert sum(not names for names in journey.truth.values()) > 50  # images to which no label applies
    for split in SPLITS:
        paths = set(journey.dataset.paths(split))
        records = list(journey.dataset.records(split))
        assert {record.path for record in records} == paths
        assert all(tuple(NAMES[i] for i in record.indices) == journey.truth[record.path] for record in records)
        counts = [sum(name in journey.truth[path] for path in paths) for name in NAMES]
        assert journey.dataset.card.class_counts(split) == tuple(counts)
        assert journey.dataset.card.num_images(split) == len(paths)


def test_every_split_has_its_share_of_every_label(journey: Journey) -> None:
    card = journey.dataset.card
    for split, share in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
        found = np.array(card.class_counts(split)) / sum(np.array(card.class_counts(each)) for each in SPLITS)
        np.testing.assert_allclose(found, share, atol=0.02)


def test_tf_gives_each_image_with_its_row_of_0_and_1(journey: Journey) -> None:
    expected = {
        decode_stored(record.encoded).tobytes(): [float(name in journey.truth[record.path]) for name in NAMES]
        for record in journey.dataset.records("train")
    }
    feed = darkroom.load_dataset("quads", journey.workspace).to_tf("train", batch_size=50, seed=3)
    assert feed.element_spec[1].shape.as_list() == [None, 4]
    seen = 0
    for images, truth in feed.as_numpy_iterator():
        assert truth.dtype == np.float32
        for image, row in zip(images, truth, strict=True):
            assert expected[image.tobytes()] == row.tolist()
            seen += 1
    assert seen == len(expected) == journey.dataset.card.num_images("train")


def test_parquet_shards_hold_and_feed_the_same(journey: Journey) -> None:
    made = darkroom.ingest(
        journey.folder, name="parquet", task="multi-label", image_size=32, format="parquet", leaks="keep", max_judged=0,
        workspace=journey.workspace,
    )  # fmt: skip
    other = open_dataset(Path(made.folder))
    assert list(other.records("test")) == sorted(journey.dataset.records("test"), key=lambda r: list_index(other, r))
    schema = pq.read_schema(other.shard_paths("test")[0])
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["labels"]["feature"]["names"] == list(NAMES)
    (images, truth), *_ = batches(other, "validation", 64, Shuffle(0, 0)).as_numpy_iterator()
    by_pixels = {decode_stored(record.encoded).tobytes(): record.indices for record in other.records("validation")}
    assert all(
        tuple(np.flatnonzero(row)) == by_pixels[image.tobytes()] for image, row in zip(images, truth, strict=True)
    )


def list_index(dataset: Dataset, record: Any) -> int:
    return [each.path for each in dataset.records("test")].index(record.path)


def test_the_evaluation_is_scikit_learns_on_the_stored_predictions(journey: Journey) -> None:
    report = read_report(journey.bundle.report_folder)
    metrics = report.metrics
    assert isinstance(metrics, MultiLabelMetrics)
    rows = pq.read_table(journey.bundle.report_folder / "predictions.parquet").to_pylist()
    assert {row["path"] for row in rows} == set(journey.dataset.paths("test"))
    truth, given = (
        np.array([[name in row[each] for name in NAMES] for row in rows]) for each in ("truth", "predicted")
    )
    assert metrics.macro_f1 == pytest.approx(f1_score(truth, given, average="macro"))
    assert metrics.micro_f1 == pytest.approx(f1_score(truth, given, average="micro"))
    assert metrics.num_correct == (truth == given).all(axis=1).sum()
    assert metrics.macro_f1 > 0.75, "the network learned nothing worth a journey"
    assert journey.evaluated.macro_f1 == metrics.macro_f1
    assert journey.evaluated.blessed
    logits = np.array([row["logits"] for row in rows])
    again = journey.bundle.card.calibration.apply(logits)
    assert ((again.astype(np.float32) >= journey.bundle.card.thresholds) == given).all()
    labels = {item.name: item.num_images for item in report.slices if item.kind == "label"}
    assert labels == {name: int(truth[:, place].sum()) for place, name in enumerate(NAMES)}
    page = (journey.bundle.report_folder / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in NAMES)
    assert "Mean average precision" in page
    card = (journey.bundle.report_folder / "model_card.md").read_text(encoding="utf-8")
    assert "multi-label" in card.split("---")[1]


def test_the_table_has_a_row_for_every_file_with_labels_and_probabilities(journey: Journey) -> None:
    table = pq.read_table(journey.scored)
    labels = json.loads(pq.read_schema(journey.scored / "part-00000.parquet").metadata[b"darkroom.labels"])
    assert labels == list(NAMES)
    rows = {row["path"]: row for row in table.to_pylist()}
    assert len(rows) == NUM_IMAGES + 1
    bad = rows.pop("broken.png")
    assert (bad["status"], bad["labels"], bad["probabilities"], bad["confidence"]) == ("quarantined", None, None, None)
    thresholds, card = journey.bundle.card.thresholds, journey.bundle.card
    for row in rows.values():
        chances = np.array(row["probabilities"])
        chosen = chances.astype(np.float32) >= thresholds
        assert row["labels"] == [name for name, is_given in zip(NAMES, chosen, strict=True) if is_given]
        assert row["confidence"] == pytest.approx(np.where(chosen, chances, 1 - chances).prod(), rel=1e-5)
        assert row["abstained"] == (np.float32(row["confidence"]) < card.threshold)
        top = [(entry["label"], entry["probability"]) for entry in row["top_k"]]
        assert [chance for _, chance in top] == sorted(row["probabilities"], reverse=True)
        assert dict(top) == dict(zip(NAMES, row["probabilities"], strict=True))
    test = [path.removeprefix("images/") for path in journey.dataset.paths("test")]
    stored = pq.read_table(journey.bundle.report_folder / "predictions.parquet").to_pylist()
    assert {row["path"].removeprefix("images/"): row["predicted"] for row in stored} == {
        path: rows[path]["labels"] for path in test
    }
    flat = flatten_top_k(pd.read_parquet(journey.scored)).set_index("path")
    assert flat.labels[test[0]] == "|".join(rows[test[0]]["labels"])
    assert not {"top_k", "probabilities"} & set(flat.columns)


def test_a_summary_counts_a_row_for_each_of_its_labels(journey: Journey) -> None:
    summary = json.loads(journey.scored.with_name("scored.summary.json").read_text())
    counted = {each["name"]: each["num_rows"] for each in summary["labels"]}
    found = pq.read_table(journey.scored, columns=["labels"])["labels"].to_pylist()
    assert counted == {name: sum(name in (row or ()) for row in found) for name in NAMES}


def test_python_and_keras_and_plain_onnx_give_the_rows_of_the_table(journey: Journey) -> None:
    model = darkroom.load_model(journey.bundle.reference, journey.workspace)
    assert (model.task, len(model.thresholds)) == ("multi-label", 4)
    files = [journey.folder / path for path in journey.dataset.paths("test")[:20]]
    rows = model.predict(files, precision="fp32")
    table = pq.read_table(journey.scored).to_pandas().set_index("path").loc[[file.name for file in files]]
    assert [list(each) for each in rows.labels] == [list(each) for each in table.labels]
    assert np.array_equal(np.stack(rows.probabilities.tolist()), np.stack(table.probabilities.tolist()))
    assert np.array_equal(rows.confidence, table.confidence)
    profile = read_profile(journey.bundle.folder)
    assert profile
    familiar = profile.unfamiliarity(model.embed(files, precision="fp32"), "fp32")
    assert familiar.tolist() == rows.unfamiliarity.tolist() == table.unfamiliarity.tolist()
    assert rows.unfamiliar.tolist() == table.unfamiliar.tolist() == (familiar > 1).tolist()
    given = {each.name: each.num_images for each in profile.card.labels}
    counts = {each.label: each.num_images for each in journey.dataset.card.counts if each.split == "train"}
    assert given == counts
    pixels = np.stack([darkroom.decode(file, model.decode_policy) for file in files])
    np.testing.assert_allclose(model.keras()(pixels), np.stack(rows.probabilities.tolist()), atol=1e-3)
    session = onnxruntime.InferenceSession(journey.bundle.onnx_path)
    (chances,) = session.run(["probabilities"], {session.get_inputs()[0].name: pixels})
    np.testing.assert_allclose(chances, np.stack(rows.probabilities.tolist()), atol=1e-5)
    told = session.get_modelmeta().custom_metadata_map
    assert told["task"] == "multi-label"
    assert json.loads(told["thresholds"]) == list(model.thresholds)


def test_int8_is_judged_by_decisions(journey: Journey) -> None:
    facts = journey.bundle.card.int8
    assert facts.gate is not None
    assert facts.gate.same_label > 0.97
    assert facts.gate.num_images == journey.dataset.card.num_images("validation")


def test_the_page_of_the_data_set_counts_labels_and_judges_them(journey: Journey) -> None:
    found = read_inspection(journey.dataset.folder)
    counts = {row.label: row.train for row in found.quality.classes}
    assert counts == dict(zip(NAMES, journey.dataset.card.class_counts("train"), strict=True))
    assert found.label_errors is not None
    assert found.label_errors.num_images == NUM_IMAGES
    assert {example.label for example in found.examples} == set(NAMES)


def test_explanations_are_about_labels(journey: Journey) -> None:
    examples = choose_examples(journey.bundle, 1, 1)
    images = [journey.folder / path for path in examples]
    made = darkroom.explain(journey.bundle.reference, images, max_searched=50, workspace=journey.workspace)
    page = Path(made.page).read_text(encoding="utf-8")
    for path in examples:
        assert Path(path).name in page
        shown = ", ".join(journey.truth[path]) or "no label"
        assert shown in page


def test_more_images_move_none_to_another_split_and_mend_the_shares(journey: Journey) -> None:
    before = {split: set(journey.dataset.paths(split)) for split in SPLITS}
    write_quads(journey.folder, range(NUM_IMAGES, NUM_IMAGES + NUM_LATER))
    later = darkroom.ingest(
        journey.folder, task="multi-label", image_size=32, rows_per_shard=100, max_judged=0, leaks="keep",
        workspace=journey.workspace,
    )  # fmt: skip
    grown = open_dataset(Path(later.folder))
    assert grown.card.version != journey.dataset.card.version
    assert later.num_known == NUM_IMAGES  # of the others, nothing is decoded again
    for split, share in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
        assert before[split] <= set(grown.paths(split))
        assert grown.card.num_images(split) / (NUM_IMAGES + NUM_LATER) == pytest.approx(share, abs=0.01)
        assert all(
            tuple(NAMES[i] for i in record.indices) == journey.truth[record.path] for record in grown.records(split)
        )


def test_a_head_on_frozen_features_is_compared_with_the_blessed_model_of_its_name(journey: Journey) -> None:
    head = darkroom.train(
        journey.dataset.reference, name=journey.bundle.card.name, architecture="efficientnet-lite0", epochs=3,
        calibration="isotonic", workspace=journey.workspace,
    )  # fmt: skip
    judged = darkroom.evaluate(head.bundle, workspace=journey.workspace)
    report = read_report(Path(head.folder) / "report")
    assert report.blessing is not None
    assert report.blessing.comparison is not None
    assert [each.label for each in report.blessing.comparison.classes] == list(NAMES)
    assert "Macro F1" in [check.name for check in report.blessing.checks]
    assert judged.blessed == all(check.passed for check in report.blessing.checks)
    pixels = np.stack([decode_stored(record.encoded) for record in list(journey.dataset.records("test"))[:8]])
    opened = open_bundle(Path(head.folder))
    expected = opened.card.calibration.apply(opened.runner()(pixels))
    model = darkroom.load_model(head.bundle, journey.workspace)
    np.testing.assert_allclose(model.keras()(pixels), expected, atol=1e-3)


def test_a_table_of_answers_is_held_against_the_model(journey: Journey, tmp_path: Path) -> None:
    """The truth itself as the answers of a service, in its columns of 0 and 1, some of them left out."""
    rows = list(csv.reader((journey.folder / "labels.csv").open()))
    table = tmp_path / "answers.csv"
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows[:1] + rows[1::2])
    found = darkroom.versus(journey.bundle.reference, table, workspace=journey.workspace)
    tested = set(journey.dataset.paths("test"))
    answered = tested & {row[0] for row in rows[1::2]}
    assert (found.overall.table.num_images, found.overall.table.num_correct) == (len(tested), len(answered))
    assert found.num_unanswered == len(tested) - len(answered)
    assert found.several_answered is not None
    assert found.several_answered.macro_f1.table == 1
    assert found.several is not None
    report = read_report(journey.bundle.report_folder)
    assert found.several.macro_f1.model == pytest.approx(report.metrics.macro_f1)
    assert [each.label for each in found.several.labels] == list(NAMES)


def test_what_to_label_next_and_its_corrections_go_round(journey: Journey, tmp_path: Path) -> None:
    """New images are chosen by the model's doubts, labelled, taken in, and not chosen again."""
    source = tmp_path / "quads"
    shutil.copytree(journey.folder, source)
    write_quads(tmp_path / "later", range(1000, 1030))
    shutil.copytree(tmp_path / "later" / "images", source / "incoming")
    shutil.copy(source / "images" / "000.png", source / "incoming" / "seen.png")
    shutil.copy(source / "incoming" / "1000.png", source / "incoming" / "again.png")
    found = darkroom.label_next(
        source / "incoming", journey.bundle.reference, budget=12, out=tmp_path / "next", workspace=journey.workspace
    )
    assert (found.num_images, found.num_labelled, found.num_chosen) == (32, 1, 12)
    assert found.task == "multi-label"
    table = pq.read_table(tmp_path / "next" / "predictions").to_pandas().set_index("path")
    rows = list(csv.DictReader((tmp_path / "next" / "next.csv").open(encoding="utf-8")))
    chosen = [row["path"] for row in rows]
    assert "seen.png" not in chosen
    assert len({"again.png", "1000.png"} & set(chosen)) <= 1
    thresholds = dict(zip(NAMES, journey.bundle.card.thresholds, strict=True))
    for row in rows:
        said = table.loc[row["path"]]
        assert row["predicted"] == "|".join(said.labels)
        assert float(row["confidence"]) == pytest.approx(said.confidence, abs=1e-4)
        if row["why"].startswith("uncertain: "):
            label = row["why"].removeprefix("uncertain: ").partition(" or not")[0]
            assert f"given from {thresholds[label]:.0%})" in row["why"]
    shares = np.stack(table.probabilities.to_numpy())
    limits = np.array(journey.bundle.card.thresholds)
    distance = np.where(shares >= limits, (shares - limits) / (1 - limits), (limits - shares) / limits)
    uncertain = {path for path, each in zip(table.index, distance, strict=True) if each.min() < 0.5}
    assert found.num_uncertain == len(uncertain.intersection(chosen))
    page = (tmp_path / "next" / "label.html").read_text(encoding="utf-8")
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["several"] is True
    assert [item["suggested"] for item in data["items"]] == [list(table.loc[path].labels) for path in chosen]

    truth = {Path(row[0]).name: row[1:] for row in csv.reader((tmp_path / "later" / "labels.csv").open())}
    with (tmp_path / "corrections.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        for path in chosen:
            cells = truth["1000.png" if path == "again.png" else path]
            names = [name for name, cell in zip(NAMES, cells, strict=True) if cell == "1"]
            writer.writerow([f"incoming/{path}", json.dumps(names)])
    data_set = darkroom.ingest(
        source, name="quads", task="multi-label", image_size=32, rows_per_shard=100, max_judged=0, leaks="keep",
        exclude="incoming/*", corrections=str(tmp_path / "corrections.csv"), workspace=journey.workspace,
    )  # fmt: skip
    corrected = open_dataset(Path(data_set.folder))
    assert corrected.card.corrections is not None
    assert corrected.card.corrections.num_new == 12
    before = {size.label: size.num_images for size in corrected.card.corrections.before}
    after = {size.label: size.num_images for size in corrected.card.corrections.after}
    gained = {size.label: size.num_images for size in corrected.card.corrections.added}
    assert {label: after[label] - before[label] for label in NAMES} == {label: gained.get(label, 0) for label in NAMES}
    again = darkroom.label_next(
        source / "incoming", journey.bundle.reference, budget=12, out=tmp_path / "next", workspace=journey.workspace
    )
    later = [row["path"] for row in csv.DictReader((tmp_path / "next" / "next.csv").open(encoding="utf-8"))]
    assert again.num_labelled >= 13
    assert not set(later) & set(chosen)


def test_an_evaluation_adds_the_training_profile_where_an_earlier_darkroom_wrote_none(journey: Journey) -> None:
    folder = journey.bundle.folder / "profile"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    darkroom.evaluate(journey.bundle.reference, min_macro_f1=0.5, workspace=journey.workspace)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
