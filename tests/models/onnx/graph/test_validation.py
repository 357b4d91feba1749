"""Only networks that are plain, bounded and whole are run, whoever made them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from darkroom.data.errors import FormatError
from darkroom.models.networks.architectures import (
    build_backbone,
    build_scratch,
    flip_averaged,
    with_embeddings,
    with_head,
)
from darkroom.models.onnx import runtime
from darkroom.models.onnx.graph import validation
from darkroom.models.onnx.graph.validation import check_network
from darkroom.models.onnx.runtime import OnnxRunner, export_onnx

SIDE = 8
NUM_PIXELS = SIDE * SIDE * 3


def constant(values: Any, name: str, kind: type = np.int64) -> Any:
    return numpy_helper.from_array(np.asarray(values, kind), name)


def network(
    path: Path, nodes: Sequence[Any], constants: Sequence[Any] = (), output: str = "logits", **more: Any
) -> Path:
    """An ONNX network of images 8 x 8: `pixels` are the image's as float, `flat` the same as rows."""
    first = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["pixels", "row"], ["flat"]),
        helper.make_node("Gemm", ["flat", "kernel"], ["plain"]),
    ]
    kernel = np.random.default_rng(0).normal(size=(NUM_PIXELS, 3)) / 255
    graph = helper.make_graph(
        [*first, *nodes],
        "made",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 3])],
        [constant([-1, NUM_PIXELS], "row"), constant(kernel, "kernel", np.float32), *constants],
    )
    opsets = [helper.make_opsetid("", 18), *more.pop("opsets", [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9, **more), str(path))
    return path


def refusal(path: Path) -> str:
    """Why a network is refused, by the check and by what would run it."""
    with pytest.raises(FormatError) as caught:
        check_network(path)
    with pytest.raises(FormatError) as again:
        OnnxRunner(path)
    assert str(again.value) == str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_plain_network_runs(tmp_path: Path) -> None:
    path = network(tmp_path / "a.onnx", [helper.make_node("Relu", ["plain"], ["logits"])])
    check_network(path)
    assert OnnxRunner(path)(np.full((5, SIDE, SIDE, 3), 7, np.uint8)).shape == (5, 3)


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_scratch("starter", (32, 40), 3, 0.3),
        lambda: build_scratch("airbench32", (32, 32), 3, 0.3),
        lambda: flip_averaged(build_scratch("cifar4", (32, 32), 3, 0.3)),
        lambda: with_head(build_backbone("efficientnet-lite0", (64, 64), "none"), 3, 0.3),
        lambda: with_head(build_backbone("mobilenetv3small", (64, 64), "none"), 3, 0.3),
    ],
    ids=["starter", "airbench32", "flip", "lite0", "mobilenetv3small"],
)
def test_what_darkroom_exports_passes(build: Callable[[], Any], tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    export_onnx(with_embeddings(build()), tmp_path / "model.onnx")
    check_network(tmp_path / "model.onnx")


def loop() -> Any:
    """2^62 rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_out"]), helper.make_node("Identity", ["x"], ["x_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["rounds", "true", "plain"], ["logits"], body=body)


def test_a_loop_is_refused_before_it_turns(tmp_path: Path) -> None:
    constants = [constant(2**62, "rounds"), constant(True, "true", np.bool_)]
    assert "the operator 'Loop'" in refusal(network(tmp_path / "a.onnx", [loop()], constants))


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("If", ""),
        ("Scan", ""),
        ("RandomUniformLike", ""),
        ("NonZero", ""),
        ("Relu", "com.evil"),
        ("EPContext", "com.microsoft"),
    ],
)
def test_an_operator_that_is_not_known_is_refused(name: str, domain: str, tmp_path: Path) -> None:
    node = helper.make_node(name, ["plain"], ["logits"], domain=domain)
    assert f"{name}'" in refusal(network(tmp_path / "a.onnx", [node], opsets=[helper.make_opsetid(domain or "x", 1)]))


def test_weights_in_another_file_are_refused_and_that_file_is_not_read(tmp_path: Path) -> None:
    """Its hash is in no card, so that other weights would pass for the same version."""
    path = network(tmp_path / "a.onnx", [helper.make_node("Relu", ["plain"], ["logits"])])
    loaded = onnx.load(path)
    onnx.save(loaded, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").is_file()
    assert "weights in another file, 'weights.bin'" in refusal(path)
    outside = helper.make_tensor("kernel", TensorProto.FLOAT, [1], [1.0])
    outside.ClearField("float_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/dev/zero")
    loaded = onnx.load(path, load_external_data=False)
    del loaded.graph.initializer[:]
    loaded.graph.initializer.append(outside)
    path.write_bytes(loaded.SerializeToString())
    assert "'/dev/zero'" in refusal(path)


def test_functions_and_sparse_weights_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("Twice", ["plain"], ["logits"], domain="local")
    twice = helper.make_function(
        "local", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 18)]
    )
    path = network(tmp_path / "a.onnx", [node], functions=[twice], opsets=[helper.make_opsetid("local", 1)])
    assert "holds functions" in refusal(path)
    path = network(tmp_path / "b.onnx", [helper.make_node("Relu", ["plain"], ["logits"])])
    loaded = onnx.load(path)
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [2**40])
    loaded.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2**41]))
    onnx.save(loaded, str(path))
    assert "sparse weights" in refusal(path)


@pytest.mark.parametrize(
    ("nodes", "constants", "reason"),
    [
        (  # 64 GB
            [
                helper.make_node("ConstantOfShape", ["large"], ["big"]),
                helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
                helper.make_node("Add", ["plain", "sum"], ["logits"]),
            ],
            [constant([16, 2**30], "large")],
            "takes more than 4 GiB, at its operator ConstantOfShape",
        ),
        (
            [
                helper.make_node("Tile", ["plain", "times"], ["wide"]),
                helper.make_node("ReduceMax", ["wide", "axis"], ["one"], keepdims=1),
                helper.make_node("Add", ["plain", "one"], ["logits"]),
            ],
            [constant([1, 2**36], "times"), constant([1], "axis")],
            "its operator Tile is not known before it runs",
        ),
        (  # each by itself would pass
            [
                *[helper.make_node("ConstantOfShape", ["large"], [f"big{n}"]) for n in range(5)],
                helper.make_node("Sum", [f"big{n}" for n in range(5)], ["all"]),
                helper.make_node("ReduceSum", ["all"], ["sum"], keepdims=0),
                helper.make_node("Add", ["plain", "sum"], ["logits"]),
            ],
            [constant([2**28], "large")],
            "takes more than 4 GiB",
        ),
        (  # computed while the network is loaded
            [
                helper.make_node("ConstantOfShape", ["large"], ["big"]),
                helper.make_node("MatMul", ["big", "big"], ["square"]),
                helper.make_node("ReduceSum", ["square"], ["sum"], keepdims=0),
                helper.make_node("Add", ["plain", "sum"], ["logits"]),
            ],
            [constant([8192, 8192], "large")],
            "operator MatMul takes too many multiplications",
        ),
        (  # a size that depends on the pixels
            [
                helper.make_node("ReduceMax", ["pixels"], ["most"], keepdims=0),
                helper.make_node("Reshape", ["most", "one"], ["row of one"]),
                helper.make_node("Cast", ["row of one"], ["size"], to=TensorProto.INT64),
                helper.make_node("ConstantOfShape", ["size"], ["big"]),
                helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
                helper.make_node("Add", ["plain", "sum"], ["logits"]),
            ],
            [constant([1], "one")],
            "size of a result of its operator ConstantOfShape is not known",
        ),
        (  # a size that grows with the batch
            [
                helper.make_node("Transpose", ["plain"], ["columns"], perm=[1, 0]),
                helper.make_node("MatMul", ["plain", "columns"], ["pairs"]),
                helper.make_node("ReduceMax", ["pairs", "axis"], ["one"], keepdims=1),
                helper.make_node("Add", ["plain", "one"], ["logits"]),
            ],
            [constant([1], "axis")],
            "is not known before it runs",
        ),
    ],
    ids=["64 GB", "tile", "together", "constant", "of pixels", "of the batch"],
)
def test_what_would_take_too_much_memory_or_time_is_refused_before_it_is_loaded(
    nodes: list[Any], constants: list[Any], reason: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert reason in refusal(network(tmp_path / "a.onnx", nodes, constants))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([helper.make_node("ReduceMean", ["plain", "axis"], ["logits"], keepdims=1)], [constant([0], "axis")]),
        ([helper.make_node("Reshape", ["plain", "other"], ["logits"])], [constant([-1, 1], "other")]),
        ([helper.make_node("Concat", ["plain", "plain"], ["logits"], axis=0)], []),
        (
            [helper.make_node("Slice", ["plain", "zero", "two", "zero"], ["logits"])],
            [constant([0], "zero"), constant([2], "two")],
        ),
    ],
    ids=["mean", "reshape", "concat", "slice"],
)
def test_a_network_that_does_not_give_one_row_for_each_image_is_refused(
    nodes: list[Any], constants: list[Any], tmp_path: Path
) -> None:
    assert any(
        said in refusal(network(tmp_path / "a.onnx", nodes, constants))
        for said in ("not one row for each image", "more or fewer rows", "is not known before it runs")
    )


def test_sizes_that_the_file_tells_are_not_believed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["large"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["plain", "sum"], ["logits"]),
    ]
    path = network(tmp_path / "a.onnx", nodes, [constant([16, 2**30], "large")])
    loaded = onnx.load(path)
    loaded.graph.value_info.append(helper.make_tensor_value_info("big", TensorProto.FLOAT, [1, 1]))
    onnx.save(loaded, str(path))
    assert "takes more than 4 GiB" in refusal(path)


def test_a_network_that_takes_longer_than_its_first_run_may_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [helper.make_node("MatMul", ["flat", "square"], ["x0"])]
    nodes += [helper.make_node("MatMul", [f"x{n}", "square"], [f"x{n + 1}"]) for n in range(400)]
    nodes += [helper.make_node("Gemm", ["x400", "kernel"], ["logits"])]
    square = constant(np.eye(NUM_PIXELS), "square", np.float32)
    path = network(tmp_path / "a.onnx", nodes, [square])
    check_network(path)
    monkeypatch.setattr(runtime, "FIRST_RUN_SECONDS", 0.01)
    with pytest.raises(FormatError, match=r"is refused: 1600 images take it more than 0\.01 s"):
        OnnxRunner(path)


def test_a_network_that_fails_while_it_runs_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its index is out of range, which is known only then."""
    nodes = [
        helper.make_node("Cast", ["plain"], ["index"], to=TensorProto.INT64),
        helper.make_node("Add", ["index", "far"], ["far index"]),
        helper.make_node("Gather", ["weights", "far index"], ["logits"]),
    ]
    constants = [constant([10**6], "far"), constant(np.ones(4), "weights", np.float32)]
    with pytest.raises(FormatError, match=r"a\.onnx cannot be run \(.*out of data bounds.*\)\. Train again"):
        OnnxRunner(network(tmp_path / "a.onnx", nodes, constants))
    assert capfd.readouterr() == ("", "")


def test_a_batch_that_is_fixed_is_refused(tmp_path: Path) -> None:
    path = network(tmp_path / "a.onnx", [helper.make_node("Relu", ["plain"], ["logits"])])
    loaded = onnx.load(path)
    loaded.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(loaded, str(path))
    with pytest.raises(FormatError, match="cannot be run"):
        OnnxRunner(path)


def test_too_many_operators_and_a_file_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = network(tmp_path / "a.onnx", [helper.make_node("Relu", ["plain"], ["logits"])])
    monkeypatch.setattr(validation, "MAX_NODES", 3)
    assert "4 operators, more than 3" in refusal(path)
    monkeypatch.setattr(validation, "MAX_NETWORK_BYTES", 100)
    assert "more than 100" in refusal(path)


def test_a_name_that_is_no_text_and_a_weight_of_another_size_than_it_says_are_refused(tmp_path: Path) -> None:
    path = network(tmp_path / "a.onnx", [helper.make_node("Relu", ["plain"], ["logits"])])
    whole = path.read_bytes()
    for old, new in ((b"kernel", b"kern\x80l"), (b"batch", b"bat\xffh"), (b"logits", b"\x80ogits")):
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(FormatError):
            OnnxRunner(path)
    loaded = onnx.ModelProto.FromString(whole)
    loaded.graph.initializer[0].dims[:] = [5]
    path.write_bytes(loaded.SerializeToString())
    assert "refused" in refusal(path)
    loaded = onnx.ModelProto.FromString(whole)
    loaded.graph.output[0].type.tensor_type.ClearField("shape")
    path.write_bytes(loaded.SerializeToString())
    with contextlib.suppress(FormatError):
        assert OnnxRunner(path).num_outputs == 3


def test_a_damaged_network_runs_or_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """Bits, bytes and lengths changed where the structure lies; the seed makes it the same every time."""
    path = network(tmp_path / "a.onnx", [helper.make_node("Relu", ["plain"], ["logits"])])
    whole, chance = path.read_bytes(), random.Random(19)
    images, refusals = np.zeros((3, SIDE, SIDE, 3), np.uint8), list[str]()
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 5])):
            place = chance.choice([0, len(content) - 500]) + chance.randrange(500)
            content[place] = chance.choice([content[place] ^ 1 << chance.randrange(8), 0, 0x7F, 0x80, 0xFF])
        path.write_bytes(content)
        try:
            assert OnnxRunner(path, num_threads=1)(images).shape == (3, 3)
        except FormatError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert "\n" not in "".join(refusals)


