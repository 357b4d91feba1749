"""The images that excite a channel most, against the same looked up by plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from darkroom.data.images.decode import decode_stored
from darkroom.models.explaining.techniques.maximally_activating import ImageSearch, most_activating
from darkroom.models.networks.layers import feature_maps
from tests.planted import planted


@pytest.mark.parametrize("form", ["plain", "nested", "preprocessed"])
def test_they_are_those_with_the_most_of_the_channels_colour(dataset, form):
    model = planted(form)
    found, num_searched = most_activating(model, feature_maps(model)[0], [1, 0], ImageSearch(dataset, num_kept=5))
    images = {record.path: decode_stored(record.encoded) for record in dataset.records("train")}
    assert num_searched == len(images) == 36
    for colour, items in zip((2, 0), found, strict=True):
        means = {path: pixels[..., colour].mean() / 255 for path, pixels in images.items()}
        assert [item.path for item in items] == sorted(means, key=lambda path: -means[path])[:5]
        for item in items:
            assert item.strength == pytest.approx(means[item.path], abs=1e-6)
            assert item.label == item.path.split("/")[1]
            np.testing.assert_array_equal(item.pixels, images[item.path])


def test_only_as_many_as_asked_for_are_looked_at_chosen_by_their_hashes(dataset):
    model = planted()
    found, num_searched = most_activating(model, feature_maps(model)[0], [0], ImageSearch(dataset, 12, num_kept=100))
    chosen = sorted(record.path for record in dataset.records("train") if int(record.sha256, 16) / 16**64 < 12 / 36)
    assert 0 < num_searched < 36
    assert sorted(item.path for item in found[0]) == chosen
    assert num_searched == len(chosen)
