"""Scoring with int8, with Keras, and with embeddings: each table of one kind, and the columns as promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.data.errors import FormatError, SettingError
from darkroom.data.files.atomic import write_json
from darkroom.data.images.decode import decode
from darkroom.models.bundle import bundle as bundle_module
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.networks.architectures import (
    LOGITS_LAYER,
    build_backbone,
    flip_averaged,
    with_embeddings,
    with_head,
)
from darkroom.models.onnx.quantize import Int8Facts
from darkroom.models.onnx.runtime import KerasRunner, OnnxRunner, export_onnx
from darkroom.models.prediction_table.schema import table_schema
from darkroom.models.scoring.parts import open_runner, score_part
from darkroom.models.scoring.summary import ScoreSummary, summarize
from tests.scoring import plan


def run(folder: Path, bundle: Bundle, out: Path, engine: Any = "fp32", embeddings: bool = False) -> ScoreSummary:
    """Plan, score in parts of 10 and summarize."""
    planned = plan(folder, bundle, out, 10, engine, embeddings=embeddings)
    runner, _ = open_runner(bundle.folder, planned.engine)
    parts = [score_part(out, index, runner, bundle) for index in range(planned.num_parts)]
    return summarize(out, parts, "", 1.0, None)


def table(out: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(out.glob("part-*.parquet"))])


def with_int8(bundle: Bundle, refused: str | None) -> Bundle:
    """The bundle as if the gate had decided so."""
    facts = Int8Facts(gate=bundle.card.int8.gate, refused=refused)
    return Bundle(bundle.folder, bundle.card.model_copy(update={"int8": facts}))


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """Whatever this machine has: fp32 on the CPU, int8 made for it."""
    monkeypatch.setattr(bundle_module, "has_gpu", lambda: False)
    monkeypatch.setattr(bundle_module, "multiplies_int8_exactly", lambda: True)


def test_auto_takes_int8_only_where_the_gate_passed_and_the_processor_is_made_for_it(bundle, monkeypatch):
    assert with_int8(bundle, None).engine("auto") == "int8"
    assert with_int8(bundle, None).engine("fp32") == "fp32"
    assert with_int8(bundle, "it differs").engine("auto") == "fp32"
    monkeypatch.setattr(bundle_module, "multiplies_int8_exactly", lambda: False)
    assert with_int8(bundle, None).engine("auto") == "fp32"
    assert with_int8(bundle, None).engine("int8") == "int8"


def test_int8_that_the_gate_refused_is_taken_when_asked_for_and_said(bundle, caplog):
    assert with_int8(bundle, "it differs").engine("int8") == "int8"
    assert "as requested, although it differs" in caplog.text


def test_a_gpu_runs_the_keras_model_unless_int8_is_asked_for(bundle, monkeypatch):
    monkeypatch.setattr(bundle_module, "has_gpu", lambda: True)
    passed = with_int8(bundle, None)
    assert [passed.engine(precision) for precision in ("auto", "fp32", "int8")] == ["keras", "keras", "int8"]


def test_the_rows_of_int8_are_what_the_int8_network_says(images, bundle, tmp_path):
    summary = run(images, bundle, tmp_path / "out", "int8")
    assert (summary.precision, summary.engine) == ("int8", "int8")
    network = OnnxRunner(bundle.folder / "model.int8.onnx")
    for row in table(tmp_path / "out").to_pylist():
        if row["status"] == "ok":
            pixels = decode((images / row["path"]).read_bytes(), bundle.card.policy)
            chances = bundle.card.calibration.apply(network(pixels[None]))[0]
            assert row["label"] == bundle.card.labels[chances.argmax()]
            assert row["confidence"] == np.float32(chances.max())


def test_another_precision_makes_every_part_again_and_never_mixes(images, bundle, tmp_path):
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    run(images, bundle, out, "fp32")
    assert run(images, bundle, out, "fp32").rows_reused == 72
    assert run(images, bundle, out, "int8").rows_reused == 0
    run(images, bundle, fresh, "int8")
    assert table(out).equals(table(fresh))
    (out / "part-00001.parquet").unlink()
    assert run(images, bundle, out, "fp32").rows_reused == 0


def test_keras_on_whatever_tensorflow_has_gives_the_labels_of_onnx(images, bundle, tmp_path):
    assert run(images, bundle, tmp_path / "keras", "keras").precision == "fp32"
    run(images, bundle, tmp_path / "onnx", "fp32")
    found, wanted = table(tmp_path / "keras"), table(tmp_path / "onnx")
    assert found["label"].equals(wanted["label"])
    near = pytest.approx(wanted["confidence"].drop_null().to_numpy(), abs=1e-5)
    assert found["confidence"].drop_null().to_numpy() == near
    assert isinstance(bundle.runner("keras"), KerasRunner)


@pytest.mark.parametrize(("engine", "tolerance"), [("fp32", 1e-4), ("keras", 1e-4), ("int8", 0.3)])
def test_embeddings_are_what_the_last_dense_layer_of_the_keras_model_is_given(
    images, bundle, tmp_path, engine, tolerance
):
    import keras

    summary = run(images, bundle, tmp_path / "out", engine, embeddings=True)
    model = bundle.keras_model()
    before = keras.Model(model.inputs[0], model.layers[-2].output)
    assert model.layers[-1].name == LOGITS_LAYER
    found = table(tmp_path / "out")
    assert found.schema == table_schema((), 512, familiarity=True)
    assert summary.embedding_size == 512
    rows = found.to_pylist()
    assert [row["embedding"] is None for row in rows] == [row["status"] == "quarantined" for row in rows]
    scored = [row for row in rows if row["status"] == "ok"]
    pixels = np.stack([decode((images / row["path"]).read_bytes(), bundle.card.policy) for row in scored])
    wanted = np.asarray(before(pixels, training=False))
    np.testing.assert_allclose([row["embedding"] for row in scored], wanted, atol=tolerance)


def test_the_other_columns_are_the_same_with_embeddings_and_the_table_without_is_not_used_for_it(
    images, bundle, tmp_path
):
    out = tmp_path / "out"
    run(images, bundle, out)
    without = table(out)
    assert without.schema == table_schema((), None, familiarity=True)
    assert run(images, bundle, out, embeddings=True).rows_reused == 0
    assert table(out).drop_columns("embedding").equals(without)
    assert run(images, bundle, out, embeddings=True).rows_reused == 72
    run(images, bundle, out)
    assert table(out).equals(without)


def test_embeddings_of_known_rows_are_taken_over(images, bundle, tmp_path):
    out = tmp_path / "out"
    run(images, bundle, out, embeddings=True)
    before = table(out)
    planned = plan(images, bundle, out, 31, embeddings=True)  # other parts, the same rows
    done = [score_part(out, index, bundle.runner(), bundle) for index in range(planned.num_parts)]
    assert sum(part.num_reused for part in done) == 72
    summarize(out, done, "", 1.0, None)
    assert table(out).equals(before)


def test_a_network_without_embeddings_is_refused_in_a_sentence_before_anything_is_made(images, bundle, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    export_onnx(bundle.keras_model(), folder / "model.onnx")
    write_json(folder / "bundle.json", {})
    old = Bundle(folder, bundle.card.model_copy(update={"embedding_size": None}))
    with pytest.raises(SettingError, match=r"gives no embeddings: .* Train again, or score without --embeddings"):
        plan(images, old, tmp_path / "out", 10, embeddings=True)
    assert not (tmp_path / "out").exists()
    with pytest.raises(FormatError, match="gives no embeddings"):
        old.runner().with_embeddings(np.zeros((1, 32, 32, 3), np.uint8))


def test_embeddings_of_a_nested_and_of_a_flip_averaged_network_are_its_features(tmp_path):
    backbone = build_backbone("efficientnet-lite0", (32, 32), "none")
    model = with_head(backbone, 3, 0.2)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    features, mirrored = (np.asarray(backbone(x, training=False)) for x in (images, images[:, :, ::-1]))
    for network, wanted in ((model, features), (flip_averaged(model), (features + mirrored) / 2)):
        logits, embeddings = with_embeddings(network)(images, training=False)
        np.testing.assert_allclose(embeddings, wanted, atol=1e-5)
        np.testing.assert_allclose(logits, network(images, training=False), atol=1e-5)
