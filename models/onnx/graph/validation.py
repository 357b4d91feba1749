"""Which ONNX networks are run: one may come from somebody else, so nothing of it runs before it was looked through.

It must be one file that takes images and gives rows of numbers, made of the operators below: those of the networks that
Darkroom exports and of others that classify images. None of them loops, calls a function, draws random numbers or has a
result whose size depends on values. So the size of every result is known beforehand, `N` images give `N` rows, and what
memory and time a run takes is known before the first one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from darkroom.data.errors import FormatError
from darkroom.models.onnx.graph.run_size import images_a_run
from darkroom.models.onnx.graph.wire_format import too_much_to_parse

# Of keras.applications the largest, VGG19 with its dense layers, has 0.54 GiB.
MAX_NETWORK_BYTES = 2**30
# ONNX Runtime takes a minute to load 120,000 weights.
MAX_NODES = 20_000
# Squares of how many operators take each weight, added up: what ONNX Runtime's loading grows with. 4,000 operators that
# share one take half a minute.
MAX_SHARING = 30_000_000
# Of all results that are needed at the same time in one run. VGG16 at 1024 x 1024 needs 0.5 GiB.
MAX_LIVE_BYTES = 4 * 2**30
# Multiplications of one operator in one run: less than a minute. The largest of VGG16 at 1024 x 1024 has 4e10.
MAX_NODE_COST = 10**12
# The same of all that does not depend on the images, which ONNX Runtime computes while it loads a network.
MAX_CONSTANT_COST = 10**10

_OPERATOR_NAMES = (
    "Abs Add AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv DepthToSpace "
    "DequantizeLinear Div Dropout Elu Equal Erf Exp Expand Flatten Floor Gather Gelu Gemm GlobalAveragePool "
    "GlobalMaxPool Greater HardSigmoid HardSwish Identity InstanceNormalization LayerNormalization LeakyRelu Less "
    "Log LogSoftmax MatMul Max MaxPool Mean Min Mish Mul Neg Not PRelu Pad Pow QuantizeLinear Reciprocal ReduceL2 "
    "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round Selu Shape "
    "Sigmoid Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Tile Transpose "
    "Unsqueeze Where"
)
OPERATORS = frozenset(_OPERATOR_NAMES.split())
_DOMAINS = ("", "ai.onnx")
# Whose values shape inference needs are small: shapes, axes, ranges.
_SMALL_TENSOR = 1024
_BATCH = "batch"
_MORE_THAN_A_BATCH = 10**9
_REMEDY = "Train again, or restore the folder."

# Sizes of a result: numbers, and the batch as `_BATCH`.
_Shape = tuple[int | str, ...]


def check_network(path: Path) -> None:
    """Refuse a file that is not a network of the form above.

    Args:
        path: The `.onnx` file.

    Raises:
        FormatError: where it is none, with what is wrong.
    """
    network = _parsed(path)
    try:
        reason = next(_faults(network), None)
    except Exception as error:  # names that are no text, tensors of another size than they say: of several kinds
        reason = f"it is damaged ({' '.join(str(error).split())[:200]})"
    if reason:
        raise FormatError(f"{path} is refused: {reason}. {_REMEDY}")


def _parsed(path: Path) -> Any:
    """The network, without a look at other files."""
    import onnx

    try:
        num_bytes = path.stat().st_size
        if num_bytes > MAX_NETWORK_BYTES:
            raise FormatError(f"{path} is refused: it has {num_bytes:,} bytes, more than {MAX_NETWORK_BYTES:,}.")
        data = path.read_bytes()
        if reason := too_much_to_parse(data):
            raise FormatError(f"{path} is refused: {reason}. {_REMEDY}")
        return onnx.ModelProto.FromString(data)
    except FormatError:
        raise
    except Exception as error:  # the file's or protobuf's
        name = type(error).__name__
        raise FormatError(f"{path} is not a network that ONNX Runtime can run ({name}). {_REMEDY}") from None


def _faults(network: Any) -> Iterator[str]:
    """What is wrong with a network, in words; each is looked for only where those before were not found."""
    graph = network.graph
    yield from _forbidden_parts(network)
    yield from _wrong_inputs(graph)
    sizes = _sizes(network)
    if isinstance(sizes, str):
        yield sizes
        return
    yield from _wrong_results(graph, sizes)
    yield from _too_costly(graph, sizes)


def _forbidden_parts(network: Any) -> Iterator[str]:
    """What is no plain graph of known operators, and weights that are not in the file."""
    graph = network.graph
    if len(graph.node) > MAX_NODES:
        yield f"it has {len(graph.node):,} operators, more than {MAX_NODES:,}"
    num_ends = len(graph.initializer) + len(graph.input) + len(graph.output)
    if num_ends > MAX_NODES:
        yield f"it has {num_ends:,} weights, inputs and outputs, more than {MAX_NODES:,}"
    uses = Counter(name for node in graph.node for name in node.input)
    if sum(number**2 for number in uses.values()) > MAX_SHARING:
        yield "its operators share too many of their inputs"
    if network.functions or network.training_info or graph.sparse_initializer:
        yield "it holds functions, training steps or sparse weights"
    for node in graph.node:
        if node.domain not in _DOMAINS or node.op_type not in OPERATORS:
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            yield f"it uses the operator {name[:80]!r}, which networks of Darkroom do not"
        if any(part.HasField("g") or part.graphs or part.HasField("sparse_tensor") for part in node.attribute):
            yield f"its operator {node.op_type} holds a graph or sparse weights"
    for tensor in _tensors(graph):
        if tensor.external_data or tensor.data_location:
            files = [entry.value for entry in tensor.external_data if entry.key == "location"]
            yield f"it keeps weights in another file, {files[0][:80] if files else 'unnamed'!r}; save it as one file"


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for part in node.attribute:
            if part.HasField("t"):
                yield part.t
            yield from part.tensors


def _wrong_inputs(graph: Any) -> Iterator[str]:
    from onnx import TensorProto

    stored = {tensor.name for tensor in graph.initializer}
    inputs = [end for end in graph.input if end.name not in stored]
    if len(stored) != len(graph.initializer) or len(inputs) != len(graph.input):
        yield "several of its weights or inputs have one name"
    shapes = [end.type.tensor_type.shape.dim for end in inputs]
    if [end.type.tensor_type.elem_type for end in inputs] != [TensorProto.UINT8] or len(shapes[0]) != 4:
        yield f"it takes {_described(inputs)}, not uint8 images alone"
    elif not all(side.dim_value > 0 for side in shapes[0][1:]):
        yield "the size of its images is not fixed"


def _sizes(network: Any) -> dict[str, tuple[int, _Shape]] | str:
    """Bytes of an element and sizes of each result, for a batch of `_BATCH` images; or why they cannot be known.

    Nothing is believed but the operators and the weights. Sizes that the file tells are left out before they are
    inferred; so are the values of the weights, which may be half a gigabyte.
    """
    from onnx import helper, shape_inference

    plain = type(network)(ir_version=network.ir_version, opset_import=network.opset_import)
    graph = plain.graph
    graph.name = "sizes"
    for end in network.graph.input:
        sides = [side.dim_value for side in end.type.tensor_type.shape.dim[1:]]
        graph.input.append(helper.make_tensor_value_info(end.name, end.type.tensor_type.elem_type, [_BATCH, *sides]))
    graph.output.extend(helper.make_tensor_value_info(end.name, _kind(end), None) for end in network.graph.output)
    for name, tensor in _constants(network.graph):
        if math.prod(tensor.dims) > _SMALL_TENSOR:
            graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
        else:
            graph.initializer.add().CopyFrom(tensor)
            graph.initializer[-1].name = name
    graph.node.extend(node for node in network.graph.node if node.op_type != "Constant")
    _keep_the_batch(graph)
    try:
        inferred = shape_inference.infer_shapes(plain, strict_mode=True, data_prop=True).graph
    except Exception as error:  # of several kinds, by onnx's C++
        said = " ".join(str(error).split())[:200]
        return f"the sizes of its results cannot be inferred ({said})"
    sizes = {}
    for end in (*inferred.input, *inferred.value_info, *inferred.output):
        found = end.type.tensor_type
        if found.elem_type and found.HasField("shape"):
            width = helper.tensor_dtype_to_np_dtype(found.elem_type).itemsize
            sizes[end.name] = width, tuple(side.dim_param or side.dim_value for side in found.shape.dim)
    for name, tensor in _constants(network.graph):
        sizes[name] = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize, tuple(tensor.dims)
    return sizes


def _keep_the_batch(graph: Any) -> None:
    """Write what keeps the batch whole so that inference sees it, which loses it in both cases.

    A slice that takes all of the batch, as of TensorFlow's `x[:, :, ::-1]`, is left to the other axes. A reshape to
    `[-1, a, b]`, its free size first, copies the first size; `_wrong_results` compares the others.
    """
    from onnx import numpy_helper

    values = {tensor.name: numpy_helper.to_array(tensor).ravel() for tensor in graph.initializer}
    for number, node in enumerate(graph.node):
        given = [values[name] for name in node.input[1:] if name in values]
        if node.op_type == "Slice" and len(given) == len(node.input) - 1 >= 3:
            kept = [place for place, each in enumerate(zip(*given, strict=False)) if not _is_whole_batch(*each)]
            changed = [each[kept] for each in given]
        elif node.op_type == "Reshape" and given and given[0][:1].tolist() == [-1] and (given[0][1:] > 0).all():
            changed = [given[0].copy()]
            changed[0][0] = 0
        else:
            continue
        for place, each in enumerate(changed, 1):
            node.input[place] = f"kept_batch_{number}_{place}"
            graph.initializer.append(numpy_helper.from_array(each, node.input[place]))


def _is_whole_batch(start: Any, end: Any, axis: Any, step: Any = 1) -> bool:
    return bool(axis == 0 and start == 0 and step == 1 and end >= _MORE_THAN_A_BATCH)


def _constants(graph: Any) -> Iterator[tuple[str, Any]]:
    """The weights of a network and its other constants, by name."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            yield node.output[0], _constant(node)


