"""What an exported network tells another program: outputs with names, labels, preprocessing and calibration.

Outputs: `logits float32[N, C]`; `embedding float32[N, D]`, where the network gives one; and, where the calibration is a
temperature or Platt's, `probabilities float32[N, C]`. Metadata properties: `model`, the bundle's `name@version`, as
text; as JSON `labels`, in the order of the outputs, `decode_policy`, by which a file becomes the pixels
`uint8[N, H, W, 3]` of the input `image`, `calibration`, which makes probabilities of logits, and `threshold`, below
which the model abstains; where an image may have several labels, `task`, as text, and as JSON `thresholds`, the
probability from which each label is given.

Networks of earlier versions have outputs `Identity:0` and `Identity_1:0`, and tell nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.models.measures.calibration import Calibration
from darkroom.models.multi_label.calibration import LabelCalibration

LOGITS, EMBEDDING, PROBABILITIES = "logits", "embedding", "probabilities"


@dataclass(frozen=True)
class NetworkDescription:
    """What the metadata of an exported network say.

    Attributes:
        model: The bundle's `name@version`.
        labels: In the order of the logits.
        policy: How its images are decoded.
        calibration: Of its logits.
        threshold: Of its confidence.
        thresholds: Of its labels, where an image may have several.
    """

    model: str
    labels: Sequence[str]
    policy: DecodePolicy
    calibration: Calibration | LabelCalibration
    threshold: float = 0
    thresholds: Sequence[float] = ()

    def properties(self) -> dict[str, str]:
        """The metadata properties."""
        return {
            "model": self.model,
            "labels": json.dumps(list(self.labels), ensure_ascii=False),
            "decode_policy": self.policy.model_dump_json(),
            "calibration": self.calibration.model_dump_json(),
            "threshold": json.dumps(self.threshold),
        } | self._of_several_labels()

    def _of_several_labels(self) -> dict[str, str]:
        if not self.thresholds:
            return {}
        return {"task": "multi-label", "thresholds": json.dumps(list(self.thresholds))}


def describe_network(path: Path, description: NetworkDescription) -> None:
    """Name the outputs of a network that `export_onnx` or `quantize` wrote, add probabilities, and write the metadata.

    What the network computes stays the same, bit for bit.

    Args:
        path: The `.onnx` file, which is written anew.
        description: What is written.
    """
    import onnx

    network = onnx.load(path)
    graph = network.graph
    named = dict(zip([end.name for end in graph.output], (LOGITS, EMBEDDING), strict=False))
    for node in graph.node:
        node.input[:] = [named.get(name, name) for name in node.input]
        node.output[:] = [named.get(name, name) for name in node.output]
    for end in graph.output:
        end.name = named[end.name]
    calibration = description.calibration
    if isinstance(calibration, LabelCalibration):
        if not calibration.curves:
            _add_label_probabilities(graph, calibration)
    elif calibration.method == "temperature":
        _add_probabilities(graph, calibration.temperature)
    for key, value in description.properties().items():
        network.metadata_props.add(key=key, value=value)
    onnx.save(network, path)


def _add_probabilities(graph: Any, temperature: float) -> None:
    """The softmax of logits / temperature, as one more output."""
    from onnx import TensorProto, helper

    graph.initializer.append(helper.make_tensor("temperature", TensorProto.FLOAT, [], [temperature]))
    scaled = helper.make_node("Div", [LOGITS, "temperature"], ["scaled_logits"], name="temperature_scaling")
    softmax = helper.make_node("Softmax", ["scaled_logits"], [PROBABILITIES], name="softmax", axis=1)
    graph.node.extend([scaled, softmax])
    logits = graph.output[0].type
    graph.output.append(helper.make_value_info(PROBABILITIES, logits))


def _add_label_probabilities(graph: Any, calibration: LabelCalibration) -> None:
    """The sigmoid of each label's scale * logit + offset, as one more output."""
    from onnx import TensorProto, helper

    values = {"scale": calibration.scales, "offset": calibration.offsets}
    for name, numbers in values.items():
        graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [len(numbers)], numbers))
    scaled = helper.make_node("Mul", [LOGITS, "scale"], ["scaled_logits"], name="platt_scale")
    shifted = helper.make_node("Add", ["scaled_logits", "offset"], ["shifted_logits"], name="platt_offset")
    sigmoid = helper.make_node("Sigmoid", ["shifted_logits"], [PROBABILITIES], name="sigmoid")
    graph.node.extend([scaled, shifted, sigmoid])
    graph.output.append(helper.make_value_info(PROBABILITIES, graph.output[0].type))
