"""The expected accuracy: its interval holds the truth, or there is no figure but the reason."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.models.watching.expected_accuracy import ExpectedAccuracy, expected_accuracy
from darkroom.models.watching.observed import Observed

LABELS = ("easy", "hard")


def calibrated(
    rng: np.random.Generator, num_images: int, share_hard: float = 0.5, far: float = 0.0
) -> tuple[Observed, NDArray[np.bool_]]:
    """Images of which a confidence says how often they are right; of the hard class it is lower."""
    hard = rng.random(num_images) < share_hard
    confidences = np.where(hard, rng.beta(8, 3, num_images), rng.beta(40, 1, num_images))
    found = Observed(
        confidences=confidences.astype(np.float32),
        predicted=tuple(LABELS[int(each)] for each in hard),
        unfamiliarity=rng.gamma(16, 1 / 32, num_images) * (1 + 0.2 * hard) + far,
    )
    return found, rng.random(num_images) < confidences


def test_the_interval_holds_the_accuracy_of_runs_of_the_same_kind_of_images() -> None:
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(40):
        validation, known = calibrated(rng, 400)
        run, right = calibrated(rng, 150)
        found = expected_accuracy(run, validation, known)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= right.mean() <= found.high
    assert held >= 37


@pytest.mark.parametrize("share_hard", [0.05, 0.95])
def test_it_follows_the_shares_of_the_labels(share_hard: float) -> None:
    rng = np.random.default_rng(6)
    validation, known = calibrated(rng, 1000)
    run, right = calibrated(rng, 1000, share_hard)
    found = expected_accuracy(run, validation, known)
    assert abs(right.mean() - known.mean()) > 0.08
    assert found.value == pytest.approx(right.mean(), abs=0.04)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= right.mean() <= found.high


def test_of_images_unlike_those_of_training_there_is_no_figure_but_the_reason() -> None:
    rng = np.random.default_rng(2)
    validation, known = calibrated(rng, 500)
    strange, _ = calibrated(rng, 200, far=1.0)
    assert expected_accuracy(strange, validation, known) == ExpectedAccuracy(
        withheld="100.0\N{NO-BREAK SPACE}% of the images are unlike those of training"
    )
    odd, _ = calibrated(rng, 200, far=0.12)  # few of them beyond the limit
    assert (odd.unfamiliarity > 1).mean() < 0.1
    found = expected_accuracy(odd, validation, known)
    assert found.value is None
    assert found.text == "withheld: the images as a whole are less like those of training than validation's are"
    unknown = Observed(confidences=odd.confidences)
    assert expected_accuracy(unknown, validation, known).withheld == "how familiar the images are is not known"


def test_where_confidences_alone_have_fallen_the_interval_reaches_to_the_accuracy_of_validation() -> None:
    """The images may be harder, or only look so: low contrast lowers the confidence in digits that all are right."""
    rng = np.random.default_rng(2)
    validation, known = calibrated(rng, 1000, 0.0)
    lower = Observed(confidences=validation.confidences - 0.01, unfamiliarity=validation.unfamiliarity)
    found = expected_accuracy(lower, validation, known)
    assert found.low is not None
    assert found.high is not None
    assert found.low < known.mean() - 0.02
    assert found.high >= known.mean()
    much_lower = Observed(confidences=validation.confidences * 0.6, unfamiliarity=validation.unfamiliarity)
    withheld = expected_accuracy(much_lower, validation, known).withheld
    assert withheld is not None
    assert withheld.startswith("it could be anything from ")


def test_few_images_give_no_figure() -> None:
    rng = np.random.default_rng(2)
    validation, known = calibrated(rng, 100)
    few, _ = calibrated(rng, 19)
    assert expected_accuracy(few, validation, known).withheld == "it takes 20 images, and there are 19"
    short, known_short = calibrated(rng, 49)
    run, _ = calibrated(rng, 50)
    assert expected_accuracy(run, short, known_short).withheld == (
        "the model has only 49 validation images to compare with"
    )


def test_all_right_in_validation_is_no_certainty() -> None:
    rng = np.random.default_rng(2)
    validation, _ = calibrated(rng, 100, 0.0)
    run, _ = calibrated(rng, 100, 0.0)
    found = expected_accuracy(run, validation, np.ones(100, np.bool_))
    assert found.low is not None
    assert found.low < 0.97  # Wilson's interval of 100 of 100 begins at 0.963
    assert found.high == 1.0
    assert found.text == f"{found.value:.2f} ({found.low:.2f} to 1.00)"
    assert expected_accuracy(run, validation, np.ones(100, np.bool_)) == found