def _constant(node: Any) -> Any:
    """The tensor of an operator `Constant`, whatever it is written as."""
    from onnx import TensorProto, helper

    part = node.attribute[0]
    if part.HasField("t"):
        return part.t
    values = list(part.floats) or list(part.ints) or [part.f if part.name.endswith("float") else part.i]
    kind = TensorProto.FLOAT if "float" in part.name else TensorProto.INT64
    return helper.make_tensor("", kind, [len(values)] if part.name.endswith("s") else [], values)


def _kind(end: Any) -> int:
    kind: int = end.type.tensor_type.elem_type
    return kind


def _wrong_results(graph: Any, sizes: Mapping[str, tuple[int, _Shape]]) -> Iterator[str]:
    """Results that are not one row of numbers for each image."""
    from onnx import TensorProto

    for node in graph.node:
        for name in filter(None, node.output):
            _, shape = sizes.get(name, (0, ("?",)))
            if any(not isinstance(side, int) and (side, place) != (_BATCH, 0) for place, side in enumerate(shape)):
                yield f"the size of a result of its operator {node.op_type} is not known before it runs"
        if node.op_type == "Reshape" and _num(sizes[node.input[0]][1]) != _num(sizes[node.output[0]][1]):
            yield "its operator Reshape gives more or fewer rows than there are images"
    for end in graph.output:
        _, shape = sizes.get(end.name, (0, ()))
        if _kind(end) != TensorProto.FLOAT or len(shape) != 2:
            yield f"it gives {_described(graph.output)}, not rows of float32"
        elif shape[0] != _BATCH or not shape[1]:
            yield f"its result {end.name[:80]!r} is not one row for each image"


