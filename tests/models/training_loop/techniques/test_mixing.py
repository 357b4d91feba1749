"""Blended batches: labels that say what the pixels are made of, from the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from darkroom.models.training_loop.techniques.mixing import Mixing, mixed

Batch = tuple[np.ndarray, np.ndarray]


def blended(images: np.ndarray, mixing: Mixing, seed: int = 0) -> list[Batch]:
    """Batches of 4, each image a class of its own."""
    truth = np.eye(len(images), dtype=np.float32)
    feed = tf.data.Dataset.from_tensor_slices((images, truth)).batch(4)
    batches = mixed(feed, mixing, -(-len(images) // 4), 4, [seed])
    return [(pixels.numpy(), labels.numpy()) for pixels, labels in batches]


def with_partners(batches: list[Batch]) -> list[tuple[np.ndarray, float, int, int]]:
    """Pixels, own share as the label has it, own class and the other's, of each image."""
    found, start = [], 0
    for pixels, truth in batches:
        own = np.arange(start, start + len(pixels))
        for row, (mine, other) in enumerate(zip(own, np.roll(own, 1), strict=True)):
            share = float(truth[row, mine])
            assert truth[row, other] == pytest.approx(1 - share, abs=1e-6)
            assert truth[row].sum() == pytest.approx(1, abs=1e-6)
            found.append((pixels[row], share, int(mine), int(other)))
        start += len(pixels)
    return found


@pytest.mark.parametrize("num_images", [12, 10])
def test_mixup_blends_each_image_and_its_label_with_the_one_before_it(num_images):
    """The last batch may be smaller. The shares are read off the labels, and must be those of the images."""
    images = np.random.default_rng(5).integers(0, 256, (num_images, 6, 5, 3), dtype=np.uint8)
    rows = with_partners(blended(images, Mixing(mixup=0.4)))
    assert len(rows) == num_images
    for pixels, share, mine, other in rows:
        assert pixels.dtype == np.uint8
        np.testing.assert_allclose(pixels, share * images[mine] + (1 - share) * images[other], atol=0.51)
    assert len({round(share, 4) for _, share, _, _ in rows}) > num_images // 2  # drawn for each image


@pytest.mark.parametrize("num_images", [400, 398])
def test_cutmix_puts_a_rectangle_of_the_one_before_into_each_image_and_labels_it_by_its_area(num_images):
    numbers = np.arange(num_images) % 251
    images = np.broadcast_to(numbers[:, None, None, None], (num_images, 20, 10, 3)).astype(np.uint8)
    shares = []
    for pixels, share, mine, other in with_partners(blended(images, Mixing(cutmix=1.0))):
        assert numbers[mine] != numbers[other]
        theirs = (pixels == images[other]).all(axis=2)
        assert ((pixels == images[mine]).all(axis=2) | theirs).all()
        assert theirs.mean() == pytest.approx(1 - share, abs=1e-6)
        rows, columns = np.flatnonzero(theirs.any(axis=1)), np.flatnonzero(theirs.any(axis=0))
        if len(rows):  # a whole rectangle, with no hole
            assert theirs[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        shares.append(share)
    # Beta(1, 1) is even; the image's edges take from the rectangles: in the mean 0.64 of the image is its own.
    assert 0.58 < np.mean(shares) < 0.70
    assert min(shares) < 0.25
    assert max(shares) > 0.95


def test_with_both_each_batch_takes_one_of_them_and_both_come():
    images = np.broadcast_to(np.arange(160)[:, None, None, None], (160, 8, 8, 3)).astype(np.uint8)
    kinds = []
    for pixels, _ in blended(images, Mixing(mixup=5.0, cutmix=1.0)):
        even = [len(np.unique(image)) == 1 for image in pixels]
        kinds.append("mixup" if all(even) else "cutmix")
    assert {"mixup", "cutmix"} == set(kinds)
    assert 8 < kinds.count("cutmix") < 32


def test_what_is_drawn_follows_from_the_seed():
    images = np.random.default_rng(5).integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
    both = Mixing(mixup=0.4, cutmix=1.0)
    first, again, other = blended(images, both), blended(images, both), blended(images, both, seed=1)
    for place in range(3):
        np.testing.assert_array_equal(first[place][0], again[place][0])
        np.testing.assert_array_equal(first[place][1], again[place][1])
    assert any((first[place][0] != other[place][0]).any() for place in range(3))


def test_without_mixing_the_feed_is_left_as_it_is():
    feed = object()
    assert mixed(feed, Mixing(), 3, 4, [0]) is feed
