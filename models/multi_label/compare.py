"""Two bundles for several labels an image, on the same images."""

from __future__ import annotations

import numpy as np

from darkroom.data.labels.label_map import LabelMap
from darkroom.models.measures.comparison import ClassPairs, MultiLabelComparison, Pairs
from darkroom.models.measures.metrics import expected_calibration_error, reliability_of
from darkroom.models.measures.outcome import Outcome
from darkroom.models.measures.resampling import calibration_errors_of, interval_of, resamples
from darkroom.models.multi_label.checks import Flags
from darkroom.models.multi_label.intervals import macro_f1_of


def compare_labels(
    truth: Flags, given: tuple[Flags, Flags], outcomes: tuple[Outcome, Outcome], labels: LabelMap
) -> MultiLabelComparison:
    """Compare what the current and the new bundle say of the same images.

    Args:
        truth: `bool[N, K]`.
        given: `bool[N, K]` each, the labels that the current bundle and the new one give.
        outcomes: Of the current bundle and the new one.
        labels: K names.
    """
    current, new = outcomes
    gain = new.right.astype(np.float64) - current.right
    gains, surpluses, improvements = [], [], []
    for weights in resamples(len(truth)):
        gains.append(weights @ gain / len(truth))
        surpluses.append(calibration_errors_of(weights, new) - calibration_errors_of(weights, current))
        improvements.append(macro_f1_of(weights, truth, given[1]) - macro_f1_of(weights, truth, given[0]))
    errors = [expected_calibration_error(reliability_of(each)) for each in outcomes]
    whole = np.ones((1, len(truth)))
    scores = [float(np.nan_to_num(macro_f1_of(whole, truth, each))[0]) for each in given]
    return MultiLabelComparison(
        overall=Pairs.of(current.right, new.right),
        accuracy_difference=interval_of(np.concatenate(gains), float(gain.mean())),
        current_calibration_error=errors[0],
        new_calibration_error=errors[1],
        calibration_difference=interval_of(np.concatenate(surpluses), errors[1] - errors[0]),
        classes=tuple(
            ClassPairs.of(given[0][has, index], given[1][has, index], label=labels.names[index])
            for index in range(len(labels))
            if (has := truth[:, index]).any()
        ),
        current_macro_f1=scores[0],
        new_macro_f1=scores[1],
        macro_f1_difference=interval_of(np.concatenate(improvements), scores[1] - scores[0]),
    )
