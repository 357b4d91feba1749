"""The learning rate: its peak and its schedule."""

from __future__ import annotations

import math

import pytest

from darkroom.models.settings import TrainSettings
from darkroom.models.training_loop.stage import Stage, build_optimizer
from darkroom.models.training_loop.techniques.learning_rate import peak_rate, schedule


def test_the_learning_rate_warms_up_over_a_twentieth_and_falls_as_a_cosine_to_zero():
    rate = schedule("cosine", 0.4, 200)
    for step in range(0, 201, 5):
        warm, fall = step / 10, 0.5 * (1 + math.cos(math.pi * (step - 10) / 190))
        assert float(rate(step)) == pytest.approx(0.4 * (warm if step < 10 else fall), abs=1e-6)
    assert schedule("constant", 0.4, 200) == 0.4


def test_an_optimizer_follows_the_schedule_over_all_steps_of_its_stage():
    stage = Stage("head", lambda epoch: None, None, steps=10, epochs=20, learning_rate=0.4)
    rate = build_optimizer(TrainSettings(schedule="cosine"), stage)._learning_rate
    assert float(rate(10)) == pytest.approx(0.4)
    assert float(rate(199)) > 0
    assert float(rate(200)) == pytest.approx(0, abs=1e-6)
    constant = build_optimizer(TrainSettings(schedule="constant"), stage)
    assert float(constant.learning_rate.numpy()) == pytest.approx(0.4)


def test_the_peak_is_as_set_or_suits_the_optimizer():
    assert [peak_rate(TrainSettings(optimizer=name)) for name in ("adam", "sgd")] == [1e-3, 0.05]
    assert peak_rate(TrainSettings(optimizer="sgd", learning_rate=0.3)) == 0.3
