"""int8 beside fp32: made the same each time, judged on validation, taken only where it gives the same answers."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from darkroom.data.images.decode import decode_stored
from darkroom.models.networks.architectures import build_scratch, flip_averaged, with_embeddings
from darkroom.models.onnx.inference import split_logits
from darkroom.models.onnx.quantize import calibration_images, judge, quantize
from darkroom.models.onnx.runtime import OnnxRunner, export_onnx


def trained_like(image_size: tuple[int, int] = (32, 32), num_classes: int = 4) -> keras.Model:
    """A convolutional network whose answers depend on the image, with batch normalisations that are not trivial."""
    keras.utils.set_random_seed(2)
    model = build_scratch("residual32", image_size, num_classes, dropout=0.0)
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shapes = [weight.shape for weight in layer.weights]
            gamma, beta, mean, variance = (rng.uniform(0.6, 1.4, shape) for shape in shapes)
            layer.set_weights([gamma, beta - 1, mean - 1, variance])
    return model


def images(count: int, seed: int = 0) -> np.ndarray:
    """Smooth coloured noise, `uint8[count, 32, 32, 3]`."""
    rough = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3))
    return np.kron(rough, np.ones((1, 8, 8, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model.onnx`, and beside it `model.int8.onnx` calibrated on other images than the tests run it on."""
    folder = tmp_path_factory.mktemp("network")
    export_onnx(with_embeddings(trained_like()), folder / "model.onnx")
    assert quantize(folder / "model.onnx", folder / "model.int8.onnx", images(40, seed=1)) is None
    return folder / "model.onnx"


def probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    chances: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return chances


def test_int8_gives_nearly_the_logits_and_embeddings_of_fp32_and_really_computes_in_int8(network):
    fp32, int8 = OnnxRunner(network), OnnxRunner(network.with_name("model.int8.onnx"))
    shown = images(60)
    (wanted, features), (found, vectors) = fp32.with_embeddings(shown), int8.with_embeddings(shown)
    assert np.abs(found - wanted).mean() < 0.1 * wanted.std(axis=0).mean()
    assert np.abs(vectors - features).mean() < 0.1 * features.std(axis=0).mean()
    assert int8.embedding_size == fp32.embedding_size == 192
    nodes = [node.op_type for node in onnx.load(network.with_name("model.int8.onnx")).graph.node]
    assert nodes.count("QuantizeLinear") >= nodes.count("Conv") >= 7


def test_the_mean_of_an_int8_answer_is_not_shifted(network):
    """Rounded weights shift every answer the same way; the biases are corrected for that."""
    shown = images(200, seed=9)
    wanted, found = (OnnxRunner(network.with_name(name))(shown) for name in ("model.onnx", "model.int8.onnx"))
    assert np.abs((found - wanted).mean(axis=0)).max() < 0.03 * wanted.std(axis=0).mean()


def test_an_image_gets_the_same_int8_logits_in_every_batch_and_by_any_number_of_threads(network):
    path, shown = network.with_name("model.int8.onnx"), images(19)
    together = OnnxRunner(path, num_threads=2)(shown)
    alone = OnnxRunner(path, num_threads=1)
    np.testing.assert_array_equal(together, np.concatenate([alone(shown[place : place + 1]) for place in range(19)]))


def test_quantizing_again_gives_the_same_bytes(network, tmp_path):
    assert quantize(network, tmp_path / "again.onnx", images(40, seed=1)) is None
    assert (tmp_path / "again.onnx").read_bytes() == network.with_name("model.int8.onnx").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.onnx"]


