"""Mixup and CutMix: training images blended within their batch, and their labels with them.

mixup: Zhang et al. 2018, arXiv:1710.09412. CutMix: Yun et al. 2019, arXiv:1905.04899. Each image is blended with the
one before it in its batch, the first with the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mixing:
    """How images are blended; where both are set, each batch draws one of the two.

    Attributes:
        mixup: An image's share in the blend is drawn from Beta(mixup, mixup); 0 for no mixup.
        cutmix: A rectangle of another image is pasted in; its share of the area is drawn from Beta(cutmix, cutmix)
            before the image's edges cut it; 0 for no CutMix.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.mixup or self.cutmix)


NO_MIXING = Mixing()


def mixed(batches: Any, mixing: Mixing, steps: int, batch_size: int, seed: Sequence[int]) -> Any:
    """The batches of an epoch, blended; all randomness derives from `seed`.

    Args:
        batches: `uint8[N, H, W, 3]`, and the classes of each image as shares, `float32[N, K]`.
        mixing: How they are blended.
        steps: Batches, or more.
        batch_size: Images per batch, or more.
        seed: A few numbers, different for each epoch.
    """
    import tensorflow as tf

    if not mixing:
        return batches
    height, width = batches.element_spec[0].shape[1:3]
    drawn = tf.data.Dataset.from_tensor_slices(_draw(mixing, (steps, batch_size), (height, width), seed))
    rows, columns = tf.range(height)[None, :, None], tf.range(width)[None, None, :]

    def mix(batch: Any, draws: tuple[Any, Any, Any]) -> Any:
        images, truth = batch
        shares, boxes, is_cut = draws
        size = tf.shape(images)[0]
        shares, (top, bottom, left, right) = shares[:size, None], tf.unstack(boxes[:size, :, None, None], axis=1)
        inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
        own = tf.where(is_cut, 1.0 - tf.cast(inside, tf.float32), shares[:, :, None])[..., None]
        pixels = _blend(tf.cast(images, tf.float32), own)
        return tf.cast(tf.round(pixels), tf.uint8), _blend(tf.cast(truth, tf.float32), shares)

    return tf.data.Dataset.zip((batches, drawn)).map(tf.autograph.experimental.do_not_convert(mix))


def _blend(values: Any, own: Any) -> Any:
    import tensorflow as tf

    return own * values + (1.0 - own) * tf.roll(values, 1, axis=0)


def _draw(
    mixing: Mixing, size: tuple[int, int], image_size: tuple[int, int], seed: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
    """For an epoch of `size` (steps, N): the shares of the images in their labels, `float32[steps, N]`; the boxes,
    `int32[steps, N, 4]`, of top, bottom, left and right; and whether a batch is cut rather than blended, `bool[steps]`.
    """
    random = np.random.default_rng(seed)
    shares = random.beta(mixing.mixup, mixing.mixup, size) if mixing.mixup else np.ones(size)
    boxes, cuts = np.zeros((*size, 4), np.int32), np.zeros(size[0], bool)
    if mixing.cutmix:
        cuts = random.random(size[0]) < 0.5 if mixing.mixup else ~cuts
        sides = np.sqrt(random.beta(mixing.cutmix, mixing.cutmix, size))
        for axis, length in enumerate(image_size):
            centre = random.uniform(0, length, size)
            ends = centre[..., None] + sides[..., None] * length * np.array([-0.5, 0.5])
            boxes[..., 2 * axis : 2 * axis + 2] = np.rint(ends.clip(0, length))
        area = (boxes[..., 1] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 2]) / (image_size[0] * image_size[1])
        shares = np.where(cuts[:, None], 1 - area, shares)
    return shares.astype(np.float32), boxes, cuts
