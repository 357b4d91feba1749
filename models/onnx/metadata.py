"""What an exported network tells another program: outputs with names, labels, preprocessing and calibration.

Outputs: `logits float32[N, C]`; `embedding float32[N, D]`, where the network gives one; and, where the calibration is a
temperature, `probabilities float32[N, C]`. Metadata properties: `model`, the bundle's `name@version`, as text; as JSON
`labels`, in the order of the outputs, `decode_policy`, by which a file becomes the pixels `uint8[N, H, W, 3]` of the
input `image`, `calibration`, which makes probabilities of logits, and `threshold`, below which the model abstains.

Networks of earlier versions have outputs `Identity:0` and `Identity_1:0`, and tell nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.data.images.decode import DecodePolicy
from darkroom.models.measures.calibration import Calibration

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
    """

    model: str
    labels: Sequence[str]
    policy: DecodePolicy
    calibration: Calibration
    threshold: float = 0

    def properties(self) -> dict[str, str]:
        """The metadata properties."""
        return {
            "model": self.model,
            "labels": json.dumps(list(self.labels), ensure_ascii=False),
            "decode_policy": self.policy.model_dump_json(),
            "calibration": self.calibration.model_dump_json(),
            "threshold": json.dumps(self.threshold),
        }


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
    if description.calibration.method == "temperature":
        _add_probabilities(graph, description.calibration.temperature)
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
