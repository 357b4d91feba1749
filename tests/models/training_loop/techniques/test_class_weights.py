"""Class weights are those of scikit-learn."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from darkroom.models.training_loop.techniques.class_weights import class_weights


@given(st.lists(st.integers(1, 500), min_size=2, max_size=8))
def test_class_weights_are_scikit_learns_balanced_ones(counts):
    truth = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=truth)
    np.testing.assert_allclose(class_weights(tuple(counts)), expected)


def test_a_class_without_images_has_weight_one():
    assert class_weights((2, 0, 6)) == (2.0, 1.0, 2 / 3)
