"""An exported network tells another program what it takes and gives, and computes what it did before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.measures.calibration import Calibration, Curve
from darkroom.models.onnx.metadata import NetworkDescription, describe_network
from darkroom.models.onnx.runtime import OnnxRunner
from tests.bundles import tiny_bundle

IMAGES = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("file", ["model.onnx", "model.int8.onnx"])
def test_a_published_network_has_named_outputs_probabilities_and_all_that_is_needed_to_use_it(bundle: Bundle, file):
    session = onnxruntime.InferenceSession(bundle.folder / file)
    assert [end.name for end in session.get_inputs()] == ["image"]
    assert [end.name for end in session.get_outputs()] == ["logits", "embedding", "probabilities"]
    told = session.get_modelmeta().custom_metadata_map
    assert told["model"] == bundle.reference
    assert tuple(json.loads(told["labels"])) == bundle.card.labels
    assert DecodePolicy.model_validate_json(told["decode_policy"]) == bundle.card.policy
    assert Calibration.model_validate_json(told["calibration"]) == bundle.card.calibration
    assert json.loads(told["threshold"]) == bundle.card.threshold > 0
    logits, probabilities = session.run(["logits", "probabilities"], {"image": IMAGES})
    assert np.abs(probabilities - bundle.card.calibration.apply(logits)).max() < 1e-6
    assert bundle.card.calibration.temperature != 1


def test_to_be_described_changes_no_bit_of_logits_and_embeddings(tmp_path):
    folder = tiny_bundle(tmp_path / "tiny", ["a", "é"], (32, 32))
    described = Path(shutil.copy(folder / "model.onnx", tmp_path / "described.onnx"))
    policy = DecodePolicy(image_size=(32, 32))
    describe_network(described, NetworkDescription("tiny@1", ["a", "é"], policy, Calibration(temperature=2)))
    before, after = OnnxRunner(folder / "model.onnx"), OnnxRunner(described)
    for one, other in zip(before.with_embeddings(IMAGES), after.with_embeddings(IMAGES), strict=True):
        assert one.tobytes() == other.tobytes()
    assert (after.num_outputs, after.embedding_size) == (before.num_outputs, before.embedding_size)


def test_the_same_network_described_twice_has_the_same_bytes(tmp_path):
    folder = tiny_bundle(tmp_path / "tiny", ["a", "b"], (32, 32))
    copies = [Path(shutil.copy(folder / "model.onnx", tmp_path / f"{number}.onnx")) for number in range(2)]
    for copy in copies:
        describe_network(copy, NetworkDescription("tiny@1", ["a", "b"], DecodePolicy(), Calibration()))
    assert copies[0].read_bytes() == copies[1].read_bytes()


def test_curves_are_told_and_give_no_output(tmp_path):
    folder = tiny_bundle(tmp_path / "tiny", ["a", "b"], (32, 32))
    curves = Calibration(method="isotonic", curves=(Curve(x=(0, 1), y=(0, 1)),) * 2)
    describe_network(folder / "model.onnx", NetworkDescription("tiny@1", ["a", "b"], DecodePolicy(), curves))
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert [end.name for end in session.get_outputs()] == ["logits", "embedding"]
    assert Calibration.model_validate_json(session.get_modelmeta().custom_metadata_map["calibration"]) == curves
