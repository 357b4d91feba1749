"""Activation maximisation, on networks of which the maximally activating image is known."""

from __future__ import annotations

import numpy as np
import pytest

from darkroom.models.explaining.techniques.activation_maximisation import Goal, maximise
from darkroom.models.networks.layers import feature_maps, unmirrored
from tests.planted import FORMS, planted

SIZE = (32, 32)
AGAINST = ((1, -1), (-1, 1))


@pytest.mark.parametrize("form", FORMS)
def test_the_class_of_red_becomes_red_and_that_of_blue_blue(form):
    model = unmirrored(planted(form, AGAINST))
    images = maximise(model, [Goal(0), Goal(1)], SIZE)
    assert (images.shape, images.dtype) == ((2, 32, 32, 3), np.uint8)
    red, blue = images.astype(float).mean(axis=(1, 2))
    assert red[0] - red[2] > 100
    assert blue[2] - blue[0] > 100
    logits = np.asarray(model(images))
    assert logits[0].argmax() == 0
    assert logits[1].argmax() == 1


def test_a_channel_that_is_silent_at_first_is_found_all_the_same():
    model = planted("nested", bias=-0.7)
    (layer,) = feature_maps(model)
    assert not np.asarray(model(np.full((1, 32, 32, 3), 128, np.uint8))).any()
    images = maximise(model, [Goal(1, layer)], SIZE)
    assert images[0, ..., 2].mean() > 200
    assert np.asarray(model(images))[0, 1] > 0.05


def test_the_same_goals_give_the_same_images_and_more_steps_a_stronger_answer():
    model = planted(head=AGAINST)
    goals = [Goal(0), Goal(1)]
    once, again = maximise(model, goals, SIZE, 8), maximise(model, goals, SIZE, 8)
    np.testing.assert_array_equal(once, again)
    more = maximise(model, goals, SIZE, 32)
    assert np.all(np.diag(np.asarray(model(more))) > np.diag(np.asarray(model(once))))


def test_a_goal_does_not_change_what_is_found_for_another_and_there_may_be_many():
    model = planted(head=AGAINST)
    (layer,) = feature_maps(model)
    goals = [Goal(0), Goal(1), Goal(1, layer)] * 3
    together = maximise(model, goals, (32, 32), 6)
    assert len(together) == 9
    for place, goal in enumerate(goals[:3]):
        (alone,) = maximise(model, [goal], SIZE, 6)
        np.testing.assert_allclose(together[place].astype(int), alone.astype(int), atol=1)
        np.testing.assert_allclose(together[place + 3].astype(int), alone.astype(int), atol=1)


def test_without_a_goal_there_is_no_image():
    assert maximise(planted(), [], SIZE).shape == (0, 32, 32, 3)
