"""What a network is trained for: the loss of several labels, its weights, and what counts as right."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from darkroom.models.settings import TrainSettings
from darkroom.models.training_loop.techniques.class_weights import positive_weights
from darkroom.models.training_loop.techniques.objective import MultiLabelObjective

COUNTS, NUM_IMAGES = (50, 10, 1), 100


def objective(**settings: Any) -> MultiLabelObjective:
    """Of a data set with 100 training images, of which 50, 10 and 1 have the labels."""
    card = SimpleNamespace(class_counts=lambda split: COUNTS, num_images=lambda split: NUM_IMAGES)
    return MultiLabelObjective(SimpleNamespace(card=card), TrainSettings(**settings))  # type: ignore[arg-type]


def drawn() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 2, (20, 3)).astype(np.float32), rng.normal(0, 3, (20, 3)).astype(np.float32)


def test_without_weights_it_is_keras_binary_cross_entropy() -> None:
    truth, logits = drawn()
    for smoothing in (0.0, 0.2):
        loss = objective(class_weights=False, label_smoothing=smoothing).loss()
        theirs = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
        assert float(loss(truth, logits)) == pytest.approx(float(theirs(truth, logits)), rel=1e-5)


def test_an_image_with_a_rare_label_weighs_as_much_more_as_it_is_rarer_up_to_ten() -> None:
    assert positive_weights(COUNTS, NUM_IMAGES) == (1.0, 9.0, 10.0)
    assert positive_weights((95, 0, 100), NUM_IMAGES) == (0.1, 1.0, 1.0)
    truth, logits = drawn()
    found = objective().loss(reduction=None)(truth, logits)
    weights = np.array([1.0, 9.0, 10.0])
    chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    each = -(weights * truth * np.log(chance) + (1 - truth) * np.log(1 - chance))
    np.testing.assert_allclose(found, (2 * each / (1 + weights)).mean(axis=1), rtol=1e-4)


def test_an_image_is_right_where_every_logit_is_on_its_side_of_what_the_weights_add() -> None:
    truth = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    logits = np.array([[0.1, 2.1, 2.2], [-0.1, 0, 0], [-1, 2.3, 2.2], [-1, 0, 2.4]], np.float32)
    assert np.asarray(objective().right(truth, logits)).tolist() == [True, False, True, False]
    (metric,) = objective().metrics()
    metric.update_state(truth, logits)
    assert float(metric.result()) == 0.5
    assert metric.name == "accuracy"


def test_a_state_that_holds_the_loss_is_read_again(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    made = objective(label_smoothing=0.1)
    model.compile(optimizer="adam", loss=made.loss(), metrics=made.metrics())
    inputs, (truth, _) = np.ones((20, 4), np.float32), drawn()
    model.fit(inputs, truth, verbose=0)
    model.save(tmp_path / "state.keras")
    again = keras.models.load_model(tmp_path / "state.keras", safe_mode=True)
    assert again.evaluate(inputs, truth, verbose=0) == pytest.approx(model.evaluate(inputs, truth, verbose=0))
