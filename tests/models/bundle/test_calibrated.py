"""The Keras network with its calibration inside gives what the calibration gives of its logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.bundle.calibrated import with_probabilities
from darkroom.models.measures.calibration import Calibration, Curve
from tests.bundles import tiny_bundle

IMAGES = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
CURVES = (
    Curve(x=(0.1, 0.4, 0.400001, 0.9), y=(0.05, 0.3, 0.7, 0.8)),  # steep
    Curve(x=(0.2, 0.5, 0.5, 0.8), y=(0.1, 0.2, 0.6, 0.9)),  # with a step
    Curve(x=(0.5,), y=(0.25,)),  # level
)


@pytest.mark.parametrize(
    "calibration", [Calibration(temperature=2.5), Calibration(method="isotonic", curves=CURVES)], ids=lambda c: c.method
)
def test_its_probabilities_are_those_of_the_calibration_also_once_saved_and_loaded(
    tmp_path: Path, calibration: Calibration
) -> None:
    import keras

    model = open_bundle(tiny_bundle(tmp_path / "tiny", ["a", "b", "c"], (8, 8))).keras_model()
    wanted = calibration.apply(np.asarray(model(IMAGES)))
    made = with_probabilities(model, calibration)
    made.save(tmp_path / "made.keras")
    for network in (made, keras.models.load_model(tmp_path / "made.keras")):
        assert np.abs(np.asarray(network(IMAGES)) - wanted).max() < 1e-6
    assert len({row.argmax() for row in wanted}) > 1