@pytest.mark.parametrize("num_images", [1, 20])
def test_every_batch_is_reported_to_the_end_both_times(network, tmp_path, num_images):
    told: list[tuple[str, int, int]] = []
    refused = quantize(network, tmp_path / "int8.onnx", images(num_images), lambda *step: told.append(step))
    total = 2 * -(-num_images // 8)
    assert (refused, told) == (None, [("quantize", done, total) for done in range(total + 1)])


def test_a_flip_averaged_network_can_be_quantized(tmp_path):
    model = flip_averaged(trained_like())
    export_onnx(with_embeddings(model), tmp_path / "model.onnx")
    assert quantize(tmp_path / "model.onnx", tmp_path / "int8.onnx", images(40, seed=1)) is None
    shown = images(20)
    wanted = np.asarray(model(shown, training=False))
    assert np.abs(OnnxRunner(tmp_path / "int8.onnx")(shown) - wanted).mean() < 0.2 * wanted.std(axis=0).mean()


def test_a_network_that_cannot_be_quantized_is_left_without_int8_and_says_so(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no network")
    said = quantize(tmp_path / "model.onnx", tmp_path / "int8.onnx", images(8))
    assert (said or "").startswith("ONNX Runtime cannot quantize this network")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_network_quantized_on_the_wrong_images_is_refused_by_the_gate(network, tmp_path):
    """Black images alone: every brighter image leaves the range of the activations."""
    black = np.zeros((40, 32, 32, 3), np.uint8)
    assert quantize(network, tmp_path / "int8.onnx", black) is None
    shown = images(300)
    paths = (network, network.with_name("model.int8.onnx"), tmp_path / "int8.onnx")
    logits = [OnnxRunner(path)(shown) for path in paths]
    middle, spread = logits[0].mean(axis=0), logits[0].std(axis=0)  # as if it were trained: each class as often
    wanted, good, bad = (probabilities(5 * (each - middle) / spread) for each in logits)
    truth = wanted.argmax(axis=1)
    assert np.bincount(truth).min() > 20
    same = [np.mean(each.argmax(axis=1) == truth) for each in (good, bad)]
    assert same[1] < 0.9 < 0.95 < same[0]
    assert "99.5% are needed" in (judge(wanted, bad, truth, 0.0).refused or "")


def answers(num_right: int, num_wrong: int, sureness: float = 0.9) -> np.ndarray:
    """Probabilities of two classes for images whose truth is class 0: the first ones right, the others wrong."""
    right, wrong = [sureness, 1 - sureness], [1 - sureness, sureness]
    return np.array([right] * num_right + [wrong] * num_wrong)


@pytest.mark.parametrize(
    ("fp32", "int8", "threshold", "refused"),
    [
        (answers(90, 10), answers(90, 10), 0.0, None),
        (answers(190, 10), answers(189, 11), 0.0, None),  # one image of 200 is 0.5 points of accuracy, and one image
        (answers(180, 19), answers(179, 20), 0.0, "99.50% of 199 validation images get the same label"),
        (answers(99, 0), answers(99, 0), 0.0, "99 validation images are too few for a comparison: 100 are needed"),
        (answers(997, 3), answers(993, 7), 0.0, "it loses accuracy on validation: 0.9930 instead of 0.9970"),
        (answers(997, 3), answers(994, 6), 0.0, None),
        (answers(900, 100), answers(900, 100, 0.7), 0.0, "its calibration error on validation is 0.2"),
        (answers(900, 100), answers(900, 100, 0.89), 0.895, "it answers for 0.00% of the validation images instead"),
    ],
)
def test_the_gate_takes_int8_only_within_its_limits(fp32, int8, threshold, refused):
    facts = judge(fp32, int8, np.zeros(len(fp32), np.int32), threshold)
    assert facts.gate is not None
    assert facts.gate.num_images == len(fp32)
    assert facts.gate.same_label == np.mean(fp32.argmax(axis=1) == int8.argmax(axis=1))
    assert facts.gate.int8.accuracy == np.mean(int8.argmax(axis=1) == 0)
    if refused is None:
        assert facts.refused is None
    else:
        assert refused in (facts.refused or "")


def test_the_images_that_calibrate_are_training_images_and_no_copies(dataset):
    stored = [decode_stored(record.encoded) for record in dataset.records("train") if record.copy == 0]
    np.testing.assert_array_equal(calibration_images(dataset), np.stack(stored))
    assert len(stored) == 36


def test_a_published_bundle_holds_the_figures_of_its_own_networks(bundle, dataset):
    gate = bundle.card.int8.gate
    said = {name: split_logits(dataset, "validation", bundle.runner(name)) for name in ("fp32", "int8")}
    labels = {name: bundle.card.calibration.apply(logits).argmax(axis=1) for name, (logits, _) in said.items()}
    truth = said["fp32"][1]
    assert gate is not None
    assert gate.num_images == len(truth) == 15
    assert gate.same_label == np.mean(labels["fp32"] == labels["int8"])
    assert gate.fp32.accuracy == bundle.card.validation_accuracy == np.mean(labels["fp32"] == truth)
    assert gate.int8.accuracy == np.mean(labels["int8"] == truth)
    assert bundle.card.int8.refused == "15 validation images are too few for a comparison: 100 are needed"