def number(value: int) -> bytes:
    """As protobuf writes it."""
    low = value & 0x7F
    return bytes([low]) if value < 0x80 else bytes([low | 0x80]) + number(value >> 7)


def inside(path: Sequence[int], content: bytes) -> bytes:
    """Messages in messages by the numbers of their fields, the outermost first."""
    for field in reversed(path):
        content = number(field << 3 | 2) + number(len(content)) + content
    return content


GRAPH, NODE, INITIALIZER, INPUT = (7,), (7, 1), (7, 5), (7, 11)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (GRAPH, inside([1], b"") * 1_000_000),
        (GRAPH, inside([5], b"") * 1_000_000),
        (NODE, inside([5], b"") * 1_000_000),
        (NODE, inside([1], b"") * 1_000_000),
        ((7, 1, 5, 6), inside([11], b"") * 1_000_000),
        ((7, 11, 2, 1, 2), inside([1], b"") * 1_000_000),
        ((), inside([25], b"") * 1_000_000),
        ((), (number(60 << 3) + b"\0") * 600_000),
    ],
    ids=["operators", "weights", "attributes", "names", "graph in a graph", "sizes", "functions", "unknown"],
)
def test_a_file_of_tiny_messages_is_refused_before_it_takes_a_hundred_times_its_size(
    path: Sequence[int], content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "ModelProto", SimpleNamespace(DESCRIPTOR=onnx.ModelProto.DESCRIPTOR))  # parses nothing
    (tmp_path / "a.onnx").write_bytes(inside(path, content))
    assert "more than 500,000 fields" in refusal(tmp_path / "a.onnx")


def test_packed_integers_are_limited_because_each_takes_eight_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(inside([*INITIALIZER, 7], b"\1" * (16 * 2**20 + 1)))
    assert "more than 16 MiB of lists of integers" in refusal(tmp_path / "a.onnx")
    (tmp_path / "a.onnx").write_bytes(inside([*INITIALIZER, 9], b"\1" * (16 * 2**20 + 1)))
    assert "it takes nothing" in refusal(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    "data",
    [b"\xff" * 20, number(7 << 3 | 2), inside(GRAPH, b"\x0a\xff\xff\x03"), number(7 << 3 | 3) + b"\0" * 9, b"\x0a\x80"],
    ids=["endless number", "cut", "longer than its graph", "group", "half a number"],
)
def test_what_is_no_protobuf_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(data)
    assert "is not a network" in refusal(tmp_path / "a.onnx")


def test_more_weights_than_onnx_runtime_loads_in_time_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "MAX_NODES", 6)
    more = [constant(1, f"more {each}") for each in range(5)]
    path = network(tmp_path / "a.onnx", [helper.make_node("Relu", ["plain"], ["logits"])], more)
    assert "9 weights, inputs and outputs, more than 6" in refusal(path)
