"""The calibration of each label by itself."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import expit
from sklearn.calibration import _SigmoidCalibration

from darkroom.data.errors import WorkError
from darkroom.models.multi_label.calibration import LabelCalibration, fit_label_calibration, uncalibrated

OFFSETS = (-1.0, 0.0, -2.0)


def drawn(num_images: int = 4000, seed: int = 0):
    """Logits, and a truth that is as likely as the sigmoid of `scale * logit + offset` says."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (num_images, 3))
    truth = rng.random(logits.shape) < expit(logits * (0.5, 1.0, 2.0) + (-1.0, 0.0, 1.0))
    return logits, truth.astype(np.float32)


def test_planted_scales_and_offsets_are_recovered():
    logits, truth = drawn()
    found = fit_label_calibration(logits, truth, "temperature", OFFSETS)
    assert found.scales == pytest.approx((0.5, 1.0, 2.0), rel=0.1)
    assert found.offsets == pytest.approx((-1.0, 0.0, 1.0), abs=0.15)


def test_platts_fit_is_scikit_learns():
    logits, truth = drawn(300)
    found = fit_label_calibration(logits, truth, "temperature", OFFSETS).apply(logits)
    for index in range(3):
        theirs = _SigmoidCalibration().fit(logits[:, index], truth[:, index]).predict(logits[:, index])
        np.testing.assert_allclose(found[:, index], theirs, atol=2e-3)


def test_a_rare_label_is_left_with_what_the_weights_of_the_loss_added():
    logits, truth = drawn(200)
    truth[:, 0] = 0
    truth[:9, 0] = 1
    found = fit_label_calibration(logits, truth, "temperature", OFFSETS)
    assert (found.scales[0], found.offsets[0]) == (1.0, -1.0)
    assert found.scales[1] != 1.0
    curves = fit_label_calibration(logits, truth, "isotonic", OFFSETS).curves
    assert (curves[0].x, curves[0].y) == ((0.0, 1.0), (0.0, 1.0))
    assert len(curves[1].x) > 2


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_probabilities_rise_with_the_logit_and_none_is_impossible(method):
    logits, truth = drawn(500)
    chances = fit_label_calibration(logits, truth, method, OFFSETS).apply(logits)
    assert ((chances > 0) & (chances < 1)).all()
    for index in range(3):
        order = np.argsort(logits[:, index])
        assert (np.diff(chances[order, index]) >= 0).all()


def test_isotonic_probabilities_mean_what_they_say():
    logits, truth = drawn(4000)
    calibration = fit_label_calibration(logits, truth, "isotonic", OFFSETS)
    fresh, its_truth = drawn(4000, seed=1)
    chances = calibration.apply(fresh)
    for index in range(3):
        sure = chances[:, index] > 0.5
        assert its_truth[sure, index].mean() == pytest.approx(chances[sure, index].mean(), abs=0.07)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(WorkError):
        uncalibrated([0.0, 0.0]).apply(np.zeros((1, 3)))
    for wrong in (
        {"scales": (1.0, 1.0), "offsets": (0.0,)},
        {"scales": (1.0, 0.0), "offsets": (0.0, 0.0)},
        {"method": "isotonic", "scales": (1.0, 1.0), "offsets": (0.0, 0.0)},
    ):
        with pytest.raises(ValidationError):
            LabelCalibration.model_validate(wrong)
