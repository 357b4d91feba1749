"""Running a network through ONNX Runtime: the same numbers as Keras, and only networks of images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from darkroom.data.errors import FormatError
from darkroom.models.networks.architectures import build_scratch
from darkroom.models.onnx.runtime import OnnxRunner, export_onnx


def test_the_exported_network_gives_keras_numbers_for_any_number_of_images(tmp_path):
    keras.utils.set_random_seed(1)
    model = build_scratch("cifar4", (32, 40), 5, dropout=0.5)
    export_onnx(model, tmp_path / "model.onnx")
    runner = OnnxRunner(tmp_path / "model.onnx", num_threads=1)
    assert (runner.image_size, runner.num_outputs) == ((32, 40), 5)
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 40, 3), dtype=np.uint8)
    for count in (1, 3, 7):
        found = runner(images[:count])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, model(images[:count], training=False), atol=1e-5)


def network(path: Path, inputs: list[tuple[int, list[int]]], outputs: list[tuple[int, list[int]]]) -> Path:
    """An ONNX network with these ends, that computes nothing but casts."""
    names_in, names_out = [f"in{n}" for n in range(len(inputs))], [f"out{n}" for n in range(len(outputs))]
    nodes = [
        helper.make_node("Cast", [names_in[0]], [name], to=kind)
        for name, (kind, _) in zip(names_out, outputs, strict=True)
    ]
    graph = helper.make_graph(
        nodes,
        "ends",
        [helper.make_tensor_value_info(name, *end) for name, end in zip(names_in, inputs, strict=True)],
        [helper.make_tensor_value_info(name, *end) for name, end in zip(names_out, outputs, strict=True)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize(("side", "images_a_run"), [(40, 64), (160, 4), (240, 1)])
def test_runs_are_as_large_as_suits_a_core_and_neither_they_nor_the_threads_change_a_row(tmp_path, side, images_a_run):
    keras.utils.set_random_seed(1)
    export_onnx(build_scratch("residual32", (side, side), 3, dropout=0.5), tmp_path / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (2 * images_a_run + 1, side, side, 3), dtype=np.uint8)
    alone = OnnxRunner(tmp_path / "model.onnx", num_threads=1)
    one_by_one = np.concatenate([alone(images[place : place + 1]) for place in range(len(images))])
    for num_threads in (1, 2, 3):
        runner = OnnxRunner(tmp_path / "model.onnx", num_threads=num_threads)
        run, sizes = runner._session.run, list[int]()

        def noted(names, fed, run=run, sizes=sizes):
            sizes.append(len(fed["image"]))
            return run(names, fed)

        runner._session = SimpleNamespace(run=noted)
        np.testing.assert_array_equal(runner(images), one_by_one)
        assert sorted(sizes, reverse=True) == [images_a_run, images_a_run, 1]
        assert runner(images[:0]).shape == (0, 3)


def test_a_network_that_takes_or_gives_something_else_is_refused(tmp_path):
    image, row = (TensorProto.UINT8, [1, 8, 8, 3]), (TensorProto.FLOAT, [1, 4])
    path = tmp_path / "model.onnx"
    scaled_outside = (TensorProto.FLOAT, [1, 8, 8, 3])
    for inputs, outputs, reason in [
        ([scaled_outside], [row], r"takes tensor\(float\).*not uint8 images"),
        ([(TensorProto.UINT8, [1, 192])], [(TensorProto.FLOAT, [1, 192])], "not uint8 images"),
        ([image, image], [(TensorProto.FLOAT, [1, 8, 8, 3])], "not uint8 images alone"),
        ([image], [(TensorProto.FLOAT, [1, 8, 8, 3])], "not rows of float32"),
    ]:
        with pytest.raises(FormatError, match=reason):
            OnnxRunner(network(path, inputs, outputs))


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no network")
    with pytest.raises(FormatError, match=r"model\.onnx is not a network that ONNX Runtime can run"):
        OnnxRunner(tmp_path / "model.onnx")
    with pytest.raises(FormatError, match="is not a network"):
        OnnxRunner(tmp_path / "missing.onnx")


def test_a_layer_that_normalises_by_numbers_is_exported_with_them(tmp_path):
    """Those of EfficientNetB0 are neither weights nor part of the graph: tf2onnx made inputs of them."""
    image = keras.Input((8, 8, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(image)
    inner = keras.Input((8, 8, 3))
    normalised = keras.layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])(inner)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.Model(inner, normalised)(scaled))
    model = keras.Model(image, keras.layers.Dense(3)(pooled))
    export_onnx(model, tmp_path / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(OnnxRunner(tmp_path / "model.onnx")(images), np.asarray(model(images)), atol=1e-5)
