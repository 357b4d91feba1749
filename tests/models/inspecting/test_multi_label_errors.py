"""Suspected label errors where an image may have several labels."""

import numpy as np
import pytest

from darkroom.data.labels.label_map import LabelMap
from darkroom.data.task import MULTI_LABEL
from darkroom.models.inspecting.label_errors import Judged
from darkroom.models.inspecting.multi_label_errors import find_multi_label_errors

LABELS = LabelMap(("cat", "dog", "fox"), MULTI_LABEL)


def judged(num_images: int = 240) -> Judged:
    """Features that say plainly which labels an image has; of `fox` there are three images."""
    rng = np.random.default_rng(0)
    truth = (rng.random((num_images, 3)) < (0.5, 0.3, 0)).astype(np.float32)
    truth[:3, 2] = 1
    features = 1.2 * np.repeat(truth, 400, axis=1) + rng.normal(0, 1, (num_images, 1200))
    names = tuple(f"{number:03d}.jpg" for number in range(num_images))
    return Judged(features.astype(np.float32), truth, names, names)


def test_planted_errors_are_found_label_by_label() -> None:
    found = judged()
    clean = found.labels.copy()
    cats = np.flatnonzero(clean[:, 0] == 1)[10:13].tolist()
    no_dogs = np.flatnonzero(clean[:, 1] == 0)[-3:].tolist()
    planted = sorted({*cats, *no_dogs})
    found.labels[cats, 0], found.labels[no_dogs, 1] = 0, 1
    errors = find_multi_label_errors(found, LABELS)
    by_path = {error.path: error for error in errors.suspected}
    # cleanlab's most careful choice misses one or two of six, and accuses nobody else.
    assert set(by_path) <= {found.paths[row] for row in planted}
    assert len(by_path) >= 4
    for row in planted:
        if found.paths[row] not in by_path:
            continue
        names = [LABELS.names[index] for index in np.flatnonzero(clean[row])]
        error = by_path[found.paths[row]]
        assert error.suggested == (", ".join(names) or "no label")
        assert error.suggested_labels == tuple(names)
        assert error.labels == tuple(LABELS.names[index] for index in np.flatnonzero(found.labels[row]))
        for label, probability in error.doubted:  # that the image has it
            assert (probability > 0.5) == (label in names)
    scores = [error.score for error in errors.suspected]
    assert scores == sorted(scores)
    assert max(scores) < 0.2
    assert errors.accuracy == pytest.approx(1 - 6 / (2 * 240), abs=0.01)
    assert (errors.num_images, errors.num_suspected) == (240, len(by_path))


def test_a_label_of_too_few_images_is_not_judged() -> None:
    found = judged()
    found.labels[5, 2] = 1  # the fourth image of `fox`, and it is none
    assert find_multi_label_errors(found, LABELS).num_suspected == 0
    few = Judged(found.features[:8], found.labels[:8], found.paths[:8], found.sha256[:8])
    few.labels[:, :2] = 0
    assert find_multi_label_errors(few, LABELS).num_images == 0
