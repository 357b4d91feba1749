"""The same network is the same file, whatever was exported before it and whatever the process's hash seed is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from darkroom.models.networks.architectures import build_backbone
from darkroom.models.onnx.graph.canonical import use_stable_names
from darkroom.models.onnx.runtime import export_onnx

ROOT = Path(__file__).parents[3]
OPSET = [helper.make_opsetid("", 15)]
EXPORT = """
import hashlib, sys
from pathlib import Path
from darkroom.models.networks.architectures import build_backbone
from darkroom.models.onnx.runtime import export_onnx
export_onnx(build_backbone("efficientnet-lite0", (32, 32), "imagenet"), Path(sys.argv[1]))
"""


def test_the_same_network_gives_the_same_bytes_in_every_process(tmp_path):
    """Here, where others have been exported, and in a process of its own with another hash seed."""
    here, there = tmp_path / "here.onnx", tmp_path / "there.onnx"
    export_onnx(build_backbone("efficientnet-lite0", (32, 32), "imagenet"), here)
    more = {"PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "1234", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", EXPORT, str(there)], check=True, cwd=ROOT, env={**os.environ, **more})
    assert here.read_bytes() == there.read_bytes()
    onnx.checker.check_model(onnx.load(here), full_check=True)


def test_the_same_network_gives_the_same_bytes_each_time(tmp_path):
    image = keras.Input((16, 16, 3), dtype="uint8")
    values = keras.layers.Rescaling(1 / 255)(image)
    for _ in range(2):
        values = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(values)))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(values))
    files = [tmp_path / name for name in ("first.onnx", "second.onnx")]
    for file in files:
        export_onnx(model, file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_reshape_that_changes_nothing_is_left_out_and_the_others_stay():
    shapes = {"kept": [-1, 4, 1, 1], "turned": [-1, 1, 2, 2], "flat": [-1, 4], "last": [-1, 4]}
    steps = [("x", "kept"), ("kept", "turned"), ("turned", "flat"), ("flat", "last")]
    nodes = [helper.make_node("Reshape", [source, f"to {target}"], [target]) for source, target in steps]
    nodes.insert(2, helper.make_node("Relu", ["turned"], ["positive"]))
    nodes[3].input[0] = "positive"
    graph = helper.make_graph(
        nodes,
        "reshapes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 1, 1])],
        [helper.make_tensor_value_info("last", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.array(shape), f"to {name}") for name, shape in shapes.items()],
    )
    model = helper.make_model(graph, opset_imports=OPSET, ir_version=8)
    images = np.arange(-6, 6, dtype=np.float32).reshape(3, 4, 1, 1)
    before = ort.InferenceSession(model.SerializeToString()).run(None, {"x": images})[0]
    use_stable_names(model)
    onnx.checker.check_model(model, full_check=True)
    # The last one gives the output its name, so it stays too.
    assert [node.op_type for node in model.graph.node] == ["Reshape", "Relu", "Reshape", "Reshape"]
    assert len(model.graph.initializer) == 2
    np.testing.assert_array_equal(ort.InferenceSession(model.SerializeToString()).run(None, {"x": images})[0], before)


def test_networks_with_other_weights_differ(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3), dtype="uint8"), keras.layers.Flatten(), keras.layers.Dense(2)])
    export_onnx(model, tmp_path / "before.onnx")
    kernel, bias = model.get_weights()
    model.set_weights([kernel, bias + 1e-3])
    export_onnx(model, tmp_path / "after.onnx")
    assert (tmp_path / "before.onnx").read_bytes() != (tmp_path / "after.onnx").read_bytes()


def graph(suffix: str, *, is_shuffled: bool) -> onnx.ModelProto:
    """`(x + 1) * 2 + (x + 1) * 2` with one constant of 2 stored twice, a node of no use, and names with a suffix."""
    one, two = np.array([1], np.float32), np.array([2], np.float32)
    constants = [("one", one), ("two", two), ("again", two)]
    nodes = [
        helper.make_node("Add", ["x", f"one{suffix}"], [f"sum{suffix}"], f"add{suffix}"),
        helper.make_node("Mul", [f"sum{suffix}", f"two{suffix}"], [f"left{suffix}"], f"left{suffix}"),
        helper.make_node("Mul", [f"sum{suffix}", f"again{suffix}"], [f"right{suffix}"], f"right{suffix}"),
        helper.make_node("Neg", [f"sum{suffix}"], [f"unused{suffix}"], f"neg{suffix}"),
        helper.make_node("Add", [f"left{suffix}", f"right{suffix}"], ["y"], f"end{suffix}"),
    ]
    if is_shuffled:
        nodes[1], nodes[2] = nodes[2], nodes[1]
        constants.reverse()
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [f"n{suffix}", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [f"m{suffix}", 1])],
        [numpy_helper.from_array(value, f"{name}{suffix}") for name, value in constants],
    )
    return helper.make_model(made, opset_imports=OPSET, ir_version=8)


def test_names_and_order_follow_from_what_is_computed():
    first, second = graph("__7", is_shuffled=False), graph("__31", is_shuffled=True)
    for model in (first, second):
        use_stable_names(model)
        onnx.checker.check_model(model)
    assert first.SerializeToString() == second.SerializeToString()
    assert [node.name for node in first.graph.node] == ["Add_0", "Mul_1", "Mul_2", "Add_3"]
    assert [(tensor.name, numpy_helper.to_array(tensor).item()) for tensor in first.graph.initializer] == [
        ("constant_0", 1.0),
        ("constant_1", 2.0),
    ]
    run = ort.InferenceSession(first.SerializeToString(), providers=["CPUExecutionProvider"]).run
    (found,) = run(["y"], {"x": np.array([[0], [3]], np.float32)})
    np.testing.assert_array_equal(found, [[4], [16]])


@pytest.mark.parametrize("is_output", [True, False])
def test_a_constant_that_is_an_output_keeps_its_name(is_output):
    value = numpy_helper.from_array(np.array([5], np.float32), "y" if is_output else "five")
    nodes = [] if is_output else [helper.make_node("Identity", ["five"], ["y"])]
    ends = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
    model = helper.make_model(helper.make_graph(nodes, "g", [], ends, [value]), opset_imports=OPSET, ir_version=8)
    use_stable_names(model)
    run = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run
    assert run(["y"], {})[0].tolist() == [5.0]