def _too_costly(graph: Any, sizes: Mapping[str, tuple[int, _Shape]]) -> Iterator[str]:
    """Results that take too much memory at the same time, and operators that take too much time."""
    image = next(shape for _, shape in sizes.values() if shape[:1] == (_BATCH,))
    num_images = images_a_run(*(int(side) for side in image[1:3]))
    last_use = {name: number for number, node in enumerate(graph.node) for name in node.input}
    last_use |= {end.name: len(graph.node) for end in graph.output}
    live_bytes = constant_cost = 0
    leaving: Counter[int] = Counter()
    for number, node in enumerate(graph.node):
        cost, is_constant = _cost(node, sizes), True
        for name in filter(None, node.output):
            width, shape = sizes[name]
            num_bytes = width * _num(shape) * (num_images if _BATCH in shape else 1)
            live_bytes += num_bytes
            leaving[last_use.get(name, number)] += num_bytes
            is_constant = is_constant and _BATCH not in shape
        if live_bytes > MAX_LIVE_BYTES:
            yield f"it takes more than {MAX_LIVE_BYTES >> 30} GiB, at its operator {node.op_type}"
        live_bytes -= leaving.pop(number, 0)
        constant_cost += cost if is_constant else 0
        if (cost * num_images > MAX_NODE_COST) or constant_cost > MAX_CONSTANT_COST:
            yield f"its operator {node.op_type} takes too many multiplications"


def _cost(node: Any, sizes: Mapping[str, tuple[int, _Shape]]) -> int:
    """Multiplications of an operator for an image, or what takes as long."""
    inputs = [sizes[name][1] for name in node.input if name in sizes]
    read = sum(map(_num, inputs))
    written = sum(_num(sizes[name][1]) for name in node.output if name)
    if node.op_type == "Conv":
        return written * _num(inputs[1][1:])
    if node.op_type in ("MatMul", "Gemm"):
        return written * max(_num(inputs[0][-1:]), _num(inputs[0][-2:-1]) if node.op_type == "Gemm" else 1)
    kernel = next((part.ints for part in node.attribute if part.name == "kernel_shape"), ())
    return (read + written) * max(1, math.prod(kernel))


def _num(shape: _Shape) -> int:
    """Elements for a batch of one image."""
    return math.prod(side if isinstance(side, int) else 1 for side in shape)


def _described(ends: Iterable[Any]) -> str:
    """Types and sizes as the file tells them; of many ends the first."""
    from onnx import TensorProto

    told = []
    for end in islice(ends, 5):
        kind, sides = _kind(end), end.type.tensor_type.shape.dim
        name = TensorProto.DataType.Name(kind).lower() if kind in TensorProto.DataType.values() else "?"
        told.append(f"tensor({name}) of {[side.dim_param or side.dim_value for side in sides[:9]]}")
    return ", ".join(told)[:200] or "nothing"
