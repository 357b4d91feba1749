"""Canonical names and order for an ONNX graph, so that the same network gives the same bytes every time.

tf2onnx numbers what it adds by a counter that goes on from export to export, and of equal constants it keeps the one
that the process's hash seed brings first. Where feature maps are of one pixel it turns transpositions into reshapes
that change nothing, and how many of them are left differs from export to export (1.17).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def use_stable_names(model: Any) -> None:
    """Order the nodes of an `onnx.ModelProto` as its outputs need them, and name everything by its position.

    Reshapes that change no shape are removed. Equal constants are stored once; inputs and outputs keep their names, and
    their free first axis is `batch`. A network with control flow is left as it is, because the graphs inside its nodes
    use the names of the outer one.
    """
    graph = model.graph
    if any(part.HasField("g") or part.graphs for node in graph.node for part in node.attribute):
        return
    _pass_idle_reshapes(model)
    graph.doc_string = ""  # the name of a TensorFlow function, with a counter in it
    ends = [end.name for end in (*graph.input, *graph.output)]
    names = {name: name for name in ("", *ends)}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    stored: dict[bytes, Any] = {}
    nodes = list(_as_needed(graph))
    for number, node in enumerate(nodes):
        node.name = f"{node.op_type}_{number}"
        for name in node.input:
            if name not in names:
                tensor = constants[name]
                tensor.name = ""
                same = stored.setdefault(tensor.SerializeToString(deterministic=True), tensor)
                same.name = same.name or f"constant_{len(stored) - 1}"
                names[name] = same.name
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names.setdefault(name, f"{node.name}:{place}") for place, name in enumerate(node.output)]
        for part in node.attribute:
            if part.HasField("t"):
                part.t.name = ""
    for end in (*graph.input, *graph.output):
        for axis, size in enumerate(end.type.tensor_type.shape.dim):
            if size.dim_param:
                size.dim_param = f"{end.name}_{axis}" if axis else "batch"
    kept = [tensor for name, tensor in constants.items() if name in ends] + list(stored.values())
    for field, values in ((graph.node, nodes), (graph.initializer, kept), (graph.value_info, [])):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)


def _pass_idle_reshapes(model: Any) -> None:
    """Give who takes the output of a reshape that changes no shape its input: then nothing needs the reshape."""
    from onnx import numpy_helper, shape_inference

    graph = model.graph
    known = shape_inference.infer_shapes(model).graph
    shapes = {
        each.name: [size.dim_value for size in each.type.tensor_type.shape.dim]  # 0 where it is free
        for each in (*known.value_info, *known.input)
    }
    constants = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {end.name for end in graph.output}
    same: dict[str, str] = {}
    for node in graph.node:  # each after those that make its inputs
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type != "Reshape" or node.output[0] in outputs or node.input[1] not in constants:
            continue
        wanted = numpy_helper.to_array(constants[node.input[1]]).tolist()
        found = shapes.get(node.input[0], [])
        # -1 stands for what the others leave: the free axis, if it is the only one.
        if wanted == [size or -1 for size in found] and wanted.count(-1) <= 1:
            same[node.output[0]] = node.input[0]


def _as_needed(graph: Any) -> Iterator[Any]:
    """The nodes, each after those that make its inputs; what no output needs is left out."""
    makers = {name: node for node in graph.node for name in node.output}
    waiting = [(name, False) for name in reversed([end.name for end in graph.output])]
    given: set[str] = set()
    while waiting:
        name, is_ready = waiting.pop()
        if name not in makers or name in given:
            continue
        node = makers[name]
        if is_ready:
            given.update(node.output)
            yield node
        else:
            waiting.append((name, True))
            waiting.extend((each, False) for each in reversed(node.input))
