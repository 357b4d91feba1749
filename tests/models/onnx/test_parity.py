"""The parity check: what the two runtimes give may differ by rounding alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.data.errors import WorkError
from darkroom.models.onnx.parity import check_parity

BATCHES = [np.full((2, 1, 1, 3), value, np.uint8) for value in (10, 20)]


class Shifted:
    """An export that gives the sum of the pixels and, as the embedding, the red one, each off by a number."""

    embedding_size = 1

    def __init__(self, logit: float = 0.0, embedding: float = 0.0) -> None:
        self._logit, self._embedding = logit, embedding

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = images.sum(axis=(1, 2, 3), dtype=np.float32)[:, None] + np.float32(self._logit)
        return logits

    def with_embeddings(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self(images), images[:, 0, 0, :1].astype(np.float32) + np.float32(self._embedding)


def logits_alone(images, training):
    return Shifted()(images)


def both(images, training):
    return list(Shifted().with_embeddings(images))


def test_the_largest_difference_of_all_batches_is_given():
    batches = [*BATCHES, np.full((1, 1, 1, 3), 30, np.uint8)]
    assert check_parity(logits_alone, Shifted(), batches) == 0
    assert check_parity(logits_alone, Shifted(0.005), batches) == pytest.approx(0.005, rel=0.01)


@pytest.mark.parametrize(
    ("network", "export"),
    [(logits_alone, Shifted(0.02)), (both, Shifted(embedding=-0.02)), (both, Shifted(float("nan")))],
)
def test_an_export_that_computes_something_else_is_refused(network, export):
    with pytest.raises(WorkError, match=r"model\.onnx differs"):
        check_parity(network, export, BATCHES)


def test_embeddings_count_only_where_the_network_gives_them():
    assert check_parity(logits_alone, Shifted(embedding=1.0), BATCHES) == 0
