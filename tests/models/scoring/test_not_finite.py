"""An answer that is NaN or infinity is never taken for one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from darkroom.data.files.hashing import file_sha256
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.scoring.parts import score_part
from darkroom.models.scoring.summary import summarize
from tests.bundles import tiny_bundle
from tests.scoring import plan


def spoiled(folder: Path, factor: float, of: str) -> Bundle:
    """A bundle whose network gives logits, or embeddings, times `factor` where the first pixel is above 127."""
    path = folder / "model.onnx"
    network = onnx.load(path)
    graph = network.graph
    ends = [end.name for end in graph.output]
    changed = ends[0 if of == "logits" else 1]
    for node in graph.node:
        node.input[:] = [f"{name} as before" if name == changed else name for name in node.input]
        node.output[:] = [f"{name} as before" if name == changed else name for name in node.output]
    image = graph.input[0].name
    constants = {"first": [0] * 4, "last": [2**31, 1, 1, 1], "axes": [0, 1, 2, 3], "row": [0, 1]}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(each, np.int64), name) for name, each in constants.items()
    )
    floats = {"half": 127.5, "factor": factor, "one": 1.0}
    graph.initializer.extend(numpy_helper.from_array(np.float32(each), name) for name, each in floats.items())
    graph.node.extend(
        [
            helper.make_node("Slice", [image, "first", "last", "axes"], ["corner"]),
            helper.make_node("Cast", ["corner"], ["corner as float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Reshape", ["corner as float", "row"], ["shade"]),
            helper.make_node("Greater", ["shade", "half"], ["is bright"]),
            helper.make_node("Where", ["is bright", "factor", "one"], ["times"]),
            helper.make_node("Mul", [f"{changed} as before", "times"], [changed]),
        ]
    )
    onnx.save(network, str(path))
    card = json.loads((folder / "bundle.json").read_text())
    for fact in card["files"]:
        if fact["file"] == "model.onnx":
            fact |= {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    (folder / "bundle.json").write_text(json.dumps(card))
    return open_bundle(folder)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    for number, shade in enumerate([10, 250, 30, 200]):
        Image.fromarray(np.full((16, 16, 3), shade, np.uint8)).save(tmp_path / "new" / f"{number}.png")
    shutil.copy(tmp_path / "new" / "0.png", tmp_path / "new" / "4.png")
    return tmp_path / "new"


@pytest.mark.parametrize(
    ("factor", "of", "embeddings", "bad"),
    [
        (np.nan, "logits", False, {1, 3}),
        (np.inf, "logits", False, {1, 3}),
        (np.nan, "embedding", True, {1, 3}),
        (np.nan, "embedding", False, set()),
        (2.0, "logits", True, set()),
    ],
)
def test_a_row_whose_outputs_are_not_finite_is_quarantined_and_the_others_keep_theirs(
    factor: float, of: str, embeddings: bool, bad: set[int], images: Path, tmp_path: Path
) -> None:
    folder = tiny_bundle(tmp_path / "tiny" / "1", ["cats", "dogs", "owls"], (16, 16))
    plain = open_bundle(folder).runner()
    expected = {
        number: plain(np.asarray(Image.open(images / f"{number}.png"))[None])[0].argmax() for number in (0, 2, 4)
    }
    bundle = spoiled(folder, factor, of)
    out = tmp_path / "scored"
    plan(images, bundle, out, embeddings=embeddings)
    done = score_part(out, 0, bundle.runner(), bundle)
    rows = pq.read_table(out / "part-00000.parquet").to_pylist()
    assert {number for number, row in enumerate(rows) if row["reason"] == "not_finite"} == bad
    for number, row in enumerate(rows):
        if number in bad:
            assert row["status"] == "quarantined"
            assert (row["label"], row["confidence"], row["abstained"], row["top_k"]) == (None, None, None, None)
            assert (row["width"], row["height"], len(row["sha256"])) == (16, 16, 64)
        else:
            assert (row["status"], row["reason"]) == ("ok", None)
            assert 0 < row["confidence"] <= 1
    assert {number: rows[number]["label"] for number in expected} == {
        number: bundle.card.labels[index] for number, index in expected.items()
    }
    summary = summarize(out, [done], "2026-11-28T00:00:00Z", 1.0, None)
    assert {each.name: each.num_rows for each in summary.reasons} == ({"not_finite": 2} if bad else {})
