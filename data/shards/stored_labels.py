"""How the labels of an image are stored in shards, and how `tf.data` reads them.

One label is the number of its class; several are the list of their numbers, and in training a row of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from darkroom.data.labels.label_map import LabelMap
from darkroom.data.task import TaskName, Truth

# TF-Slim's name for the class of an image in a TFRecord.
FEATURE = "image/class/label"


class StoredLabels(Protocol):
    """The column of labels of Parquet shards, and the feature `image/class/label` of TFRecords."""

    def field(self) -> pa.Field:
        """The column of Parquet."""

    def hugging_face(self) -> dict[str, Any]:
        """Hugging Face's description of the column (`datasets.Features`)."""

    def values(self, indices: Sequence[tuple[int, ...]]) -> list[Any]:
        """The column's values of images whose labels have these indices."""

    def indices(self, value: Any) -> tuple[int, ...]:
        """The indices of a value of the column."""

    def column_truth(self, column: pa.ChunkedArray) -> Truth | NDArray[np.int64]:
        """What training is told of each row, `int64[N]` or `float32[N, K]`."""

    def tf_feature(self) -> Any:
        """How TensorFlow parses the feature."""

    def tf_truth(self, parsed: Any) -> Any:
        """What training is told of one image: `int64[]`, or `float32[K]`."""

    def tf_spec(self) -> Any:
        """The `tf.TensorSpec` of `column_truth`."""

    def tf_batch(self, truth: Any) -> Any:
        """A label, or labels, as they leave the pipeline: `int32`, or `float32[K]`."""


@dataclass(frozen=True)
class ClassColumn:
    """One label an image: `label: int64`.

    Attributes:
        labels: The label map.
    """

    labels: LabelMap

    def field(self) -> pa.Field:
        """`label: int64`."""
        return pa.field("label", pa.int64())

    def hugging_face(self) -> dict[str, Any]:
        """A class label."""
        return {"names": list(self.labels.names), "_type": "ClassLabel"}

    def values(self, indices: Sequence[tuple[int, ...]]) -> list[Any]:
        """The one index of each image."""
        return [index for (index,) in indices]

    def indices(self, value: Any) -> tuple[int, ...]:
        """The value, which is the index."""
        return (int(value),)

    def column_truth(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        """`int64[N]`."""
        found: NDArray[np.int64] = column.to_numpy()
        return found

    def tf_feature(self) -> Any:
        """One number."""
        import tensorflow as tf

        return tf.io.FixedLenFeature([], tf.int64)

    def tf_truth(self, parsed: Any) -> Any:
        """The number as it is."""
        return parsed

    def tf_spec(self) -> Any:
        """`int64[N]`."""
        import tensorflow as tf

        return tf.TensorSpec([None], tf.int64)

    def tf_batch(self, truth: Any) -> Any:
        """`int32`."""
        import tensorflow as tf

        return tf.cast(truth, tf.int32)


@dataclass(frozen=True)
class LabelsColumn:
    """Any number of labels an image: `labels: list<int64>`.

    Attributes:
        labels: The label map.
    """

    labels: LabelMap

    def field(self) -> pa.Field:
        """`labels: list<int64>`."""
        return pa.field("labels", pa.list_(pa.int64()))

    def hugging_face(self) -> dict[str, Any]:
        """A list of class labels."""
        return {"feature": {"names": list(self.labels.names), "_type": "ClassLabel"}, "_type": "Sequence"}

    def values(self, indices: Sequence[tuple[int, ...]]) -> list[Any]:
        """The indices of each image as a list."""
        return [list(each) for each in indices]

    def indices(self, value: Any) -> tuple[int, ...]:
        """The list as a tuple."""
        return tuple(int(index) for index in value)

    def column_truth(self, column: pa.ChunkedArray) -> Truth:
        """`float32[N, K]`."""
        return self.labels.truth(map(self.indices, column.to_pylist()))

    def tf_feature(self) -> Any:
        """Any number of numbers."""
        import tensorflow as tf

        return tf.io.RaggedFeature(tf.int64)

    def tf_truth(self, parsed: Any) -> Any:
        """`float32[K]`."""
        import tensorflow as tf

        return tf.reduce_sum(tf.one_hot(parsed, len(self.labels)), axis=0)

    def tf_spec(self) -> Any:
        """`float32[N, K]`."""
        import tensorflow as tf

        return tf.TensorSpec([None, len(self.labels)], tf.float32)

    def tf_batch(self, truth: Any) -> Any:
        """`float32[K]`, as it is."""
        return truth


_STORED: Mapping[TaskName, type[ClassColumn] | type[LabelsColumn]] = {
    "single-label": ClassColumn,
    "multi-label": LabelsColumn,
}


def stored_labels(labels: LabelMap) -> StoredLabels:
    """How the labels of a map are stored."""
    return _STORED[labels.task.name](labels)
